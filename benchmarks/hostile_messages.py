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
"""Hostile images, depth, cameras and clouds, which may be refused or used.

Of words, in ``benchmarks.hostile_words``, and parameters, in ``benchmarks.hostile_requests``, it
is known whether the node has to take them. Most messages are drawn by hypothesis; the functions
``made_*`` return those that chance would hardly find.
"""

from array import array
from collections.abc import Callable
import math
import struct
from typing import Any
import zlib

from benchmarks.hostile_words import CDR_HEAD, TEXTS
import cv2
from hypothesis import strategies as st
import numpy as np
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    PointCloud2,
    RegionOfInterest,
)
from std_msgs.msg import Header

Strategy = st.SearchStrategy[Any]

ENCODINGS = TEXTS['encodings']
ODD_ENCODINGS = [*TEXTS['odd_encodings'], 'x' * 300]
FORMATS = [*TEXTS['formats'], 'jpeg' * 100]
# Widths, heights and steps where arithmetic goes wrong.
_SIZES = st.sampled_from([0, 1, 2, 3, 5, 255, 4096, 2**16 - 1, 2**16, 2**26, 2**31, 2**32 - 1])
_DATA = st.binary(max_size=512).map(lambda content: array('B', content))
_ENCODING = st.one_of(st.sampled_from([*ENCODINGS, *ODD_ENCODINGS]), st.text(max_size=40))
_UINT32 = st.one_of(_SIZES, st.integers(0, 2**32 - 1))


def _header(sec: int, nanosec: int, frame: str) -> Header:
    header = Header(frame_id=frame)
    header.stamp.sec, header.stamp.nanosec = sec, nanosec
    return header


_HEADERS = st.builds(
    _header,
    st.sampled_from([0, -1, -(2**31), 1, 5, 2**20]),  # Good frames have later stamps.
    st.sampled_from([0, 1, 999_999_999, 1_000_000_000, 2**32 - 1]),
    st.sampled_from(['', 'camera', '/bad//frame', 'é' * 50, 'a b']),
)


@st.composite
def _nearly_good_images(draw: Callable[..., Any]) -> Image:
    """Draw an image with none, one or two wrong fields."""
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    encoding = draw(st.sampled_from(ENCODINGS))
    pixel = {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}.get(encoding, 2)
    step = max(width * pixel + draw(st.sampled_from([0, 0, 0, 1, -1, 13])), 0)
    length = max(height * step + draw(st.sampled_from([0, 0, 0, 1, -1, -7])), 0)
    message = Image(
        header=draw(_HEADERS),
        height=height,
        width=width,
        encoding=encoding,
        step=step,
        is_bigendian=draw(st.sampled_from([0, 0, 1, 2, 255])),
        data=array('B', draw(st.binary(min_size=length, max_size=length))),
    )
    wrong = {'height': _SIZES, 'width': _SIZES, 'step': _SIZES, 'encoding': _ENCODING}
    wrong['data'] = _DATA
    for field in draw(st.lists(st.sampled_from(sorted(wrong)), max_size=2, unique=True)):
        setattr(message, field, draw(wrong[field]))
    return message


_ANY_IMAGES = st.builds(
    Image,
    header=_HEADERS,
    height=_UINT32,
    width=_UINT32,
    encoding=_ENCODING,
    step=_UINT32,
    is_bigendian=st.integers(0, 255),
    data=_DATA,
)


@st.composite
def _spoiled_files(draw: Callable[..., Any]) -> bytes:
    """Draw an image file that is cut off, or in which some bytes are changed."""
    suffix = draw(st.sampled_from(['.jpg', '.png', '.bmp', '.webp', '.tiff', '.pgm']))
    content = bytearray(_file(suffix, channels=1 if suffix == '.pgm' else 3))
    for place in draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = draw(st.integers(0, 255))
    cut = draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    return bytes(content[:cut]) + draw(st.binary(max_size=16))


_COMPRESSED = st.builds(
    CompressedImage,
    header=_HEADERS,
    format=st.one_of(st.sampled_from(FORMATS), st.text(max_size=40)),
    data=st.one_of(_spoiled_files(), _spoiled_files(), st.binary(max_size=200)).map(
        lambda content: array('B', content)
    ),
)


def images(transport: str) -> Strategy:
    """Return a strategy for images, some of which are bytes that are no ROS message at all.

    Args:
        transport: ``raw`` or ``compressed``.
    """
    raw = st.one_of(_nearly_good_images(), _nearly_good_images(), _ANY_IMAGES)
    return _or_mangled(raw if transport == 'raw' else _COMPRESSED)


def _or_mangled(typed: Strategy) -> Strategy:
    """Return a strategy of which every tenth message is bytes that are no ROS message at all."""
    mangled = st.binary(max_size=200).map(lambda content: CDR_HEAD + content)
    return st.integers(0, 9).flatmap(lambda number: typed if number else mangled)


