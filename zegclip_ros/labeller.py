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
"""What happens to a frame between its message and the outputs; runs in the worker's thread."""

from collections.abc import Callable
from typing import Protocol, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image
from zegclip_core.errors import ImageError
from zegclip_core.segmentation import Segmentation
from zegclip_core.vocabulary import Vocabulary
from zegclip_ros.conversions import check_image, image_to_rgb
from zegclip_ros.outputs import Outputs
from zegclip_ros.vocabulary_state import Stamp, VocabularyState, Words

if TYPE_CHECKING:
    from zegclip_core.segmenter import EncodedVocabulary


class SegmenterLike(Protocol):
    """The part of ``zegclip_core.segmenter.Segmenter`` that the node uses."""

    def warm_up(self) -> None:
        """Run once, so that the first frame is not slower than the others."""

    def encode(self, vocabulary: Vocabulary) -> 'EncodedVocabulary':
        """Return the vocabulary with its text embeddings."""

    def segment(
        self, image: npt.NDArray[np.uint8], vocabulary: 'EncodedVocabulary'
    ) -> Segmentation:
        """Label an RGB image, uint8 ``(H, W, 3)``."""


class LabellerListener(Protocol):
    """What is told about the labeller's work; every method is called from the worker's thread."""

    def model_ready(self) -> None:
        """Take note that the model is loaded."""

    def model_failed(self, error: Exception) -> None:
        """Take note that the model cannot be loaded."""

    def words_changed(self) -> None:
        """Take note that words which waited were taken over or given up."""

    def message_rejected(self, what: str, error: Exception) -> None:
        """Take note that a message cannot be used."""

    def frame_failed(self, error: Exception) -> None:
        """Take note that something went wrong which no input explains."""


class Labeller:
    """The job of the frame worker: loads the model, takes over new words, labels frames.

    Args:
        load: Returns a segmenter; called once, in the worker's thread.
        state: The words.
        outputs: Where labels go.
        listener: Who is told.
    """

    def __init__(
        self,
        load: Callable[[], SegmenterLike],
        state: VocabularyState,
        outputs: Outputs,
        listener: LabellerListener,
    ) -> None:
        self._load = load
        self._state = state
        self._outputs = outputs
        self._listener = listener
        self._segmenter: SegmenterLike | None = None
        self._words: Words | None = None
        self._encoded: EncodedVocabulary | None = None

    def prepare(self) -> None:
        """Load the model."""
        self._segmenter = self._load()
        self._segmenter.warm_up()
        self._listener.model_ready()

    def prepare_failed(self, error: Exception) -> None:
        """Pass on that the model cannot be loaded."""
        self._listener.model_failed(error)

    def update(self) -> None:
        """Take over the words that wait, all of them or none."""
        words = self._state.take()
        if words is None or self._segmenter is None:
            return
        try:
            encoded = self._segmenter.encode(words.vocabulary)
        except Exception as error:
            self._state.give_up(words, error)
            self._listener.message_rejected('vocabulary', error)
        else:
            self._words, self._encoded = words, encoded
            self._state.activate(words)
        self._listener.words_changed()

    def process(self, frame: Image) -> None:
        """Label a frame and publish what somebody listens to."""
        try:
            self._process(frame)
        except ImageError as error:
            self._listener.message_rejected('image', error)

    def _process(self, frame: Image) -> None:
        check_image(frame)  # A damaged image is told even if nothing is computed.
        segmenter, words, encoded = self._segmenter, self._words, self._encoded
        if segmenter is None or words is None or encoded is None:
            return
        if not self._outputs.any_wanted(words.topics):
            return
        rgb = np.ascontiguousarray(image_to_rgb(frame))
        segmentation = segmenter.segment(rgb, encoded)
        self._state.labelled(Stamp(frame.header.stamp.sec, frame.header.stamp.nanosec))
        self._outputs.publish(rgb, frame.header, segmentation, words.topics)

    def failed(self, error: Exception) -> None:
        """Pass on a fault that no input explains; the next frame gets a new chance."""
        self._listener.frame_failed(error)
