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
"""What the segmentation node publishes for a frame, each only while somebody listens."""

from collections.abc import Sequence
import threading

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from zegclip_core.drawing import draw_overlay
from zegclip_core.segmentation import Segmentation
from zegclip_ros.conversions import labels_to_image, mask_to_image, rgb_to_image, RgbImage

OUTPUT_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)


class MaskPublishers:
    """One publisher for each mask topic.

    Publishers are made and destroyed in the executor's thread (``provide``, ``close_others``),
    where nothing waits on them, and used in the worker's (``wanted``, ``publish``).
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._publishers: dict[str, Publisher] = {}

    def provide(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """Make the publishers that are missing.

        Args:
            tokens: One topic token a class.

        Returns:
            The full topic name of each class.
        """
        return tuple(map(self._provide, tokens))

    def _provide(self, token: str) -> str:
        relative = f'~/masks/{token}'
        topic = self._node.resolve_topic_name(relative)
        with self._lock:
            if topic not in self._publishers:
                # Without event handlers: the executor would wait on those of 254 masks.
                publisher = self._node.create_publisher(
                    Image,
                    relative,
                    OUTPUT_QOS,
                    event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
                )
                self._publishers[topic] = publisher
        return topic

    def close_others(self, topics: set[str]) -> None:
        """Destroy the publishers of all topics but these."""
        with self._lock:
            gone = [self._publishers.pop(topic) for topic in set(self._publishers) - topics]
        for publisher in gone:
            self._node.destroy_publisher(publisher)

    def wanted(self, topics: Sequence[str]) -> list[int]:
        """Return the places of the topics that somebody listens to."""
        with self._lock:
            return [
                index
                for index, topic in enumerate(topics)
                if self._publishers[topic].get_subscription_count() > 0
            ]

    def publish(self, topic: str, message: Image) -> None:
        """Publish a mask."""
        with self._lock:
            self._publishers[topic].publish(message)


class Outputs:
    """The label image, the overlay and the masks.

    Attributes:
        overlay_alpha: How much of the overlay is colour, in [0, 1].
        masks: Publishers of the masks.
    """

    def __init__(self, node: Node, overlay_alpha: float) -> None:
        self.overlay_alpha = overlay_alpha
        self.masks = MaskPublishers(node)
        self._label_image = node.create_publisher(Image, '~/label_image', OUTPUT_QOS)
        self._overlay = node.create_publisher(Image, '~/overlay', OUTPUT_QOS)

    def any_wanted(self, mask_topics: Sequence[str]) -> bool:
        """Return whether somebody listens to anything that takes the model."""
        whole = (self._label_image, self._overlay)
        if any(publisher.get_subscription_count() > 0 for publisher in whole):
            return True
        return bool(self.masks.wanted(mask_topics))

    def publish(
        self,
        rgb: RgbImage,
        header: Header,
        segmentation: Segmentation,
        mask_topics: Sequence[str],
    ) -> None:
        """Publish what somebody listens to.

        Args:
            rgb: The frame, RGB uint8 ``(H, W, 3)``.
            header: Its header, which every output carries.
            segmentation: Its labels.
            mask_topics: Full name of the mask topic of each class, in the order of the ids.
        """
        if self._label_image.get_subscription_count() > 0:
            self._label_image.publish(labels_to_image(segmentation.labels, header))
        for index in self.masks.wanted(mask_topics):
            mask = mask_to_image(segmentation.labels == index, header)
            self.masks.publish(mask_topics[index], mask)
        if self._overlay.get_subscription_count() > 0:
            overlay = draw_overlay(rgb, segmentation, alpha=self.overlay_alpha)
            self._overlay.publish(rgb_to_image(overlay, header))
