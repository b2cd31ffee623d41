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
"""A thread that works on the newest of the items that it is given, and drops older ones."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
import threading
from typing import Generic, TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


class WorkerStoppedError(Exception):
    """The thread ended before it came to a task."""


class Worker(Generic[Item]):
    """Processes the newest item, and runs tasks between two items, in one thread of its own.

    ``submit`` and ``run`` return at once and may be called from any thread. An item that comes
    while another one waits replaces it, unless ``merge`` combines the two. What processing leaves
    of an item waits like an item that came before all others. Until ``resume``, and from ``pause``
    on, only tasks are run.

    Args:
        name: Name of the thread; it calls all of the functions.
        process: Processes an item and returns what it leaves of it, if anything.
        failed: Gets each ``Exception`` of ``process``, after which the thread goes on.
        died: Gets an error that ends the thread.
        merge: Combines the item that waits and the one that comes.
    """

    def __init__(
        self,
        name: str,
        process: Callable[[Item], Item | None],
        failed: Callable[[Exception], object],
        died: Callable[[BaseException], object],
        merge: Callable[[Item, Item], Item] = lambda waiting, new: new,
    ) -> None:
        self._process = process
        self._failed = failed
        self._died = died
        self._merge = merge
        self._condition = threading.Condition()
        self._tasks: deque[Callable[[], None]] = deque()
        self._futures: set[Future] = set()
        self._item: Item | None = None
        self._paused = True
        self._stopping = False
        # A daemon, since a model that is being loaded cannot be interrupted.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> Item | None:
        """Hand over an item; return the one that will not be processed as it is, if any.

        That is the one that waited, or this one if the worker is paused.
        """
        with self._condition:
            if self._paused:
                return item
            waited = self._item
            self._item = item if waited is None else self._merge(waited, item)
            self._condition.notify()
            return waited

    def run(self, task: Callable[[], Result]) -> 'Future[Result]':
        """Have a task run before the next item; it fails if the thread ends before."""
        future: Future[Result] = Future()

        def fulfil() -> None:
            try:
                result = task()
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            with self._condition:  # Else they would become more with each task, for months.
                self._futures.discard(future)

        with self._condition:
            if self._stopping or not self._thread.is_alive():
                future.set_exception(WorkerStoppedError(self._thread.name))
                return future
            self._futures.add(future)
            self._tasks.append(fulfil)
            self._condition.notify()
        return future

    def resume(self) -> None:
        """Accept items."""
        with self._condition:
            self._paused = False

    def pause(self) -> Item | None:
        """Accept no more items; return the one that waited, if one did."""
        with self._condition:
            self._paused = True
            dropped, self._item = self._item, None
            return dropped

    def stop(self, timeout: float) -> bool:
        """End the thread after its present work; return whether it did within these seconds."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        death: BaseException | None = None
        try:
            while (work := self._next()) is not None:
                work()
        except BaseException as error:
            death = error
        with self._condition:
            self._stopping = self._paused = True
            self._item = None
            waiting, self._futures = self._futures, set()
        for future in waiting:
            if not future.done():
                future.set_exception(WorkerStoppedError(self._thread.name))
        if death is not None:
            self._died(death)

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do and return it; ``None`` at the end."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._stopping or self._tasks or self._item is not None
            )
            if self._stopping:
                return None
            if self._tasks:
                return self._tasks.popleft()
            item, self._item = self._item, None
            return None if item is None else partial(self._work_on, item)

    def _work_on(self, item: Item) -> None:
        """Process an item, and keep what is left of it unless the worker was paused meanwhile."""
        try:
            rest = self._process(item)
        except Exception as error:
            self._failed(error)
            return
        if rest:
            with self._condition:
                if not self._paused:
                    self._item = rest if self._item is None else self._merge(rest, self._item)
