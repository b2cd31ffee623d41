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
"""What the node remembers of its work, to tell how it is."""

from collections.abc import Callable, Mapping
from dataclasses import replace
import time

from zegclip_ros.diagnostics.frame_statistics import Statistics
from zegclip_ros.diagnostics.publisher import Health
from zegclip_ros.frames.image_input import ImageInput
from zegclip_ros.frames.labeller import SegmenterLike
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.runtime.rejections import shortened
from zegclip_ros.words.state import VocabularyState


class CameraMonitor:
    """Takes note of one camera's frames; every method may be called from any thread.

    Attributes:
        statistics: Counts and times of its frames.

    Args:
        statistics: As the attribute.
        clock: Seconds that only grow.
    """

    def __init__(
        self, statistics: Statistics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.statistics = statistics
        self._last_image: float | None = None
        self._wanted_since: float | None = None

    def restart(self) -> None:
        """Begin to judge rates and silence anew."""
        self.statistics.restart()
        self._last_image = self._wanted_since = None

    def arrived(self) -> None:
        """Note an image, of whatever worth."""
        self._last_image = self._clock()
        self.statistics.arrived()

    def wanted(self, wanted: bool) -> None:
        """Note whether frames are to be labelled now."""
        if not wanted:
            self._wanted_since = None
        elif self._wanted_since is None:
            self._wanted_since = self._clock()

    def working_seconds(self) -> float:
        """Return for how long frames were wanted without a break."""
        return 0.0 if self._wanted_since is None else self._clock() - self._wanted_since

    def silence(self, camera: ImageInput | None) -> float | None:
        """Return for how long no image came although there is a subscription."""
        subscribed = None if camera is None else camera.subscribed_seconds
        if subscribed is None or self._last_image is None:
            return subscribed
        return min(subscribed, self._clock() - self._last_image)


class Monitor:
    """Takes note of what happens; every method may be called from any thread.

    Attributes:
        statistics: Counts and times of the frames of all cameras.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.statistics = Statistics(clock)
        self._cameras = {'': CameraMonitor(self.statistics, clock)}
        self._memory_fault: float | None = None
        self._last_error = ''

    def camera(self, name: str) -> CameraMonitor:
        """Return what is noted of a camera; ``''`` is the only one."""
        if name not in self._cameras:
            own = Statistics(self._clock, total=self.statistics)
            self._cameras[name] = CameraMonitor(own, self._clock)
        return self._cameras[name]

    def restart(self) -> None:
        """Begin to judge rates and silence anew."""
        for camera in self._cameras.values():
            camera.restart()

    def note(self, error: str) -> None:
        """Note what went wrong."""
        self._last_error = shortened(error)

    def memory_ran_out(self) -> None:
        """Note that a frame was lost for lack of memory."""
        self._memory_fault = self._clock()

    def health(
        self,
        *,
        state: str,
        fault: str | None,
        words: VocabularyState,
        inputs: Mapping[str, ImageInput],
        segmenter: SegmenterLike | None,
        parameters: NodeParameters,
    ) -> Health:
        """Return how the node is.

        Args:
            state: Label of its lifecycle state.
            fault: What keeps it from working, if something does.
            words: Its vocabulary.
            inputs: Its cameras by name, once it is configured.
            segmenter: Its model, once it is loaded.
            parameters: The present values.
        """
        active, lost = words.active, self._memory_fault
        whole = Health(
            state=state,
            model=parameters.model,
            device=parameters.options.device if segmenter is None else segmenter.runs_on,
            version=0 if active is None else active.version,
            classes=0 if active is None else len(active.vocabulary),
            figures=self.statistics.snapshot(),
            silent_seconds=None,
            topic='',
            working_seconds=0.0,
            min_rate=parameters.min_rate,
            refusal=words.error,
            fault=fault,
            memory_fault_seconds=None if lost is None else self._clock() - lost,
            memory_bytes=None if segmenter is None else segmenter.memory_bytes(),
            last_error=self._last_error,
        )
        if '' in inputs:
            return self._with_camera(whole, '', inputs[''])
        return replace(
            whole, cameras={name: self._with_camera(whole, name, inputs[name]) for name in inputs}
        )

    def _with_camera(self, whole: Health, name: str, camera: ImageInput) -> Health:
        """Return how the node is as far as one camera shows it."""
        monitor = self.camera(name)
        return replace(
            whole,
            figures=monitor.statistics.snapshot(),
            silent_seconds=monitor.silence(camera),
            topic=camera.topic,
            working_seconds=monitor.working_seconds(),
        )
