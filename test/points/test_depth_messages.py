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
"""Depth and camera messages: units, byte order, padding, and what is refused."""

from types import SimpleNamespace
from typing import Any

from depth_scenes import CAMERA, camera_info, scaled
import numpy as np
import numpy.typing as npt
import pytest
from zegclip_core.errors import ImageError
from zegclip_core.geometry import box_around, DepthView, FOCAL_LENGTHS, Intrinsics
from zegclip_core.messages.depth import (
    check_depth,
    check_fits,
    depth_metres,
    FARTHEST,
    intrinsics_of,
)


def message(values: npt.NDArray[Any], encoding: str, padding: int = 0) -> SimpleNamespace:
    height, width = values.shape
    rows = values.reshape(height, -1).view(np.uint8)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=values.dtype.byteorder == '>',
        step=data.shape[1],
        data=data.tobytes(),
    )


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
def test_millimetres(order: str, padding: int, encoding: str) -> None:
    values = np.array([[1500, 0, 65535], [1, 256, 4000]], f'{order}u2')
    found = depth_metres(message(values, encoding, padding))
    expected = np.array([[1.5, np.nan, 65.535], [0.001, 0.256, 4.0]])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('padding', [0, 5])
def test_metres(order: str, padding: int) -> None:
    values = np.array([[1.5, 0.0, np.inf], [-1.0, np.nan, 3e-3]], f'{order}f4')
    found = depth_metres(message(values, '32FC1', padding))
    unknown = np.nan
    expected = np.array([[1.5, unknown, unknown], [unknown, unknown, 3e-3]], np.float32)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype.isnative


def test_the_largest_float_is_no_depth_and_makes_no_infinite_box() -> None:
    values = np.full((48, 64), np.finfo('f4').max, '<f4')
    values[:4] = FARTHEST
    found = depth_metres(message(values, '32FC1'))
    assert np.isnan(found[4:]).all()
    wide = Intrinsics(64, 48, FOCAL_LENGTHS[0], FOCAL_LENGTHS[0], -1e7, 1e7)
    box = box_around(DepthView(found, wide), np.ones((48, 64), bool))
    assert box is not None
    assert np.isfinite([*box.center, *box.size]).all()


def test_the_message_stays_as_it_was() -> None:
    values = np.array([[0.0, 2.0]], '<f4')
    sent = message(values, '32FC1')
    sent.data = bytearray(sent.data)
    before = bytes(sent.data)
    depth_metres(sent)
    assert sent.data == before


@pytest.mark.parametrize(
    ('changed', 'said'),
    [
        ({'encoding': 'rgb8'}, "16UC1 or 32FC1, but got 'rgb8'"),
        ({'encoding': 'x' * 9999}, 'xxx'),
        ({'width': 0}, 'but got 0x2'),
        ({'height': 0}, 'but got 3x0'),
        ({'width': 2**20, 'height': 2**20}, 'but got 1048576x1048576'),
        ({'step': 5}, 'a step of at least 6 bytes'),
        ({'step': 2**31}, 'bytes of data'),
        ({'data': b''}, 'at least 12 bytes of data'),
    ],
)
def test_damaged_depth_is_refused_in_one_line(changed: dict[str, Any], said: str) -> None:
    sent = message(np.ones((2, 3), '<u2'), '16UC1')
    check_depth(sent)
    vars(sent).update(changed)
    for read in (check_depth, depth_metres):
        with pytest.raises(ImageError) as caught:
            read(sent)
        assert said in str(caught.value)
        assert '\n' not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_the_camera_is_that_of_k_or_where_it_is_there_of_p() -> None:
    assert intrinsics_of(camera_info(CAMERA)) == CAMERA
    p = [50.0, 0, 30, 0, 0, 51.0, 20, 0, 0, 0, 1, 0]
    assert intrinsics_of(camera_info(CAMERA, p=p)) == Intrinsics(64, 48, 50.0, 51.0, 30.0, 20.0)


def test_binning_and_region_of_interest_count() -> None:
    large = scaled(CAMERA, 2)
    assert intrinsics_of(camera_info(large, binning_x=2, binning_y=2)) == CAMERA
    part = SimpleNamespace(x_offset=10, y_offset=4, width=20, height=30)
    expected = Intrinsics(20, 30, CAMERA.fx, CAMERA.fy, CAMERA.cx - 10, CAMERA.cy - 4)
    assert intrinsics_of(camera_info(CAMERA, roi=part)) == expected


@pytest.mark.parametrize(
    'changed',
    [
        {'k': [0.0] * 9},
        {'k': [0.0] * 9, 'p': [1.0] * 12},
        {'k': [np.nan] * 9},
        {'p': [np.inf] * 12},
        {'width': 0},
        {'binning_x': 2**32 - 1},
        {'roi': SimpleNamespace(x_offset=2**32 - 1, y_offset=0, width=1, height=1)},
    ],
)
def test_a_camera_that_was_not_calibrated_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ImageError) as caught:
        intrinsics_of(camera_info(CAMERA, **changed))
    assert '\n' not in str(caught.value)


def test_a_camera_of_another_size_is_refused() -> None:
    check_fits(CAMERA, 64, 48, 'depth')
    with pytest.raises(ImageError, match=r'info of depth to be of its size, 320x240.*got 64x48'):
        check_fits(CAMERA, 320, 240, 'depth')
