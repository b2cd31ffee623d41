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
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError

if TYPE_CHECKING:
    from cv_bridge import CvBridge

Result = TypeVar('Result')
RgbImage = npt.NDArray[np.uint8]
"""An RGB image, uint8 ``(H, W, 3)``, 0 to 255."""

MAX_PIXELS = 2**26
"""Largest image that is accepted; more is taken for a damaged message."""

_CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
"""Encodings that need no conversion but a view; all others are left to cv_bridge."""


def check_image(message: Image) -> None:
    """Look at an image message without touching its pixels.

    Raises:
        ImageError: If its size is zero or absurd, its rows are too short for its width, its data
            end too early, or its encoding is not known.
    """
    _check_size(message)
    if message.encoding in _CHANNELS:
        row_bytes = message.width * _CHANNELS[message.encoding]
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

    ``rgb8``, ``bgr8``, ``rgba8``, ``bgra8`` and ``mono8`` become views of the message's data with
    the padding of ``step`` cut off; alpha is dropped. Every other encoding is converted by
    cv_bridge.

    Args:
        message: An image of any encoding.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255; not to be written to, and not contiguous in general.

    Raises:
        ImageError: If the message contradicts itself or its encoding cannot be converted.
    """
    check_image(message)
    if message.encoding not in _CHANNELS:
        return _foreign_to_rgb(message)
    pixels = _rows(message, _CHANNELS[message.encoding])
    if message.encoding == 'mono8':
        return np.broadcast_to(pixels, (message.height, message.width, 3))
    if message.encoding.startswith('bgr'):
        return pixels[:, :, 2::-1]
    return pixels[:, :, :3]


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
            f'Expected an image encoded as {", ".join(_CHANNELS)}, but got {encoding!r}, which '
            'takes the package cv_bridge, and that is not installed.'
        ) from error
    return CvBridge()


def _by_bridge(encoding: str, work: Callable[[], Result]) -> Result:
    """Run cv_bridge, whose faults show as whatever its C++ or Python insides throw."""
    try:
        return work()
    except Exception as error:
        raise ImageError(
            f'Expected an image encoded as {", ".join(_CHANNELS)} or what cv_bridge converts to '
            f'rgb8, but got {encoding!r}: {type(error).__name__}: {error}.'
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
    data = array('B')
    # Anything but an array.array costs the setter of Image.data a hundredfold.
    data.frombytes(pixels.data.cast('B'))
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=pixels.nbytes // pixels.shape[0],
        data=data,
    )


def rgb_to_image(rgb: RgbImage, header: Header) -> Image:
    """Build an ``rgb8`` message from RGB pixels, uint8 ``(H, W, 3)``."""
    return image_message(rgb, 'rgb8', header)


def labels_to_image(labels: npt.NDArray[np.uint8], header: Header) -> Image:
    """Build a ``mono8`` label image from class ids, uint8 ``(H, W)``, 255 = unlabelled."""
    return image_message(labels, 'mono8', header)


def mask_to_image(mask: npt.NDArray[np.bool_], header: Header) -> Image:
    """Build a ``mono8`` mask, 255 where a class is and 0 elsewhere, from bool ``(H, W)``."""
    return image_message(np.multiply(mask, 255, dtype=np.uint8), 'mono8', header)


def image_to_labels(message: Image) -> npt.NDArray[np.uint8]:
    """Return the class ids of a ``mono8`` label image, uint8 ``(H, W)``, as a view.

    Raises:
        ImageError: If the message contradicts itself or has another encoding.
    """
    check_image(message)
    if message.encoding != 'mono8':
        raise ImageError(f'Expected a label image of mono8, but got {message.encoding!r}.')
    return _rows(message, 1)[:, :, 0]
