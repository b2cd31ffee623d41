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
"""A camera for trying things out: plays photos, a video, a folder or a webcam as a topic."""

from collections.abc import Sequence
import sys
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError
from zegclip_ros.conversions import rgb_to_image
from zegclip_ros.runtime import run_node, RunnableNode
from zegclip_ros.scenes import open_source

RELIABILITIES = ('reliable', 'best_effort')


class CameraNode(RunnableNode):
    """Publishes pictures as a camera does, with the present time as their stamp.

    Published topics:
        ``~/image`` (``sensor_msgs/msg/Image``, ``rgb8``, depth 1).

    Parameters (all read-only):
        ``source`` (string or integer, default ``''``): Nothing for scikit-image's public-domain
        photos, a picture, a video, a folder, or the number of a webcam.
        ``rate`` (double, default 10.0): Pictures a second [Hz].
        ``width``, ``height`` (integer, default 640 and 480): Size that photos are shown at [px].
        ``seconds_per_photo`` (double, default 4.0): How long each photo is shown [s].
        ``frame_id`` (string, default ``camera``): Frame in the header.
        ``reliability`` (string, default ``reliable``): What is offered, or ``best_effort``.

    Raises:
        ImageError: If the source cannot be shown.
        ValueError: If a parameter is not allowed.
    """

    def __init__(self) -> None:
        super().__init__('camera')
        rate = self._number('rate', 10.0, (0.1, 1000.0), 'Pictures a second [Hz].')
        width = self._number('width', 640, (1, 8192), 'Width of photos [px].')
        height = self._number('height', 480, (1, 8192), 'Height of photos [px].')
        hold = self._number('seconds_per_photo', 4.0, (0.1, 3600.0), 'Time for a photo [s].')
        self._frame_id = self._word('frame_id', 'camera', 'Frame in the header.')
        self._show = open_source(self._source(), (int(height), int(width)), hold)
        qos = QoSProfile(
            depth=1, reliability=self._reliability(), durability=DurabilityPolicy.VOLATILE
        )
        self._publisher = self.create_publisher(Image, '~/image', qos)
        self._began = self.get_clock().now()
        self._timer = self.create_timer(1.0 / rate, self._publish)
        self.get_logger().info(f'Publishing on {self._publisher.topic_name}.')

    def _number(self, name: str, default: float, bounds: tuple[float, float], text: str) -> float:
        """Declare a number in a range and return its value."""
        descriptor = ParameterDescriptor(description=text, read_only=True)
        low, high = bounds
        if isinstance(default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        else:
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return float(self.declare_parameter(name, default, descriptor).value)

    def _word(self, name: str, default: str, text: str, **more: Any) -> Any:  # noqa: ANN401
        """Declare a string, or whatever ``more`` allows, and return its value."""
        descriptor = ParameterDescriptor(description=text, read_only=True, **more)
        return self.declare_parameter(name, default, descriptor).value

    def _source(self) -> str | int:
        """Return what to show; ``source:=0`` is an integer to ROS."""
        text = 'Nothing for the photos, a picture, video or folder, or the number of a webcam.'
        source = self._word('source', '', text, dynamic_typing=True)
        if isinstance(source, bool) or not isinstance(source, str | int):
            raise ValueError(
                f'Expected the parameter source to be a path or a number, but got {source!r}.'
            )
        return source

    def _reliability(self) -> ReliabilityPolicy:
        text = f'What is offered: {" or ".join(RELIABILITIES)}.'
        value = self._word('reliability', RELIABILITIES[0], text)
        if value not in RELIABILITIES:
            raise ValueError(
                f'Expected the parameter reliability to be one of {", ".join(RELIABILITIES)}, '
                f'but got {value!r}.'
            )
        return ReliabilityPolicy[value.upper()]

    def _publish(self) -> None:
        """Publish the picture of this moment."""
        now = self.get_clock().now()
        try:
            picture = self._show.frame((now - self._began).nanoseconds / 1e9)
        except ImageError as error:
            self.get_logger().fatal(str(error))
            self.end(1)
            return
        if picture is not None:
            header = Header(stamp=now.to_msg(), frame_id=self._frame_id)
            self._publisher.publish(rgb_to_image(picture, header))


def main(args: Sequence[str] | None = None) -> int:
    """Run the camera node; return its exit code."""
    return run_node(CameraNode, args)


if __name__ == '__main__':
    sys.exit(main())
