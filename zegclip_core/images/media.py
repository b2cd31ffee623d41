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

from dataclasses import dataclass
from pathlib import Path
import re
import struct

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from zegclip_core.errors import ImageError
from zegclip_core.files import absent, is_hidden
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.headers import FORMATS, kind_of, opened, orientation_of, upright
from zegclip_core.images.values import is_shallow, say_shallow, shallow_bytes

IMAGE_SUFFIXES = frozenset(
    suffix
    for suffix, name in Image.registered_extensions().items()
    if name in {*FORMATS, 'MPO'}  # Several JPEGs, of which the first is read.
)
"""Endings of the formats that are read: what is found in a folder is what can be named."""
VIDEO_SUFFIXES = frozenset(
    {
        *('.3gp', '.avi', '.flv', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg'),
        *('.mts', '.ogv', '.webm', '.wmv'),
    }
)
_OTHER_SUFFIXES = frozenset(
    {
        *('.arw', '.cr2', '.cr3', '.dng', '.exr', '.hdr', '.heic', '.heif', '.hif', '.ico'),
        *('.jxl', '.nef', '.orf', '.pdf', '.psd', '.raf', '.raw', '.rw2', '.svg', '.tga'),
        *('.h264', '.h265', '.rm', '.vob', '.y4m'),
    }
)
"""Endings of images and videos that are not read."""
CONVERT = 'convert it to JPEG or PNG'

_DECODE_ERRORS = (
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
    parts white, and 16-bit values are scaled to 8 bits, as 12-bit ones where none exceeds these.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255, writable and contiguous.

    Raises:
        ImageError: If there is no such file or it does not decode as an image.
    """
    return read_oriented(path)[0]


def read_oriented(path: str | Path) -> tuple[RgbImage, int]:
    """Read an image file as ``read_image`` does; return it with its EXIF orientation, 1 to 8."""
    path = Path(path)
    if not path.is_file():
        what = 'it is a folder' if path.is_dir() else absent(path)
        raise ImageError(f'Cannot read the picture {path}: {what}.')
    try:
        with opened(path) as image:
            deep = '16' in str(getattr(image, 'tile', '')) and image.mode in {'RGB', 'RGBA'}
            image.load()
            orientation = orientation_of(image)
            found = upright(image, orientation)
            shallow = _shallow_color(path, orientation) if deep else None
    except Image.DecompressionBombError as error:
        most = 2 * int(Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(
            f'Cannot read the picture {path}: it is too large, with more than {most} pixels; '
            'scale it down.'
        ) from error
    except _DECODE_ERRORS as error:
        raise ImageError(f'Cannot read the picture {path}: {_reason(path, error)}.') from error
    return (_to_rgb(found, path) if shallow is None else shallow), orientation


def _reason(path: Path, error: Exception) -> str:
    """Return why a file cannot be read, and what to do if that is known."""
    kind = kind_of(path) if isinstance(error, UnidentifiedImageError) else None
    if kind == 'empty':
        return 'it is empty'
    if kind is not None:
        return f'it is {kind}, which is not supported; {CONVERT}'
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.casefold() in _OTHER_SUFFIXES:
            return f'{path.suffix} files are not read; {CONVERT}'
        return 'it is not a picture or is damaged'
    text = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
    return f'it is not a picture or is damaged ({text})'


def _shallow_color(path: Path, orientation: int) -> RgbImage | None:
    """Return a 16-bit colour image whose values have 12 bits; ``None`` for any other.

    Pillow keeps the upper bytes of such images only.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        return None
    values = np.asarray(found, np.uint16)
    if not is_shallow(values):
        return None
    say_shallow('picture files')
    rgb = Image.fromarray(shallow_bytes(np.ascontiguousarray(values[:, :, 2::-1])))
    return np.array(upright(rgb, orientation))


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
    deep = grey.astype(np.uint16)
    if top > 1.0 and is_shallow(deep):
        say_shallow('picture files')
        scaled = shallow_bytes(deep)
    return np.repeat(scaled[:, :, np.newaxis], 3, axis=2)


def natural_key(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Return a sorting key by which ``frame2.png`` comes before ``frame10.png``.

    Example:
        >>> sorted([Path('f10.png'), Path('f2.png')], key=natural_key)[0].name
        'f2.png'

    """
    parts = re.split(r'(\d+)', path.name.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


@dataclass(frozen=True)
class FolderContent:
    """What lies directly in a folder, each in natural order; hidden files are left out.

    Attributes:
        media: Images and videos, told by their endings.
        unread: Images and videos of formats that are not read.
        others: Anything else, folders included.
    """

    media: list[Path]
    unread: list[Path]
    others: list[Path]


def content_of(folder: str | Path) -> FolderContent:
    """Return what lies directly in a folder.

    Raises:
        ImageError: If there is no such folder, it cannot be listed, or holds no image and no
            video that can be read.
    """
    folder = Path(folder)
    try:
        entries = [(entry, entry.is_file()) for entry in folder.iterdir() if not is_hidden(entry)]
    except OSError as error:
        raise ImageError(f'Cannot list the folder {folder}: {error.strerror}.') from error
    entries.sort(key=lambda entry: natural_key(entry[0]))
    parts: dict[str, list[Path]] = {'media': [], 'unread': [], 'others': []}
    for path, is_file in entries:
        suffix = path.suffix.casefold()
        known = suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES
        part = 'media' if known else 'unread' if suffix in _OTHER_SUFFIXES else 'others'
        parts[part if is_file else 'others'].append(path)
    if not parts['media']:
        held = ', '.join(path.name for path in [*parts['unread'], *parts['others']][:3])
        hint = f', but {held}; {CONVERT}' if parts['unread'] else ''
        raise ImageError(f'Found no picture and no video in the folder {folder}{hint}.')
    return FolderContent(**parts)


def media_in(folder: str | Path) -> list[Path]:
    """Return the images and videos that lie directly in a folder, as ``content_of`` finds them."""
    return content_of(folder).media


def is_video(path: str | Path) -> bool:
    """Return whether a file is a video by its suffix."""
    return Path(path).suffix.casefold() in VIDEO_SUFFIXES
