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
"""The worker: the newest item, tasks between items, pauses, faults and the end."""

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from functools import partial
import gc
import threading
import weakref

import pytest
from zegclip_ros.frames.worker import Worker, WorkerStoppedError

pytestmark = pytest.mark.timeout(60)

DEADLINE = 20.0


class Dead(BaseException):
    """Ends a thread."""


class Job:
    """Records what the worker asks of it; can be held up."""

    def __init__(
        self,
        process: Callable[['Job', int], int | None] | None = None,
        merge: Callable[[int, int], int] = lambda waiting, new: new,
    ) -> None:
        self.going = threading.Event()
        self.going.set()
        self.began = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.items: list[int] = []
        self.errors: list[BaseException] = []
        self.died = threading.Event()
        work = self.process if process is None else partial(process, self)
        self.worker = Worker('tested', work, self.errors.append, self.dead, merge)

    def process(self, item: int) -> None:
        self.began.release()
        assert self.going.wait(DEADLINE)
        self.items.append(item)
        self.done.release()
        if item == -1:
            raise ValueError('minus one')
        if item == -2:
            raise Dead('minus two')

    def dead(self, error: BaseException) -> None:
        self.errors.append(error)
        self.died.set()

    def hold_up(self, item: int) -> None:
        """Have the worker begin with an item, and not end."""
        self.worker.resume()
        self.going.clear()
        self.worker.submit(item)
        assert self.began.acquire(timeout=DEADLINE)

    def finish(self, count: int) -> None:
        """Let the worker go on, and wait until it has ended so many items."""
        self.going.set()
        for _ in range(count):
            assert self.done.acquire(timeout=DEADLINE)

    def end(self) -> None:
        self.going.set()
        assert self.worker.stop(DEADLINE)

    def flush(self) -> None:
        """Wait until the worker has come to a task that is given now."""
        self.worker.run(lambda: None).result(DEADLINE)


@pytest.fixture
def job() -> Iterator[Job]:
    made = Job()
    yield made
    made.end()


def test_items_are_accepted_only_between_resume_and_pause(job: Job) -> None:
    assert job.worker.submit(1) == 1
    job.worker.resume()
    assert job.worker.submit(2) is None
    assert job.done.acquire(timeout=DEADLINE)
    assert job.worker.pause() is None
    assert job.worker.submit(3) == 3
    job.flush()
    assert job.items == [2]


@pytest.mark.parametrize(
    ('merge', 'returned', 'processed'),
    [
        (lambda waiting, new: new, [None, 2, 3], [1, 4]),
        (lambda waiting, new: waiting * 10 + new, [None, 2, 23], [1, 234]),
    ],
)
def test_of_items_that_come_meanwhile_the_newest_is_left_or_all_are_merged(
    merge: Callable[[int, int], int], returned: list[int | None], processed: list[int]
) -> None:
    job = Job(merge=merge)
    job.hold_up(1)
    assert [job.worker.submit(item) for item in (2, 3, 4)] == returned
    job.finish(2)
    assert job.items == processed
    job.end()


def test_what_is_left_of_an_item_waits_before_newer_ones() -> None:
    def one_digit(job: Job, item: int) -> int:
        job.process(item % 10)
        return item // 10

    # The last digit goes first, and what comes later goes to the front.
    job = Job(one_digit, lambda old, new: new * 10 + old)
    job.hold_up(21)
    assert job.worker.submit(43) is None
    job.finish(4)
    assert job.items == [1, 2, 3, 4]
    job.end()


def test_nothing_is_put_back_after_a_pause() -> None:
    job = Job(lambda job, item: job.process(item) or item)
    job.hold_up(7)
    job.worker.pause()
    job.going.set()
    for _ in range(2):
        job.flush()
    assert job.items == [7]
    job.end()


def test_a_pause_drops_the_item_that_waits(job: Job) -> None:
    job.hold_up(1)
    job.worker.submit(2)
    assert job.worker.pause() == 2
    job.going.set()
    job.flush()
    assert job.items == [1]


def test_tasks_run_in_order_in_the_thread_also_while_it_is_paused(job: Job) -> None:
    results = [job.worker.run(threading.current_thread), job.worker.run(lambda: 5)]
    assert results[0].result(DEADLINE).name == 'tested'
    assert results[1].result(DEADLINE) == 5
    with pytest.raises(ZeroDivisionError):
        job.worker.run(lambda: 1 // 0).result(DEADLINE)
    assert job.errors == []


@pytest.mark.parametrize('fails', [False, True])
def test_a_task_that_has_ended_is_forgotten(job: Job, fails: bool) -> None:
    future = job.worker.run((lambda: 1 // 0) if fails else (lambda: 1))
    wait([future], DEADLINE)
    gone = weakref.ref(future)
    del future
    job.flush()  # By then the thread has let go of it.
    gc.collect()
    assert gone() is None


def test_tasks_come_before_the_item_that_waits(job: Job) -> None:
    job.hold_up(1)
    job.worker.submit(2)
    seen = job.worker.run(lambda: list(job.items))
    job.going.set()
    assert seen.result(DEADLINE) == [1]


def test_a_fault_is_told_and_the_next_item_processed(job: Job) -> None:
    job.worker.resume()
    for item in (-1, 5):
        job.worker.submit(item)
        assert job.done.acquire(timeout=DEADLINE)
    job.flush()
    assert [str(error) for error in job.errors] == ['minus one']
    assert job.items == [-1, 5]


def test_a_death_is_told_and_nobody_waits_for_ever(job: Job) -> None:
    job.hold_up(-2)
    waiting = job.worker.run(lambda: None)
    job.going.set()
    assert job.died.wait(DEADLINE)
    assert isinstance(job.errors[0], Dead)
    for future in (waiting, job.worker.run(lambda: None)):
        with pytest.raises(WorkerStoppedError):
            future.result(DEADLINE)
    assert job.worker.submit(7) == 7
    assert job.worker.stop(DEADLINE)
    assert job.worker.stop(0.0)


def test_stopping_tells_when_the_thread_cannot_be_stopped(job: Job) -> None:
    job.hold_up(1)
    assert not job.worker.stop(0.05)
    job.going.set()
    assert job.worker.stop(DEADLINE)
