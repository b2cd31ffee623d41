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
"""Draws the points of the segmentation node from the camera's place and from the side."""

from collections.abc import Sequence
import json
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from zegclip_core.images.point_views import draw_points
from zegclip_ros.conversions import cloud_points
from zegclip_ros.parameters import Declaration, declare
from zegclip_ros.runtime.runner import run_process, RunnableNode

DECLARATIONS = (
    Declaration('output', 'demo_output', 'Folder for points.png and regions.json.'),
    Declaration('interval', 3.0, 'Time between two pictures [s].', bounds=(0.1, 3600.0)),
)
VIEWS = ((0.0, 0.0), (50.0, 15.0))
"""How far each view is turned and tilted [degrees]."""
MOST_TOLD = 5
"""Regions that the log tells, the largest ones."""


class PointsPicture(RunnableNode):
    """Writes ``points.png`` and ``regions.json`` again and again, each time whole."""

    def __init__(self) -> None:
        super().__init__('points_picture')
        values = declare(self, DECLARATIONS)
        self._out = Path(values['output'])
        self._cloud: PointCloud2 | None = None
        self._regions = ''
        qos = QoSProfile(depth=1)
        self.create_subscription(PointCloud2, 'zegclip/points', self._on_cloud, qos)
        self.create_subscription(String, 'zegclip/regions', self._on_regions, qos)
        self.create_timer(values['interval'], self._write)

    def _on_cloud(self, message: PointCloud2) -> None:
        self._cloud = message

    def _on_regions(self, message: String) -> None:
        self._regions = message.data

    def _write(self) -> None:
        """Write what has come since the last time."""
        cloud, self._cloud = self._cloud, None
        if cloud is None:
            return
        points, colors = cloud_points(cloud)
        views = [draw_points(points, colors, turn=turn, tilt=tilt) for turn, tilt in VIEWS]
        _, png = cv2.imencode('.png', cv2.cvtColor(np.hstack(views), cv2.COLOR_RGB2BGR))
        self._replace('points.png', png.tobytes())
        self._replace('regions.json', self._regions.encode())
        for line in in_words(self._regions):
            self.get_logger().info(line)

    def _replace(self, name: str, content: bytes) -> None:
        """Write a file so that it is never seen half written."""
        self._out.mkdir(parents=True, exist_ok=True)
        beside = self._out / f'.{name}'
        beside.write_bytes(content)
        beside.replace(self._out / name)


def in_words(regions: str) -> list[str]:
    """Return a line for each large region of ``~/regions`` that has a place in space."""
    found = json.loads(regions or '{"regions": []}')['regions']
    found.sort(key=lambda one: -one['area'])
    return [
        f'{one["name"]}: {one["box_3d"]["center"][2]:.2f} m away, '
        f'{one["box_3d"]["size"][0]:.2f} m wide, {one["box_3d"]["size"][1]:.2f} m high'
        for one in found[:MOST_TOLD]
        if one.get('box_3d')
    ]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node and end the process with its exit code."""
    run_process(PointsPicture, args)


if __name__ == '__main__':
    main()