def _as_depth(message: Image, encoding: str) -> Image:
    """Return an image with the encoding of depth, which its bytes may fit or not."""
    message.encoding = encoding
    return message


_FLOATS = st.one_of(
    st.sampled_from([0.0, -1.0, 500.0, 1e-300, 1e308, math.inf, math.nan]), st.floats()
)
DEPTHS: Strategy = _or_mangled(
    st.builds(
        _as_depth,
        st.one_of(_nearly_good_images(), _ANY_IMAGES),
        st.one_of(st.sampled_from(['16UC1', '32FC1', 'mono16']), _ENCODING),
    )
)
"""Depth images, most of which contradict themselves."""
_CAMERAS: Strategy = st.builds(
    CameraInfo,
    width=st.one_of(st.integers(1, 8), _UINT32),
    height=st.one_of(st.integers(1, 8), _UINT32),
    k=st.lists(_FLOATS, min_size=9, max_size=9),
    p=st.one_of(st.just([0.0] * 12), st.lists(_FLOATS, min_size=12, max_size=12)),
    binning_x=st.one_of(st.just(0), _UINT32),
    binning_y=st.one_of(st.just(0), _UINT32),
    roi=st.builds(
        RegionOfInterest, x_offset=_UINT32, y_offset=_UINT32, width=_UINT32, height=_UINT32
    ),
)
CAMERAS = _or_mangled(_CAMERAS)
"""Cameras that nobody has calibrated like this."""


def made_images() -> list[Image]:
    """Return raw images: wrong sizes, overflowing products, every encoding."""

    def changed(**changes: Any) -> Image:  # noqa: ANN401 - values of any field
        good = {'height': 4, 'width': 6, 'encoding': 'rgb8', 'step': 18}
        return Image(**{**good, 'data': array('B', bytes(72)), **changes})

    most = 2**32 - 1
    return [
        Image(),
        *(changed(step=step) for step in (0, 17, most)),
        *(changed(height=most), changed(width=most), changed(height=most, width=most, step=most)),
        # Products that are small in 32 bits: 65536 * 65536 = 0, 2**30 * 12 = 0.
        changed(height=65_536, width=65_536, step=0),
        changed(height=2**30, width=4, step=12),
        changed(height=2**26, width=1, step=3),
        changed(height=2**13, width=2**13, step=3 * 2**13),
        *(changed(data=array('B', bytes(length))) for length in (0, 71, 2**22)),
        changed(encoding='mono16', step=12, is_bigendian=1),
        changed(encoding='32FC1', step=24, data=array('B', b'\xff' * 96), is_bigendian=1),
        changed(encoding='bayer_rggb8', step=6),
        # Bayer patterns and YUV need even sizes.
        *(changed(encoding=name, height=3, width=5, step=5) for name in ('bayer_rggb8', 'nv12')),
        changed(encoding='yuv422', height=3, width=5, step=10),
        *(changed(encoding=encoding) for encoding in [*ENCODINGS, *ODD_ENCODINGS]),
        *(changed(encoding=encoding, height=1, width=1, step=1) for encoding in ENCODINGS),
    ]


def made_depths(size: tuple[int, int]) -> list[tuple[Image, CameraInfo]]:
    """Return depth images of a size ``(H, W)`` with their cameras, good and absurd in turn.

    Depth is good, as far as a float may go, or of the sizes and steps of ``made_images``.
    """
    height, width = size
    values = (0.0, -1.0, 1.0, 1e-45, 3.4e38, math.inf, -math.inf, math.nan)

    def filled(value: float) -> Image:
        content = array('B', struct.pack('<f', value) * height * width)
        return Image(height=height, width=width, encoding='32FC1', step=4 * width, data=content)

    def camera(focus: float, axis: float) -> CameraInfo:
        k = [focus, 0.0, axis, 0.0, focus, axis, 0.0, 0.0, 1.0]
        return CameraInfo(height=height, width=width, k=k)

    odd = (0.0, -1.0, 1e-300, 0.01, 1e7, 1e308, math.inf, math.nan)
    cameras = [camera(4.0, 2.0), *(camera(one, 2.0) for one in odd)]
    cameras += [camera(0.01, one) for one in (-1e7, 1e7, 1e308, math.nan)]
    whole = [filled(value) for value in values]
    broken = [_as_depth(one, kind) for kind in ('16UC1', '32FC1') for one in made_images()]
    pairs = [(one, camera) for one in whole for camera in cameras]
    return [*pairs, *((one, cameras[0]) for one in broken)]


