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
"""Read photos, folders, videos and cameras as RGB arrays; one-line errors when that fails."""

from collections.abc import Iterator
from dataclasses import dataclass
import logging
from pathlib import Path
import re
import struct
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from zegclip_core.errors import ImageError
from zegclip_core.images.checks import RgbImage

logger = logging.getLogger(__name__)

Kind = Literal['picture', 'folder', 'video', 'camera']

PICTURE_SUFFIXES = frozenset(
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


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        name: File name of a picture (``cat.jpg``), or file name and frame number of a video
            (``walk.mp4#000012``).
        image: RGB, uint8 ``(H, W, 3)``, 0 to 255.
        index: Place of the frame in its source, from 0.
    """

    name: str
    image: RgbImage
    index: int


def read_image(path: str | Path) -> RgbImage:
    """Read a picture as it is meant to be seen.

    The EXIF orientation is applied; grey, palette and CMYK pictures become RGB, transparent
    parts white, and 16-bit values are scaled to 8 bits.

    Returns:
        RGB, uint8 ``(H, W, 3)``, 0 to 255, writable and contiguous.

    Raises:
        ImageError: If there is no such file or it does not decode as a picture.
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
            reason = f'{reason} ({_one_line(error)})'
        raise ImageError(f'Cannot read the picture {path}: {reason}.') from error
    return _to_rgb(upright, path)


def _one_line(error: BaseException) -> str:
    """Return an error's text without line breaks and closing full stop."""
    return ' '.join(str(error).split()).rstrip('.') or type(error).__name__


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
    """Return the pictures and videos that lie directly in a folder, in natural order.

    Files are told by their suffix; hidden files are left out.

    Raises:
        ImageError: If there is no such folder, it cannot be listed, or holds none.
    """
    folder = Path(folder)
    try:
        entries = [entry for entry in folder.iterdir() if entry.is_file()]
    except OSError as error:
        raise ImageError(f'Cannot list the folder {folder}: {error.strerror}.') from error
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES
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


class Media:
    """A source of frames that can be gone through once or, but for cameras, again and again.

    Attributes:
        source: Path of the picture, folder or video, or number of the camera.
        kind: What the source is.
    """

    def __init__(self, source: str | Path | int) -> None:
        """Look at a source; nothing is decoded but the head of a video.

        Args:
            source: Path of a picture, folder or video; or the number of a camera, also as text
                (``'0'``), unless a file has this name.

        Raises:
            ImageError: If there is no such file, folder or camera, or it cannot be opened.
        """
        self.source: Path | int = _source(source)
        self.kind: Kind = _kind(self.source)
        self._rate: float | None = None
        self._count: int | None = None
        self._inspect()

    @property
    def frame_rate(self) -> float | None:
        """Frames per second that a video or camera declares; ``None`` if it declares none."""
        return self._rate

    @property
    def frame_count(self) -> int | None:
        """Number of frames of one pass; ``None`` if it cannot be known without decoding."""
        return self._count

    def frames(self, *, skip_broken: bool = False) -> Iterator[Frame]:
        """Go through the frames once, from the first; a camera goes on until it fails.

        Args:
            skip_broken: Whether a file of a folder that does not decode is logged and left out.

        Raises:
            ImageError: If something does not decode, or if no frame comes at all.
        """
        if self.kind == 'folder':
            yield from self._folder_frames(skip_broken)
        elif self.kind == 'picture':
            yield Frame(Path(str(self.source)).name, read_image(str(self.source)), 0)
        else:
            yield from _captured_frames(self.source)

    def _inspect(self) -> None:
        """Fill in rate and count, as far as they can be known cheaply."""
        if self.kind == 'picture':
            self._count = 1
        elif self.kind == 'folder':
            files = media_in(str(self.source))
            self._count = None if any(map(is_video, files)) else len(files)
        else:
            capture = _open_capture(self.source)
            rate = float(capture.get(cv2.CAP_PROP_FPS))
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            capture.release()
            self._rate = rate if 0.0 < rate <= 1000.0 else None
            self._count = count if self.kind == 'video' and count > 0 else None

    def _folder_frames(self, skip_broken: bool) -> Iterator[Frame]:
        """Yield the frames of every picture and video of the folder."""
        index = 0
        for path in media_in(str(self.source)):
            try:
                for frame in Media(path).frames():
                    yield Frame(frame.name, frame.image, index)
                    index += 1
            except ImageError as error:
                if not skip_broken:
                    raise
                logger.warning('%s It is left out.', error)
        if index == 0:
            raise ImageError(f'Nothing in the folder {self.source} could be decoded.')


def iter_frames(source: str | Path | int, *, skip_broken: bool = False) -> Iterator[Frame]:
    """Go once through the frames of a picture, folder, video or camera.

    Short for ``Media(source).frames()``.

    Raises:
        ImageError: If the source cannot be opened or something in it does not decode.
    """
    yield from Media(source).frames(skip_broken=skip_broken)


def _source(source: str | Path | int) -> Path | int:
    """Tell camera numbers from paths."""
    if isinstance(source, int):
        return source
    text = str(source)
    if text.isdecimal() and not Path(text).exists():
        return int(text)
    return Path(text).expanduser()


def _kind(source: Path | int) -> Kind:
    """Return what a source is."""
    if isinstance(source, int):
        return 'camera'
    if not source.exists():
        raise ImageError(f'Cannot read {source}: there is no such file or folder.')
    if source.is_dir():
        return 'folder'
    return 'video' if is_video(source) else 'picture'


def _open_capture(source: Path | int) -> cv2.VideoCapture:
    """Open a video or camera.

    Raises:
        ImageError: If OpenCV cannot.
    """
    what = f'camera {source}' if isinstance(source, int) else f'video {source}'
    try:
        capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        opened = capture.isOpened()
    except cv2.error as error:
        raise ImageError(f'Cannot open the {what}: {_one_line(error)}.') from error
    if not opened:
        reason = 'no such camera' if isinstance(source, int) else 'not a video or damaged'
        raise ImageError(f'Cannot open the {what}: {reason}.')
    return capture


def _captured_frames(source: Path | int) -> Iterator[Frame]:
    """Yield what OpenCV decodes from a video or camera, as RGB."""
    capture = _open_capture(source)
    name = f'camera{source}' if isinstance(source, int) else source.name
    index = 0
    try:
        while True:
            decoded, bgr = capture.read()
            if not decoded:
                break
            rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            yield Frame(f'{name}#{index:06d}', rgb, index)
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise ImageError(f'Cannot read {name}: no frame of it could be decoded.')
