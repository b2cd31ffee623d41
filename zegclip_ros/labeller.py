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
"""The work on frames and words, between the threads that do it and the topics."""

from collections.abc import Callable
from dataclasses import dataclass, field
import time
from typing import Any, Protocol, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_core.errors import DeviceMemoryError, ImageError
from zegclip_core.segmentation import Segmentation
from zegclip_core.vocabulary import Vocabulary
from zegclip_ros.conversions import packed_rgb
from zegclip_ros.frame_statistics import Statistics
from zegclip_ros.outputs import LabelledFrame, Outputs
from zegclip_ros.vocabulary_state import Stamp, VocabularyState, Words

if TYPE_CHECKING:
    from zegclip_core.segmenter import EncodedVocabulary


class SegmenterLike(Protocol):
    """The part of ``zegclip_core.segmenter.Segmenter`` that the node uses.

    ``encode`` is called from one thread while ``segment`` runs in another.
    """

    device: Any
    threshold: float

    def warm_up(self) -> None:
        """Run once, so that the first frame is not slower than the others."""

    def encode(self, vocabulary: Vocabulary) -> 'EncodedVocabulary':
        """Return the vocabulary with its text embeddings."""

    def segment(
        self, image: npt.NDArray[np.uint8], vocabulary: 'EncodedVocabulary'
    ) -> Segmentation:
        """Label an RGB image, uint8 ``(H, W, 3)``."""

    def release_memory(self) -> None:
        """Give memory that is not in use back to the device."""

    def close(self) -> None:
        """Let go of the model and its memory; nothing is called afterwards."""

    def memory_bytes(self) -> int | None:
        """Return how much of the device's memory is held; ``None`` if it has none of its own."""


class LabellerListener(Protocol):
    """What is told about the labeller's work; every method is called from a worker's thread."""

    def words_changed(self, words: Words, header: Header | None) -> None:
        """Take note of new words, and of the header of the first frame labelled with them."""

    def words_given_up(self, error: Exception) -> None:
        """Take note that words cannot be encoded."""

    def image_rejected(self, error: ImageError) -> None:
        """Take note that an image cannot be used."""

    def memory_ran_out(self, error: DeviceMemoryError) -> None:
        """Take note that a frame was lost because the device has too little memory."""


@dataclass(frozen=True)
class Arrival:
    """An image and when it came, in seconds of ``time.perf_counter``."""

    message: Image | CompressedImage
    time: float = field(default_factory=time.perf_counter)


class Labeller:
    """Holds the model while there is one; takes over new words and labels frames.

    ``encode_pending`` may run beside ``label``, in another thread; nothing else may.

    Args:
        load: Returns a segmenter.
        state: The words.
        outputs: Where labels go.
        statistics: The figures.
        listener: Who is told.
    """

    def __init__(
        self,
        load: Callable[[], SegmenterLike],
        state: VocabularyState,
        outputs: Outputs,
        statistics: Statistics,
        listener: LabellerListener,
    ) -> None:
        self._load = load
        self._state = state
        self._outputs = outputs
        self._statistics = statistics
        self._listener = listener
        self._segmenter: SegmenterLike | None = None
        self._current: tuple[Words, EncodedVocabulary] | None = None

    @property
    def segmenter(self) -> SegmenterLike | None:
        """The model, while there is one."""
        return self._segmenter

    def load(self) -> None:
        """Load the model and run it once."""
        segmenter = self._load()
        segmenter.warm_up()
        self._segmenter = segmenter

    def unload(self) -> None:
        """Let go of the model and give its memory back."""
        segmenter, self._segmenter, self._current = self._segmenter, None, None
        if segmenter is not None:
            segmenter.close()

    def release_memory(self) -> None:
        """Give back the memory that only frames need."""
        if self._segmenter is not None:
            self._segmenter.release_memory()

    def encode_pending(self, _: object = None) -> None:
        """Take over the words that wait, all of them or none."""
        words = self._state.take()
        if words is None or self._segmenter is None:
            return
        try:
            encoded = self._segmenter.encode(words.vocabulary)
        except Exception as error:
            self._state.give_up(words, error)
            self._listener.words_given_up(error)
            return
        self._state.activate(words)
        self._current = words, encoded
        self._listener.words_changed(words, None)

    def label(self, arrival: Arrival) -> None:
        """Label a frame and publish what somebody listens to."""
        try:
            self._label(arrival)
        except ImageError as error:
            self._statistics.dropped('bad image')
            self._listener.image_rejected(error)
        except DeviceMemoryError as error:
            self._statistics.dropped('out of memory')
            self._listener.memory_ran_out(error)

    def _label(self, arrival: Arrival) -> None:
        began = time.perf_counter()
        if self._segmenter is None or self._current is None:
            self._statistics.dropped('no words')
            return
        if not self._outputs.any_wanted():
            self._statistics.dropped('nobody listens')
            return
        words, encoded = self._current
        rgb = packed_rgb(arrival.message)
        prepared = time.perf_counter()
        segmentation = self._segmenter.segment(rgb, encoded)
        found = time.perf_counter()
        header = arrival.message.header
        if self._state.labelled(words, Stamp(header.stamp.sec, header.stamp.nanosec)):
            self._listener.words_changed(words, header)
        look = self._outputs.look
        frame = LabelledFrame(rgb, header, segmentation, words.topics, look)
        rendering, publishing = self._outputs.publish(frame)
        self._statistics.labelled(
            {
                'wait': began - arrival.time,
                'pre-process': prepared - began,
                'model': found - prepared,
                'post-process': rendering,
                'publish': publishing,
            }
        )
