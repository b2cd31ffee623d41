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
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import draw_overlay
from zegclip_core.messages.outputs import class_map
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.camera_names import output_topic
from zegclip_ros.conversions import (
    labels_to_image,
    mask_to_image,
    rgb_to_image,
    rgb_to_jpeg,
    scores_to_image,
)

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # Not on the package index; ~/active_vocabulary holds the same and more.
    LabelInfo = None

OUTPUT_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)
LABEL_INFO_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
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
    """A frame and its segmentation.

    Attributes:
        rgb: The image, RGB uint8 ``(H, W, 3)``, 0 to 255.
        header: Its header, which every output carries.
        segmentation: Its labels and scores.
        topics: Full name of the mask topic of each class, in the order of the ids; ``None`` for
            a class without a mask topic.
        style: How its overlay is drawn.
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

    def label_image(self) -> Image:
        """Return the class ids as a message."""
        return labels_to_image(self.segmentation.labels, self.header)

    def confidence(self) -> Image:
        """Return the score of each pixel's class as a message."""
        return scores_to_image(self.segmentation.scores, self.header)

    def overlay_image(self) -> Image:
        """Return the overlay as a message."""
        return rgb_to_image(self.overlay, self.header)

    def overlay_jpeg(self) -> CompressedImage:
        """Return the overlay as a compressed message."""
        return rgb_to_jpeg(self.overlay, self.header, self.style.jpeg_quality)

    def mask(self, index: int) -> Image:
        """Return the mask of the class with this id as a message."""
        return mask_to_image(self.segmentation.labels == index, self.header)


RENDERERS: dict[str, tuple[type, Callable[[LabelledFrame], Message]]] = {
    '~/label_image': (Image, LabelledFrame.label_image),
    '~/confidence': (Image, LabelledFrame.confidence),
    '~/overlay': (Image, LabelledFrame.overlay_image),
    '~/overlay/compressed': (CompressedImage, LabelledFrame.overlay_jpeg),
}


class MaskPublishers:
    """One publisher for each mask topic.

    Publishers are created and destroyed in the executor's threads, where nothing waits on them,
    and used in the thread that labels frames.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._publishers: dict[str, Publisher] = {}
        self._closed = False

    def provide(self, topics: Sequence[str | None]) -> None:
        """Create the publishers that are missing.

        Args:
            topics: Full names; ``None`` for a class without a mask topic.
        """
        with self._lock:
            for topic in topics:
                # Words may come while the node is cleaned up.
                if topic is not None and topic not in self._publishers and not self._closed:
                    self._publishers[topic] = self._node.create_publisher(
                        Image, topic, OUTPUT_QOS, event_callbacks=_NO_EVENTS
                    )

    def close_others(self, topics: set[str]) -> None:
        """Destroy the publishers of all topics but these."""
        with self._lock:
            for topic in set(self._publishers) - topics:
                self._node.destroy_publisher(self._publishers.pop(topic))

    def close(self) -> None:
        """Destroy all publishers, and create none any more."""
        with self._lock:
            self._closed = True
        self.close_others(set())

    def any_wanted(self) -> bool:
        """Return whether somebody listens to any mask."""
        with self._lock:
            return any(map(_wanted, self._publishers.values()))

    def wanted(self, topics: Sequence[str | None]) -> list[int]:
        """Return the indices of the topics that somebody listens to."""
        with self._lock:
            found = [self._publishers.get(topic or '') for topic in topics]
            return [index for index, one in enumerate(found) if one is not None and _wanted(one)]

    def publish(self, topic: str | None, message: Image) -> None:
        """Publish a mask, unless its topic has been closed meanwhile."""
        with self._lock:
            publisher = self._publishers.get(topic or '')
            if publisher is not None:
                publisher.publish(message)


def _wanted(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())


class LabelInfoPublisher:
    """Publishes the class names beside the images, as ``CameraInfo`` is published.

    Late subscribers get the last message. Without the package ``vision_msgs`` it does nothing.

    Args:
        node: The node.
        topic: Name of the topic.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._publisher = None
        if LabelInfo is not None:
            self._publisher = node.create_publisher(LabelInfo, topic, LABEL_INFO_QOS)

    def publish(self, vocabulary: Vocabulary, threshold: float, header: Header) -> None:
        """Publish the class names.

        Args:
            vocabulary: The classes; a class's index is its id.
            threshold: Least score of a labelled pixel, in [0, 1], for classes without a
                threshold of their own.
            header: Header of the first image that is labelled with them.
        """
        if self._publisher is not None:
            classes = [VisionClass(**fields) for fields in class_map(vocabulary.names)]
            info = LabelInfo(header=header, class_map=classes, threshold=threshold)
            self._publisher.publish(info)

    def close(self) -> None:
        """Destroy the publisher."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None


class Outputs:
    """Everything that is published of a camera's frames.

    Attributes:
        style: How overlays are drawn.
        masks: Publishers of the masks.
        label_info: Publisher of the class names.

    Args:
        node: The node.
        camera: Name of the camera, ``''`` for the only one.
        style: As the attribute.
    """

    def __init__(self, node: Node, camera: str, style: OverlayStyle) -> None:
        self.style = style
        self.masks = MaskPublishers(node)
        self._node = node
        self._lock = threading.Lock()
        self._publishers: dict[str, Publisher] = {}
        try:
            for topic, (kind, _) in RENDERERS.items():
                self._publishers[topic] = node.create_publisher(
                    kind, output_topic(camera, topic), OUTPUT_QOS, event_callbacks=_NO_EVENTS
                )
            self.label_info = LabelInfoPublisher(node, output_topic(camera, '~/label_info'))
        except Exception:
            self._close_images()
            raise

    def close(self) -> None:
        """Destroy all publishers."""
        self._close_images()
        self.label_info.close()

    def _close_images(self) -> None:
        self.masks.close()
        with self._lock:
            for publisher in self._publishers.values():
                self._node.destroy_publisher(publisher)
            self._publishers.clear()

    def any_wanted(self) -> bool:
        """Return whether somebody listens to an output that needs the model."""
        with self._lock:  # The node may be cleaned up meanwhile.
            listened = any(map(_wanted, self._publishers.values()))
        return listened or self.masks.any_wanted()

    def publish(self, frame: LabelledFrame) -> tuple[float, float]:
        """Publish what somebody listens to.

        Returns:
            Seconds that it took to make the messages, and to publish them.
        """
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
        for topic, (_, render) in RENDERERS.items():
            publisher = self._publishers[topic]
            if _wanted(publisher):
                yield publisher.publish, partial(render, frame)
        for index in self.masks.wanted(frame.topics):
            yield partial(self.masks.publish, frame.topics[index]), partial(frame.mask, index)
