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
"""Image messages of a bag as RGB arrays, without ROS."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ImageError

RgbImage = npt.NDArray[np.uint8]
"""An RGB image, uint8 ``(H, W, 3)``, 0 to 255."""

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'

MAX_PIXELS = 2**26
"""Largest image that is accepted; more is taken for a damaged message."""


@dataclass(frozen=True)
class _Encoding:
    """How the bytes of an image are to be read.

    Attributes:
        channels: Values of a pixel.
        code: OpenCV's conversion to RGB; ``None`` if there is none to do.
        bits: Bits of a value.
        planar: Whether half as many rows of colour follow the rows of brightness.
    """

    channels: int
    code: int | None
    bits: int = 8
    planar: bool = False


# OpenCV names a Bayer pattern after its second row: BG is what ROS calls RGGB.
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
_COLORS: dict[str, tuple[int, int | None]] = {
    'rgb': (3, None),
    'bgr': (3, cv2.COLOR_BGR2RGB),
    'rgba': (4, cv2.COLOR_RGBA2RGB),
    'bgra': (4, cv2.COLOR_BGRA2RGB),
    'mono': (1, cv2.COLOR_GRAY2RGB),
    **{f'bayer_{pattern}': (1, code) for pattern, code in _BAYER.items()},
}
_ENCODINGS = {
    **{f'{name}8': _Encoding(*color) for name, color in _COLORS.items()},
    **{f'{name}16': _Encoding(*color, bits=16) for name, color in _COLORS.items()},
    'yuv422': _Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': _Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': _Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': _Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    'nv12': _Encoding(1, cv2.COLOR_YUV2RGB_NV12, planar=True),
    'nv21': _Encoding(1, cv2.COLOR_YUV2RGB_NV21, planar=True),
}
ENCODINGS = tuple(_ENCODINGS)
"""Names of the encodings that can be read."""


def to_rgb(message: Any, kind: str) -> RgbImage:  # noqa: ANN401 - rosbags makes its classes
    """Return the pixels of an image message.

    Args:
        message: A message with the fields of its ROS type.
        kind: ``IMAGE`` or ``COMPRESSED``.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255, contiguous and writable.

    Raises:
        ImageError: If the message contradicts itself or cannot be decoded.
    """
    try:
        return _decoded(message) if kind == COMPRESSED else _converted(message)
    except cv2.error as error:
        reason = str(error.err or error).rstrip('.')
        raise ImageError(f'OpenCV cannot convert it to RGB: {reason}.') from error


def _decoded(message: Any) -> RgbImage:  # noqa: ANN401
    """Decode a compressed image; the codec is known by its first bytes."""
    data = np.asarray(message.data, dtype=np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise ImageError(
            f'Expected a compressed picture, as JPEG or PNG, but the {data.size} bytes of format '
            f'{message.format!r} do not decode.'
        )
    # Some drivers swap the channels before they encode and say so; the rest encode as usual.
    if 'compressed rgb' in message.format:
        return np.asarray(bgr, dtype=np.uint8)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _converted(message: Any) -> RgbImage:  # noqa: ANN401
    """Convert an image of one of the ``ENCODINGS``."""
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f'Expected an image encoded as {", ".join(ENCODINGS)}, but got {message.encoding!r}.'
        )
    pixels = _values(message, encoding)
    if encoding.bits == 16:
        native = pixels.astype(np.uint16)
        pixels = np.asarray(cv2.convertScaleAbs(native, alpha=255.0 / 65535.0), dtype=np.uint8)
        # OpenCV drops the channel of a grey image.
        pixels = pixels.reshape(native.shape)
    if encoding.code is None:
        # A copy, since what torch takes has to be writable.
        return np.array(pixels, dtype=np.uint8, order='C')
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), encoding.code), dtype=np.uint8)


def _values(message: Any, encoding: _Encoding) -> npt.NDArray[Any]:  # noqa: ANN401
    """Return the values as a view of the data without the padding of the rows, ``(H, W, C)``."""
    width, height, step = int(message.width), int(message.height), int(message.step)
    if width == 0 or height == 0 or width * height > MAX_PIXELS:
        raise ImageError(
            f'Expected an image of 1 to {MAX_PIXELS} pixels, but got {width}x{height}.'
        )
    order = '>' if message.is_bigendian else '<'
    kind = np.dtype(np.uint8) if encoding.bits == 8 else np.dtype(f'{order}u2')
    pixel = encoding.channels * kind.itemsize
    rows = height * 3 // 2 if encoding.planar else height
    if step < width * pixel:
        raise ImageError(
            f'Expected a step of at least {width * pixel} bytes for {width} pixels of '
            f'{message.encoding}, but got {step}.'
        )
    # The padding of the last row may be missing; nothing of it is read.
    needed = step * (rows - 1) + width * pixel
    if len(message.data) < needed:
        raise ImageError(
            f'Expected at least {needed} bytes of data for {rows} rows with a step of {step}, '
            f'but got {len(message.data)}.'
        )
    return np.ndarray(
        shape=(rows, width, encoding.channels),
        dtype=kind,
        buffer=message.data,
        strides=(step, pixel, kind.itemsize),
    )
