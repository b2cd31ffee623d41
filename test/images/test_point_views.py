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
"""Pictures of points show what is in front, from every side."""

import numpy as np
from zegclip_core.images.point_views import draw_points, PAPER


def grid(z: float, color: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.linspace(-1, 1, 200), np.linspace(-1, 1, 200))
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=-1).astype(np.float32)
    return points, np.tile(np.array(color, np.uint8), (len(points), 1))


def test_near_points_cover_far_ones() -> None:
    near, far = grid(1.0, (250, 0, 0)), grid(3.0, (0, 0, 250))
    for order in ((near, far), (far, near)):
        points, colors = (np.concatenate(part) for part in zip(*order, strict=True))
        drawn = draw_points(points, colors, size=(120, 100))
        assert drawn.shape == (100, 120, 3)
        assert drawn[50, 60].tolist() == [250, 0, 0]
        behind = draw_points(points, colors, turn=180.0, size=(120, 100))
        assert behind[50, 60].tolist() == [0, 0, 250]


def test_up_is_up_and_a_turn_goes_to_the_right() -> None:
    points = np.array([[0, -1, 2], [0, 1, 2], [0, 0, 1], [0, 0, 3]] * 50, np.float32)
    colors = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0]] * 50, np.uint8)
    points = np.repeat(points, 30, axis=0)
    points += np.random.default_rng(0).normal(0, 0.03, points.shape).astype(np.float32)
    drawn = draw_points(points, np.repeat(colors, 30, axis=0), turn=90.0)

    def place(color: list[int]) -> np.ndarray:
        return np.argwhere((np.abs(drawn.astype(int) - color) < 30).all(axis=-1)).mean(axis=0)

    assert place([250, 0, 0])[0] < 120
    assert place([0, 250, 0])[0] > 360
    # Whoever has walked to the right has what was far at the right hand.
    assert place([250, 250, 0])[1] > place([0, 0, 250])[1] + 100


def test_without_points_the_paper_is_empty() -> None:
    drawn = draw_points(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    assert (drawn == PAPER).all()
    one = draw_points(np.ones((1, 3), np.float32), np.ones((1, 3), np.uint8))
    assert one.shape == (480, 640, 3)
