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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.messages import image_encodings
from zegclip_core.messages.outputs import (
    image_fields,
    ImageFields,
    label_fields,
    mask_fields,
    rgb_fields,
    score_fields,
)
from zegclip_core.segmentation import LabelArray

if TYPE_CHECKING:
    from cv_bridge import CvBridge


def check_frame(message: Image | CompressedImage) -> None:
    """Look at a message without touching its pixels.

    Raises:
        ImageError: If its size is zero or absurd, its rows are too short for its width, its data
            end too early, its encoding is not known, or it is no JPEG or PNG file.
    """
    if is_foreign(message):
        _foreign_rows(message)
    else:
        image_encodings.check_image(message)


def image_to_rgb(message: Image) -> RgbImage:
    """Return the pixels of an image message, without a copy where that can be.

    ``rgb8``, ``bgr8``, ``rgba8``, ``bgra8``, ``mono8`` and ``mono16`` become views of the
    message's data; see ``image_encodings.rgb_view``. What that does not know is
    converted by cv_bridge.

    Args:
        message: An image of any encoding.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255; not to be written to, and not contiguous in general.

    Raises:
        ImageError: If the message contradicts itself or its encoding cannot be converted.
    """
    if is_foreign(message):
        return _foreign_to_rgb(message)
    return image_encodings.rgb_view(message)


def packed_rgb(message: Image | CompressedImage) -> RgbImage:
    """Return the pixels of a message in one block of memory, as a model takes them.

    Args:
        message: An image of any encoding, or a JPEG or PNG file.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255, contiguous; not to be written to.

    Raises:
        ImageError: If the message contradicts itself or cannot be converted.
    """
    return _foreign_to_rgb(message) if is_foreign(message) else image_encodings.packed_rgb(message)


def is_foreign(message: Image | CompressedImage) -> bool:
    """Return whether it takes cv_bridge to read a message."""
    return isinstance(message, Image) and message.encoding not in image_encodings.ENCODINGS


@contextmanager
def _bridge(encoding: str) -> 'Iterator[CvBridge]':
    """Provide cv_bridge, which only rare encodings need.

    Raises:
        ImageError: If it is not installed, or for whatever its insides in C++ or Python raise.
    """
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        raise ImageError(
            f'Expected an image encoded as {", ".join(image_encodings.ENCODINGS)}, but got '
            f'{encoding!r}, which takes the package cv_bridge, and that is not installed.'
        ) from error
    try:
        yield CvBridge()
    except Exception as error:
        raise ImageError(
            f'Expected an image encoded as {", ".join(image_encodings.ENCODINGS)} or what '
            f'cv_bridge converts to rgb8, but got {encoding!r}: {type(error).__name__}: {error}.'
        ) from error


def _foreign_rows(message: Image) -> npt.NDArray[np.uint8]:
    """Return the bytes of the pixels of an encoding that cv_bridge knows, as a view."""
    image_encodings.check_size(message.width, message.height)
    with _bridge(message.encoding) as bridge:
        depth, channels = bridge.encoding_to_dtype_with_channels(message.encoding)
    return image_encodings.pixel_bytes(message, int(channels) * np.dtype(depth).itemsize)


def _foreign_to_rgb(message: Image) -> RgbImage:
    """Convert by cv_bridge, from a copy without padding, which not every version honours."""
    fields = image_fields(_foreign_rows(message), message.encoding, message.is_bigendian)
    packed = image_message(fields, message.header)
    with _bridge(message.encoding) as bridge:
        rgb = bridge.imgmsg_to_cv2(packed, 'rgb8')
    return np.asarray(rgb, dtype=np.uint8).reshape(message.height, message.width, 3)


def image_message(fields: ImageFields, header: Header) -> Image:
    """Build an image message.

    Args:
        fields: All but the header.
        header: That of the image that the pixels were computed from; it is kept as it is.
    """
    return Image(header=header, **{**fields._asdict(), 'data': _bytes(fields.data)})


def _bytes(pixels: npt.NDArray[np.uint8]) -> 'array[int]':
    """Return contiguous bytes as the setters of messages take them a hundred times faster."""
    data = array('B')
    data.frombytes(pixels.data.cast('B'))
    return data


def rgb_to_image(rgb: RgbImage, header: Header) -> Image:
    """Build an ``rgb8`` message from RGB pixels, uint8 ``(H, W, 3)``."""
    return image_message(rgb_fields(rgb), header)


def labels_to_image(labels: LabelArray, header: Header) -> Image:
    """Build a label image from class ids ``(H, W)``.

    ``mono8`` with 255 = unlabelled from uint8, ``16UC1`` with 65535 = unlabelled from uint16.
    """
    return image_message(label_fields(labels), header)


def scores_to_image(scores: npt.NDArray[np.float32], header: Header) -> Image:
    """Build a ``32FC1`` message from scores, float32 ``(H, W)``."""
    return image_message(score_fields(scores), header)


def mask_to_image(mask: npt.NDArray[np.bool_], header: Header) -> Image:
    """Build a ``mono8`` mask, 255 where a class is and 0 elsewhere, from bool ``(H, W)``."""
    return image_message(mask_fields(mask), header)


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
    wide = message.encoding == '16UC1'
    pixels = image_encodings.pixel_bytes(message, 2 if wide else 1)
    if not wide:
        return pixels[:, :, 0]
    return pixels.view(np.dtype('>u2' if message.is_bigendian else '<u2'))[:, :, 0]
