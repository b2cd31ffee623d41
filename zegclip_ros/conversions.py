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
"""Messages to arrays and back; the only file that knows what stands in ``sensor_msgs/Image``."""

from array import array
from collections.abc import Callable
import io
import sys
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError
from zegclip_core.segmentation import LabelArray

if TYPE_CHECKING:
    from cv_bridge import CvBridge

Result = TypeVar('Result')
RgbImage = npt.NDArray[np.uint8]
"""An RGB image, uint8 ``(H, W, 3)``, 0 to 255."""

MAX_PIXELS = 2**26
"""Largest image that is accepted; more is taken for a damaged message."""

_PIXEL_BYTES = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1, 'mono16': 2}
"""Encodings that need no conversion but a view; all others are left to cv_bridge."""
_TO_RGB = {
    'bgr8': cv2.COLOR_BGR2RGB,
    'rgba8': cv2.COLOR_RGBA2RGB,
    'bgra8': cv2.COLOR_BGRA2RGB,
    'mono8': cv2.COLOR_GRAY2RGB,
    'mono16': cv2.COLOR_GRAY2RGB,
}
_ENDS = {'JPEG': b'\xff\xd9', 'PNG': b'IEND'}
"""Formats of compressed images, and what stands at their end."""
_SLACK = 1024
"""Bytes that a camera may append to a compressed image."""


def check_image(message: Image) -> None:
    """Look at an image message without touching its pixels.

    Raises:
        ImageError: If its size is zero or absurd, its rows are too short for its width, its data
            end too early, or its encoding is not known.
    """
    _check_size(message)
    if message.encoding in _PIXEL_BYTES:
        row_bytes = message.width * _PIXEL_BYTES[message.encoding]
    else:
        row_bytes = message.width * _foreign_pixel(message.encoding)[1]
    if message.step < row_bytes:
        raise ImageError(
            f'Expected a step of at least {row_bytes} bytes for {message.width} pixels of '
            f'{message.encoding}, but got {message.step}.'
        )
    # The padding of the last row may be missing; nothing of it is read.
    needed = message.step * (message.height - 1) + row_bytes
    if len(message.data) < needed:
        raise ImageError(
            f'Expected at least {needed} bytes of data for {message.height} rows with a step of '
            f'{message.step}, but got {len(message.data)}.'
        )


def _check_size(message: Image) -> None:
    """Refuse sizes that no camera has."""
    if message.width == 0 or message.height == 0 or message.width * message.height > MAX_PIXELS:
        raise ImageError(
            f'Expected an image of 1 to {MAX_PIXELS} pixels, '
            f'but got {message.width}x{message.height}.'
        )


def image_to_rgb(message: Image) -> RgbImage:
    """Return the pixels of an image message.

    ``rgb8``, ``bgr8``, ``rgba8``, ``bgra8``, ``mono8`` and ``mono16`` (its upper bytes) become
    views of the message's data with the padding of ``step`` cut off; alpha is dropped. Every
    other encoding is converted by cv_bridge.

    Args:
        message: An image of any encoding.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255; not to be written to, and not contiguous in general.

    Raises:
        ImageError: If the message contradicts itself or its encoding cannot be converted.
    """
    check_image(message)
    if message.encoding not in _PIXEL_BYTES:
        return _foreign_to_rgb(message)
    pixels = _native(message)
    if pixels.shape[2] == 1:
        return np.broadcast_to(pixels, (message.height, message.width, 3))
    if message.encoding.startswith('bgr'):
        return pixels[:, :, 2::-1]
    return pixels[:, :, :3]


def _native(message: Image) -> npt.NDArray[np.uint8]:
    """Return the 8-bit channels of a message as a view of its data, in the message's order."""
    pixels = _rows(message, _PIXEL_BYTES[message.encoding])
    if message.encoding == 'mono16':
        return pixels[:, :, :1] if message.is_bigendian else pixels[:, :, 1:]
    return pixels


