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

from collections.abc import Callable, Mapping
import time

from zegclip_core.errors import DeviceMemoryError, ImageError
from zegclip_ros.diagnostics.frame_statistics import Statistics
from zegclip_ros.diagnostics.publisher import CameraHealth, Health
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.runtime.rejections import RejectionLog, shortened
from zegclip_ros.segmenter_like import SegmenterLike
from zegclip_ros.vocabulary_state import VocabularyState


class CameraMonitor:
    """Records the frames of one camera; every method may be called from any thread.

    Attributes:
        statistics: Counts and times of its frames.

    Args:
        statistics: As the attribute.
        clock: Returns seconds that only grow.
    """

    def __init__(
        self, statistics: Statistics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.statistics = statistics
        self._last_image: float | None = None
        self._wanted_since: float | None = None

    def restart(self) -> None:
        """Begin to measure rates and silence anew."""
        self.statistics.restart()
        self._last_image = self._wanted_since = None

    def arrived(self) -> None:
        """Record an image, whether it can be used or not."""
        self._last_image = self._clock()
        self.statistics.arrived()

    def wanted(self, wanted: bool) -> None:
        """Record whether frames are to be labelled now."""
        if not wanted:
            self._wanted_since = None
        elif self._wanted_since is None:
            self._wanted_since = self._clock()

    def health(self, topic: str, subscribed_seconds: float | None) -> CameraHealth:
        """Return how the camera is.

        Args:
            topic: Full name of its topic.
            subscribed_seconds: Seconds since the node subscribed to it; ``None`` if it does not.
        """
        now, since, last = self._clock(), self._wanted_since, self._last_image
        silent = subscribed_seconds
        if silent is not None and last is not None:
            silent = min(silent, now - last)
        return CameraHealth(
            figures=self.statistics.snapshot(),
            silent_seconds=silent,
            topic=topic,
            working_seconds=0.0 if since is None else now - since,
        )


class Monitor:
    """Records what happens and logs what is rejected; methods may be called from any thread.

    Attributes:
        statistics: Counts and times of the frames of all cameras.
        rejections: The log of what is rejected.

    Args:
        warn: Gets each line of the log.
        clock: Returns seconds that only grow.
    """

    def __init__(
        self, warn: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.statistics = Statistics(clock)
        self.rejections = RejectionLog(warn, clock)
        self._cameras = {'': CameraMonitor(self.statistics, clock)}
        self._memory_fault: float | None = None
        self._last_error = ''

    def camera(self, name: str) -> CameraMonitor:
        """Return what is recorded of a camera; ``''`` is the only one."""
        if name not in self._cameras:
            own = Statistics(self._clock, total=self.statistics)
            self._cameras[name] = CameraMonitor(own, self._clock)
        return self._cameras[name]

    def restart(self) -> None:
        """Begin to measure rates and silence anew."""
        for camera in self._cameras.values():
            camera.restart()

    def note(self, error: str) -> None:
        """Record an error for the diagnostics."""
        self._last_error = shortened(error)

    def reject(self, what: str, error: Exception) -> None:
        """Record why something cannot be used; log it if the same was not logged just now.

        Args:
            what: What is rejected, such as ``vocabulary``.
            error: Why.
        """
        self.note(f'Rejected the {what}: {error}')
        self.rejections.report(what, error)

    def drop(self, reason: str, *cameras: str) -> None:
        """Count a frame of each camera that is not labelled, for one of ``DROPS``."""
        for camera in cameras:
            self.camera(camera).statistics.dropped(reason)

    def drop_bad_images(self, error: ImageError, *cameras: str) -> None:
        """Count and reject an image of each camera."""
        self.drop('bad image', *cameras)
        for camera in cameras:
            self.reject(f'image of the camera {camera}' if camera else 'image', error)

    def drop_for_memory(self, error: DeviceMemoryError, *cameras: str) -> None:
        """Count and reject a frame of each camera for which the device had no memory."""
        self.drop('out of memory', *cameras)
        self._memory_fault = self._clock()
        self.reject('frame', error)

    def health(
        self,
        *,
        state: str,
        fault: str | None,
        words: VocabularyState,
        cameras: Mapping[str, tuple[str, float | None]],
        segmenter: SegmenterLike | None,
        parameters: NodeParameters,
    ) -> Health:
        """Return how the node is.

        Args:
            state: Label of its lifecycle state.
            fault: What keeps it from working; ``None`` if nothing does.
            words: Its vocabulary.
            cameras: By name, each camera's topic and the seconds since the node subscribed to
                it, ``None`` if it does not; empty unless the node is configured.
            segmenter: Its model; ``None`` unless it is loaded.
            parameters: The present values.
        """
        active, lost = words.active, self._memory_fault
        return Health(
            state=state,
            model=parameters.model,
            device=parameters.options.device if segmenter is None else segmenter.runs_on,
            version=0 if active is None else active.version,
            classes=0 if active is None else len(active.vocabulary),
            figures=self.statistics.snapshot(),
            cameras={name: self.camera(name).health(*camera) for name, camera in cameras.items()},
            min_rate=parameters.min_rate,
            refusal=words.error,
            fault=fault,
            memory_fault_seconds=None if lost is None else self._clock() - lost,
            memory_bytes=None if segmenter is None else segmenter.memory_bytes(),
            last_error=self._last_error,
        )
