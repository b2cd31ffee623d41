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
"""Depth of things whose shape is known, by the equations of their surfaces."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from zegclip_core.geometry import Intrinsics

Array = npt.NDArray[np.float64]
CAMERA = Intrinsics(64, 48, 60.0, 62.0, 31.2, 23.9)
"""A small one whose axis is not in the middle and whose pixels are not square."""


def scaled(camera: Intrinsics, by: int) -> Intrinsics:
    """Return a camera with that many times the pixels along each axis, which sees the same."""
    return Intrinsics(
        camera.width * by,
        camera.height * by,
        camera.fx * by,
        camera.fy * by,
        (camera.cx + 0.5) * by - 0.5,
        (camera.cy + 0.5) * by - 0.5,
    )


def directions(camera: Intrinsics) -> Array:
    """Return where the ray of each pixel is at a depth of 1, ``(H, W, 3)``."""
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack(
        [
            (columns - camera.cx) / camera.fx,
            (rows - camera.cy) / camera.fy,
            np.ones(columns.shape),
        ],
        axis=-1,
    )


def plane(camera: Intrinsics, normal: tuple[float, float, float], distance: float) -> Array:
    """Return the depth of the plane ``normal . point = distance``; NaN behind the camera."""
    with np.errstate(divide='ignore'):
        depth = distance / (directions(camera) @ np.array(normal))
    return np.where((depth > 0) & np.isfinite(depth), depth, np.nan)


def box(
    camera: Intrinsics, low: tuple[float, float, float], high: tuple[float, float, float]
) -> Array:
    """Return the depth of an upright box in front of the camera; NaN where it is not."""
    rays = directions(camera)
    with np.errstate(divide='ignore'):
        one, other = (np.array(corner) / rays for corner in (low, high))
    enter = np.minimum(one, other).max(axis=-1)
    leave = np.maximum(one, other).min(axis=-1)
    return np.where(enter <= leave, enter, np.nan)


def cylinder(
    camera: Intrinsics, axis: tuple[float, float], radius: float, low: float, high: float
) -> Array:
    """Return the depth of the side of a standing cylinder with its axis at ``(x, z)``."""
    rays = directions(camera)
    x, z = axis
    a = rays[..., 0] ** 2 + 1
    b = rays[..., 0] * x + z
    root = b**2 - a * (x**2 + z**2 - radius**2)
    depth = (b - np.sqrt(np.where(root >= 0, root, np.nan))) / a
    y = rays[..., 1] * depth
    return np.where((y >= low) & (y <= high), depth, np.nan)


def camera_info(camera: Intrinsics, **changed: Any) -> SimpleNamespace:  # noqa: ANN401
    """Return what a ``CameraInfo`` says about a camera, without ROS."""
    fields: dict[str, Any] = {
        'width': camera.width,
        'height': camera.height,
        'k': [camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1],
        'p': [0.0] * 12,
        'binning_x': 0,
        'binning_y': 0,
        'roi': SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }
    return SimpleNamespace(**{**fields, **changed})
