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

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
import logging
import os
from pathlib import Path
import re
import signal
import sys
import threading
import traceback
from types import FrameType, MappingProxyType
from typing import Any, NoReturn

from rcl_interfaces.msg import Parameter, ParameterType, SetParametersResult
import rclpy
from rclpy.exceptions import (
    InvalidParameterTypeException,
    NameValidationException,
    ParameterException,
)
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from zegclip_core.errors import shortened, ZegCLIPError
from zegclip_ros.runtime.arguments import check_arguments, help_text, wants_help, worded

logger = logging.getLogger(__name__)

RCLError = rclpy_implementation.RCLError
LONGEST_TOPIC = 247
"""Characters of the longest topic name that ROS 2 accepts."""
STOP_TIMEOUT = 0.8
"""Seconds that work in progress gets at the end; after two in all the process is gone."""
_LAST_CALLBACKS = 0.3
_TEARDOWN = 0.4
_POLL = 0.1
_TYPES = range(ParameterType.PARAMETER_NOT_SET, ParameterType.PARAMETER_STRING_ARRAY + 1)

Answer = Callable[[Any, Any], Any]
"""Callback of a service, which takes a request and a response and returns the response."""


class RunnableNode(Node):
    """A node that ``run_node`` can run, and that decides itself when it is done.

    Attributes:
        ended: Set when it is done.
        exit_code: Exit code of the process then.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ended = threading.Event()
        self.exit_code = 0
        guard_parameter_services(self)

    def end(self, code: int) -> None:
        """Have the process end with an exit code; may be called from any thread."""
        if not self.ended.is_set():
            self.exit_code = code
            self.ended.set()

    def interrupt(self, timeout: float) -> bool:
        """Give up transitions in progress; return whether none is left after so many seconds."""
        return True

    def close(self) -> bool:
        """End what works in the background; return whether all did in ``STOP_TIMEOUT``.

        Called when no callback runs any more.
        """
        return True


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


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Yield a list that SIGINT and SIGTERM are added to; outside the main thread none is.

    No ``threading.Event``: its lock may be held where a signal finds the main thread, which would
    then wait for itself for ever. Python's own way, an exception wherever the main thread is,
    would leave half-made objects.
    A second signal changes nothing: ``ros2 launch`` may send one after the terminal's own.
    """
    stop: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        stop.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_node(
    make_node: Callable[[], RunnableNode],
    args: Sequence[str] | None = None,
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run a node until it is done or gets SIGINT or SIGTERM.

    The executor spins in a thread of its own, so that signals are heard while it is busy.

    Args:
        make_node: Makes the node. What it raises is shown in one line, without a traceback.
        args: Command line; ``None`` takes the process's.
        parameters: Descriptions of the node's parameters by name, for its help.

    Returns:
        Exit code: the node's own, 0 after a signal, 1 if the node could not be made.
    """
    with stop_signals() as stop:
        return _run_in_context(make_node, args, parameters, stop)


def run_process(
    make_node: Callable[[], RunnableNode],
    args: Sequence[str] | None = None,
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> NoReturn:
    """Run a node as ``run_node`` does, and end the process with its exit code."""
    with stop_signals() as stop:
        leave(_run_in_context(make_node, args, parameters, stop))


def leave(code: int) -> NoReturn:
    """End the process at once, without waiting for anything.

    For threads that cannot be interrupted, such as one that loads a model; and because Python
    takes seconds to take down PyTorch piece by piece.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_in_context(
    make_node: Callable[[], RunnableNode],
    args: Sequence[str] | None,
    parameters: Mapping[str, str],
    stop: Sequence[int],
) -> int:
    """Run a node in a context of its own; return the exit code."""
    given = list(sys.argv[1:] if args is None else args)
    if wants_help(given):
        sys.stdout.write(help_text(Path(sys.argv[0]).stem, parameters))
        return 0
    try:
        check_arguments(given, parameters)
        with ros_context(args):
            try:
                node = make_node()
            except Exception as error:  # The last line of defence: nobody is to read a traceback.
                get_logger('zegclip_ros').fatal(in_one_line(error))
                code = 1
            else:
                code = _run(node, stop)
            # Fast DDS may wait for a TCP connection for ever when it is to end.
            watchdog = threading.Timer(_TEARDOWN, leave, (code,))
            watchdog.daemon = True
            watchdog.start()
        watchdog.cancel()
        return code
    except Exception as error:  # As of arguments that ROS refuses.
        get_logger('zegclip_ros').fatal(in_one_line(error))
        return 1


def in_one_line(error: Exception) -> str:
    """Return what went wrong with a node as the one line that users see."""
    if isinstance(error, NameValidationException):
        return (
            f'Expected names of topics and services of at most {LONGEST_TOPIC} characters with '
            'the namespace, of letters, digits and _, but got '
            f'{shortened(" ".join(str(error).split()), 160)}.'
        )
    if isinstance(error, InvalidParameterTypeException):
        named = re.search("parameter '([^']+)'", str(error))
        return worded(str(error), named[1] if named else '')
    if isinstance(error, FileExistsError):
        return f'Expected {error.filename} to be a folder, but it is a file.'
    if isinstance(error, OSError):
        where = f' {error.filename}' if error.filename else ''
        return f'Cannot use{where}: {error.strerror or error}.'
    text = ' '.join(str(error).split())
    if type(error).__name__ == 'UnknownROSArgsError':
        return f'Expected arguments that ROS knows after --ros-args, but got {text}.'
    if isinstance(error, RCLError):
        return str(error).partition('\n')[0]
    known = isinstance(error, ValueError | ParameterException | ZegCLIPError)
    return text if known else f'{type(error).__name__}: {text}'


def _run(node: RunnableNode, stop: Sequence[int]) -> int:
    """Spin a node until the end; return its exit code."""
    # An executor with several threads would add half a millisecond to every message.
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            logger.debug('The context was shut down.')
        except Exception as error:
            if not node.ended.is_set():
                get_logger('zegclip_ros').fatal(f'A callback failed: {in_one_line(error)}')
                get_logger('zegclip_ros').debug(traceback.format_exc().rstrip())
                node.end(1)

    spinner = threading.Thread(target=spin, name='executor', daemon=True)
    spinner.start()
    while not (stop or node.ended.is_set()):
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
        # rclpy keeps the level of each place of a call, so that these are three.
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
    asked = list(request.parameters)
    faults = [_fault(parameter) for parameter in asked]
    pairs = zip(asked, faults, strict=True)
    request.parameters = [parameter for parameter, fault in pairs if fault is None]
    results = iter(answer(request, response).results)
    response.results = [fault or next(results) for fault in faults]
    for parameter, result in zip(asked, response.results, strict=True):
        result.reason = worded(result.reason, parameter.name)
    return response


def _set_all(answer: Answer, request: Any, response: Any) -> Any:  # noqa: ANN401 - rclpy's
    """Refuse all parameters if one has a fault."""
    fault = next(filter(None, map(_fault, request.parameters)), None)
    if fault is None:
        return answer(request, response)
    response.result = fault
    return response


def _fault(parameter: Parameter) -> SetParametersResult | None:
    """Return the refusal of a parameter of an unknown type, ``None`` for any other."""
    given = parameter.value.type
    if given in _TYPES:
        return None
    reason = (
        f'Expected the type of the parameter {parameter.name[:100]!r} to be {_TYPES[0]} to '
        f'{_TYPES[-1]}, but got {given}.'
    )
    return SetParametersResult(successful=False, reason=reason)
