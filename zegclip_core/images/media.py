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

from dataclasses import dataclass, field
import logging
from pathlib import Path
import re

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from zegclip_core.errors import ImageError
from zegclip_core.files import absent, is_hidden
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.headers import (
    FORMATS,
    has_several,
    kind_of,
    opened,
    orientation_of,
    upright,
)
from zegclip_core.images.values import is_shallow, say_shallow, shallow_bytes

logger = logging.getLogger(__name__)

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
if 'HEIF' not in FORMATS:
    CONVERT += ', or for HEIC: pip install pillow-heif'


@dataclass(frozen=True)
class Picture:
    """What is read of an image file.

    Attributes:
        pixels: RGB, uint8 ``(H, W, 3)``, 0 to 255, writable and contiguous.
        orientation: The EXIF orientation that was applied, 1 to 8.
        first_of_several: Whether the file holds further images, the frames of an animation or
            pages, which are not read.
    """

    pixels: RgbImage
    orientation: int
    first_of_several: bool


def read_image(path: str | Path) -> RgbImage:
    """Read an image file as it is meant to be seen.

    The EXIF orientation is applied; grey, palette and CMYK images become RGB, transparent
    parts white, and 16-bit values are scaled to 8 bits, as 12-bit ones where none exceeds these.
    Of an animation the first frame is read, and of several pages the first, with a warning.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255, writable and contiguous.

    Raises:
        ImageError: If there is no such file or it does not decode as an image.
    """
    picture = read_picture(path)
    if picture.first_of_several:
        logger.warning('%s holds several pictures: only the first is read.', path)
    return picture.pixels


def read_picture(path: str | Path, called: str = '') -> Picture:
    """Read an image file as ``read_image`` does, without a warning, and what else it says.

    Args:
        path: The file.
        called: What it is in errors, if not its path.
    """
    path = Path(path)
    called = called or str(path)
    if not path.is_file():
        what = 'it is a folder' if path.is_dir() else absent(path)
        raise ImageError(f'Cannot read the picture {called}: {what}.')
    try:
        with opened(path) as image:
            deep = '16' in str(getattr(image, 'tile', '')) and image.mode in {'RGB', 'RGBA'}
            image.load()
            orientation = orientation_of(image)
            found = upright(image, orientation)
            shallow = _shallow_color(path, orientation) if deep else None
        several = has_several(path)
    except Image.DecompressionBombError as error:
        most = 2 * int(Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(
            f'Cannot read the picture {called}: it is too large, with more than {most} pixels; '
            'scale it down.'
        ) from error
    except Exception as error:  # Damage leads decoders to errors of any kind.
        raise ImageError(f'Cannot read the picture {called}: {_reason(path, error)}.') from error
    pixels = _to_rgb(found, called) if shallow is None else shallow
    return Picture(pixels, orientation, several)


def _reason(path: Path, error: Exception) -> str:
    """Return why a file cannot be read, and what to do if that is known."""
    kind = kind_of(path) if isinstance(error, UnidentifiedImageError) else None
    if kind == 'empty':
        return 'it is empty'
    if kind is not None:
        return f'it is {kind}, which is not supported; {CONVERT}'
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.casefold() in _OTHER_SUFFIXES - IMAGE_SUFFIXES:
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


def _to_rgb(image: Image.Image, called: str) -> RgbImage:
    """Convert any mode of Pillow to RGB uint8 ``(H, W, 3)``."""
    if image.mode.startswith('I') or image.mode == 'F':
        return _deep_grey_to_rgb(np.asarray(image), called)
    if image.mode in {'LA', 'La', 'PA', 'RGBA', 'RGBa'} or 'transparency' in image.info:
        # RGBa and La hold premultiplied colours, which Pillow converts only to RGBA and LA.
        rgba = image.convert('LA' if image.mode == 'La' else 'RGBA').convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba)
    return np.array(image.convert('RGB'), dtype=np.uint8)


def _deep_grey_to_rgb(values: npt.NDArray[np.generic], called: str) -> RgbImage:
    """Scale 16-bit, or float in [0, 1], grey values to 8 bits and repeat them for R, G and B."""
    top = 1.0 if np.issubdtype(values.dtype, np.floating) else 65535.0
    grey = values.astype(np.float64)
    if not (np.isfinite(grey).all() and grey.min() >= 0.0 and grey.max() <= top):
        raise ImageError(
            f'Cannot read the picture {called}: expected {values.dtype} grey values in '
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
    """What lies in a folder, each in natural order; hidden files are left out.

    Attributes:
        media: Images and videos, told by their endings.
        unread: Images and videos of formats that are not read.
        others: Anything else, also folders that were not looked into.
        closed: Folders that cannot be listed.
    """

    media: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    closed: list[Path] = field(default_factory=list)

    def add(self, path: Path, *, is_file: bool) -> None:
        """Put something to its kind."""
        suffix = path.suffix.casefold() if is_file else ''
        if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            self.media.append(path)
        else:
            (self.unread if suffix in _OTHER_SUFFIXES else self.others).append(path)


def content_of(
    folder: str | Path, *, recursive: bool = False, without: Path | None = None
) -> FolderContent:
    """Return what lies in a folder.

    Args:
        folder: The folder.
        recursive: Whether also in the folders below it that are not hidden, each once, whatever
            links lead there.
        without: A folder below it that is not looked into.

    Raises:
        ImageError: If there is no such folder, it cannot be listed, or holds no image and no
            video that can be read.
    """
    folder, content = Path(folder), FolderContent()
    waiting = [folder]
    known = set() if without is None else {without.resolve()} - {folder.resolve()}
    while waiting:
        here = waiting.pop()
        if here.resolve() not in known:
            known.add(here.resolve())
            try:
                below = _add_entries(here, content, recursive=recursive)
            except OSError as error:
                if here == folder:
                    reason = error.strerror
                    raise ImageError(f'Cannot list the folder {folder}: {reason}.') from error
                content.closed.append(here)
            else:
                waiting += reversed(below)
    if not content.media:
        held = ', '.join(path.name for path in [*content.unread, *content.others][:3])
        hint = f', but {held}; {CONVERT}' if content.unread else ''
        raise ImageError(f'Found no picture and no video in the folder {folder}{hint}.')
    return content


def _add_entries(folder: Path, content: FolderContent, *, recursive: bool) -> list[Path]:
    """Add what lies directly in a folder; return the folders to look into."""
    entries = [
        (path, path.is_dir(), path.is_file()) for path in folder.iterdir() if not is_hidden(path)
    ]
    below = []
    for path, is_folder, is_file in sorted(entries, key=lambda entry: natural_key(entry[0])):
        if recursive and is_folder:
            below.append(path)
        else:
            content.add(path, is_file=is_file)
    return below


def media_in(folder: str | Path) -> list[Path]:
    """Return the images and videos that lie directly in a folder, as ``content_of`` finds them."""
    return content_of(folder).media


def is_video(path: str | Path) -> bool:
    """Return whether a file is a video by its suffix."""
    return Path(path).suffix.casefold() in VIDEO_SUFFIXES
