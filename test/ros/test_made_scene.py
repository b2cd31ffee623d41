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
"""The made room is seen alike by colour and depth, and its nodes publish and draw it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rclpy.node import Node
from ros_helpers import Inbox, qos, running_ros, spin_until
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String
from zegclip_core.geometry import DepthView, rays
from zegclip_core.messages.depth import depth_metres, intrinsics_of
from zegclip_core.messages.point_cloud import cloud_fields
from zegclip_ros.conversions import cloud_message, cloud_points
from zegclip_ros.made_scene import BOARDS, FLOOR, MadeScene, WALL
from zegclip_ros.nodes.camera import CameraNode, made_scene
from zegclip_ros.nodes.points_picture import in_words, PointsPicture

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


def test_floor_wall_and_boards_are_where_they_should_be() -> None:
    plain = np.full((60, 80, 3), (250, 10, 10), np.uint8)
    scene = MadeScene({board.photo: plain for board in BOARDS}, (240, 320))
    image, depth = scene.view(0.0)
    x, y = rays(scene.camera)
    red = (image.astype(int) - [250, 10, 10]).__abs__().max(axis=-1) < 3
    on_board = np.isin(depth, np.float32([board.distance for board in BOARDS]))
    assert (red == on_board)[np.isfinite(depth)].all()
    rest = np.isfinite(depth) & ~on_board
    height = (depth * y[:, None])[rest]
    is_floor = np.isclose(height, FLOOR, atol=1e-3)
    assert is_floor.any()
    np.testing.assert_allclose(depth[rest][~is_floor], WALL)
    for board in BOARDS:
        across = (depth * x)[depth == np.float32(board.distance)]
        assert across.min() >= board.left - 0.03
        assert across.max() <= board.left + board.width + 0.03
    assert 0 < np.isnan(depth).mean() < 0.1


def test_near_boards_move_more_than_far_ones() -> None:
    scene = made_scene((120, 160))
    one, two = scene.view(0.0)[1], scene.view(2.0)[1]

    def shift(distance: float) -> float:
        columns = [np.argwhere(depth == np.float32(distance))[:, 1].min() for depth in (one, two)]
        return float(columns[0] - columns[1])

    assert shift(1.7) > shift(2.3) > 0


def test_the_camera_publishes_image_depth_and_camera_of_one_moment() -> None:
    with running_ros('-p', 'depth:=true', '-p', 'width:=64', '-p', 'height:=48'):
        camera, probe = CameraNode(), Node('probe')
        images = Inbox(probe, Image, 'camera/image', qos())
        depths = Inbox(probe, Image, 'camera/depth', qos())
        infos = Inbox(probe, CameraInfo, 'camera/depth/camera_info', qos())
        spin_until(lambda: images.messages and depths.messages and infos.messages, camera, probe)
        stamps = {(one.header.stamp.sec, one.header.stamp.nanosec) for one in images.messages}
        there = [
            one
            for one in depths.messages
            if (one.header.stamp.sec, one.header.stamp.nanosec) in stamps
        ]
        spin_until(lambda: there or images.messages, camera, probe)
        info = intrinsics_of(infos.last)
        assert (info.width, info.height) == (64, 48)
        depth = depth_metres(depths.last)
        assert np.nanmax(depth) == pytest.approx(WALL, abs=1e-3)
        camera.destroy_node()
        probe.destroy_node()


def test_points_are_drawn_and_told(tmp_path: Path) -> None:
    scene = made_scene((120, 160))
    image, depth = scene.view(0.0)
    labels = np.zeros(depth.shape, np.uint8)
    view = DepthView(depth, scene.camera)
    fields = cloud_fields(view, image, labels, np.ones(depth.shape, np.float32), organised=True)
    cloud = cloud_message(fields, Header())
    points, colors = cloud_points(cloud)
    known = np.isfinite(depth)
    np.testing.assert_array_equal(points[:, 2], depth[known])
    np.testing.assert_array_equal(colors, image[known])
    box = {'center': [0.0, 0.0, 2.5], 'size': [1.0, 2.0, 0.1]}
    regions = [
        {'name': 'cat', 'area': 9, 'box_3d': box},
        {'name': 'dog', 'area': 8, 'box_3d': None},
    ]
    text = json.dumps({'regions': regions})
    assert in_words(text) == ['cat: 2.50 m away, 1.00 m wide, 2.00 m high']
    assert in_words('') == []
    with running_ros('-p', f'output:={tmp_path / "new"}', '-p', 'interval:=0.2'):
        node = PointsPicture()
        node._on_regions(String(data=text))
        node._on_cloud(cloud)
        spin_until(lambda: (tmp_path / 'new' / 'regions.json').exists(), node)
        node.destroy_node()
    drawn = cv2.imread(str(tmp_path / 'new' / 'points.png'))
    assert drawn.shape == (480, 1280, 3)
    assert json.loads((tmp_path / 'new' / 'regions.json').read_text())['regions'] == regions
