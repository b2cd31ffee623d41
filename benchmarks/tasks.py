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
"""Tasks that take turns in one thread: generators that say what they wait for."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
import math
import time


@dataclass(frozen=True)
class Wait:
    """What a task waits for.

    Attributes:
        condition: Looked at again and again.
        what: What it is, for the failure if it does not come true.
        deadline: Seconds until that counts as a failure and the task goes on.
        ready_at: Time at which the condition is looked at first.
    """

    condition: Callable[[], object]
    what: str = ''
    deadline: float = math.inf
    ready_at: float = 0.0


Task = Generator[Wait, bool, None]
"""Yields what it waits for; gets back whether it came true."""


def pause(seconds: float) -> Wait:
    """Return a wait for some time to pass."""
    return Wait(lambda: True, ready_at=time.monotonic() + seconds)


class Tasks:
    """Runs tasks in turns.

    Args:
        fail: Is told what did not come true.
    """

    def __init__(self, fail: Callable[[str], object]) -> None:
        self._fail = fail
        self._running: list[tuple[Task, Wait, float]] = []
        self.awaited = 0
        """How many answers came in time."""

    def start(self, task: Task) -> None:
        """Start a task."""
        self._advance(task, None)

    def _advance(self, task: Task, answer: bool | None) -> None:
        try:
            wait = next(task) if answer is None else task.send(answer)
        except StopIteration:
            return
        self._running.append((task, wait, time.monotonic()))

    def turn(self) -> None:
        """Let every task go on whose wait is over."""
        now = time.monotonic()
        turn, self._running = self._running, []
        for task, wait, since in turn:
            if now < wait.ready_at:
                self._running.append((task, wait, since))
            elif wait.condition():
                self.awaited += wait.deadline < math.inf
                self._advance(task, True)
            elif now - since > wait.deadline:
                self._fail(f'{wait.what} did not come within {wait.deadline:.0f} s')
                self._advance(task, False)
            else:
                self._running.append((task, wait, since))

    def idle_in(self) -> float:
        """Return how many seconds nothing is to do at most."""
        now = time.monotonic()
        due = [max(wait.ready_at - now, 0.0) for _, wait, _ in self._running]
        return min([*due, 0.02])
