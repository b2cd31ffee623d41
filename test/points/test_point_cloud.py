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
"""Clouds hold what the pixels say, as a reader of PointCloud2 finds it."""

import struct

from depth_scenes import CAMERA, plane
import numpy as np
import pytest
from zegclip_core.geometry import DepthView
from zegclip_core.messages.point_cloud import cloud_fields, CloudFields

H, W = CAMERA.height, CAMERA.width
KINDS = {2: 'B', 4: 'H', 7: 'f'}
"""Letters of ``struct`` for the numbers in ``sensor_msgs/msg/PointField``."""


def read(cloud: CloudFields, index: int) -> dict[str, object]:
    """Return a point by what the message says about its bytes."""
    raw = memoryview(cloud.data.tobytes())[slice(index * cloud.point_step, None)]
    return {
        field['name']: struct.unpack_from(f'<{KINDS[field["datatype"]]}', raw, field['offset'])[0]
        for field in cloud.fields
    }


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
@pytest.mark.parametrize('organised', [False, True])
def test_every_point_is_its_pixel(kind: type, organised: bool) -> None:
    rng = np.random.default_rng(3)
    depth = plane(CAMERA, (0.0, 0.7, 0.7), 1.5).astype(np.float32)
    depth[rng.random((H, W)) < 0.2] = np.nan
    rgb = rng.integers(0, 256, (H, W, 3), np.uint8)
    labels = rng.integers(0, np.iinfo(kind).max + 1, (H, W)).astype(kind)
    scores = rng.random((H, W), np.float32)
    cloud = cloud_fields(DepthView(depth, CAMERA), rgb, labels, scores, organised=organised)
    known = np.argwhere(np.isfinite(depth))
    assert 0 < len(known) < depth.size
    assert [field['name'] for field in cloud.fields] == ['x', 'y', 'z', 'rgb', 'label', 'score']
    assert (cloud.height, cloud.width) == ((H, W) if organised else (1, len(known)))
    assert cloud.is_dense is not organised
    assert not cloud.is_bigendian
    assert cloud.row_step == cloud.width * cloud.point_step
    assert cloud.data.nbytes == cloud.row_step * cloud.height
    for place in range(0, len(known), 97):
        row, column = known[place]
        point = read(cloud, row * W + column if organised else place)
        z = depth[row, column]
        assert point['x'] == pytest.approx((column - CAMERA.cx) / CAMERA.fx * z, rel=1e-5)
        assert point['y'] == pytest.approx((row - CAMERA.cy) / CAMERA.fy * z, rel=1e-5)
        assert point['z'] == z
        red, green, blue = map(int, rgb[row, column])
        packed = struct.pack('<f', point['rgb'])
        assert packed == bytes([blue, green, red, 0])
        assert point['label'] == labels[row, column]
        assert point['score'] == scores[row, column]


def test_an_organised_cloud_has_nan_where_depth_is_unknown_and_labels_everywhere() -> None:
    depth = np.full((H, W), 2.0, np.float32)
    labels = np.full((H, W), 7, np.uint8)
    arguments = (np.zeros((H, W, 3), np.uint8), labels, np.ones((H, W), np.float32))
    assert cloud_fields(DepthView(depth, CAMERA), *arguments, organised=True).is_dense
    depth[1, 2] = np.nan
    cloud = cloud_fields(DepthView(depth, CAMERA), *arguments, organised=True)
    assert not cloud.is_dense
    point = read(cloud, W + 2)
    assert np.isnan([point['x'], point['y'], point['z']]).all()
    assert point['label'] == 7


def test_without_any_depth_the_cloud_is_empty() -> None:
    depth = np.full((H, W), np.nan, np.float32)
    arguments = (np.zeros((H, W, 3), np.uint8), np.zeros((H, W), np.uint8), depth)
    cloud = cloud_fields(DepthView(depth, CAMERA), *arguments)
    assert (cloud.height, cloud.width, cloud.row_step, cloud.data.size) == (1, 0, 0, 0)
