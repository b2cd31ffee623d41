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
"""What is published of a camera's frames; computed only while somebody listens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
import threading
import time
from typing import TypeAlias

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import draw_overlay
from zegclip_core.messages.outputs import (
    class_map,
    CONFIDENCE,
    label_fields,
    LABEL_IMAGE,
    LABEL_INFO,
    mask_fields,
    OVERLAY,
    score_fields,
)
from zegclip_core.messages.topic_names import output_topic
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import image_message, rgb_to_image, rgb_to_jpeg

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # Not on the package index; ~/active_vocabulary holds the same and more.
    LabelInfo = None

OUTPUT_QOS = QoSProfile(depth=1)
LAST_MESSAGE_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Late subscribers get the last message."""
# Without event handlers: the executor would wait on those of every mask.
_NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
Message: TypeAlias = Image | CompressedImage


@dataclass
class OverlayStyle:
    """How overlays are drawn and compressed; may change between two frames.

    Attributes:
        alpha: Share of the class colours in the overlay, in [0, 1].
        jpeg_quality: Quality of the compressed overlay, 1 to 100.
    """

    alpha: float
    jpeg_quality: int


@dataclass
class LabelledFrame:
    """An RGB image, uint8 ``(H, W, 3)``, the header that every output carries, and the labels.

    Attributes:
        topics: Full name of the mask topic of each class, in the order of the ids; ``None`` for
            a class without a mask topic.
    """

    rgb: RgbImage
    header: Header
    segmentation: Segmentation
    topics: Sequence[str | None]
    style: OverlayStyle

    @cached_property
    def overlay(self) -> RgbImage:
        """The image with the colours of its classes; drawn once for all subscribers."""
        return draw_overlay(self.rgb, self.segmentation, alpha=self.style.alpha)

    def mask(self, index: int) -> Image:
        """Return the mask of the class with this id as a message."""
        return image_message(mask_fields(self.segmentation.labels == index), self.header)


RENDERERS: dict[str, tuple[type, Callable[[LabelledFrame], Message]]] = {
    LABEL_IMAGE: (
        Image,
        lambda one: image_message(label_fields(one.segmentation.labels), one.header),
    ),
    CONFIDENCE: (
        Image,
        lambda one: image_message(score_fields(one.segmentation.scores), one.header),
    ),
    OVERLAY: (Image, lambda one: rgb_to_image(one.overlay, one.header)),
    f'{OVERLAY}/compressed': (
        CompressedImage,
        lambda one: rgb_to_jpeg(one.overlay, one.header, one.style.jpeg_quality),
    ),
}
"""By output, its type and how its message is made of a frame."""


def _wanted(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())


class Outputs:
    """Everything that is published of a camera's frames: images, masks and the class names.

    Publishers of masks come and go with the words. They are created and destroyed in the
    executor's threads, where nothing waits on them, and used in the thread that labels frames.
    ``''`` is the name of the only camera.
    """

    def __init__(self, node: Node, camera: str, style: OverlayStyle) -> None:
        self.style = style
        self._node = node
        self._lock = threading.Lock()
        self._images: dict[str, Publisher] = {}
        self._masks: dict[str, Publisher] = {}
        self._label_info: Publisher | None = None
        self._closed = False
        try:
            for output, (kind, _) in RENDERERS.items():
                self._images[output] = node.create_publisher(
                    kind, output_topic(camera, output), OUTPUT_QOS, event_callbacks=_NO_EVENTS
                )
            if LabelInfo is not None:
                topic = output_topic(camera, LABEL_INFO)
                self._label_info = node.create_publisher(LabelInfo, topic, LAST_MESSAGE_QOS)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Destroy all publishers, and create none any more."""
        with self._lock:
            self._closed = True
            publishers = [*self._images.values(), *self._masks.values(), self._label_info]
            self._images, self._masks, self._label_info = {}, {}, None
            for publisher in filter(None, publishers):
                self._node.destroy_publisher(publisher)

    def provide_masks(self, topics: Sequence[str | None]) -> None:
        """Create the publishers of masks that are missing; ``None`` is a class without one."""
        with self._lock:
            for topic in topics:
                # Words may come while the node is cleaned up.
                if topic is not None and topic not in self._masks and not self._closed:
                    self._masks[topic] = self._node.create_publisher(
                        Image, topic, OUTPUT_QOS, event_callbacks=_NO_EVENTS
                    )

    def close_other_masks(self, topics: set[str]) -> None:
        """Destroy the publishers of all masks but these."""
        with self._lock:
            for topic in self._masks.keys() - topics:
                self._node.destroy_publisher(self._masks.pop(topic))

    def any_wanted(self) -> bool:
        """Return whether somebody listens to an output that needs the model."""
        with self._lock:  # The node may be cleaned up meanwhile.
            return any(map(_wanted, [*self._images.values(), *self._masks.values()]))

    def scores_wanted(self) -> bool:
        """Return whether somebody listens to the scores."""
        with self._lock:
            publisher = self._images.get(CONFIDENCE)
            return publisher is not None and _wanted(publisher)

    def publish_names(self, vocabulary: Vocabulary, threshold: float, header: Header) -> None:
        """Publish the class names beside the images, as ``CameraInfo`` is published.

        Late subscribers get the last message. Without the package ``vision_msgs`` there is none.

        Args:
            vocabulary: The classes; a class's index is its id.
            threshold: Least score of a labelled pixel, for classes without one of their own.
            header: Header of the first image that is labelled with them.
        """
        publisher = self._label_info
        if publisher is not None:
            classes = [VisionClass(**fields) for fields in class_map(vocabulary.names)]
            publisher.publish(LabelInfo(header=header, class_map=classes, threshold=threshold))

    def publish(self, frame: LabelledFrame) -> tuple[float, float]:
        """Publish what somebody listens to; return the seconds for making and for publishing."""
        began = time.perf_counter()
        published = 0.0
        for publish, render in self._wanted_of(frame):
            message = render()
            rendered = time.perf_counter()
            publish(message)
            published += time.perf_counter() - rendered
        return time.perf_counter() - began - published, published

    def _wanted_of(
        self, frame: LabelledFrame
    ) -> Iterator[tuple[Callable[[Message], object], Callable[[], Message]]]:
        """Yield how to publish and how to make each message that somebody listens to."""
        for output, (_, render) in RENDERERS.items():
            publisher = self._images[output]
            # A listener that came while the model ran gets the scores of the next frame.
            made = output != CONFIDENCE or frame.segmentation.scores.size > 0
            if made and _wanted(publisher):
                yield publisher.publish, partial(render, frame)
        with self._lock:
            masks = {topic for topic, publisher in self._masks.items() if _wanted(publisher)}
        for index, name in enumerate(frame.topics):
            if name is not None and name in masks:
                yield partial(self._publish_mask, name), partial(frame.mask, index)

    def _publish_mask(self, topic: str, message: Message) -> None:
        """Publish a mask, unless its topic has been closed meanwhile."""
        with self._lock:
            publisher = self._masks.get(topic)
            if publisher is not None:
                publisher.publish(message)
