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
"""A lifecycle node whose transitions say why they fail and do not block its other callbacks."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
import math
import threading
import time
import traceback
from typing import TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.service import Service
from rclpy.task import Future as RosFuture
from zegclip_core.errors import DeviceLostError, ZegCLIPError
from zegclip_ros.runtime.runner import RCLError, RunnableNode

Result = TypeVar('Result')
_POLL = 0.1
_PRIMARY = ('unconfigured', 'inactive', 'active', 'finalized')
"""States that last until a transition is asked for."""
_DESTROY_TIMEOUT = 5.0


class TransitionError(ZegCLIPError):
    """A transition cannot be made; the text says why."""


class ManagedNode(LifecycleNodeMixin, RunnableNode):
    """Turns the methods of a subclass into lifecycle transitions.

    ``configure``, ``activate`` and ``deactivate`` may raise: the transition fails, the node
    stays in the state it was in, and the log says why. ``cleanup`` releases everything that
    ``configure`` made, also what a failed one left, and does not raise.

    Transitions run in threads of their own, so that topics and parameters are served meanwhile: a
    model takes many seconds to load. ``fail`` leads through error processing to ``unconfigured``.
    A device that only a new process can use ends this one, so that a respawn helps.

    Attributes:
        fault: What keeps the node from working; ``None`` if nothing does.
    """

    def __init__(self, name: str) -> None:
        RunnableNode.__init__(self, name)
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self.fault: str | None = None
        self._dead = False
        self._background: list[threading.Thread] = []
        for service in self.services:
            if service.srv_name.endswith('/change_state'):
                self._answer_in_background(service)

    def _answer_in_background(self, service: Service) -> None:
        """Have each request of a service answered in a thread of its own.

        An executor with several threads would do that too, but makes every message slower.
        """
        answer = service.callback

        async def answer_later(request: object, response: object) -> object:
            done: RosFuture = RosFuture()
            self._in_background(lambda: done.set_result(answer(request, response)))
            return await done

        service.callback = answer_later

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        return str(self._state_machine.current_state[1])

    def destroy_node(self) -> None:
        """Destroy the node, also its part in the log, which the state machine would keep alive."""
        self.interrupt(_DESTROY_TIMEOUT)  # rcl crashes in a transition of a node that is gone.
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def configure(self) -> None:
        """Create everything that takes time; called in a thread of its own."""

    def activate(self) -> None:
        """Begin to work; called in a thread of its own."""

    def deactivate(self) -> None:
        """Stop working; called in a thread of its own."""

    def cleanup(self) -> None:
        """Release everything that ``configure`` made; called in a thread of its own."""

    def on_fault(self, text: str) -> None:
        """Get the reason why a transition failed."""

    def autostart(self) -> None:
        """Configure and activate, in a thread of its own."""

        def start() -> None:
            if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                self.trigger_activate()

        self._in_background(start)

    def fail(self, reason: str) -> None:
        """Have the node go to error processing because it cannot work any more."""
        self.fault, self._dead = reason, True

        def leave_state() -> None:
            while self.state not in _PRIMARY and not self.ended.is_set():
                self.ended.wait(_POLL)  # A transition began before the fault.
            # Whichever transition the state has: its callback reports the error.
            if self.state == 'active':
                self.trigger_deactivate()
            elif self.state == 'inactive':
                self.trigger_cleanup()

        self._in_background(leave_state)

    def lose_device(self, error: DeviceLostError) -> None:
        """Have the process end with exit code 1, as nothing in it can use the device any more."""
        if not self.ended.is_set():
            self.get_logger().fatal(f'The process ends. {error}')
            self.end(1)

    def wait_for(self, future: 'Future[Result]', timeout: float = math.inf) -> Result:
        """Return a result that another thread works on, or raise its error.

        Raises:
            TransitionError: If the process ends before, or the wait was too long.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                return future.result(timeout=_POLL)
            except FutureTimeoutError:
                if future.done():
                    raise
                if self.ended.is_set() or not self.context.ok():
                    raise TransitionError('The process ends.') from None
                if time.monotonic() > end:
                    raise TransitionError(
                        f'The frame in work did not end in {timeout:.0f} s.'
                    ) from None

    def _in_background(self, work: Callable[[], None]) -> None:
        """Run transitions in a thread of their own, unless the process ends."""

        def run() -> None:
            try:
                work()
            except RCLError:
                if self.context.ok():  # Else the context has ended halfway, which is no error.
                    raise

        if self.ended.is_set():
            return
        thread = threading.Thread(target=run, daemon=True)
        self._background = [one for one in self._background if one.is_alive()] + [thread]
        thread.start()

    def interrupt(self, timeout: float) -> bool:
        """Give up transitions in progress; return whether none is left after so many seconds."""
        self.ended.set()
        end = time.monotonic() + timeout
        for thread in list(self._background):
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._background)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``configure``; after a failure nothing of it is left."""
        self.fault, self._dead = None, False
        done = self._attempt('configure', self.configure)
        if done != TransitionCallbackReturn.SUCCESS:
            self.cleanup()
        return done

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``activate``."""
        self.fault = None
        return self._attempt('activate', self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``deactivate``."""
        return self._attempt('deactivate', self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``cleanup``."""
        return self._attempt('clean up', self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``cleanup``, whatever the state is."""
        return self._attempt('shut down', self.cleanup)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; the node may be configured again."""
        self._dead = False
        return self._attempt('recover', self.cleanup)

    def _attempt(self, what: str, work: Callable[[], None]) -> TransitionCallbackReturn:
        """Do the work of a transition; log why if it fails, with a traceback if unexpected."""
        if self._dead:
            return TransitionCallbackReturn.ERROR
        try:
            work()
        except Exception as error:
            if isinstance(error, DeviceLostError):
                self.lose_device(error)
            if not self.ended.is_set():
                expected = isinstance(error, ZegCLIPError)
                text = str(error) if expected else f'{type(error).__name__}: {error}'
                self.fault = f'Cannot {what}: {text}'
                trace = '' if expected else f'\n{traceback.format_exc().rstrip()}'
                self.get_logger().error(f'{self.fault}{trace}')
                self.on_fault(self.fault)
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(f'Done: {what}.')
        return TransitionCallbackReturn.SUCCESS
