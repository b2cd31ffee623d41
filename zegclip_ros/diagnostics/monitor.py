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
"""What the node records of its work, and reports in its log and its diagnostics."""

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time

from zegclip_core.errors import DeviceMemoryError, EncodingError, ImageError, shortened
from zegclip_ros.diagnostics.health import Statistics
from zegclip_ros.diagnostics.unlabelled import ENCODING

LOG_INTERVAL = 5.0
"""Seconds for which the same reason is not logged again."""
_MOST_REASONS = 100
"""Reasons that are told apart in one interval; further ones count as one."""


def in_one_line(text: str) -> str:
    """Return a text in one line, shortened if it is long."""
    return shortened(' '.join(text.split()), 400)


@dataclass
class _Reason:
    """When a reason was last logged and how often it was suppressed since."""

    logged: float
    suppressed: int = 0


class RejectionLog:
    """Logs why messages are rejected, the same reason at most once an interval.

    rclpy throttles by the place of the call, so that one fault would hide another.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._reasons: dict[str, _Reason] = {}

    def report(self, what: str, error: BaseException) -> None:
        """Log why something was rejected, such as an image, unless it was logged just now."""
        line = f'Rejected the {what}: {in_one_line(str(error))}'
        now = self._clock()
        with self._lock:
            if line not in self._reasons and len(self._reasons) >= _MOST_REASONS:
                self._reasons = {
                    key: reason
                    for key, reason in self._reasons.items()
                    if now - reason.logged < LOG_INTERVAL
                }
            many = line not in self._reasons and len(self._reasons) >= _MOST_REASONS
            key = 'others' if many else line
            known = self._reasons.get(key)
            if known is not None and now - known.logged < LOG_INTERVAL:
                known.suppressed += 1
                return
            self._reasons[key] = _Reason(now)
        if known is not None and known.suppressed:
            line = f'{line} ({known.suppressed} more since the last such line)'
        self._write(line)


class Monitor:
    """Records what happens and logs what is rejected; methods may be called from any thread.

    ``warn`` gets each line of the log, ``statistics`` are those of all cameras, and
    ``last_error`` is ``''`` if there was none. ``unknown_words`` says which of the words in use
    the model cannot know; ``''`` if there is none.
    """

    def __init__(
        self, warn: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.statistics = Statistics(clock)
        self.rejections = RejectionLog(warn, clock)
        self._cameras = {'': self.statistics}
        self._memory_fault: float | None = None
        self.last_error = ''
        self.unknown_words = ''

    def camera(self, name: str) -> Statistics:
        """Return what is recorded of a camera; ``''`` is the only one."""
        if name not in self._cameras:
            self._cameras[name] = Statistics(self._clock, total=self.statistics)
        return self._cameras[name]

    def restart(self) -> None:
        """Begin to measure rates and silence anew."""
        for camera in self._cameras.values():
            camera.restart()

    def note(self, error: str) -> None:
        """Record an error for the diagnostics."""
        self.last_error = in_one_line(error)

    def reject(self, what: str, error: Exception) -> None:
        """Record why something, such as a vocabulary, cannot be used, and log it now and then."""
        self.note(f'Rejected the {what}: {error}')
        self.rejections.report(what, error)

    def drop(self, reason: str, *cameras: str, error: str = '', cause: str = '') -> None:
        """Count a frame of each camera that is not labelled, as ``Statistics.dropped`` does."""
        for camera in cameras:
            self.camera(camera).dropped(reason, in_one_line(error), cause)

    def drop_bad_images(self, error: ImageError, *cameras: str) -> None:
        """Count and reject an image of each camera."""
        cause = ENCODING if isinstance(error, EncodingError) else ''
        self.drop('bad image', *cameras, error=str(error), cause=cause)
        for camera in cameras:
            self.reject(f'image of the camera {camera}' if camera else 'image', error)

    def drop_for_memory(self, error: DeviceMemoryError, *cameras: str) -> None:
        """Count and reject a frame of each camera for which the device had no memory."""
        self.drop('out of memory', *cameras)
        self._memory_fault = self._clock()
        self.reject('frame', error)

    @property
    def memory_fault_seconds(self) -> float | None:
        """Seconds since a frame was lost for lack of memory; ``None`` if none was."""
        return None if self._memory_fault is None else self._clock() - self._memory_fault
