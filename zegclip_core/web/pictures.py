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
"""Photos and frames that browsers send, read with distrust, and files that they get."""

import io
from pathlib import Path
import tempfile
import threading

import cv2
import numpy as np
from PIL import Image
from zegclip_core.errors import ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import overlay_with_legend
from zegclip_core.images.headers import opened
from zegclip_core.images.media import read_image
from zegclip_core.segmentation import LabelArray, Segmentation
from zegclip_core.web.limits import MAX_FRAME_SIDE, MAX_PIXELS, SHOWN_SIDE

_one_at_a_time = threading.Lock()
"""Held while a photo is decoded, which takes up to 400 MB."""
_FRAME_FORMATS = ('JPEG', 'PNG', 'WEBP')


def read_photo(data: bytes) -> RgbImage:
    """Decode the file of a photo, as ``zegclip_core.images.media.read_image`` does.

    Returns:
        RGB, uint8 ``(H, W, 3)``.

    Raises:
        ImageError: If it is no image that is read, or has more than ``MAX_PIXELS``; the text
            names no place of this machine.
    """
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix='zegclip-web-') as folder:
        path = Path(folder) / 'photo'
        path.write_bytes(data)
        try:
            _check_size(path)
            return read_image(path)
        except ImageError as error:
            raise ImageError(str(error).replace(f'the picture {path}', 'this file')) from None


def _check_size(path: Path) -> None:
    """Refuse a photo of too many pixels before they are decoded."""
    try:
        with opened(path) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return  # Reading it says what is wrong.
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'Expected a photo of at most {MAX_PIXELS // 10**6} megapixels, '
            f'but got {width} x {height}.'
        )


def read_frame(data: bytes) -> RgbImage:
    """Decode a frame of a camera or a video.

    Raises:
        ImageError: If it is no JPEG, PNG or WebP, or larger than ``MAX_FRAME_SIDE``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FRAME_FORMATS) as image:
            if max(image.size) > MAX_FRAME_SIDE:
                width, height = image.size
                raise ImageError(
                    f'Expected a frame of at most {MAX_FRAME_SIDE} pixels a side, '
                    f'but got {width} x {height}.'
                )
            return np.array(image.convert('RGB'), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError('Cannot read this frame: it is not a picture or is damaged.') from error


def shown(image: RgbImage) -> RgbImage:
    """Return an image whose longest side is at most ``SHOWN_SIDE``, else the image itself."""
    height, width = image.shape[:2]
    scale = SHOWN_SIDE / max(height, width)
    if scale >= 1.0:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(image: RgbImage, quality: int = 90) -> bytes:
    """Return an RGB image, uint8 ``(H, W, 3)``, as a JPEG."""
    done, data = cv2.imencode(
        '.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ImageError(f'Cannot write an image of {image.shape[1]} x {image.shape[0]} pixels.')
    return data.tobytes()


def png(pixels: LabelArray | RgbImage) -> bytes:
    """Return grey ``(H, W)``, uint8 or uint16, or RGB ``(H, W, 3)``, uint8, as a PNG."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format='PNG', compress_level=3)
    return data.getvalue()


def overlay_png(image: RgbImage, segmentation: Segmentation, alpha: float) -> bytes:
    """Return an image in the colours of its classes, with the legend, as a PNG."""
    if image.shape[:2] != segmentation.labels.shape:
        size = segmentation.labels.shape[::-1]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return png(overlay_with_legend(image, segmentation, alpha=alpha))
