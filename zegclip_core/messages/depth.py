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
"""Depth images and the cameras that they are of, as ROS messages have them."""

from typing import Any

import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ImageError
from zegclip_core.geometry import Depth, Intrinsics
from zegclip_core.messages.image_encodings import pixel_bytes

DEPTH_ENCODINGS = ('16UC1', '32FC1')
"""Millimetres and metres; ``mono16`` is taken for the first."""
FARTHEST = 10_000.0
"""Greatest depth that is taken for one [m]: some drivers say "nothing there" by the largest float,
with which boxes in space would become infinite."""
_TYPES = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}


def check_depth(message: Any) -> None:  # noqa: ANN401 - of ROS or of rosbags
    """Look at a depth image without touching its pixels.

    Raises:
        ImageError: If its encoding is none of ``DEPTH_ENCODINGS``, or its size, step and data do
            not fit together.
    """
    _values(message)


def depth_metres(message: Any) -> Depth:  # noqa: ANN401
    """Return the depth of a ``16UC1`` image in millimetres or a ``32FC1`` image in metres.

    0, negative values, NaN, infinity and more than ``FARTHEST`` mean that the depth is not known.

    Raises:
        ImageError: As ``check_depth``.
    """
    values = _values(message)
    metres = values.astype(np.float32)
    if values.dtype.kind == 'u':
        metres *= np.float32(1e-3)
        unknown = values == 0
    else:
        unknown = ~((metres > 0.0) & (metres <= FARTHEST))
    np.putmask(metres, unknown, np.float32(np.nan))
    return metres


def intrinsics_of(info: Any) -> Intrinsics:  # noqa: ANN401
    """Return the camera of a ``sensor_msgs/msg/CameraInfo``.

    Depth that is registered to a rectified image has the camera of ``p``, as ``depth_image_proc``
    has it; ``k`` is taken where ``p`` is all zeros. Binning and region of interest are counted in.
    Distortion is not: images are taken to be rectified.

    Raises:
        ImageError: If the camera is not calibrated, or a value is not finite or absurd.
    """
    p, k = [float(value) for value in info.p], [float(value) for value in info.k]
    matrix = (k[0], k[4], k[2], k[5])
    if any(p) and any(k):
        matrix = (p[0], p[5], p[2], p[6])
    fx, fy, cx, cy = matrix
    roi = info.roi
    across, down = max(int(info.binning_x), 1), max(int(info.binning_y), 1)
    width, height = int(roi.width) or int(info.width), int(roi.height) or int(info.height)
    # Pixel (0, 0) of a binned image is the mean of the first ones: its centre lies between them.
    return Intrinsics(
        width // across,
        height // down,
        fx / across,
        fy / down,
        (cx - int(roi.x_offset) + 0.5) / across - 0.5,
        (cy - int(roi.y_offset) + 0.5) / down - 0.5,
    )


def check_fits(camera: Intrinsics, width: int, height: int, what: str) -> None:
    """Raise an ``ImageError`` if images of a camera have another size than it says."""
    if (camera.width, camera.height) != (width, height):
        raise ImageError(
            f'Expected the camera info of {what} to be of its size, {width}x{height}, '
            f'but got {camera.width}x{camera.height}.'
        )


def _values(message: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    """Return the values as they stand in a message, a view ``(H, W)``."""
    kind = _TYPES.get(message.encoding)
    if kind is None:
        raise ImageError(
            f'Expected depth encoded as {" or ".join(DEPTH_ENCODINGS)}, but got '
            f'{message.encoding[:40]!r}.'
        )
    order = np.dtype(f'{">" if message.is_bigendian else "<"}{kind}')
    pixels = pixel_bytes(message, order.itemsize)
    return pixels.view(order)[:, :, 0]
