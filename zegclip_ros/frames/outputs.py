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
"""What the segmentation node publishes of a frame; computed only while somebody listens."""

from collections.abc import Callable, Sequence
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
from zegclip_core.segmentation import Segmentation
from zegclip_ros.conversions import (
    labels_to_image,
    mask_to_image,
    rgb_to_image,
    rgb_to_jpeg,
    scores_to_image,
)

OUTPUT_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)
# Without event handlers: the executor would wait on those of every mask.
_NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
Message: TypeAlias = Image | CompressedImage


@dataclass
class Look:
    """How overlays look; may change between two frames.

    Attributes:
        alpha: How much of the overlay is colour, in [0, 1].
        jpeg_quality: Quality of the compressed overlay, 1 to 100.
    """

    alpha: float
    jpeg_quality: int


@dataclass
class LabelledFrame:
    """A frame and what was found in it.

    Attributes:
        rgb: The frame, RGB uint8 ``(H, W, 3)``.
        header: Its header, which every output carries.
        segmentation: Its labels.
        topics: Full name of the mask topic of each class, in the order of the ids; ``None`` for
            a class that has none.
        look: How overlays look.
    """

    rgb: RgbImage
    header: Header
    segmentation: Segmentation
    topics: Sequence[str | None]
    look: Look

    @cached_property
    def overlay(self) -> RgbImage:
        """The frame in the colours of its classes; drawn once, for all who want it."""
        return draw_overlay(self.rgb, self.segmentation, alpha=self.look.alpha)

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
        return rgb_to_jpeg(self.overlay, self.header, self.look.jpeg_quality)

    def mask(self, index: int) -> Image:
        """Return the mask of a class as a message."""
        return mask_to_image(self.segmentation.labels == index, self.header)


RENDERERS: dict[str, tuple[type, Callable[[LabelledFrame], Message]]] = {
    '~/label_image': (Image, LabelledFrame.label_image),
    '~/confidence': (Image, LabelledFrame.confidence),
    '~/overlay': (Image, LabelledFrame.overlay_image),
    '~/overlay/compressed': (CompressedImage, LabelledFrame.overlay_jpeg),
}


class MaskPublishers:
    """One publisher for each mask topic.

    Publishers are made and destroyed in the executor's threads, where nothing waits on them, and
    used in the one that labels frames.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._publishers: dict[str, Publisher] = {}
        self._closed = False

    def provide(self, topics: Sequence[str]) -> None:
        """Make the publishers that are missing; ``topics`` are full names."""
        with self._lock:
            for topic in topics:
                # Words may come while the node is cleaned up.
                if topic not in self._publishers and not self._closed:
                    self._publishers[topic] = self._node.create_publisher(
                        Image, topic, OUTPUT_QOS, event_callbacks=_NO_EVENTS
                    )

    def close_others(self, topics: set[str]) -> None:
        """Destroy the publishers of all topics but these."""
        with self._lock:
            for topic in set(self._publishers) - topics:
                self._node.destroy_publisher(self._publishers.pop(topic))

    def close(self) -> None:
        """Destroy all publishers, and make none any more."""
        with self._lock:
            self._closed = True
        self.close_others(set())

    def any_wanted(self) -> bool:
        """Return whether somebody listens to any of them."""
        with self._lock:
            return any(map(_wanted, self._publishers.values()))

    def wanted(self, topics: Sequence[str | None]) -> list[int]:
        """Return the places of the topics that somebody listens to."""
        with self._lock:
            found = [self._publishers.get(topic or '') for topic in topics]
            return [place for place, one in enumerate(found) if one is not None and _wanted(one)]

    def publish(self, topic: str | None, message: Image) -> None:
        """Publish a mask, unless its topic was closed meanwhile."""
        with self._lock:
            publisher = self._publishers.get(topic or '')
            if publisher is not None:
                publisher.publish(message)


def _wanted(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())


class Outputs:
    """The label image, the confidence, the overlays and the masks.

    Attributes:
        look: How overlays look.
        masks: Publishers of the masks.

    Args:
        node: The node.
        look: As the attribute.
        topic_of: Returns the name that a topic has for the camera.
    """

    def __init__(self, node: Node, look: Look, topic_of: Callable[[str], str]) -> None:
        self.look = look
        self.masks = MaskPublishers(node)
        self._node = node
        self._lock = threading.Lock()
        self._publishers: dict[str, Publisher] = {}
        try:
            for topic, (kind, _) in RENDERERS.items():
                self._publishers[topic] = node.create_publisher(
                    kind, topic_of(topic), OUTPUT_QOS, event_callbacks=_NO_EVENTS
                )
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Destroy all publishers."""
        self.masks.close()
        with self._lock:
            for publisher in self._publishers.values():
                self._node.destroy_publisher(publisher)
            self._publishers.clear()

    def any_wanted(self) -> bool:
        """Return whether somebody listens to anything that takes the model."""
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
        for topic, (_, render) in RENDERERS.items():
            publisher = self._publishers[topic]
            if _wanted(publisher):
                published += _timed(publisher.publish, render(frame))
        for place in self.masks.wanted(frame.topics):
            publish = partial(self.masks.publish, frame.topics[place])
            published += _timed(publish, frame.mask(place))
        return time.perf_counter() - began - published, published


def _timed(publish: Callable[[Message], object], message: Message) -> float:
    """Publish a message; return the seconds that it took."""
    began = time.perf_counter()
    publish(message)
    return time.perf_counter() - began
