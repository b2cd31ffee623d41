# Copyright 2026 ZegCLIP-ROS contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""How the nodes of this package start and end, and what keeps them alive in between."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
import logging
import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Any, cast, NoReturn

from rcl_interfaces.msg import Parameter, ParameterType, SetParametersResult
import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

logger = logging.getLogger(__name__)

RCLError = rclpy_implementation.RCLError
STOP_TIMEOUT = 0.8
"""Seconds that work in progress gets at the end; after two in all the process is gone."""
_LAST_CALLBACKS = 0.3
_TEARDOWN = 0.4
_POLL = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TYPES = range(ParameterType.PARAMETER_NOT_SET, ParameterType.PARAMETER_STRING_ARRAY + 1)

Answer = Callable[[Any, Any], Any]
"""Callback of a service, which takes a request and a response and returns the response."""


class Runnable:
    """A node that decides itself when it is done.

    Attributes:
        ended: Set when it is done.
        exit_code: Exit code of the process then.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.exit_code = 0

    def end(self, code: int) -> None:
        """Have the process end with an exit code; may be called from any thread."""
        if not self.ended.is_set():
            self.exit_code = code
            self.ended.set()

    def interrupt(self, timeout: float) -> bool:
        """Give up transitions in progress; return whether none is left after so many seconds."""
        return True

    def close(self) -> bool:
        """End what works in the background; called when no callback runs any more.

        Returns:
            Whether all of it ended in ``STOP_TIMEOUT``.
        """
        return True


class RunnableNode(Runnable, Node):
    """A plain node that can be run by ``run_node``."""

    def __init__(self, name: str) -> None:
        Node.__init__(self, name)
        Runnable.__init__(self)
        guard_parameter_services(self)


@contextmanager
def ros_context(args: Sequence[str] | None) -> Iterator[None]:
    """Initialise rclpy without its signal handlers and shut it down whatever happens.

    ``with rclpy.init()`` does the same, but not yet in ROS 2 Jazzy.
    """
    rclpy.init(
        args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO
    )
    try:
        yield
    finally:
        # There are none, and where rclpy takes them away, a signal meanwhile kills the process.
        rclpy.try_shutdown(uninstall_handlers=False)


class Stop:
    """Whether a signal has asked for the end.

    Attributes:
        asked: Whether it has. No ``threading.Event``: its lock may be held where the signal
            finds the main thread, which would then wait for itself for ever.
    """

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Yield what SIGINT and SIGTERM set; outside the main thread nothing sets it.

    Python's own way, an exception wherever the main thread is, would leave half-made objects.
    A second signal changes nothing: ``ros2 launch`` may send one after the terminal's own.
    """
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_node(make_node: Callable[[], Runnable], args: Sequence[str] | None = None) -> int:
    """Run a node until it is done or gets SIGINT or SIGTERM.

    The executor spins in a thread of its own, so that signals are heard while it is busy.

    Args:
        make_node: Makes the node. What it raises as ``ValueError`` or ``ParameterException``
            is the user's to correct and is shown without a traceback.
        args: Command line; ``None`` takes the process's.

    Returns:
        Exit code: the node's own, 0 after a signal, 1 if the node could not be made.
    """
    with stop_signals() as stop:
        return _run_in_context(make_node, args, stop)


def run_process(make_node: Callable[[], Runnable], args: Sequence[str] | None = None) -> NoReturn:
    """Run a node as ``run_node`` does, and end the process with its exit code.

    Args:
        make_node: Makes the node.
        args: Command line; ``None`` takes the process's.
    """
    with stop_signals() as stop:
        leave(_run_in_context(make_node, args, stop))


