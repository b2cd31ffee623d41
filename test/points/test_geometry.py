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
"""Depth becomes points where the surfaces are that it was made of."""

import math

from depth_scenes import box, CAMERA, cylinder, directions, plane, scaled
import numpy as np
import pytest
from zegclip_core.errors import ImageError
from zegclip_core.geometry import box_around, DepthView, Intrinsics, rays, resampled


def test_rays_meet_a_tilted_plane() -> None:
    normal, distance = np.array([0.5, -2.0, 0.6]), 1.9
    depth = plane(CAMERA, tuple(normal), distance).astype(np.float32)
    x, y = rays(CAMERA)
    points = np.stack([x * depth, y[:, None] * depth, depth], axis=-1)
    seen = np.isfinite(depth)
    assert 0.3 < seen.mean() < 1.0
    np.testing.assert_allclose(points[seen] @ normal, distance, rtol=1e-4)


def test_the_box_around_a_box_is_its_front() -> None:
    camera = scaled(CAMERA, 10)
    low, high = (-0.5, -0.4, 2.0), (0.7, 0.6, 3.0)
    depth = box(camera, low, high).astype(np.float32)
    found = box_around(DepthView(depth, camera), np.isfinite(depth))
    assert found is not None
    # The sides along x and y lose what is trimmed; along z only the front is seen.
    trimmed = 1 - 2 * 0.02
    np.testing.assert_allclose(found.size, (1.2 * trimmed, 1.0 * trimmed, 0.0), atol=0.01)
    np.testing.assert_allclose(found.center, (0.1, 0.1, 2.0), atol=0.005)


def test_the_box_around_a_person_sized_cylinder() -> None:
    camera = scaled(CAMERA, 10)
    depth = cylinder(camera, axis=(0.4, 4.0), radius=0.25, low=-0.9, high=0.8)
    found = box_around(DepthView(depth.astype(np.float32), camera), np.isfinite(depth))
    assert found is not None
    x, y, z = found.center
    width, height, deep = found.size
    assert (x, y) == pytest.approx((0.4, -0.05), abs=0.02)
    # The near side of the cylinder: from its nearest point to nearly its axis.
    assert 3.72 < z - deep / 2 < 3.76
    assert 3.85 < z + deep / 2 < 4.0
    assert width == pytest.approx(0.5 * (1 - 2 * 0.02), abs=0.02)
    assert height == pytest.approx(1.7 * (1 - 2 * 0.02), abs=0.03)


def test_a_few_flying_pixels_do_not_move_a_box() -> None:
    depth = np.full((CAMERA.height, CAMERA.width), 2.0, np.float32)
    clean = box_around(DepthView(depth, CAMERA), np.ones(depth.shape, bool))
    depth.flat[:: depth.size // 20] = 9.0
    assert box_around(DepthView(depth, CAMERA), np.ones(depth.shape, bool)) == clean


def test_a_region_may_be_given_by_its_part_of_the_image() -> None:
    depth = plane(CAMERA, (0.2, -0.6, 0.7), 1.9).astype(np.float32)
    mask = np.zeros(depth.shape, bool)
    mask[30:40, 12:30] = True
    mask[33, 14:20] = False
    whole = box_around(DepthView(depth, CAMERA), mask)
    assert whole is not None
    assert box_around(DepthView(depth, CAMERA), mask[28:45, 10:50], (28, 10)) == whole


def test_a_region_without_depth_has_no_box() -> None:
    depth = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    depth[0, :7] = 1.0
    everywhere = np.ones(depth.shape, bool)
    assert box_around(DepthView(depth, CAMERA), everywhere) is None
    depth[0, 7] = 1.0
    assert box_around(DepthView(depth, CAMERA), everywhere) is not None
    assert box_around(DepthView(depth, CAMERA), ~everywhere) is None


def test_depth_of_another_size_is_looked_up_along_the_rays() -> None:
    normal, distance = (0.1, 0.4, 0.9), 2.5
    # Twice the pixels, and another aspect: it looks further to the sides, and less far down.
    large = Intrinsics(160, 80, 120.0, 124.0, 85.0, 30.0)
    found = resampled(plane(large, normal, distance).astype(np.float32), large, CAMERA)
    assert found.shape == (CAMERA.height, CAMERA.width)
    expected = plane(CAMERA, normal, distance)
    seen = np.isfinite(found)
    # What the large camera does not see, by its own equation.
    rows = directions(CAMERA)[:, 0, 1] * 124.0 + 30.0
    inside = (np.rint(rows) >= 0) & (np.rint(rows) < 80)
    assert 0 < inside.sum() < CAMERA.height
    np.testing.assert_array_equal(seen, inside[:, None] & np.isfinite(expected))
    # Half a pixel off at most.
    np.testing.assert_allclose(found[seen], expected[seen], rtol=0.01)
    stretched = np.repeat(found[:1], CAMERA.height, axis=0)
    assert not np.allclose(stretched[seen], expected[seen], rtol=0.01)


def test_resampling_mixes_no_values_and_keeps_what_fits() -> None:
    depth = np.where(np.arange(64) < 31, 1.0, 5.0) * np.ones((48, 1))
    depth[3, 5] = np.nan
    depth = depth.astype(np.float32)
    assert resampled(depth, CAMERA, CAMERA) is depth
    finer = resampled(depth, CAMERA, scaled(CAMERA, 3))
    np.testing.assert_array_equal(finer, np.kron(depth, np.ones((3, 3), np.float32)))
    np.testing.assert_array_equal(resampled(finer, scaled(CAMERA, 3), CAMERA), depth)


def test_cameras_that_look_elsewhere_share_nothing() -> None:
    aside = Intrinsics(64, 48, 60.0, 62.0, 1e6, 23.9)
    depth = np.ones((48, 64), np.float32)
    assert np.isnan(resampled(depth, aside, CAMERA)).all()
    tiny = Intrinsics(64, 48, 0.01, 0.01, 0.0, 0.0)
    assert resampled(depth, tiny, Intrinsics(64, 48, 1e7, 1e7, 1e7, 1e7)).shape == (48, 64)
    assert resampled(depth, Intrinsics(64, 48, 1e7, 1e7, 1e7, 1e7), tiny).shape == (48, 64)


@pytest.mark.parametrize(
    'values',
    [
        (0.0, 0.0, 0.0, 0.0),
        (-60.0, 62.0, 31.0, 23.0),
        (math.nan, 62.0, 31.0, 23.0),
        (60.0, math.inf, 31.0, 23.0),
        (60.0, 62.0, math.nan, 23.0),
        (60.0, 62.0, 31.0, -math.inf),
        (1e-300, 62.0, 31.0, 23.0),
        (60.0, 62.0, 1e300, 23.0),
    ],
)
def test_what_is_no_camera_is_refused(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(ImageError, match='positive focal lengths') as caught:
        Intrinsics(64, 48, *values)
    assert '\n' not in str(caught.value)


def test_a_camera_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match='at least 1x1 pixel, but got 64x0'):
        Intrinsics(64, 0, 60.0, 62.0, 31.0, 23.0)
