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
"""Images as messages of rclpy or rosbags carry them: encodings, padded rows, compressed files."""

from dataclasses import dataclass
import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from zegclip_core.errors import EncodingError, ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.values import is_shallow, say_shallow, shallow_bytes
from zegclip_core.messages.storage import message_bytes

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'

MAX_PIXELS = 2**26
"""Largest image that is accepted; more is taken for a damaged message."""


@dataclass(frozen=True)
class _Encoding:
    """How the bytes of an image are to be read."""

    channels: int
    code: int | None  # OpenCV's conversion to RGB, if there is one to do
    bits: int = 8
    planar: bool = False  # half as many rows of colour follow the rows of brightness


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
    # Generic types of OpenCV: drivers mean what it has by default.
    '8UC1': _Encoding(*_COLORS['mono']),
    '8UC3': _Encoding(*_COLORS['bgr']),
    '8UC4': _Encoding(*_COLORS['bgra']),
}
ENCODINGS = tuple(_ENCODINGS)
"""Names of the encodings that can be read."""


DEPTH = ('16UC1', '32FC1')
"""Generic types in which distances are sent, not brightness."""
_FILES = ('JPEG', 'PNG')
"""Formats of compressed images."""
_END = b'\xff\xd9'
_PNG_END = b'IEND\xaeB`\x82'
_FILLING = b'\x55' * 256
"""Bits that stand for something in the data of a JPEG."""
_MOSAIC = 'bayer_'
_DEEP = 'images with a 16-bit encoding'


def is_compressed(message: Any) -> bool:  # noqa: ANN401 - of ROS or of rosbags
    """Return whether a message is a ``CompressedImage``, which alone has a format."""
    return hasattr(message, 'format')


def check_image(message: Any) -> None:  # noqa: ANN401
    """Look at a message without touching its pixels.

    Raises:
        ImageError: If its encoding is none of ``ENCODINGS``, its size is zero or absurd, its rows
            are too short for its width, or its data end too early; or if a compressed one is no
            JPEG or PNG file.
    """
    if is_compressed(message):
        _check_compressed(message)
    else:
        _values(message, _encoding(message))


def rgb_view(message: Any) -> RgbImage:  # noqa: ANN401
    """Return the pixels of an ``Image``, without a copy where that can be.

    ``rgb8``, ``bgr8``, ``rgba8``, ``bgra8``, ``mono8`` and ``mono16`` (its upper bytes) become
    views of the message's data with the padding of the rows cut off; alpha is dropped.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255; not to be written to, and not contiguous in general.

    Raises:
        ImageError: As ``check_image``, or if it cannot be converted.
    """
    encoding = _encoding(message)
    values = _values(message, encoding)
    if message.encoding in {'mono8', 'mono16', '8UC1'}:
        return np.broadcast_to(_eight_bits(values), (*values.shape[:2], 3))
    if encoding.bits == 8 and encoding.code == cv2.COLOR_RGBA2RGB:
        return values[:, :, :3]
    if encoding.bits == 8 and encoding.code in {cv2.COLOR_BGR2RGB, cv2.COLOR_BGRA2RGB}:
        return values[:, :, 2::-1]
    return packed_rgb(message)


def packed_rgb(message: Any) -> RgbImage:  # noqa: ANN401
    """Return the pixels of a message in one block of memory, as a model takes them.

    An ``rgb8`` image without padding is not copied; OpenCV converts the others, which takes it
    far less time than NumPy needs to copy a view.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255, contiguous; not to be written to.

    Raises:
        ImageError: As ``check_image``, or if it cannot be converted.
    """
    try:
        if is_compressed(message):
            return _decoded(message)
        encoding = _encoding(message)
        pixels = _values(message, encoding)
        if encoding.bits == 16:
            pixels = np.ascontiguousarray(_eight_bits(pixels))
        if encoding.code is None:
            # Writable, as torch wants it; the messages of bags are not.
            return np.require(pixels, requirements=['C', 'W'])
        if encoding.planar:
            pixels = np.ascontiguousarray(pixels)
        return np.asarray(cv2.cvtColor(pixels, encoding.code), dtype=np.uint8)
    except cv2.error as error:
        reason = str(error.err or error).rstrip('.')
        raise ImageError(f'OpenCV cannot convert it to RGB: {reason}.') from error


def _check_compressed(message: Any) -> None:  # noqa: ANN401
    """Refuse what is no JPEG or PNG, or would decode to an absurd size; no pixel is decoded."""
    data = bytes(message_bytes(message.data))
    try:
        with PIL.Image.open(io.BytesIO(data), formats=_FILES) as header:
            width, height = header.size
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(
            f'Expected an image of 1 to {MAX_PIXELS} pixels, but got a compressed image of many '
            'more.'
        ) from error
    except Exception as error:  # Its readers throw whatever a damaged file leads them to.
        raise EncodingError(
            f'Expected a compressed image to be a JPEG or PNG file, but got {len(data)} bytes '
            f'of the format {message.format[:40]!r} that are none.'
        ) from error
    check_size(width, height)


def check_size(width: int, height: int) -> None:
    """Raise an ``ImageError`` if a side is 0 or the area above ``MAX_PIXELS``."""
    if width == 0 or height == 0 or width * height > MAX_PIXELS:
        raise ImageError(
            f'Expected an image of 1 to {MAX_PIXELS} pixels, but got {width}x{height}.'
        )


