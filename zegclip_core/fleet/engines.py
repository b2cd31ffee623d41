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
"""What runs the work on many bags: processes of this machine, or another engine."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
import multiprocessing
from multiprocessing.connection import Connection, wait
from threading import RLock
from typing import Any, Protocol

from tqdm import tqdm
from zegclip_core.fleet.finding import Task
from zegclip_core.fleet.work import Outcome, Work, Worker

LOST = 'The process that worked on it ended: it was killed, or the memory is short.'


class Engine(Protocol):
    """Does the work on many bags, in any order, each in a worker that has one model."""

    def run(self, tasks: Sequence[Task], work: Work) -> Iterator[Outcome]:
        """Yield the outcome of each task as it comes; a worker that dies fails one task."""

    def close(self) -> None:
        """End all workers, at once."""


def _serve(work: Work, sharing: int, tasks: Connection) -> None:
    """Do the tasks that come, until none comes any more: the life of a process."""
    # No other process writes where this one does. The semaphore that would be taken instead is
    # lost with a process that is ended, which Python reports at the end of the command.
    tqdm.set_lock(RLock())
    worker = Worker(work, sharing)
    with suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            tasks.send(worker.label(tasks.recv()))


class _Process:
    """A process that does one task at a time."""

    def __init__(self, work: Work, sharing: int) -> None:
        context = multiprocessing.get_context('spawn')  # CUDA and threads survive no fork.
        self.answers, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, sharing, far), daemon=True)
        self._process.start()
        far.close()  # So that the process's end is the end of the pipe.
        self.task: Task | None = None

    def begin(self, task: Task) -> None:
        """Send a task."""
        self.task = task
        with suppress(BrokenPipeError):  # It has died, which the answer tells.
            self.answers.send(task)

    def answer(self) -> Outcome | None:
        """Return the outcome of its task; ``None`` if the process has died."""
        try:
            outcome = self.answers.recv()
        except (EOFError, ConnectionError):
            return None
        self.task = None
        return outcome if isinstance(outcome, Outcome) else None

    def close(self) -> None:
        """End it."""
        self.answers.close()
        self._process.terminate()
        self._process.join()


class Processes:
    """Processes of this machine, each with a model of its own.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._count = self._sharing = count
        self._processes: list[_Process] = []

    def run(self, tasks: Sequence[Task], work: Work) -> Iterator[Outcome]:
        """Yield the outcome of each task as it comes; a process that dies fails one task."""
        left = list(reversed(tasks))
        if not self._processes:
            self._sharing = min(self._count, len(tasks))
            self._processes = [_Process(work, self._sharing) for _ in range(self._sharing)]
        for process in self._processes:
            if left:
                process.begin(left.pop())
        while busy := {one.answers: one for one in self._processes if one.task is not None}:
            ready: list[Any] = wait(list(busy))
            for process in (busy[one] for one in ready):
                task = process.task
                outcome = process.answer()
                if outcome is None and task is not None:
                    process = self._replace(process, work)
                    outcome = Outcome(task, 'failed', LOST)
                if left:
                    process.begin(left.pop())
                if outcome is not None:
                    yield outcome

    def _replace(self, process: _Process, work: Work) -> _Process:
        """Return a new process in the place of one that has died."""
        process.close()
        new = _Process(work, self._sharing)
        self._processes[self._processes.index(process)] = new
        return new

    def close(self) -> None:
        """End all processes, at once: what they have labelled is kept."""
        for process in self._processes:
            process.close()
        self._processes = []
