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
"""What the segmentation node has from configure to cleanup: camera, model, threads, outputs."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
import time
from typing import Protocol

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_ros.frame_statistics import Statistics
from zegclip_ros.image_input import ImageInput
from zegclip_ros.label_info import LabelInfoPublisher
from zegclip_ros.labeller import Arrival, Labeller, LabellerListener, SegmenterLike
from zegclip_ros.outputs import Look, Outputs
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.vocabulary_state import VocabularyState, Words
from zegclip_ros.worker import Worker, WorkerStoppedError

Wait = Callable[[Future], None]
"""Waits for a future, as long as the caller has patience, and raises its error."""


class PipelineListener(LabellerListener, Protocol):
    """What is told about the pipeline's work, from the threads of the workers."""

    def frame_failed(self, error: Exception) -> None:
        """Take note of an error that no input explains."""

    def worker_died(self, error: BaseException) -> None:
        """Take note that a thread has ended by an error."""


class Pipeline:
    """The way of a frame from the camera to the outputs, with a thread for frames, one for words.

    Args:
        node: The node whose topics these are.
        parameters: What it is configured with.
        load: Loads the model.
        state: The words.
        look: How overlays look.
        statistics: The figures.
        listener: Who is told.
        on_image: Gets every image.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        load: Callable[[NodeParameters], SegmenterLike],
        state: VocabularyState,
        look: Look,
        statistics: Statistics,
        listener: PipelineListener,
        on_image: Callable[[Image | CompressedImage], None],
    ) -> None:
        self._state = state
        self._outputs = Outputs(node, look)
        self._label_info = LabelInfoPublisher(node)
        self.camera = ImageInput(
            node, parameters.image_transport, parameters.image_reliability, on_image
        )
        self._labeller = Labeller(
            lambda: load(parameters), state, self._outputs, statistics, listener
        )
        faults = (listener.frame_failed, listener.worker_died)
        self._frames: Worker[Arrival] = Worker('frame_worker', self._labeller.label, *faults)
        self._words: Worker[bool] = Worker('word_worker', self._labeller.encode_pending, *faults)

    @property
    def segmenter(self) -> SegmenterLike | None:
        """The model, once it is loaded."""
        return self._labeller.segmenter

    def load(self, wait: Wait) -> None:
        """Load the model, run it once, and encode the words that wait."""
        self.provide_masks(sorted(self._state.topics_in_use()))
        wait(self._frames.run(self._labeller.load))
        wait(self._words.run(self._labeller.encode_pending))
        self._words.resume()
        self.encode_words()  # Some may have come since.

    def start(self) -> None:
        """Label frames from now on."""
        self._frames.resume()

    def stop(self, wait: Wait) -> None:
        """Label no frame any more, and free the memory that only frames need."""
        self._frames.pause()
        try:
            wait(self._frames.run(self._labeller.release_memory))
        except Exception:
            self._frames.resume()
            raise

    def unload(self, wait: Wait) -> None:
        """Free the model, in the thread that uses it if that still lives."""
        self._words.pause()
        self._frames.pause()
        try:
            wait(self._frames.run(self._labeller.unload))
        except WorkerStoppedError:
            self._labeller.unload()

    def close(self) -> None:
        """Destroy all topics; the threads have to be at rest."""
        self.camera.close()
        self._outputs.close()
        self._label_info.close()

    def stop_threads(self, timeout: float) -> bool:
        """End the threads; return whether both ended in time, in seconds."""
        end = time.monotonic() + timeout
        words = self._words.stop(timeout)
        return self._frames.stop(max(0.0, end - time.monotonic())) and words

    def submit(self, message: Image | CompressedImage) -> bool:
        """Hand over a frame; return whether it takes the place of one that waited."""
        arrival = Arrival(message)
        dropped = self._frames.submit(arrival)
        return dropped is not None and dropped is not arrival

    def encode_words(self) -> None:
        """Have the words that wait taken over soon."""
        self._words.submit(True)

    def provide_masks(self, topics: Sequence[str]) -> None:
        """Make the mask topics that are missing; full names."""
        self._outputs.masks.provide(topics)

    def close_unused_masks(self) -> None:
        """Destroy the mask topics of words that left."""
        self._outputs.masks.close_others(self._state.topics_in_use())

    def publish_names(self, words: Words, header: Header) -> None:
        """Publish the class names beside the images."""
        if self.segmenter is not None:
            self._label_info.publish(words.vocabulary, self.segmenter.threshold, header)

    def update_camera(self, *, active: bool, lazy: bool) -> bool:
        """Subscribe to the camera while frames are of use; return whether somebody listens."""
        listened = self._outputs.any_wanted()
        self.camera.update(wanted=active and (listened or not lazy))
        return active and listened
