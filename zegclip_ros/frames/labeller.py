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

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
import time
from typing import Protocol, TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_core.errors import DeviceMemoryError, ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import packed_rgb
from zegclip_ros.frames.camera_names import MAX_CAMERAS
from zegclip_ros.frames.outputs import LabelledFrame
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.words.encoder import UsedWords, WordEncoder
from zegclip_ros.words.state import Stamp, VocabularyState

if TYPE_CHECKING:
    from zegclip_core.segmenter import EncodedVocabulary
    from zegclip_ros.frames.channel import Channel


class SegmenterLike(Protocol):
    """The part of ``zegclip_core.segmenter.Segmenter`` that the node uses.

    ``encode`` is called from one thread while the others run in another.
    """

    runs_on: str
    threshold: float
    negatives: tuple[str, ...]

    def warm_up(self) -> None:
        """Run once, so that the first frame is not slower than the others."""

    def encode(self, vocabulary: Vocabulary) -> 'EncodedVocabulary':
        """Return the vocabulary with its text embeddings."""

    def segment(
        self, image: npt.NDArray[np.uint8], vocabulary: 'EncodedVocabulary'
    ) -> Segmentation:
        """Label an RGB image, uint8 ``(H, W, 3)``."""

    def segment_batch(
        self, images: Sequence[npt.NDArray[np.uint8]], vocabulary: 'EncodedVocabulary'
    ) -> list[Segmentation]:
        """Label RGB images of one size at once."""

    def release_memory(self) -> None:
        """Give memory that is not in use back to the device."""

    def close(self) -> None:
        """Let go of the model and its memory; nothing is called afterwards."""

    def memory_bytes(self) -> int | None:
        """Return how much of the device's memory is held; ``None`` if it has none of its own."""


class LabellerListener(Protocol):
    """What is told about the labeller's work; every method is called from a worker's thread."""

    def words_changed(self, used: UsedWords, header: Header | None, camera: str) -> None:
        """Take note of new words, or of the header of a camera's first frame with them."""

    def words_given_up(self, what: str, error: Exception) -> None:
        """Take note that the vocabulary or the negatives cannot be encoded."""

    def image_rejected(self, camera: str, error: ImageError) -> None:
        """Take note that an image of a camera cannot be used."""

    def batch_too_large(self, count: int, error: DeviceMemoryError) -> None:
        """Take note that the device has too little memory for so many frames at once."""

    def memory_ran_out(self, error: DeviceMemoryError) -> None:
        """Take note that a frame was lost because the device has too little memory."""

    def frame_failed(self, error: Exception) -> None:
        """Take note of an error that no input explains."""


@dataclass(frozen=True)
class Arrival:
    """An image and when it came, in seconds of ``time.perf_counter``."""

    message: Image | CompressedImage
    time: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Frame:
    """An image that can be labelled.

    Attributes:
        camera: Where it is from, ``''`` for the only camera.
        arrival: Its message.
        rgb: Its pixels, RGB uint8 ``(H, W, 3)``.
        seconds: Time that they took to convert.
    """

    camera: str
    arrival: Arrival
    rgb: RgbImage
    seconds: float


Batch: TypeAlias = Mapping[str, Arrival | Frame]
"""The newest image of each camera that has one, those that wait longest first."""


