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
"""The camera: what is subscribed to, in which way, and when."""

from collections.abc import Callable, Iterable
import threading
import time

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

FOLLOW_INTERVAL = 0.5
"""Seconds between two looks at what the camera offers."""


def reliability_for(offered: Iterable[ReliabilityPolicy]) -> ReliabilityPolicy | None:
    """Return the reliability that gets images from all publishers, the better one if possible.

    Args:
        offered: What each publisher offers.

    Returns:
        Reliable if all publishers are, best effort if one is not, since a reliable subscriber
        gets nothing from that one; ``None`` if there is no publisher.
    """
    policies = set(offered)
    if not policies:
        return None
    if policies == {ReliabilityPolicy.RELIABLE}:
        return ReliabilityPolicy.RELIABLE
    return ReliabilityPolicy.BEST_EFFORT


def compressed_topic(node: Node, base: str) -> str:
    """Return the full topic of compressed images.

    A remapping of ``image/compressed`` itself goes first; else it lies below whatever ``image``
    is remapped to, as image_transport has it.

    Args:
        node: The node.
        base: Topic of raw images, such as ``image``.
    """
    topic = f'{base}/compressed'
    own = node.resolve_topic_name(topic)
    if own != expand_topic_name(topic, node.get_name(), node.get_namespace()):
        return own
    return f'{node.resolve_topic_name(base)}/compressed'


class ImageInput:
    """Subscribes to the camera while it is told to.

    Methods may be called from any thread.

    Args:
        node: The node.
        base: Topic of raw images, such as ``image``.
        transport: ``raw`` or ``compressed``.
        reliability: As in ``set_reliability``.
        callback: Gets every image.
        depth: How many images wait at most; with 1, the newest.
    """

    def __init__(
        self,
        node: Node,
        base: str,
        transport: str,
        reliability: str,
        callback: Callable[[Image | CompressedImage], None],
        depth: int = 1,
    ) -> None:
        self._node = node
        self._depth = depth
        self._callback = callback
        self._kind = CompressedImage if transport == 'compressed' else Image
        # The full name is remapped already, and once more would be once too often.
        self.topic = (
            compressed_topic(node, base)
            if transport == 'compressed'
            else node.resolve_topic_name(base)
        )
        self._relative = base if transport == 'raw' else self.topic
        self._lock = threading.RLock()
        self._subscription: Subscription | None = None
        self._followed = 0.0
        self._since = 0.0
        self.set_reliability(reliability)

    @property
    def reliability(self) -> ReliabilityPolicy:
        """Reliability of the present or next subscription."""
        return self._reliability

    @property
    def subscribed_seconds(self) -> float | None:
        """Seconds since it subscribed; ``None`` while it does not."""
        return None if self._subscription is None else time.monotonic() - self._since

    def set_reliability(self, reliability: str) -> None:
        """Ask the camera for a reliability.

        Args:
            reliability: ``reliable``, ``best_effort``, ``system_default``, or ``auto``, which
                looks at the publishers again and again, since a camera may come back as another.
        """
        with self._lock:
            self._auto = reliability == 'auto'
            # Until a camera is seen: best effort, which every camera serves.
            name = 'best_effort' if self._auto else reliability
            self._reliability = ReliabilityPolicy[name.upper()]
            self._followed = 0.0
            if self._subscription is not None:
                self._subscribe()

    def update(self, *, wanted: bool) -> None:
        """Subscribe or not, and in the way that the camera asks for; called again and again."""
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
        """Subscribe no longer."""
        with self._lock:
            if self._subscription is not None:
                self._node.destroy_subscription(self._subscription)
                self._subscription = None

    def _subscribe(self) -> None:
        self.close()
        qos = QoSProfile(
            depth=self._depth,
            reliability=self._reliability,
            durability=DurabilityPolicy.VOLATILE,
        )
        self._subscription = self._node.create_subscription(
            self._kind,
            self._relative,
            self._callback,
            qos,
            # A mismatch is mended here, so that the usual warning would only mislead.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=not self._auto),
        )
        self._since = time.monotonic()

    def _follow(self) -> None:
        """Subscribe again if the publishers offer something else than what was asked for."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        wanted = reliability_for(entry.qos_profile.reliability for entry in publishers)
        if wanted is None or wanted == self._reliability:
            return
        self._reliability = wanted
        if self._subscription is not None:
            self._node.get_logger().info(
                f'The camera on {self.topic} is {wanted.name.lower()}: '
                'subscribing to it in the same way.'
            )
            self._subscribe()