def packed_rgb(message: Image | CompressedImage) -> RgbImage:
    """Return the pixels of a message in one block of memory, as a model takes them.

    That is ``image_to_rgb`` at the least cost: an ``rgb8`` image without padding is not copied,
    and OpenCV reorders channels many times faster than NumPy.

    Args:
        message: An image of any encoding, or a JPEG or PNG file.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255, contiguous; not to be written to.

    Raises:
        ImageError: If the message contradicts itself or cannot be converted.
    """
    if isinstance(message, CompressedImage):
        return _decoded(message)
    code = _TO_RGB.get(message.encoding)
    if code is None:
        return np.ascontiguousarray(image_to_rgb(message))
    check_image(message)
    pixels = _native(message)
    if message.encoding == 'mono16':
        pixels = np.ascontiguousarray(pixels)
    return np.asarray(cv2.cvtColor(pixels, code), dtype=np.uint8)


def check_frame(message: Image | CompressedImage) -> None:
    """Look at a message without touching its pixels.

    Raises:
        ImageError: If it contradicts itself, or is no JPEG or PNG file.
    """
    if isinstance(message, CompressedImage):
        _check_compressed(message)
    else:
        check_image(message)


def _check_compressed(message: CompressedImage) -> None:
    """Refuse what is no whole JPEG or PNG, or would decode to an absurd size."""
    data = bytes(message.data)
    try:
        with PIL.Image.open(io.BytesIO(data), formats=tuple(_ENDS)) as header:
            kind, (width, height) = str(header.format), header.size
    except Exception as error:  # Its readers throw whatever a damaged file leads them to.
        raise ImageError(
            f'Expected a compressed image to be a JPEG or PNG file, but got {len(data)} bytes '
            f'with the format {message.format[:40]!r} that are none.'
        ) from error
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'Expected an image of 1 to {MAX_PIXELS} pixels, but got {width}x{height}.'
        )
    if _ENDS[kind] not in data[-_SLACK:]:
        raise ImageError(
            f'Expected a whole {kind} file, but got {len(data)} bytes without its end.'
        )


def _decoded(message: CompressedImage) -> RgbImage:
    """Return the pixels of a compressed image, as they lie in the file."""
    _check_compressed(message)
    data = np.frombuffer(message.data, dtype=np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageError(f'Cannot decode the compressed image: {error.err}.') from error
    if bgr is None:
        raise ImageError(f'Cannot decode the compressed image of {len(data)} bytes.')
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _rows(message: Image, pixel_bytes: int) -> npt.NDArray[np.uint8]:
    """Return the bytes of the pixels, uint8 ``(H, W, pixel_bytes)``, as a view of the data."""
    return np.ndarray(
        shape=(message.height, message.width, pixel_bytes),
        dtype=np.uint8,
        buffer=message.data,
        strides=(message.step, pixel_bytes, 1),
    )


def _bridge(encoding: str) -> 'CvBridge':
    """Return a ``CvBridge``; its package is needed for rare encodings only."""
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        raise ImageError(
            f'Expected an image encoded as {", ".join(_PIXEL_BYTES)}, but got {encoding!r}, which '
            'takes the package cv_bridge, and that is not installed.'
        ) from error
    return CvBridge()


def _by_bridge(encoding: str, work: Callable[[], Result]) -> Result:
    """Run cv_bridge, whose faults show as whatever its C++ or Python insides throw."""
    try:
        return work()
    except Exception as error:
        raise ImageError(
            f'Expected an image encoded as {", ".join(_PIXEL_BYTES)} or what cv_bridge converts '
            f'to rgb8, but got {encoding!r}: {type(error).__name__}: {error}.'
        ) from error


def _foreign_pixel(encoding: str) -> tuple[int, int]:
    """Return the channels and the bytes of one pixel of an encoding that cv_bridge knows."""
    bridge = _bridge(encoding)
    depth, channels = _by_bridge(
        encoding, lambda: bridge.encoding_to_dtype_with_channels(encoding)
    )
    return int(channels), int(channels) * np.dtype(depth).itemsize


def _foreign_to_rgb(message: Image) -> RgbImage:
    """Convert by cv_bridge, from a copy without padding, which not every version honours."""
    pixel_bytes = _foreign_pixel(message.encoding)[1]
    packed = image_message(
        _rows(message, pixel_bytes), message.encoding, message.header, message.is_bigendian
    )
    bridge = _bridge(message.encoding)
    rgb = _by_bridge(message.encoding, lambda: bridge.imgmsg_to_cv2(packed, 'rgb8'))
    return np.asarray(rgb, dtype=np.uint8).reshape(message.height, message.width, 3)


def image_message(
    pixels: npt.NDArray[np.uint8], encoding: str, header: Header, is_bigendian: int = 0
) -> Image:
    """Build an image message.

    Args:
        pixels: The bytes of the pixels, uint8 ``(H, W)`` or ``(H, W, bytes of a pixel)``.
        encoding: Name of the encoding.
        header: Header of the image that these pixels were computed from; it is kept as it is.
        is_bigendian: Byte order of encodings with more than 8 bits.

    Returns:
        The message, without row padding.
    """
    pixels = np.ascontiguousarray(pixels)
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=pixels.nbytes // pixels.shape[0],
        data=_bytes(pixels),
    )


