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
"""What the segmentation node has from configure to cleanup: cameras, model, threads, outputs."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
import time
from typing import Protocol

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_ros.diagnostics.monitor import Monitor
from zegclip_ros.frames.channel import Channel
from zegclip_ros.frames.image_input import ImageInput
from zegclip_ros.frames.labeller import Arrival, Batch, Labeller, LabellerListener, SegmenterLike
from zegclip_ros.frames.outputs import Look
from zegclip_ros.frames.worker import Worker, WorkerStoppedError
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.words.encoder import UsedWords
from zegclip_ros.words.state import MaskTopics, VocabularyState

Wait = Callable[[Future], None]
"""Waits for a future, as long as the caller has patience, and raises its error."""
OnImage = Callable[[str, Image | CompressedImage], None]
"""Gets the name of a camera and its image."""


class PipelineListener(LabellerListener, Protocol):
    """What is told about the pipeline's work, from the threads of the workers."""

    def worker_died(self, error: BaseException) -> None:
        """Take note that a thread has ended by an error."""


class Pipeline:
    """The way of frames from cameras to outputs, with a thread for frames, one for words.

    Args:
        node: The node whose topics these are.
        parameters: What it is configured with.
        load: Loads the model.
        state: The words.
        look: How overlays look.
        monitor: The figures.
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
        monitor: Monitor,
        listener: PipelineListener,
        on_image: OnImage,
    ) -> None:
        self._state = state
        self._channels: dict[str, Channel] = {}
        try:
            for name in parameters.camera_names:
                self._channels[name] = Channel(
                    node, name, parameters, look, monitor.camera(name), partial(on_image, name)
                )
        except Exception:
            self.close()
            raise
        self._labeller = Labeller(
            lambda: load(parameters),
            lambda: NodeParameters.read(node),
            state,
            self._channels,
            listener,
        )
        faults = (listener.frame_failed, listener.worker_died)
        # Of each camera the newest frame waits; they are labelled together.
        self._frames: Worker[Batch] = Worker(
            'frame_worker', self._labeller.label, *faults, self._newest
        )
        self._words: Worker[bool] = Worker('word_worker', self._labeller.encode_pending, *faults)

    @property
    def segmenter(self) -> SegmenterLike | None:
        """The model, once it is loaded."""
        return self._labeller.segmenter

    @property
    def cameras(self) -> Mapping[str, ImageInput]:
        """What is subscribed to, by the names of the cameras; ``''`` is the only one."""
        return {name: channel.input for name, channel in self._channels.items()}

    def load(self, wait: Wait) -> None:
        """Load the model, run it once, and encode the words that wait."""
        for name, channel in self._channels.items():
            channel.outputs.masks.provide(sorted(self._state.topics_in_use(name)))
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
        for channel in self._channels.values():
            channel.close()

    def stop_threads(self, timeout: float) -> bool:
        """End the threads; return whether both ended in time, in seconds."""
        end = time.monotonic() + timeout
        words = self._words.stop(timeout)
        return self._frames.stop(max(0.0, end - time.monotonic())) and words

    def submit(self, camera: str, message: Image | CompressedImage) -> None:
        """Hand over a frame; it takes the place of one of this camera that waits."""
        self._frames.submit({camera: Arrival(message)})

    def _newest(self, waiting: Batch, new: Batch) -> Batch:
        """Return the newest frame of each camera; one that waits keeps the camera's turn."""
        for camera in waiting.keys() & new.keys():
            self._channels[camera].monitor.statistics.dropped('newer frame')
        return {**waiting, **new}

    def encode_words(self) -> None:
        """Have the words that wait taken over soon."""
        self._words.submit(True)

    def provide_masks(self, topics: MaskTopics) -> None:
        """Make the mask topics that are missing."""
        for name, channel in self._channels.items():
            channel.outputs.masks.provide([topic for topic in topics[name] if topic is not None])

    def close_unused_masks(self) -> None:
        """Destroy the mask topics of words that left."""
        for name, channel in self._channels.items():
            channel.outputs.masks.close_others(self._state.topics_in_use(name))

    def publish_names(self, used: UsedWords, header: Header, camera: str) -> None:
        """Publish the class names beside the images of a camera; ``''`` is all of them."""
        for name, channel in self._channels.items():
            if camera in {'', name}:
                channel.label_info.publish(used.words.vocabulary, used.threshold, header)

    def update_cameras(self, *, active: bool, lazy: bool) -> None:
        """Subscribe to each camera while its frames are of use."""
        for channel in self._channels.values():
            channel.update(active=active, lazy=lazy)
