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
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header
from zegclip_core.errors import EncodingError, ImageError
from zegclip_core.geometry import Depth, Intrinsics
from zegclip_core.images.checks import RgbImage
from zegclip_core.messages import image_encodings
from zegclip_core.messages.outputs import (
    image_fields,
    ImageFields,
    rgb_fields,
)
from zegclip_core.messages.point_cloud import CloudFields
from zegclip_core.messages.storage import message_bytes
from zegclip_core.segmentation import LabelArray

if TYPE_CHECKING:
    from cv_bridge import CvBridge


def check_frame(message: Image | CompressedImage) -> None:
    """Look at a message without touching its pixels.

    Raises:
        ImageError: If its fields contradict each other, its size is absurd, its encoding is not
            known, or it is no JPEG or PNG file.
    """
    if is_foreign(message):
        _foreign_rows(message)
    else:
        image_encodings.check_image(message)


def image_to_rgb(message: Image) -> RgbImage:
    """Return the pixels of an image message, RGB uint8 ``(H, W, 3)``; not to be written to.

    A view of the message's data where ``image_encodings.rgb_view`` can give one, so not
    contiguous in general. cv_bridge converts encodings that it does not know.

    Raises:
        ImageError: If the message contradicts itself or its encoding cannot be converted.
    """
    return _foreign_to_rgb(message) if is_foreign(message) else image_encodings.rgb_view(message)


def packed_rgb(message: Image | CompressedImage) -> RgbImage:
    """Return the pixels of a message, RGB uint8 ``(H, W, 3)``, contiguous; not to be written to.

    Raises:
        ImageError: If the message contradicts itself or cannot be converted.
    """
    return _foreign_to_rgb(message) if is_foreign(message) else image_encodings.packed_rgb(message)


def is_foreign(message: Image | CompressedImage) -> bool:
    """Return whether it takes cv_bridge to read a message."""
    known = (*image_encodings.ENCODINGS, *image_encodings.DEPTH)
    return isinstance(message, Image) and message.encoding not in known


@contextmanager
def _bridge(encoding: str) -> 'Iterator[CvBridge]':
    """Provide cv_bridge, which only rare encodings need; its errors become ``ImageError``."""
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        raise EncodingError(
            f'Expected an image encoded as {", ".join(image_encodings.ENCODINGS)}, but got '
            f'{encoding!r}, which takes the package cv_bridge, and that is not installed.'
        ) from error
    try:
        yield CvBridge()
    except Exception as error:
        raise EncodingError(
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
    """Build an image message; the header is that of the image that it was computed from."""
    return Image(header=header, **{**fields._asdict(), 'data': _bytes(fields.data)})


def _bytes(pixels: npt.NDArray[np.uint8]) -> 'array[int]':
    """Return contiguous bytes as the setters of messages take them a hundred times faster."""
    data = array('B')
    data.frombytes(pixels.data.cast('B'))
    return data


def rgb_to_image(rgb: RgbImage, header: Header) -> Image:
    """Build an ``rgb8`` message from RGB pixels, uint8 ``(H, W, 3)``."""
    return image_message(rgb_fields(rgb), header)


def depth_to_image(depth: Depth, header: Header) -> Image:
    """Build a ``16UC1`` message of millimetres from depth ``(H, W)``; NaN becomes 0."""
    millimetres = np.nan_to_num(depth * np.float32(1000)).round().clip(0, 65535)
    return image_message(image_fields(millimetres.astype('<u2'), '16UC1'), header)


def camera_info(camera: Intrinsics, header: Header) -> CameraInfo:
    """Build the message of a camera without distortion."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def cloud_points(message: PointCloud2) -> tuple[npt.NDArray[np.float32], RgbImage]:
    """Return the points of a cloud that ``cloud_message`` made, ``(N, 3)``, and their RGB."""
    rows = np.frombuffer(message_bytes(message.data), '<f4').reshape(-1, message.point_step // 4)
    known = np.isfinite(rows[:, :3]).all(axis=1)
    packed = rows[known, 3].view('<u4')
    colors = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)
    return rows[known, :3], colors.astype(np.uint8)


def rgb_to_jpeg(rgb: RgbImage, header: Header, quality: int) -> CompressedImage:
    """Build a JPEG message from RGB pixels, uint8 ``(H, W, 3)``, of a quality from 1 to 100.

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


def cloud_message(fields: CloudFields, header: Header) -> PointCloud2:
    """Build a cloud's message; the header is that of the image that it was computed from."""
    values = fields._asdict()
    values['fields'] = [PointField(**each) for each in fields.fields]
    return PointCloud2(header=header, **{**values, 'data': _bytes(fields.data)})


def image_to_labels(message: Image) -> LabelArray:
    """Return the class ids of a label image as a view, uint8 or uint16 ``(H, W)``.

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


def image_to_scores(message: Image) -> npt.NDArray[np.float32]:
    """Return the scores of a confidence image, float32 ``(H, W)`` in [0, 1].

    Raises:
        ImageError: If the message contradicts itself or has another encoding.
    """
    if message.encoding not in {'mono8', '32FC1'}:
        raise ImageError(f'Expected scores of mono8 or 32FC1, but got {message.encoding!r}.')
    wide = message.encoding == '32FC1'
    pixels = image_encodings.pixel_bytes(message, 4 if wide else 1)
    if not wide:
        return np.asarray(pixels[:, :, 0] / np.float32(255.0), np.float32)
    values = pixels.view(np.dtype('>f4' if message.is_bigendian else '<f4'))[:, :, 0]
    return np.asarray(values, np.float32)
