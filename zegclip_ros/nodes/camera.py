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
from typing import NoReturn

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError
from zegclip_ros.conversions import rgb_to_image
from zegclip_ros.recording.scenes import open_source
from zegclip_ros.runtime.declaration import Declaration, declare
from zegclip_ros.runtime.process import run_process, RunnableNode

DECLARATIONS = (
    Declaration(
        'source',
        '',
        'What to show: nothing for the public-domain photos of scikit-image; or the path of a '
        'picture, a video or a folder; or the number of a webcam.',
        any_type=True,
    ),
    Declaration('rate', 10.0, 'Pictures a second [Hz].', bounds=(0.1, 1000.0)),
    Declaration('width', 640, 'Width that photos are shown at [px].', bounds=(1, 8192)),
    Declaration('height', 480, 'Height that photos are shown at [px].', bounds=(1, 8192)),
    Declaration(
        'seconds_per_photo', 4.0, 'How long each photo is shown [s].', bounds=(0.1, 3600.0)
    ),
    Declaration('frame_id', 'camera', 'Frame in the header of the images.'),
    Declaration(
        'reliability',
        'reliable',
        'Reliability that is offered.',
        choices=('reliable', 'best_effort'),
    ),
)


def checked_source(source: object) -> str | int:
    """Return the parameter ``source``, which ROS reads as a number where it looks like one.

    Raises:
        ValueError: If it is neither a string nor an integer.
    """
    if isinstance(source, bool) or not isinstance(source, str | int):
        raise ValueError(
            f'Expected the parameter source to be a path or a number, but got {source!r}.'
        )
    return source


class CameraNode(RunnableNode):
    """Publishes pictures as a camera does, with the present time as their stamp.

    Published topics:
        ``~/image`` (``sensor_msgs/msg/Image``, ``rgb8``, depth 1).

    Parameters:
        See ``DECLARATIONS``.

    Raises:
        ImageError: If the source cannot be shown.
        ValueError: If a parameter is not allowed.
    """

    def __init__(self) -> None:
        super().__init__('camera')
        values = declare(self, DECLARATIONS)
        size = (values['height'], values['width'])
        self._frame_id = values['frame_id']
        self._show = open_source(
            checked_source(values['source']), size, values['seconds_per_photo']
        )
        qos = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy[values['reliability'].upper()],
            durability=DurabilityPolicy.VOLATILE,
        )
        self._publisher = self.create_publisher(Image, '~/image', qos)
        self._began = self.get_clock().now()
        self._timer = self.create_timer(1.0 / values['rate'], self._publish)
        self.get_logger().info(f'Publishing on {self._publisher.topic_name}.')

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


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the camera node and end the process with its exit code."""
    run_process(CameraNode, args)


if __name__ == '__main__':
    main()
