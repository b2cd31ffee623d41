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
"""Pictures of clouds of points from any side."""

import math

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.images.checks import RgbImage

PAPER = 24
"""Grey of what no point covers."""
_DOT = 2
"""Side of a point [px]."""


def draw_points(
    points: npt.NDArray[np.float32],
    colors: RgbImage,
    *,
    turn: float = 0.0,
    tilt: float = 0.0,
    size: tuple[int, int] = (640, 480),
) -> RgbImage:
    """Draw points as they are seen from far away, near ones over those behind them.

    Args:
        points: x to the right, y down, z forward, float32 ``(N, 3)``, finite.
        colors: RGB of each, uint8 ``(N, 3)``.
        turn: How far the viewer walks around them to the right [degrees].
        tilt: How far the viewer climbs above them [degrees].
        size: Width and height of the picture [px].

    Returns:
        RGB uint8 ``(H, W, 3)``; without points it is empty paper.
    """
    width, height = size
    drawn = np.full((height, width, 3), PAPER, np.uint8)
    if not len(points):
        return drawn
    low, high = np.percentile(points, (1, 99), axis=0)
    seen = (points - (low + high) / 2) @ _turned(turn, tilt).T
    reach = np.percentile(np.abs(seen[:, :2]), 99.5, axis=0)
    scale = 0.46 * min(width / max(reach[0], 1e-6), height / max(reach[1], 1e-6))
    places = np.rint(seen[:, :2] * scale + (width / 2, height / 2)).astype(np.int64)
    inside = ((places >= 0) & (places < (width - _DOT, height - _DOT))).all(axis=1)
    order = np.argsort(-seen[inside, 2], kind='stable')  # The last one written stays.
    columns, rows = places[inside][order].T
    for down in range(_DOT):
        for across in range(_DOT):
            drawn[rows + down, columns + across] = colors[inside][order]
    return np.asarray(cv2.medianBlur(drawn, 3), np.uint8)


def _turned(turn: float, tilt: float) -> npt.NDArray[np.float64]:
    """Return the rotation from the camera's frame into that of the viewer."""
    a, b = math.radians(turn), math.radians(tilt)
    around = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    above = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    return np.asarray(above @ around)