class Labeller:
    """Holds the model while there is one; takes over new words and labels frames.

    ``encode_pending`` may run beside ``label``, in another thread; nothing else may.

    Args:
        load: Returns a segmenter.
        parameters: Returns the present values, for what is read with each request of words.
        state: The words.
        channels: The cameras by name, ``''`` for the only one.
        listener: Who is told.
    """

    def __init__(
        self,
        load: Callable[[], SegmenterLike],
        parameters: Callable[[], NodeParameters],
        state: VocabularyState,
        channels: 'Mapping[str, Channel]',
        listener: LabellerListener,
    ) -> None:
        self._load = load
        self._parameters = parameters
        self._state = state
        self._channels = channels
        self._listener = listener
        self._segmenter: SegmenterLike | None = None
        self._encoder: WordEncoder | None = None
        self._current: UsedWords | None = None
        self._most = MAX_CAMERAS

    @property
    def segmenter(self) -> SegmenterLike | None:
        """The model, while there is one."""
        return self._segmenter

    def load(self) -> None:
        """Load the model and run it once."""
        segmenter = self._load()
        segmenter.warm_up()
        self._encoder = WordEncoder(segmenter, self._parameters)
        self._segmenter = segmenter

    def unload(self) -> None:
        """Let go of the model and give its memory back."""
        segmenter, self._segmenter = self._segmenter, None
        self._encoder = self._current = None
        if segmenter is not None:
            segmenter.close()

    def release_memory(self) -> None:
        """Give back the memory that only frames need."""
        self._most = MAX_CAMERAS
        if self._segmenter is not None:
            self._segmenter.release_memory()

    def encode_pending(self, _: object = None) -> None:
        """Take over the words that wait, all of them or none."""
        words, encoder = self._state.take(), self._encoder
        if words is None or encoder is None:
            return
        try:
            used, fault = encoder.encode(words)
        except Exception as error:
            if self._encoder is encoder:  # As below.
                self._state.give_up(words, error)
                self._listener.words_given_up('vocabulary', error)
            return
        if self._encoder is not encoder:
            return  # The model went meanwhile: the words wait for the next one.
        if fault is not None:
            self._state.refuse(', '.join(fault.negatives), fault)
            self._listener.words_given_up('negatives', fault)
        self._state.activate(words)
        self._current = used
        self._listener.words_changed(used, None, '')

    def label(self, batch: Batch) -> Batch | None:
        """Label frames of one size at once and publish what somebody listens to.

        Returns:
            The frames that are left, so that newer ones can take their places.
        """
        segmenter, used = self._segmenter, self._current
        if segmenter is None or used is None:
            self._drop('no words', *batch)
            return None
        found = [self._frame(camera, arrival) for camera, arrival in batch.items()]
        frames = [frame for frame in found if frame is not None]
        group = [one for one in frames if one.rgb.shape == frames[0].rgb.shape][: self._most]
        done: set[str] = set()
        if group and self._fits(group, segmenter, used):
            done = {frame.camera for frame in group}
        return {frame.camera: frame for frame in frames if frame.camera not in done}

    def _fits(self, group: Sequence[Frame], segmenter: SegmenterLike, used: UsedWords) -> bool:
        """Label frames of one size; return whether the device has the memory for so many."""
        with self._losing(*(frame.camera for frame in group)):
            try:
                self._label(group, segmenter, used)
            except DeviceMemoryError as error:
                if len(group) == 1:
                    raise
                self._most = len(group) // 2
                self._listener.batch_too_large(len(group), error)
                return False
        return True

    def _frame(self, camera: str, arrival: Arrival | Frame) -> Frame | None:
        """Return the pixels of an image; ``None`` if they are of no use."""
        began = time.perf_counter()
        if not self._channels[camera].outputs.any_wanted():
            self._drop('nobody listens', camera)
            return None
        if isinstance(arrival, Frame):
            return arrival
        with self._losing(camera):
            rgb = packed_rgb(arrival.message)
            return Frame(camera, arrival, rgb, time.perf_counter() - began)
        return None

    def _label(self, frames: Sequence[Frame], segmenter: SegmenterLike, used: UsedWords) -> None:
        """Label frames of one size in one run of the model."""
        began = time.perf_counter()
        images = [frame.rgb for frame in frames]
        if len(images) == 1:
            found = [segmenter.segment(images[0], used.encoded)]
        else:
            found = segmenter.segment_batch(images, used.encoded)
        seconds = time.perf_counter() - began
        for frame, segmentation in zip(frames, found, strict=True):
            with self._losing(frame.camera):
                self._publish(frame, segmentation, used, seconds)

    def _publish(
        self, frame: Frame, segmentation: Segmentation, used: UsedWords, seconds: float
    ) -> None:
        """Publish what was found in a frame in so many seconds."""
        began = time.perf_counter()
        header, channel = frame.arrival.message.header, self._channels[frame.camera]
        stamp = Stamp(header.stamp.sec, header.stamp.nanosec)
        if self._state.labelled(used.words, stamp, frame.camera):
            self._listener.words_changed(used, header, frame.camera)
        outputs = channel.outputs
        topics = used.words.topics[frame.camera]
        shown = LabelledFrame(frame.rgb, header, segmentation, topics, outputs.look)
        rendering, publishing = outputs.publish(shown)
        channel.monitor.statistics.labelled(
            {
                # Also for the frames of other cameras.
                'wait': began - frame.arrival.time - frame.seconds - seconds,
                'pre-process': frame.seconds,
                'model': seconds,
                'post-process': rendering,
                'publish': publishing,
            }
        )

    @contextmanager
    def _losing(self, *cameras: str) -> Iterator[None]:
        """Count the frames of cameras as lost if the work on them fails, and tell why."""
        try:
            yield
        except ImageError as error:
            self._drop('bad image', *cameras)
            for camera in cameras:
                self._listener.image_rejected(camera, error)
        except DeviceMemoryError as error:
            self._drop('out of memory', *cameras)
            self._listener.memory_ran_out(error)
        except Exception as error:
            self._drop('fault', *cameras)
            self._listener.frame_failed(error)

    def _drop(self, reason: str, *cameras: str) -> None:
        for camera in cameras:
            self._channels[camera].monitor.statistics.dropped(reason)