CLOUDS: Strategy = _or_mangled(
    st.builds(
        PointCloud2,
        header=_HEADERS,
        height=_UINT32,
        width=_UINT32,
        point_step=_UINT32,
        row_step=_UINT32,
        is_bigendian=st.booleans(),
        is_dense=st.booleans(),
        data=_DATA,
    )
)
"""Clouds, nearly all of which contradict themselves."""


def made_clouds() -> list[PointCloud2]:
    """Return clouds: wrong sizes, overflowing products, no rows."""

    def changed(**changes: Any) -> PointCloud2:  # noqa: ANN401 - values of any field
        good = {'height': 2, 'width': 3, 'point_step': 16, 'row_step': 48}
        return PointCloud2(**{**good, 'data': array('B', bytes(96)), **changes})

    most = 2**32 - 1
    return [
        *(PointCloud2(), changed(height=1), changed(height=0), changed(width=0)),
        *(changed(row_step=step) for step in (0, 47, most)),
        *(changed(point_step=step) for step in (0, 17, most)),
        *(changed(height=most), changed(width=most), changed(height=most, width=most)),
        # Products that are small in 32 bits: 65536 * 65536 = 0.
        changed(height=65_536, width=65_536, point_step=0, row_step=0),
        changed(height=2**26, width=1, point_step=1, row_step=1),
        *(changed(data=array('B', bytes(length))) for length in (0, 95)),
    ]


def _file(suffix: str, height: int = 8, width: int = 8, channels: int = 3) -> bytes:
    """Return the content of a small image file."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    pixels = (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def png_bomb(width: int, height: int, color_type: int = 2, content: bytes = bytes(100)) -> bytes:
    """Return a PNG file that claims to be huge and holds next to nothing."""
    head = struct.pack('>IIBBBBB', width, height, 8, color_type, 0, 0, 0)
    chunks = {b'IHDR': head, b'IDAT': zlib.compress(content), b'IEND': b''}
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def _header_bomb(suffix: str, width: int, height: int) -> bytes:
    """Return a JPEG or BMP file whose header claims to be huge."""
    content = bytearray(_file(suffix))
    if suffix == '.bmp':
        struct.pack_into('<ii', content, 18, width, height)
    else:
        struct.pack_into('>HH', content, content.index(b'\xff\xc0') + 5, height, width)
    return bytes(content)


def made_compressed() -> list[CompressedImage]:
    """Return compressed images: cut or huge files, other file types and formats."""
    jpeg, png, most = _file('.jpg'), _file('.png'), 2**31 - 1
    contents = [
        *(b'', b'\0', b'\xff\xd8', b'\xff\xd8\xff\xd9', b'\x89PNG\r\n\x1a\n', bytes(10_000)),
        *(file[: len(file) * part // 20] for file in (jpeg, png) for part in range(20)),
        *(jpeg + jpeg, png + jpeg, jpeg[::-1], jpeg[:-2] + bytes(1000)),
        *(png_bomb(60_000, 60_000), png_bomb(most, 1), png_bomb(1, most), png_bomb(most, most)),
        *(png_bomb(0, 0), png_bomb(0, 5), png_bomb(8, 8, color_type=3)),
        # 400 million pixels that are really there, in 400 kB: below OpenCV's limit.
        png_bomb(20_000, 20_000, 0, bytes(20_001 * 20_000)),
        *(_header_bomb('.jpg', *size) for size in ((65_535, 65_535), (65_535, 1), (0, 0))),
        *(_header_bomb('.bmp', *size) for size in ((30_000, 30_000), (-5, -5), (most, most))),
        *(b'P6\n100000 100000\n255\n', b'P6\n-1 -1\n255\nxxx', b'P5 2 2 99999 xxxx', b'P7\n'),
        *(
            b'GIF89a\xff\xff\xff\xff\x80\0\0',
            b'II*\0\x08\0\0\0\xff\xff',
            b'MM\0*\0\0\0\x08\xff\xff',
        ),
        *(b'RIFF\xff\xff\xff\xffWEBPVP8 ', b'\x76\x2f\x31\x01\x02\0\0\0', b'<svg></svg>'),
        *(b'#?RADIANCE\n\n-Y 9 +X 9\n', b'\0\0\0\x0cjP  \r\n\x87\n', b'\0\0\0\x20ftypavif'),
        *(_file(suffix, channels=4) for suffix in ('.png', '.tiff', '.webp')),
        *(_file(suffix, channels=1) for suffix in ('.png', '.jpg', '.bmp', '.pgm')),
        *(_file('.png', height, width) for height, width in ((1, 1), (1, 500), (500, 1))),
    ]
    return [
        CompressedImage(format=form, data=array('B', content))
        for form, content in [
            *(('jpeg', content) for content in contents),
            *((form, content) for form in FORMATS for content in (jpeg, png, b'x')),
        ]
    ]
