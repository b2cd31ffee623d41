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
"""Labels the newest frames with the newest words: holds the model, and calls it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
import time
import traceback
from typing import TYPE_CHECKING, TypeAlias

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_core.errors import (
    DeviceLostError,
    DeviceMemoryError,
    ImageError,
    VocabularyError,
)
from zegclip_core.images.checks import RgbImage
from zegclip_core.messages.topic_names import MAX_CAMERAS
from zegclip_core.segmentation import Moment, Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import packed_rgb
from zegclip_ros.diagnostics.monitor import Monitor
from zegclip_ros.frames.camera_outputs import Outputs
from zegclip_ros.frames.cloud_size import CloudSize
from zegclip_ros.frames.depth_input import nanoseconds
from zegclip_ros.frames.depth_outputs import DepthOutputs
from zegclip_ros.frames.labelled_frame import LabelledFrame
from zegclip_ros.parameters import NodeParameters, output_size
from zegclip_ros.runtime.managed_node import ManagedNode
from zegclip_ros.segmenter_like import SegmenterLike
from zegclip_ros.vocabulary_state import AcceptedRequest, Stamp, VocabularyState

if TYPE_CHECKING:
    from zegclip_core.segmenter import EncodedVocabulary


@dataclass(frozen=True)
class Arrival:
    """An image message and when it came, in seconds of ``time.perf_counter``."""

    message: Image | CompressedImage
    time: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Frame:
    """A decoded image, RGB uint8 ``(H, W, 3)``, and the seconds that decoding took."""

    camera: str
    arrival: Arrival
    rgb: RgbImage
    seconds: float

    @property
    def moment(self) -> Moment:
        """Which stream it is of, and when it was taken."""
        return Moment(self.camera, nanoseconds(self.arrival.message.header) / 1e9)


Batch: TypeAlias = Mapping[str, Arrival | Frame]
"""By camera, the newest image of each that has one; those that wait longest come first."""


class Labeller:
    """Holds the model while it is loaded, encodes words and labels frames.

    ``encode_pending`` may run in one thread while ``label`` or ``prepare_frames`` runs in another;
    no other two methods may run at once.

    Attributes:
        segmenter: The model; ``None`` unless it is loaded.

    Args:
        outputs: What is published of each camera, by its name; ``''`` for the only one.
        depths: What is published of each camera with depth.
        clouds: The size of each camera's clouds.
        words_left: Called when the masks of some words may no longer be needed.
    """

    def __init__(
        self,
        node: ManagedNode,
        load: Callable[[], SegmenterLike],
        state: VocabularyState,
        outputs: Mapping[str, Outputs],
        depths: Mapping[str, DepthOutputs],
        clouds: Mapping[str, CloudSize],
        monitor: Monitor,
        words_left: Callable[[], None],
    ) -> None:
        self._node = node
        self._load = load
        self._state = state
        self._outputs = outputs
        self._depths = depths
        self._clouds = clouds
        self._monitor = monitor
        self._words_left = words_left
        self.segmenter: SegmenterLike | None = None
        self._negatives: tuple[str, ...] = ()
        self._current: tuple[AcceptedRequest, EncodedVocabulary] | None = None
        self._last_seen: tuple[tuple[int, int], int] | None = None  # Size, and how many at once.
        self._largest_batch = MAX_CAMERAS

    def load(self) -> None:
        """Load the model and run it once."""
        segmenter = self._load()
        segmenter.warm_up()
        self._negatives = segmenter.negatives
        self.segmenter = segmenter

    def unload(self) -> None:
        """Release the model and its memory."""
        segmenter, self.segmenter = self.segmenter, None
        self._current = None
        if segmenter is not None:
            segmenter.close()

    def release_memory(self) -> None:
        """Give back the memory that only frames need."""
        self._largest_batch = MAX_CAMERAS
        for depth in self._depths.values():
            depth.clear()
        if self.segmenter is not None:
            self.segmenter.release_memory()

    def encode_pending(self) -> bool:
        """Encode the words that wait and label frames with them from now on: all or none.

        Negative words that the model cannot take do not keep it from other words: those that it
        took last stay.

        Returns:
            Whether frames are labelled with other words from now on.
        """
        request, segmenter = self._state.take(), self.segmenter
        if request is None or segmenter is None:
            return False
        options = NodeParameters.read(self._node).options
        threshold, negatives = options.threshold, options.negatives
        if negatives is None:
            negatives = segmenter.negatives
        try:
            encoded, fault = self._encode(segmenter, request.vocabulary, threshold, negatives)
        except Exception as error:
            if isinstance(error, DeviceLostError):
                self._node.lose_device(error)
            if self.segmenter is segmenter:  # Else the model was unloaded: the words wait.
                self._state.give_up(request, error)
                self._monitor.reject('vocabulary', error)
                self._words_left()
            return False
        if self.segmenter is not segmenter:
            return False  # The model was unloaded meanwhile: the words wait for the next one.
        if fault is None:
            self._negatives = negatives
        else:
            self._state.refuse(', '.join(negatives), fault)
            self._monitor.reject('negatives', fault)
        strange = getattr(encoded, 'unfamiliar', None)
        self._monitor.unknown_words = str(strange) if getattr(strange, 'unknown', ()) else ''
        self._state.activate(request, str(strange or '') or None)
        self._current = request, encoded
        header = Header(stamp=self._node.get_clock().now().to_msg())
        for outputs in self._outputs.values():
            outputs.publish_names(request.vocabulary, encoded.threshold, header)
        self._words_left()
        return True

    def _encode(
        self,
        segmenter: SegmenterLike,
        vocabulary: Vocabulary,
        threshold: float | None,
        negatives: tuple[str, ...],
    ) -> tuple['EncodedVocabulary', VocabularyError | None]:
        """Encode words; return with them why the negatives were refused, if they were."""
        try:
            return segmenter.encode(vocabulary, threshold=threshold, negatives=negatives), None
        except VocabularyError as error:
            last = self._negatives
            if negatives == last:
                raise
            # If these fail as well, the words are to blame.
            encoded = segmenter.encode(vocabulary, threshold=threshold, negatives=last)
            text = f'Cannot use the negatives, so that those before stay: {error}'
            return encoded, VocabularyError(text)

    def prepare_frames(self) -> None:
        """Have the model prepare for new words and frames like the last ones, between frames.

        What fails here for a reason that lasts, fails with the next frame, which tells it.
        """
        segmenter, current, seen = self.segmenter, self._current, self._last_seen
        if segmenter is None or current is None or seen is None:
            return
        try:
            segmenter.prepare_frames(current[1], *seen)
        except DeviceLostError as error:
            self._node.lose_device(error)
        except Exception as error:
            self.failed(error)

    def label(self, batch: Batch) -> Batch | None:
        """Label frames of one size at once and publish what somebody listens to.

        Returns:
            The frames that are left: those of another size, and those for which the device has
            no memory at the same time. Newer ones may take their places.
        """
        segmenter, current = self.segmenter, self._current
        if segmenter is None or current is None:
            self._monitor.drop('no words', *batch)
            return None
        found = [self._decode(camera, arrival) for camera, arrival in batch.items()]
        frames = [frame for frame in found if frame is not None]
        group = [one for one in frames if one.rgb.shape == frames[0].rgb.shape]
        group = group[: self._largest_batch]
        if group and not self._segment(group, segmenter, *current):
            group = []
        done = {frame.camera for frame in group}
        return {frame.camera: frame for frame in frames if frame.camera not in done}

    def _decode(self, camera: str, arrival: Arrival | Frame) -> Frame | None:
        """Return an image with its pixels; ``None`` if nobody wants it or it is damaged."""
        began = time.perf_counter()
        if not self._outputs[camera].any_wanted():
            self._monitor.drop('nobody listens', camera)
            return None
        if isinstance(arrival, Frame):
            return arrival
        with self._drop_on_error(camera):
            self._depths[camera].expect(arrival.message.header)
            rgb = packed_rgb(arrival.message)
            return Frame(camera, arrival, rgb, time.perf_counter() - began)
        return None

    def _segment(
        self,
        frames: Sequence[Frame],
        segmenter: SegmenterLike,
        request: AcceptedRequest,
        encoded: 'EncodedVocabulary',
    ) -> bool:
        """Label frames of one size in one run of the model and publish them.

        Returns whether the device has the memory for so many frames; without it none is
        labelled, and smaller batches are tried from now on.
        """
        with self._drop_on_error(*(frame.camera for frame in frames)):
            began = time.perf_counter()
            images = [frame.rgb for frame in frames]
            scores = any(self._outputs[frame.camera].scores_wanted() for frame in frames)
            moments = [frame.moment for frame in frames]
            try:
                if len(images) == 1:
                    found = [
                        segmenter.segment(images[0], encoded, scores=scores, moment=moments[0])
                    ]
                else:
                    found = segmenter.segment_batch(
                        images, encoded, scores=scores, moments=moments
                    )
            except DeviceMemoryError as error:
                if len(frames) == 1:
                    raise
                self._largest_batch = len(frames) // 2
                self._node.get_logger().warning(
                    f'Label at most {self._largest_batch} frames at once from now on: {error}'
                )
                return False
            seconds = time.perf_counter() - began
            height, width = images[0].shape[:2]
            self._last_seen = (height, width), len(images)
            for frame, segmentation in zip(frames, found, strict=True):
                with self._drop_on_error(frame.camera):
                    self._publish(frame, segmentation, request, encoded, seconds)
        return True

    def _publish(
        self,
        frame: Frame,
        segmentation: Segmentation,
        request: AcceptedRequest,
        encoded: 'EncodedVocabulary',
        seconds: float,
    ) -> None:
        """Publish a segmentation that took the model so many seconds."""
        began = time.perf_counter()
        outputs, header = self._outputs[frame.camera], frame.arrival.message.header
        stamp = Stamp(header.stamp.sec, header.stamp.nanosec)
        announced = self._state.labelled(request, stamp, frame.camera)
        if announced or outputs.style.label_info_every_image:
            outputs.publish_names(request.vocabulary, encoded.threshold, header)
        topics, size = request.topics[frame.camera], self._size(frame)
        labelled = LabelledFrame(frame.rgb, header, segmentation, topics, outputs.style, size)
        parts = outputs.publish(labelled), self._depths[frame.camera].publish(labelled)
        rendering, publishing = map(sum, zip(*parts, strict=True))
        self._monitor.camera(frame.camera).labelled(
            {
                # Also for the frames of other cameras.
                'wait': began - frame.arrival.time - frame.seconds - seconds,
                'pre-process': frame.seconds,
                'model': seconds,
                'post-process': rendering,
                'publish': publishing,
            }
        )

    def publish_waiting(self, camera: str) -> None:
        """Publish what waited for depth that has come."""
        try:
            self._depths[camera].publish_settled()
        except Exception as error:  # Its labels are out, so that no frame is lost.
            self.failed(error)

    def _size(self, frame: Frame) -> tuple[int, int] | None:
        """Return height and width of a frame's label image; ``None`` until there is a cloud."""
        size = output_size(self._outputs[frame.camera].style.output_size)
        if size == 'cloud':
            return self._clouds[frame.camera].size
        if size == 'camera':
            height, width = frame.rgb.shape[:2]
        else:
            width, height = size
        return height, width

    @contextmanager
    def _drop_on_error(self, *cameras: str) -> Iterator[None]:
        """Drop the frames of these cameras if the work on them raises, and report why."""
        try:
            yield
        except ImageError as error:
            self._monitor.drop_bad_images(error, *cameras)
        except DeviceMemoryError as error:
            self._monitor.drop_for_memory(error, *cameras)
        except DeviceLostError as error:
            self._monitor.drop('fault', *cameras)
            self._node.lose_device(error)
        except Exception as error:
            text = f'{type(error).__name__}: {error}'
            self._monitor.drop('fault', *cameras, error=text)
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Report an error that no input explains, unless the process is ending anyway."""
        if self._node.context.ok() and not self._node.ended.is_set():
            self._monitor.reject('frame', RuntimeError(f'{type(error).__name__}: {error}'))
            self._node.get_logger().debug(''.join(traceback.format_exception(error)))
