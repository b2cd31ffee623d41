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
"""The worker's thread: newest frame only, faults survived, a clean end."""

import threading

import pytest
from zegclip_ros.frame_worker import FrameWorker

pytestmark = pytest.mark.timeout(60)

DEADLINE = 20.0


class Job:
    """Records what the worker asks of it; can be held up in ``process`` and ``prepare``."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.prepared = threading.Event()
        self.done = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.frames: list[int] = []
        self.updates = threading.Semaphore(0)
        self.errors: list[Exception] = []
        self.prepare_fault: Exception | None = None
        self.prepare_errors: list[Exception] = []

    def prepare(self) -> None:
        assert self.prepared.wait(DEADLINE)
        if self.prepare_fault is not None:
            raise self.prepare_fault

    def prepare_failed(self, error: Exception) -> None:
        self.prepare_errors.append(error)

    def update(self) -> None:
        self.updates.release()

    def process(self, frame: int) -> None:
        self.began.release()
        assert self.going.wait(DEADLINE)
        self.frames.append(frame)
        self.done.release()
        if frame < 0:
            raise ValueError(f'frame {frame}')

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


@pytest.fixture
def job() -> Job:
    return Job()


def test_a_frame_that_came_before_the_job_was_prepared_is_processed(job: Job) -> None:
    worker: FrameWorker[int] = FrameWorker(job)
    worker.submit(1)
    worker.start()
    worker.submit(2)
    job.going.set()
    job.prepared.set()
    assert job.done.acquire(timeout=DEADLINE)
    assert worker.stop(DEADLINE)
    assert job.frames == [2]


def test_frames_that_come_meanwhile_are_dropped_but_for_the_newest(job: Job) -> None:
    worker: FrameWorker[int] = FrameWorker(job)
    job.prepared.set()
    worker.start()
    worker.submit(1)
    assert job.began.acquire(timeout=DEADLINE)
    for frame in (2, 3, 4):
        worker.submit(frame)
    job.going.set()
    assert job.done.acquire(timeout=DEADLINE)
    assert job.done.acquire(timeout=DEADLINE)
    assert worker.stop(DEADLINE)
    assert job.frames == [1, 4]


def test_waking_updates_without_a_frame(job: Job) -> None:
    worker: FrameWorker[int] = FrameWorker(job)
    job.prepared.set()
    worker.start()
    assert job.updates.acquire(timeout=DEADLINE)  # Once by itself.
    worker.wake()
    assert job.updates.acquire(timeout=DEADLINE)
    assert worker.stop(DEADLINE)
    assert job.frames == []


def test_a_fault_is_told_and_the_next_frame_processed(job: Job) -> None:
    worker: FrameWorker[int] = FrameWorker(job)
    job.prepared.set()
    job.going.set()
    worker.start()
    for frame in (-1, 5):
        worker.submit(frame)
        assert job.done.acquire(timeout=DEADLINE)
    assert worker.stop(DEADLINE)
    assert [str(error) for error in job.errors] == ['frame -1']
    assert job.frames == [-1, 5]


def test_a_job_that_cannot_be_prepared_ends_the_thread(job: Job) -> None:
    job.prepare_fault = ValueError('no such model')
    worker: FrameWorker[int] = FrameWorker(job)
    worker.start()
    job.prepared.set()
    assert worker.stop(DEADLINE)
    assert job.prepare_errors == [job.prepare_fault]


def test_stopping_tells_when_the_thread_cannot_be_stopped(job: Job) -> None:
    worker: FrameWorker[int] = FrameWorker(job)
    worker.start()
    assert not worker.stop(0.05)
    job.prepared.set()
    assert worker.stop(DEADLINE)


def test_a_worker_that_was_never_started_can_be_stopped(job: Job) -> None:
    assert FrameWorker(job).stop(0.0)
