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
"""From depth to points: pinhole cameras, depth of another size, boxes around what is seen.

Points lie in the camera's optical frame, in metres: x to the right, y down, z into the scene.
"""

from dataclasses import dataclass
import math

import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ImageError

Depth = npt.NDArray[np.float32]
"""Distance along the optical axis, float32 ``(H, W)`` [m]; NaN where it is not known."""
TRIMMED = 2.0
"""Per cent of a region's points left out at each end: pixels at an outline mix near and far."""
FOCAL_LENGTHS = (0.01, 1e7)
"""Shortest and longest focal length that is accepted [px]; beyond, floats overflow."""
FEWEST_POINTS = 8
"""Points that it takes for a box: of fewer, the ends mean nothing."""


ENOUGH_POINTS = 20_000
"""Points of a region that a box is made of, spread over it; more only take longer."""


@dataclass(frozen=True)
class Intrinsics:
    """A camera without distortion; the centre of the first pixel is at (0, 0).

    Attributes:
        width: Width of its images [px].
        height: Height of its images [px].
        fx: Focal length along the rows [px].
        fy: Focal length along the columns [px].
        cx: Column of the optical axis [px].
        cy: Row of the optical axis [px].

    Raises:
        ImageError: If a side is not positive, a focal length out of ``FOCAL_LENGTHS``, or the
            optical axis absurdly far away.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """Refuse what is no camera, such as the zeros of one that was never calibrated."""
        values = (self.fx, self.fy, self.cx, self.cy)
        shortest, longest = FOCAL_LENGTHS
        calibrated = shortest <= min(self.fx, self.fy) and max(map(abs, values)) <= longest
        if not (calibrated and all(map(math.isfinite, values))):
            given = ', '.join(f'{value:g}' for value in values)
            raise ImageError(
                'Expected a calibrated camera with positive focal lengths, '
                f'but got fx, fy, cx, cy of {given}.'
            )
        if min(self.width, self.height) < 1:
            raise ImageError(
                f'Expected a camera of at least 1x1 pixel, but got {self.width}x{self.height}.'
            )


@dataclass(frozen=True)
class DepthView:
    """The depth of each pixel of an image.

    Attributes:
        depth: Depth of the image ``(H, W)``.
        camera: The image's camera.
    """

    depth: Depth
    camera: Intrinsics


def resampled(depth: Depth, camera: Intrinsics, target: Intrinsics) -> Depth:
    """Return depth on the pixels of another camera at the same place, each the nearest value.

    Each pixel of ``target`` is looked up where its ray meets the image of ``camera``: depth that
    covers less of the scene, or has another aspect, is not stretched over the image. Values are
    never mixed: halfway between near and far there is nothing.

    Args:
        depth: Depth ``(H, W)`` of ``camera``.
        camera: The camera of the depth.
        target: The camera of the result.

    Returns:
        Depth ``(target.height, target.width)``; NaN where ``camera`` does not look.
    """
    if camera == target:
        return depth
    columns = np.arange(target.width) - target.cx
    rows = np.arange(target.height) - target.cy
    columns = np.rint(columns * (camera.fx / target.fx) + camera.cx).astype(np.int64)
    rows = np.rint(rows * (camera.fy / target.fy) + camera.cy).astype(np.int64)
    seen_rows = np.flatnonzero((rows >= 0) & (rows < camera.height))
    seen_columns = np.flatnonzero((columns >= 0) & (columns < camera.width))
    found = np.full((target.height, target.width), np.nan, np.float32)
    if len(seen_rows) and len(seen_columns):
        place = (
            slice(seen_rows[0], seen_rows[-1] + 1),
            slice(seen_columns[0], seen_columns[-1] + 1),
        )
        found[place] = depth[np.ix_(rows[seen_rows], columns[seen_columns])]
    return found


def rays(camera: Intrinsics) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return x of each column ``(W,)`` and y of each row ``(H,)`` at a depth of 1, float32."""
    x = (np.arange(camera.width) - camera.cx) / camera.fx
    y = (np.arange(camera.height) - camera.cy) / camera.fy
    return x.astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True)
class Box:
    """An upright box in the camera's optical frame.

    Attributes:
        center: Its middle ``(x, y, z)`` [m].
        size: Its sides along the three axes [m].
    """

    center: tuple[float, float, float]
    size: tuple[float, float, float]


def box_around(
    view: DepthView,
    mask: npt.NDArray[np.bool_],
    corner: tuple[int, int] = (0, 0),
) -> Box | None:
    """Return the box around what is seen of a region; what is hidden behind is not in it.

    ``TRIMMED`` per cent of the values along each axis are left out at each end.

    Args:
        view: What the whole image shows.
        mask: Where the region is, bool ``(h, w)``: of the image, or of a part of it.
        corner: Row and column of that part's first pixel in the image.

    Returns:
        ``None`` if fewer than ``FEWEST_POINTS`` of its pixels have a depth.
    """
    top, left = corner
    rows, columns = np.nonzero(mask)
    if len(rows) > ENOUGH_POINTS:  # At random: a regular choice would leave out whole columns.
        chosen = np.random.default_rng(0).integers(0, len(rows), ENOUGH_POINTS)
        rows, columns = rows[chosen], columns[chosen]
    rows, columns = rows + top, columns + left
    z = view.depth[rows, columns]
    known = np.isfinite(z)
    if np.count_nonzero(known) < FEWEST_POINTS:
        return None
    z = z[known]
    across, down = rays(view.camera)
    points = np.stack([across[columns[known]] * z, down[rows[known]] * z, z])
    low, high = np.percentile(points, (TRIMMED, 100.0 - TRIMMED), axis=1)
    center, size = (low + high) / 2, high - low
    return Box(_rounded(center), _rounded(size))


def _rounded(values: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    """Return three values in whole millimetres, which is more than depth cameras know."""
    x, y, z = (round(float(value), 3) for value in values)
    return x, y, z
