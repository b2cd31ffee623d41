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

from collections.abc import Callable
import time

from zegclip_ros.diagnostics import Health
from zegclip_ros.frame_statistics import Statistics
from zegclip_ros.image_input import ImageInput
from zegclip_ros.labeller import SegmenterLike
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.rejections import shortened
from zegclip_ros.vocabulary_state import VocabularyState


class Monitor:
    """Takes note of what happens; every method may be called from any thread.

    Attributes:
        statistics: Counts and times of the frames.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.statistics = Statistics(clock)
        self._last_image: float | None = None
        self._wanted_since: float | None = None
        self._memory_fault: float | None = None
        self._last_error = ''

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
        camera: ImageInput | None,
        segmenter: SegmenterLike | None,
        parameters: NodeParameters,
    ) -> Health:
        """Return how the node is.

        Args:
            state: Label of its lifecycle state.
            fault: What keeps it from working, if something does.
            words: Its vocabulary.
            camera: Its camera, once it is configured.
            segmenter: Its model, once it is loaded.
            parameters: The present values.
        """
        active = words.active
        return Health(
            state=state,
            model=parameters.model,
            device=parameters.device if segmenter is None else str(segmenter.device),
            version=0 if active is None else active.version,
            classes=0 if active is None else len(active.vocabulary),
            figures=self.statistics.snapshot(),
            silent_seconds=self._silence(camera),
            topic='' if camera is None else camera.topic,
            working_seconds=self._seconds_since(self._wanted_since) or 0.0,
            min_rate=parameters.min_rate,
            refusal=words.error,
            fault=fault,
            memory_fault_seconds=self._seconds_since(self._memory_fault),
            memory_bytes=None if segmenter is None else segmenter.memory_bytes(),
            last_error=self._last_error,
        )

    def _silence(self, camera: ImageInput | None) -> float | None:
        """Return for how long no image came although there is a subscription."""
        subscribed = None if camera is None else camera.subscribed_seconds
        if subscribed is None or self._last_image is None:
            return subscribed
        return min(subscribed, self._clock() - self._last_image)

    def _seconds_since(self, moment: float | None) -> float | None:
        return None if moment is None else self._clock() - moment
