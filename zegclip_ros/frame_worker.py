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
"""The thread in which the model runs: the newest frame only, and nothing in the executor."""

import threading
from typing import Generic, Protocol, TypeVar

Frame = TypeVar('Frame')
Taken = TypeVar('Taken', contravariant=True)


class FrameJob(Protocol[Taken]):
    """What a ``FrameWorker`` does; every method is called from its thread."""

    def prepare(self) -> None:
        """Load what is needed; called once, before anything else."""

    def prepare_failed(self, error: Exception) -> None:
        """Take note that ``prepare`` raised; the thread ends."""

    def update(self) -> None:
        """Take over what was asked for meanwhile; called between two frames and on ``wake``."""

    def process(self, frame: Taken) -> None:
        """Work on one frame."""

    def failed(self, error: Exception) -> None:
        """Take note that ``update`` or ``process`` raised; the thread goes on."""


class FrameWorker(Generic[Frame]):
    """Runs a job on the newest frame, in one thread of its own.

    ``submit`` and ``wake`` return at once and may be called from any thread, also before the job
    is prepared: the newest frame waits for it. A frame that comes while another waits replaces it.
    """

    def __init__(self, job: FrameJob[Frame]) -> None:
        self._job = job
        self._condition = threading.Condition()
        self._frame: Frame | None = None
        self._woken = False
        self._stopping = False
        # A daemon, since a model that is being loaded cannot be interrupted.
        self._thread = threading.Thread(target=self._run, name='frame_worker', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, frame: Frame) -> None:
        """Hand over a frame in place of the one that waits, if one does."""
        with self._condition:
            self._frame = frame
            self._woken = True
            self._condition.notify()

    def wake(self) -> None:
        """Have ``update`` called soon, even if no frame comes."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def stop(self, timeout: float) -> bool:
        """End the thread after the frame that it works on.

        Args:
            timeout: Longest wait, in seconds.

        Returns:
            Whether the thread has ended.
        """
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._job.prepare()
        except Exception as error:
            self._job.prepare_failed(error)
            return
        self.wake()
        while self._wait():
            try:
                self._job.update()
                frame = self._take()
                if frame is not None:
                    self._job.process(frame)
            except Exception as error:
                self._job.failed(error)

    def _wait(self) -> bool:
        """Wait for something to do; return whether the thread is to go on."""
        with self._condition:
            self._condition.wait_for(lambda: self._woken or self._stopping)
            self._woken = False
            return not self._stopping

    def _take(self) -> Frame | None:
        """Return the newest frame and forget it."""
        with self._condition:
            frame, self._frame = self._frame, None
            return frame
