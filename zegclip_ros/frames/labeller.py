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
from zegclip_core.errors import DeviceMemoryError, ImageError, VocabularyError
from zegclip_core.images.checks import RgbImage
from zegclip_core.messages.topic_names import MAX_CAMERAS
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import packed_rgb
from zegclip_ros.diagnostics.monitor import Monitor
from zegclip_ros.frames.camera_outputs import LabelledFrame, Outputs
from zegclip_ros.parameters import NodeParameters
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


Batch: TypeAlias = Mapping[str, Arrival | Frame]
"""By camera, the newest image of each that has one; those that wait longest come first."""


class Labeller:
    """Holds the model while it is loaded, encodes words and labels frames.

    ``encode_pending`` may run in one thread while ``label`` runs in another; no other two methods
    may run at once.

    Attributes:
        segmenter: The model; ``None`` unless it is loaded.

    Args:
        outputs: What is published of each camera, by its name; ``''`` for the only one.
        words_left: Called when the masks of some words may no longer be needed.
    """

    def __init__(
        self,
        node: ManagedNode,
        load: Callable[[], SegmenterLike],
        state: VocabularyState,
        outputs: Mapping[str, Outputs],
        monitor: Monitor,
        words_left: Callable[[], None],
    ) -> None:
        self._node = node
        self._load = load
        self._state = state
        self._outputs = outputs
        self._monitor = monitor
        self._words_left = words_left
        self.segmenter: SegmenterLike | None = None
        self._negatives: tuple[str, ...] = ()
        self._current: tuple[AcceptedRequest, EncodedVocabulary] | None = None
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
        if self.segmenter is not None:
            self.segmenter.release_memory()

    def encode_pending(self, _: object = None) -> None:
        """Encode the words that wait and label frames with them from now on: all or none.

        Negative words that the model cannot take do not keep it from other words: those that it
        took last stay.
        """
        request, segmenter = self._state.take(), self.segmenter
        if request is None or segmenter is None:
            return
        options = NodeParameters.read(self._node).options
        threshold, negatives = options.threshold, options.negatives
        if negatives is None:
            negatives = segmenter.negatives
        try:
            encoded, fault = self._encode(segmenter, request.vocabulary, threshold, negatives)
        except Exception as error:
            if self.segmenter is segmenter:  # Else the model was unloaded: the words wait.
                self._state.give_up(request, error)
                self._monitor.reject('vocabulary', error)
                self._words_left()
            return
        if self.segmenter is not segmenter:
            return  # The model was unloaded meanwhile: the words wait for the next one.
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
            try:
                if len(images) == 1:
                    found = [segmenter.segment(images[0], encoded)]
                else:
                    found = segmenter.segment_batch(images, encoded)
            except DeviceMemoryError as error:
                if len(frames) == 1:
                    raise
                self._largest_batch = len(frames) // 2
                self._node.get_logger().warning(
                    f'Label at most {self._largest_batch} frames at once from now on: {error}'
                )
                return False
            seconds = time.perf_counter() - began
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
        if self._state.labelled(request, stamp, frame.camera):
            outputs.publish_names(request.vocabulary, encoded.threshold, header)
        topics = request.topics[frame.camera]
        rendering, publishing = outputs.publish(
            LabelledFrame(frame.rgb, header, segmentation, topics, outputs.style)
        )
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

    @contextmanager
    def _drop_on_error(self, *cameras: str) -> Iterator[None]:
        """Drop the frames of these cameras if the work on them raises, and report why."""
        try:
            yield
        except ImageError as error:
            self._monitor.drop_bad_images(error, *cameras)
        except DeviceMemoryError as error:
            self._monitor.drop_for_memory(error, *cameras)
        except Exception as error:
            text = f'{type(error).__name__}: {error}'
            self._monitor.drop('fault', *cameras, error=text)
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Report an error that no input explains, unless the process is ending anyway."""
        if self._node.context.ok() and not self._node.ended.is_set():
            self._monitor.reject('frame', RuntimeError(f'{type(error).__name__}: {error}'))
            self._node.get_logger().debug(''.join(traceback.format_exception(error)))
