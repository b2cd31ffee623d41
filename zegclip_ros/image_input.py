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
"""The subscription to the camera, which follows the reliability that the camera offers."""

from collections.abc import Callable, Iterable

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

CHECK_INTERVAL = 0.5
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


class ImageInput:
    """Subscribes to ``image`` with depth 1.

    Args:
        node: The node.
        reliability: ``reliable``, ``best_effort``, or ``auto``, which looks at the publishers
            again and again, since a camera may come back as another one.
        callback: Gets every image.
    """

    def __init__(self, node: Node, reliability: str, callback: Callable[[Image], None]) -> None:
        self._node = node
        self._callback = callback
        self._auto = reliability == 'auto'
        # Until a camera is seen: best effort, which every camera serves.
        fixed = ReliabilityPolicy.RELIABLE if reliability == 'reliable' else None
        self._reliability = fixed or ReliabilityPolicy.BEST_EFFORT
        self._subscription = self._subscribe()
        self._timer = node.create_timer(CHECK_INTERVAL, self._follow) if self._auto else None

    @property
    def reliability(self) -> ReliabilityPolicy:
        """Reliability of the present subscription."""
        return self._reliability

    def _subscribe(self) -> Subscription:
        return self._node.create_subscription(
            Image,
            'image',
            self._callback,
            QoSProfile(
                depth=1, reliability=self._reliability, durability=DurabilityPolicy.VOLATILE
            ),
            # A mismatch is mended here, so that the usual warning would only mislead.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=not self._auto),
        )

    def _follow(self) -> None:
        """Subscribe again if the publishers offer something else than what was asked for."""
        publishers = self._node.get_publishers_info_by_topic(self._subscription.topic_name)
        wanted = reliability_for(entry.qos_profile.reliability for entry in publishers)
        if wanted is None or wanted == self._reliability:
            return
        self._node.get_logger().info(
            f'The camera on {self._subscription.topic_name} is {wanted.name.lower()}: '
            'subscribing to it in the same way.'
        )
        self._reliability = wanted
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._subscribe()