def _run_in_context(
    make_node: Callable[[], Runnable], args: Sequence[str] | None, stop: Stop
) -> int:
    """Run a node in a context of its own; return the exit code."""
    try:
        with ros_context(args):
            code = _run(make_node, stop)
            # Fast DDS may wait for a TCP connection for ever when it is to end.
            watchdog = threading.Timer(_TEARDOWN, leave, (code,))
            watchdog.daemon = True
            watchdog.start()
        watchdog.cancel()
        return code
    except RCLError as error:
        get_logger('zegclip_ros').fatal(str(error).partition('\n')[0])
        return 1


def leave(code: int) -> NoReturn:
    """End the process at once, without waiting for anything.

    For threads that cannot be interrupted, such as one that loads a model; and because Python
    takes seconds to take down PyTorch piece by piece.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(make_node: Callable[[], Runnable], stop: Stop) -> int:
    """Make a node and spin it until the end; return its exit code."""
    try:
        node = make_node()
    except (ValueError, ParameterException) as error:
        get_logger('zegclip_ros').fatal(str(error))
        return 1
    # An executor with several threads would add half a millisecond to every message.
    executor = SingleThreadedExecutor()
    executor.add_node(cast(Node, node))
    spinner = threading.Thread(target=_spin, args=(executor, node), name='executor', daemon=True)
    spinner.start()
    while not (stop.asked or node.ended.is_set()):
        node.ended.wait(_POLL)
    code = node.exit_code
    node.end(code)
    interrupted = node.interrupt(_LAST_CALLBACKS)
    executor.shutdown(timeout_sec=0.0)
    spinner.join(_LAST_CALLBACKS)
    closed = node.close()
    if not interrupted or not closed or spinner.is_alive():
        # While a thread is left, the context has to live: rcl crashes without it.
        leave(code)
    return code


def _spin(executor: Executor, node: Runnable) -> None:
    """Run callbacks until the end; an error in one of them ends the node and is logged."""
    try:
        executor.spin()
    except ExternalShutdownException:
        logger.debug('The context was shut down.')
    except Exception as error:
        if not node.ended.is_set():
            text = ''.join(traceback.format_exception(error)).rstrip()
            get_logger('zegclip_ros').fatal(f'A callback failed: {text}')
            node.end(1)


class RosLogHandler(logging.Handler):
    """Passes the log records of Python libraries to a node's logger, and so to ``/rosout``.

    Idea: ``ros_logging.py`` of MIT-SPARK/semantic_inference.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(level=logging.INFO)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record at its own level."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def guard_parameter_services(node: Node) -> None:
    """Have a node refuse parameters of types that ROS does not have.

    For them rclpy raises an error that nothing catches, and anybody on the network can send one.
    """
    for service in node.services:
        if service.srv_name.endswith('/set_parameters'):
            service.callback = partial(_set_each, service.callback)
        elif service.srv_name.endswith('/set_parameters_atomically'):
            service.callback = partial(_set_all, service.callback)


def _set_each(answer: Answer, request: Any, response: Any) -> Any:  # noqa: ANN401 - rclpy's
    """Refuse the parameters with a fault and set the others."""
    faults = [_fault(parameter) for parameter in request.parameters]
    pairs = zip(list(request.parameters), faults, strict=True)
    request.parameters = [parameter for parameter, fault in pairs if fault is None]
    results = iter(answer(request, response).results)
    response.results = [fault or next(results) for fault in faults]
    return response


def _set_all(answer: Answer, request: Any, response: Any) -> Any:  # noqa: ANN401 - rclpy's
    """Refuse all parameters if one has a fault."""
    faults = [fault for fault in map(_fault, request.parameters) if fault is not None]
    if not faults:
        return answer(request, response)
    response.result = faults[0]
    return response


def _fault(parameter: Parameter) -> SetParametersResult | None:
    """Return the refusal of a parameter of an unknown type, ``None`` for any other."""
    given = parameter.value.type
    if given in _TYPES:
        return None
    return SetParametersResult(
        successful=False,
        reason=(
            f'Expected the type of the parameter {parameter.name[:100]!r} to be {_TYPES[0]} to '
            f'{_TYPES[-1]}, but got {given}.'
        ),
    )
