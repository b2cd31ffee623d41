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
"""A camera that costs little: one picture, numbered anew for each frame."""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
import time

from benchmarks.events import EventLog, nanoseconds, picture, write_number
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from zegclip_ros.conversions import rgb_to_image
from zegclip_ros.runtime.runner import run_node, RunnableNode


class NumberedCamera(RunnableNode):
    """Publishes ``image`` (``sensor_msgs/Image``, ``rgb8``, depth 1) at a rate.

    Args:
        options: Command line.
        log: Gets number, stamp and end of the publishing of each frame.
    """

    def __init__(self, options: argparse.Namespace, log: EventLog) -> None:
        super().__init__('bench_camera')
        self._log = log
        self._number = 0
        self._message = rgb_to_image(picture(options.width, options.height), Header())
        self._message.header.frame_id = 'bench_camera'
        qos = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy[options.reliability.upper()],
            durability=DurabilityPolicy.VOLATILE,
        )
        self._publisher = self.create_publisher(Image, 'image', qos)
        self._timer = self.create_timer(1.0 / options.rate, self._publish)

    def _publish(self) -> None:
        """Publish the next frame, stamped with the present time."""
        self._number += 1
        write_number(self._message.data, self._number)
        stamp = self._message.header.stamp
        stamp.sec, stamp.nanosec = divmod(time.time_ns(), 1_000_000_000)
        self._publisher.publish(self._message)
        self._log.add(
            'sent', number=self._number, stamp=nanoseconds(stamp), published=time.time_ns()
        )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.camera', description=__doc__)
    parser.add_argument('--log', type=Path, required=True, help='file for the frames sent')
    parser.add_argument('--width', type=int, default=640, help='width [px]')
    parser.add_argument('--height', type=int, default=480, help='height [px]')
    parser.add_argument('--rate', type=float, default=30.0, help='frames a second [Hz]')
    parser.add_argument(
        '--reliability',
        choices=('reliable', 'best_effort'),
        default='reliable',
        help='reliability that is offered',
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the camera; return its exit code."""
    options, rest = build_parser().parse_known_args(arguments)
    with EventLog(options.log) as log:
        return run_node(lambda: NumberedCamera(options, log), rest)


if __name__ == '__main__':
    sys.exit(main())
