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
"""The subscription to a camera: on which topic, with which reliability, and when."""

from collections.abc import Callable, Iterable
import threading
import time
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

FOLLOW_INTERVAL = 0.5
"""Seconds between two looks at the reliability that the camera offers."""


def reliability_for(offered: Iterable[ReliabilityPolicy]) -> ReliabilityPolicy | None:
    """Return the reliability that gets images from all publishers, ``None`` if there are none.

    Best effort if one of them is, since a reliable subscription gets nothing from that one.
    """
    policies = set(offered)
    if not policies or policies == {ReliabilityPolicy.RELIABLE}:
        return ReliabilityPolicy.RELIABLE if policies else None
    return ReliabilityPolicy.BEST_EFFORT


def compressed_topic(node: Node, base: str) -> str:
    """Return the full topic of compressed images.

    A remapping of ``image/compressed`` itself has priority; else the topic lies below whatever
    ``image`` is remapped to, as in image_transport.
    """
    topic = f'{base}/compressed'
    own = node.resolve_topic_name(topic)
    if own != expand_topic_name(topic, node.get_name(), node.get_namespace()):
        return own
    return f'{node.resolve_topic_name(base)}/compressed'


class ImageInput:
    """Subscribes to a camera while it is told to; methods may be called from any thread.

    Attributes:
        topic: Full name of the topic.
        reliability: Reliability of the present or the next subscription.

    Args:
        base: Topic of raw images, such as ``image``.
        transport: ``raw`` or ``compressed``.
        reliability: What ``set_reliability`` takes.
        callback: Gets every image.
        depth: How many images wait at most; with 1, only the newest.
        kind: Type of the messages with the transport ``raw``.
    """

    reliability: ReliabilityPolicy

    def __init__(
        self,
        node: Node,
        base: str,
        transport: str,
        reliability: str,
        callback: Callable[[Any], None],
        depth: int = 1,
        kind: type = Image,
    ) -> None:
        self._node = node
        self._depth = depth
        self._callback = callback
        if transport == 'compressed':
            self._kind: type = CompressedImage
            # The full name is remapped already, and must not be a second time: it is
            # subscribed to as it is, while a raw topic is subscribed to by its relative name.
            self.topic = self._name = compressed_topic(node, base)
        else:
            self._kind = kind
            self.topic, self._name = node.resolve_topic_name(base), base
        self._lock = threading.RLock()
        self._subscription: Subscription | None = None
        self._followed = 0.0
        self._since = 0.0
        self.set_reliability(reliability)

    @property
    def subscribed_seconds(self) -> float | None:
        """Seconds since it subscribed; ``None`` while it does not."""
        return None if self._subscription is None else time.monotonic() - self._since

    def set_reliability(self, reliability: str) -> None:
        """Ask for ``reliable``, ``best_effort``, ``system_default`` or ``auto``.

        The last looks at the publishers again and again: a camera may come back as another.
        """
        with self._lock:
            self._auto = reliability == 'auto'
            # Until a camera is there: best effort, which works with every camera.
            name = 'best_effort' if self._auto else reliability
            self.reliability = ReliabilityPolicy[name.upper()]
            self._followed = 0.0
            if self._subscription is not None:
                self._subscribe()

    def update(self, *, wanted: bool) -> None:
        """Subscribe or not, and as the camera offers it; has to be called again and again."""
        with self._lock:
            if not wanted:
                self.close()
                return
            now = time.monotonic()
            if self._auto and now - self._followed >= FOLLOW_INTERVAL:
                self._followed = now
                self._follow()
            if self._subscription is None:
                self._subscribe()

    def close(self) -> None:
        """End the subscription."""
        with self._lock:
            if self._subscription is not None:
                self._node.destroy_subscription(self._subscription)
                self._subscription = None

    def _subscribe(self) -> None:
        self.close()
        self._subscription = self._node.create_subscription(
            self._kind,
            self._name,
            self._callback,
            QoSProfile(
                depth=self._depth,
                reliability=self.reliability,
                durability=DurabilityPolicy.VOLATILE,
            ),
            # A mismatch is corrected here, so that the usual warning would only mislead.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=not self._auto),
        )
        self._since = time.monotonic()

    def _follow(self) -> None:
        """Subscribe again if the publishers offer something else than what was asked for."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        offered = reliability_for(entry.qos_profile.reliability for entry in publishers)
        if offered is None or offered == self.reliability:
            return
        self.reliability = offered
        if self._subscription is not None:
            self._node.get_logger().info(
                f'The camera on {self.topic} is {offered.name.lower()}: '
                'subscribing to it in the same way.'
            )
            self._subscribe()
