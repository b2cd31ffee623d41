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
"""Starting and ending nodes: one way for all of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import logging
import os
import sys

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future

logger = logging.getLogger(__name__)

RCLError = rclpy_implementation.RCLError


class RunnableNode(Node):
    """A node that says itself when it is done.

    Attributes:
        finished: Done when the node wants to end; its result is the exit code.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.finished: Future[int] = Future()

    def end(self, code: int) -> None:
        """Have the process end with an exit code; may be called from any thread."""
        if not self.finished.done():
            self.finished.set_result(code)

    def close(self) -> bool:
        """Let go of everything; return whether no thread is left."""
        self.destroy_node()
        return True


@contextmanager
def ros_context(args: Sequence[str] | None) -> Iterator[None]:
    """Initialise rclpy and shut it down whatever happens.

    ``with rclpy.init()`` does the same, but not yet in ROS 2 Jazzy.
    """
    rclpy.init(args=None if args is None else list(args))
    try:
        yield
    finally:
        rclpy.try_shutdown()


def run_node(make_node: Callable[[], RunnableNode], args: Sequence[str] | None = None) -> int:
    """Run a node until it is done or gets SIGINT or SIGTERM.

    Args:
        make_node: Makes the node. What it raises as ``ValueError`` or ``ParameterException``
            is the user's to mend and is shown without a traceback.
        args: Command line; ``None`` takes the process's.

    Returns:
        Exit code: the node's own, 0 after a signal, 1 if the node could not be made.
    """
    code, clean = 0, True
    try:
        with ros_context(args):
            code, clean = _run(make_node)
    except (KeyboardInterrupt, ExternalShutdownException):
        logger.debug('Interrupted.')
    if not clean:
        # A model is still being loaded in a thread that nothing can interrupt.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(make_node: Callable[[], RunnableNode]) -> tuple[int, bool]:
    """Make a node and spin it; return its exit code and whether all its threads ended."""
    try:
        node = make_node()
    except (ValueError, ParameterException) as error:
        get_logger('zegclip_ros').fatal(str(error))
        return 1, True
    except RCLError:
        if rclpy.ok():
            raise
        return 0, True  # A signal came while the node was being made.
    try:
        rclpy.spin_until_future_complete(node, node.finished)
    except (KeyboardInterrupt, ExternalShutdownException):
        logger.debug('Interrupted.')
    except RCLError:
        if rclpy.ok():
            raise
        logger.debug('Interrupted while publishing.')
    finally:
        clean = node.close()
    return (node.finished.result() or 0) if node.finished.done() else 0, clean


class RosLogHandler(logging.Handler):
    """Hands the log records of Python libraries to a node's logger, and so to ``/rosout``.

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