def _bytes(pixels: npt.NDArray[np.uint8]) -> 'array[int]':
    """Return contiguous bytes as the setters of messages take them a hundred times faster."""
    data = array('B')
    data.frombytes(pixels.data.cast('B'))
    return data


def rgb_to_image(rgb: RgbImage, header: Header) -> Image:
    """Build an ``rgb8`` message from RGB pixels, uint8 ``(H, W, 3)``."""
    return image_message(rgb, 'rgb8', header)


def labels_to_image(labels: LabelArray, header: Header) -> Image:
    """Build a label image from class ids ``(H, W)``.

    ``mono8`` with 255 = unlabelled from uint8, ``16UC1`` with 65535 = unlabelled from uint16.
    """
    if labels.dtype == np.uint8:
        return image_message(labels.view(np.uint8), 'mono8', header)
    return image_message(_pixel_bytes(labels), '16UC1', header, sys.byteorder == 'big')


def scores_to_image(scores: npt.NDArray[np.float32], header: Header) -> Image:
    """Build a ``32FC1`` message from scores, float32 ``(H, W)``."""
    return image_message(_pixel_bytes(scores), '32FC1', header, sys.byteorder == 'big')


def _pixel_bytes(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Return the bytes of each pixel of an array ``(H, W)``, uint8 ``(H, W, bytes)``."""
    return np.ascontiguousarray(values)[:, :, None].view(np.uint8)


def mask_to_image(mask: npt.NDArray[np.bool_], header: Header) -> Image:
    """Build a ``mono8`` mask, 255 where a class is and 0 elsewhere, from bool ``(H, W)``."""
    return image_message(np.multiply(mask, 255, dtype=np.uint8), 'mono8', header)


def rgb_to_jpeg(rgb: RgbImage, header: Header, quality: int) -> CompressedImage:
    """Build a JPEG message from RGB pixels, uint8 ``(H, W, 3)``.

    Args:
        rgb: The pixels.
        header: Header of the image that they were computed from.
        quality: 1 to 100.

    Raises:
        ImageError: If the image is larger than JPEG allows, 65535 pixels a side.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    try:
        data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    except cv2.error as error:
        raise ImageError(f'Cannot write a JPEG of {rgb.shape[1]}x{rgb.shape[0]}.') from error
    # As image_transport's compressed plugin writes it.
    return CompressedImage(header=header, format='rgb8; jpeg compressed bgr8', data=_bytes(data))


def image_to_labels(message: Image) -> LabelArray:
    """Return the class ids of a label image, as a view.

    Returns:
        uint8 ``(H, W)`` from ``mono8``, uint16 from ``16UC1``.

    Raises:
        ImageError: If the message contradicts itself or has another encoding.
    """
    if message.encoding not in {'mono8', '16UC1'}:
        raise ImageError(
            f'Expected a label image of mono8 or 16UC1, but got {message.encoding!r}.'
        )
    check_image(message)
    if message.encoding == 'mono8':
        return _rows(message, 1)[:, :, 0]
    return np.ndarray(
        shape=(message.height, message.width),
        dtype=np.dtype(np.uint16).newbyteorder('>' if message.is_bigendian else '<'),
        buffer=message.data,
        strides=(message.step, 2),
    )
