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
"""The cameras of the soak test, with their depth."""

from array import array
from collections.abc import Sequence
from itertools import cycle

from builtin_interfaces.msg import Time
import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from zegclip_core.messages.topic_names import depth_topic, image_topic, info_topic

HEIGHT, WIDTH = 480, 640
DEPTH_EVERY = 3
"""Of so many images one has depth."""


class Sensors:
    """One or several cameras that send the same image in turn, each third time with its depth."""

    def __init__(self, probe: Node) -> None:
        self._probe = probe
        self._publishers: list[tuple[Publisher, Publisher, Publisher]] = []
        self._shots = 0
        random = np.random.default_rng(0)
        pixels = random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self._image = Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH)
        self._image.data = array('B', pixels.tobytes())
        millimetres = random.integers(0, 5000, (HEIGHT, WIDTH), np.uint16)
        self._depth = Image(height=HEIGHT, width=WIDTH, encoding='16UC1', step=2 * WIDTH)
        self._depth.data = array('B', millimetres.tobytes())
        k = [500.0, 0.0, WIDTH / 2, 0.0, 500.0, HEIGHT / 2, 0.0, 0.0, 1.0]
        self._info = CameraInfo(height=HEIGHT, width=WIDTH, k=k)

    @property
    def there(self) -> bool:
        """Whether there are cameras."""
        return bool(self._publishers)

    def appear(self, cameras: Sequence[str], reliability: str) -> None:
        """Bring cameras of these names, of which ``''`` is the only one."""
        profile = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])

        def publisher(kind: type, topic: str) -> Publisher:
            return self._probe.create_publisher(kind, topic, profile)

        self._publishers = [
            (
                publisher(Image, image_topic(name)),
                publisher(Image, depth_topic(name)),
                publisher(CameraInfo, info_topic(depth_topic(name))),
            )
            for name in cameras
        ]
        self._turn = cycle(self._publishers)

    def vanish(self) -> None:
        """Take the cameras away."""
        for publisher in (one for camera in self._publishers for one in camera):
            self._probe.destroy_publisher(publisher)
        self._publishers = []

    def shoot(self, stamp: Time) -> None:
        """Have the next camera send its image."""
        image, depth, info = next(self._turn)
        header = Header(stamp=stamp, frame_id='camera')
        self._image.header = self._depth.header = self._info.header = header
        self._shots += 1
        if self._shots // len(self._publishers) % DEPTH_EVERY == 0:
            info.publish(self._info)
            depth.publish(self._depth)
        image.publish(self._image)

    def send(self, image: Image) -> None:
        """Have the first camera send another image."""
        self._publishers[0][0].publish(image)
