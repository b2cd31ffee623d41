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
"""Read image files as RGB arrays, and find images and videos in folders."""

from pathlib import Path
import re
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from zegclip_core.errors import ImageError
from zegclip_core.images.checks import RgbImage

IMAGE_SUFFIXES = frozenset(
    {'.bmp', '.gif', '.jpeg', '.jpg', '.png', '.ppm', '.pgm', '.tif', '.tiff', '.webp'}
)
VIDEO_SUFFIXES = frozenset(
    {'.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ogv', '.webm', '.wmv'}
)

_DECODE_ERRORS = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
)
"""What Pillow's decoders are known to raise on damaged files."""


def read_image(path: str | Path) -> RgbImage:
    """Read an image file as it is meant to be seen.

    The EXIF orientation is applied; grey, palette and CMYK images become RGB, transparent
    parts white, and 16-bit values are scaled to 8 bits.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255, writable and contiguous.

    Raises:
        ImageError: If there is no such file or it does not decode as an image.
    """
    path = Path(path)
    if not path.is_file():
        what = 'it is a folder' if path.is_dir() else 'there is no such file'
        raise ImageError(f'Cannot read the picture {path}: {what}.')
    try:
        with Image.open(path) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except _DECODE_ERRORS as error:
        reason = 'it is not a picture or is damaged'
        if not isinstance(error, UnidentifiedImageError):
            text = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
            reason = f'{reason} ({text})'
        raise ImageError(f'Cannot read the picture {path}: {reason}.') from error
    return _to_rgb(upright, path)


def _to_rgb(image: Image.Image, path: Path) -> RgbImage:
    """Convert any mode of Pillow to RGB uint8 ``(H, W, 3)``."""
    if image.mode.startswith('I') or image.mode == 'F':
        return _deep_grey_to_rgb(np.asarray(image), path)
    if image.mode in {'LA', 'La', 'PA', 'RGBA', 'RGBa'} or 'transparency' in image.info:
        # RGBa and La hold premultiplied colours, which Pillow converts only to RGBA and LA.
        rgba = image.convert('LA' if image.mode == 'La' else 'RGBA').convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba)
    return np.array(image.convert('RGB'), dtype=np.uint8)


def _deep_grey_to_rgb(values: npt.NDArray[np.generic], path: Path) -> RgbImage:
    """Scale 16-bit, or float in [0, 1], grey values to 8 bits and repeat them for R, G and B."""
    top = 1.0 if np.issubdtype(values.dtype, np.floating) else 65535.0
    grey = values.astype(np.float64)
    if not (np.isfinite(grey).all() and grey.min() >= 0.0 and grey.max() <= top):
        raise ImageError(
            f'Cannot read the picture {path}: expected {values.dtype} grey values in '
            f'[0, {top:g}], but got {grey.min():g} to {grey.max():g}.'
        )
    scaled = np.rint(grey * (255.0 / top)).astype(np.uint8)
    return np.repeat(scaled[:, :, np.newaxis], 3, axis=2)


def natural_key(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Return a sorting key by which ``frame2.png`` comes before ``frame10.png``.

    Example:
        >>> sorted([Path('f10.png'), Path('f2.png')], key=natural_key)[0].name
        'f2.png'

    """
    parts = re.split(r'(\d+)', path.name.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def media_in(folder: str | Path) -> list[Path]:
    """Return the images and videos that lie directly in a folder, in natural order.

    Files are told by their suffix; hidden files are left out.

    Raises:
        ImageError: If there is no such folder, it cannot be listed, or holds none.
    """
    folder = Path(folder)
    try:
        entries = [entry for entry in folder.iterdir() if entry.is_file()]
    except OSError as error:
        raise ImageError(f'Cannot list the folder {folder}: {error.strerror}.') from error
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    found = [
        entry
        for entry in entries
        if entry.suffix.casefold() in known and not entry.name.startswith('.')
    ]
    if not found:
        raise ImageError(f'Found no picture and no video in the folder {folder}.')
    return sorted(found, key=natural_key)


def is_video(path: str | Path) -> bool:
    """Return whether a file is a video by its suffix."""
    return Path(path).suffix.casefold() in VIDEO_SUFFIXES
