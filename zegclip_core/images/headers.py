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
"""What the head of an image file says: its format, and how the image is to be turned."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import struct
import threading
import warnings

from PIL import Image

try:
    from pillow_heif import register_heif_opener
except ImportError:
    pass
else:
    register_heif_opener()

Image.init()
FORMATS = tuple(
    name
    for name in (
        *('AVIF', 'BMP', 'DIB', 'GIF', 'HEIF', 'JPEG', 'JPEG2000'),
        *('PNG', 'PPM', 'TIFF', 'WEBP'),
    )
    if name in Image.OPEN
)
"""Formats that are read, by Pillow's names, as far as this build of Pillow has them.

``HEIF``, as phones write it, needs the package pillow-heif.
"""
_READ_BY = {'AVIF': 'AVIF', 'HEIC': 'HEIF', 'HEIF': 'HEIF'}
"""Kinds of files that are read if there is this format."""
_SEVERAL = {'AVIF', 'GIF', 'PNG', 'TIFF', 'WEBP'}
"""Formats that hold animations or pages. Of JPEGs the further images are previews and maps."""
_KINDS = (
    (4, b'ftyphei', 'HEIC'),
    (4, b'ftyphev', 'HEIC'),
    (4, b'ftypmif1', 'HEIF'),
    (4, b'ftypmsf1', 'HEIF'),
    (4, b'ftypavi', 'AVIF'),
    (4, b'ftypcrx', 'a raw photo of a camera'),
    (4, b'ftyp', 'a video'),
    (8, b'AVI ', 'a video'),
    (0, b'\x1aE\xdf\xa3', 'a video'),
    (0, b'\xff\x0a', 'JPEG XL'),
    (4, b'JXL ', 'JPEG XL'),
    (0, b'8BPS', 'a file of Photoshop'),
    (0, b'%PDF', 'a PDF'),
    (0, b'PK\x03\x04', 'a ZIP archive'),
    (0, b'v/1\x01', 'OpenEXR'),
    (0, b'#?RADIANCE', 'Radiance HDR'),
    (0, b'\x00\x00\x01\x00', 'an icon'),
    (0, b'version https://git-lfs', 'a pointer of Git LFS, not the file itself'),
)
"""Where the first bytes of a file stand that tell its kind, and what that is called."""
_ORIENTATION = 0x0112
_SHORT = 3
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation; 1 is upright."""
_warnings_lock = threading.Lock()


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file of one of ``FORMATS``; its pixels are not decoded yet.

    Pillow's warnings, such as of damaged EXIF data, are no lines for users.
    """
    # Warnings are those of the whole process: one thread at a time may switch them off.
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        image = Image.open(path, formats=FORMATS)
    with image:
        yield image


def kind_of(path: Path) -> str | None:
    """Return what a file is that is no image of ``FORMATS``; ``None`` if its head does not say.

    So it is for a damaged image of a format that is read.
    """
    with path.open('rb') as file:
        head = file.read(64)
    if not head:
        return 'empty'
    if head.lstrip()[:1] == b'<':
        return 'SVG' if path.suffix.lower() == '.svg' else 'a page in HTML or XML'
    kind = next((what for at, start, what in _KINDS if head[at:].startswith(start)), None)
    return None if _READ_BY.get(str(kind)) in FORMATS else kind


def has_several(path: Path) -> bool:
    """Return whether an image file holds further images: an animation's frames, or pages."""
    with opened(path) as image:  # Of its own, since looking at a GIF's second frame changes it.
        try:
            return image.format in _SEVERAL and bool(getattr(image, 'is_animated', False))
        except Exception:  # Whatever damage leads a decoder to.
            return True  # It has a second one, though a damaged one.


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image, 1 to 8; without a readable one 1.

    XMP is not asked: programs that turn the pixels change EXIF, and often leave XMP as it was.
    """
    raw = image.info.get('exif')
    if raw is None and 'Raw profile type exif' in image.info:  # As ImageMagick keeps it in PNGs.
        text = str(image.info['Raw profile type exif'])
        try:
            raw = bytes.fromhex(''.join(text.split('\n')[3:]))
        except ValueError:
            return 1
    found = _entry(raw.removeprefix(b'Exif\0\0')) if isinstance(raw, bytes) else None
    return found if found in _TURNS else 1


def _entry(data: bytes) -> int | None:
    """Return the orientation in a block of EXIF data, which is a TIFF; ``None`` if damaged."""
    order = {b'II': '<', b'MM': '>'}.get(data[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f'{order}I', data, 4)
        (count,) = struct.unpack_from(f'{order}H', data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f'{order}HHIH', data, place)
            if tag == _ORIENTATION:
                return int(value) if kind == _SHORT else None
    except struct.error:
        return None
    return None


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image turned and mirrored as an EXIF orientation says."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