def _decoded(message: Any) -> RgbImage:  # noqa: ANN401
    """Decode a compressed image, as it lies in the file; its first bytes name the codec."""
    _check_compressed(message)
    data = np.frombuffer(message_bytes(message.data), dtype=np.uint8)
    # Zeros behind a torn JPEG would be taken for the rest of its pixels.
    padded = data[-1] == 0 and not data.tobytes().rstrip(b'\0').endswith((_END, _PNG_END))
    bgr = None if padded else _file_pixels(data)
    if bgr is None:
        bgr = _without_end(data)
    if bgr is None:
        raise ImageError(
            f'Cannot decode the compressed image of {data.size} bytes: it is damaged, or its end '
            'is missing.'
        )
    code = _BAYER.get(_pattern(message.format))
    if code is not None and _is_grey(bgr):
        # image_transport compresses the mosaic of a sensor as it is, as a grey image.
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(bgr[..., 0]), code), dtype=np.uint8)
    # Some drivers swap the channels before they encode and say so; the rest encode as usual.
    if 'compressed rgb' in message.format:
        return bgr
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _pattern(kind: str) -> str:
    """Return the Bayer pattern of a format such as ``bayer_rggb8; jpeg compressed``, if any."""
    encoding = kind.partition(';')[0].strip()
    return encoding.removeprefix(_MOSAIC).rstrip('0123456789') if _MOSAIC in encoding else ''


def _is_grey(bgr: npt.NDArray[np.uint8]) -> bool:
    """Return whether all channels of an image are equal, as of a file with one."""
    return np.array_equal(bgr[..., 0], bgr[..., 1]) and np.array_equal(bgr[..., 0], bgr[..., 2])


def _file_pixels(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of a JPEG or PNG, BGR ``(H, W, 3)``; ``None`` if it does not decode."""
    kind = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(data, kind)
    if found is None:
        return None
    return np.ascontiguousarray(_eight_bits(np.asarray(found)))


def _without_end(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of a JPEG that lacks its end marker alone; ``None`` for any other.

    Whether all else is there shows in what further data change: nothing.
    """
    raw = data.tobytes().rstrip(b'\0').removesuffix(_END[:1])
    if not raw.startswith(b'\xff\xd8'):
        return None
    plain, filled = (
        _file_pixels(np.frombuffer(raw + more + _END, np.uint8)) for more in (b'', _FILLING)
    )
    whole = plain is not None and filled is not None and np.array_equal(plain, filled)
    return plain if whole else None


def _encoding(message: Any) -> _Encoding:  # noqa: ANN401
    """Return how the bytes of an ``Image`` are to be read."""
    check_size(int(message.width), int(message.height))
    encoding = _ENCODINGS.get(message.encoding)
    if message.encoding in DEPTH:
        raise EncodingError(
            f'Expected an image of a camera, but got {message.encoding}, which looks like depth: '
            'take the topic of its colours, or have a grey camera send mono16.'
        )
    if encoding is None:
        raise EncodingError(
            f'Expected an image encoded as {", ".join(ENCODINGS)}, but got {message.encoding!r}.'
        )
    return encoding


def _eight_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return 16-bit values ``(H, W, C)`` as 8-bit ones, and 8-bit values as they are.

    They are their upper bytes as a view; where none exceeds 12 bits, the upper ones of these.
    """
    if values.dtype == np.uint8:
        return values
    if is_shallow(values):
        say_shallow(_DEEP)
        return shallow_bytes(values)
    first = 0 if values.dtype.newbyteorder('>') == values.dtype else 1
    return values.view(np.uint8)[:, :, first::2]


def _values(message: Any, encoding: _Encoding) -> npt.NDArray[Any]:  # noqa: ANN401
    """Return the values as a view of the data without the padding of the rows, ``(H, W, C)``."""
    order = '>' if message.is_bigendian else '<'
    kind = np.dtype(np.uint8) if encoding.bits == 8 else np.dtype(f'{order}u2')
    pixels = pixel_bytes(message, encoding.channels * kind.itemsize, planar=encoding.planar)
    return pixels.view(kind)


def pixel_bytes(
    message: Any,  # noqa: ANN401
    size: int,
    *,
    planar: bool = False,
) -> npt.NDArray[np.uint8]:
    """Return the bytes of the pixels of an ``Image`` as a view of its data without padding.

    A pixel has ``size`` bytes, which is the last axis; half as many rows of colour follow those of
    brightness if it is ``planar``.

    Raises:
        ImageError: If the message's size, step and data do not fit together, or the data lie where
            they cannot be read.
    """
    width, height, step = int(message.width), int(message.height), int(message.step)
    check_size(width, height)
    rows = height * 3 // 2 if planar else height
    if step < width * size:
        raise ImageError(
            f'Expected a step of at least {width * size} bytes for {width} pixels of '
            f'{message.encoding}, but got {step}.'
        )
    # The padding of the last row may be missing; nothing of it is read.
    needed = step * (rows - 1) + width * size
    data = message_bytes(message.data)
    if len(data) < needed:
        raise ImageError(
            f'Expected at least {needed} bytes of data for {rows} rows with a step of {step}, '
            f'but got {len(data)}.'
        )
    return np.ndarray(
        shape=(rows, width, size), dtype=np.uint8, buffer=data, strides=(step, size, 1)
    )
