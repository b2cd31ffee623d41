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
"""Images that a node should never get, and some that are only unusual; for ``benchmarks.fuzz``.

Nothing here says what is to become of an image: the node may refuse it or label it, but it has to
go on in any case.
"""

from array import array
from collections.abc import Callable
import struct
from typing import Any
import zlib

import cv2
from hypothesis import strategies as st
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

ENCODINGS = (
    *('rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'mono16', 'rgb16', 'bgr16', 'rgba16', 'bgra16'),
    *('bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8', 'bayer_rggb16', 'yuv422'),
    *('yuv422_yuy2', 'uyvy', 'yuyv', 'nv12', 'nv21', 'nv24', '8UC1', '8UC2', '8UC3', '8UC4'),
    *('8UC5', '8SC3', '16UC1', '16SC1', '32SC1', '32FC1', '32FC3', '64FC1', '64FC4'),
)
"""Encodings that a message may name, known to this node or not."""

ODD_ENCODINGS = (
    *('', ' ', 'RGB8', 'rgb8 ', 'rgb', 'rainbow', 'rgb8\n', 'é', '猫', '8UC', '8UC0', '8UC-1'),
    *(
        '8UC999999999999',
        '99UC3',
        'UC3',
        '32FC',
        '../../etc/passwd',
        '$(reboot)',
        '%s%n',
        'x' * 300,
    ),
)
SIZES = (0, 1, 2, 3, 5, 255, 4096, 65_535, 65_536, 2**26, 2**31 - 1, 2**31, 2**32 - 1)
"""Widths, heights and steps where arithmetic goes wrong."""

FORMATS = (
    *('jpeg', 'png', 'rgb8; jpeg compressed bgr8', 'mono8; png compressed', 'bgr8;jpeg', ''),
    *('tiff', 'h264', 'JPEG', 'rgb8; compressedDepth png', '32FC1; compressedDepth', ';', 'é; ü'),
    *('jpeg' * 100, 'rainbow; jpeg compressed rainbow', '16UC1; png compressed 16UC1', '../jpeg'),
)


def _header(sec: int, nanosec: int, frame: str) -> Header:
    header = Header(frame_id=frame)
    header.stamp.sec, header.stamp.nanosec = sec, nanosec
    return header


HEADERS = st.builds(
    _header,
    # Good frames have stamps of their own, from a thousand million on.
    st.sampled_from([0, -1, -(2**31), 1, 5, 2**20]),
    st.sampled_from([0, 1, 999_999_999, 1_000_000_000, 2**32 - 1]),
    st.sampled_from(['', 'camera', '/bad//frame', 'é' * 50, 'a b']),
)


def _pixel_bytes(encoding: str) -> int:
    """Return about as many bytes as a pixel has, which need not be right."""
    return {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}.get(encoding, 2)


@st.composite
def _nearly_good(draw: Callable[..., Any]) -> Image:
    """Draw an image of which one, two or no fields are wrong."""
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    encoding = draw(st.sampled_from(ENCODINGS))
    step = width * _pixel_bytes(encoding) + draw(st.sampled_from([0, 0, 0, 1, -1, 13]))
    step = max(step, 0)
    length = max(height * step + draw(st.sampled_from([0, 0, 0, 1, -1, -7])), 0)
    message = Image(
        header=draw(HEADERS),
        height=height,
        width=width,
        encoding=encoding,
        step=step,
        is_bigendian=draw(st.sampled_from([0, 0, 1, 2, 255])),
        data=array('B', draw(st.binary(min_size=length, max_size=length))),
    )
    sizes = st.sampled_from(SIZES)
    wrong = {
        'height': sizes,
        'width': sizes,
        'step': sizes,
        'encoding': st.one_of(st.sampled_from(ODD_ENCODINGS), st.text(max_size=40)),
        'data': st.binary(max_size=64).map(lambda content: array('B', content)),
    }
    for field in draw(st.lists(st.sampled_from(sorted(wrong)), max_size=2, unique=True)):
        setattr(message, field, draw(wrong[field]))
    return message


_ANY_SIZE = st.one_of(st.sampled_from(SIZES), st.integers(0, 2**32 - 1))
_ANY_IMAGE = st.builds(
    Image,
    header=HEADERS,
    height=_ANY_SIZE,
    width=_ANY_SIZE,
    encoding=st.one_of(st.sampled_from(ENCODINGS + ODD_ENCODINGS), st.text(max_size=40)),
    step=_ANY_SIZE,
    is_bigendian=st.integers(0, 255),
    data=st.binary(max_size=512).map(lambda content: array('B', content)),
)

IMAGES = st.one_of(_nearly_good(), _nearly_good(), _ANY_IMAGE)
"""Hostile ``sensor_msgs/Image`` messages."""


def _changed(**changes: Any) -> Image:  # noqa: ANN401
    """Return a good image of 4 rows of 6 pixels, but for some fields."""
    message = Image(height=4, width=6, encoding='rgb8', step=18, data=array('B', bytes(72)))
    for field, value in changes.items():
        setattr(message, field, value)
    return message


def made_images() -> list[Image]:
    """Return hostile images that chance would hardly find."""
    most = 2**32 - 1
    return [
        Image(),
        _changed(step=0),
        _changed(step=17),
        _changed(step=most),
        _changed(height=most),
        _changed(width=most),
        _changed(height=most, width=most, step=most),
        # Products that are small in 32 bits: 65536 * 65536 = 0, 2**30 * 12 = 0.
        _changed(height=65_536, width=65_536, step=0),
        _changed(height=2**30, width=4, step=12),
        _changed(height=2**26, width=1, step=3),
        _changed(height=2**13, width=2**13, step=3 * 2**13),
        _changed(data=array('B')),
        _changed(data=array('B', bytes(71))),
        _changed(data=array('B', bytes(2**22))),
        _changed(encoding='mono16', step=12, is_bigendian=1),
        _changed(encoding='32FC1', step=24, data=array('B', b'\xff' * 96), is_bigendian=1),
        _changed(encoding='bayer_rggb8', step=6),
        # Bayer patterns and YUV need even sizes.
        _changed(encoding='bayer_rggb8', height=3, width=5, step=5),
        _changed(encoding='yuv422', height=3, width=5, step=10),
        _changed(encoding='nv12', height=3, width=5, step=5),
        *(_changed(encoding=encoding) for encoding in ENCODINGS + ODD_ENCODINGS),
        *(_changed(encoding=encoding, height=1, width=1, step=1) for encoding in ENCODINGS),
    ]


def encoded(suffix: str, height: int = 8, width: int = 8, channels: int = 3) -> bytes:
    """Return a small picture as a file's content."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    pixels = (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    check = zlib.crc32(kind + content)
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', check)


def png_bomb(width: int, height: int, kind: int = 2, content: bytes = b'') -> bytes:
    """Return a PNG that says it is huge and holds next to nothing."""
    head = struct.pack('>IIBBBBB', width, height, 8, kind, 0, 0, 0)
    data = zlib.compress(content or bytes(100))
    chunks = png_chunk(b'IHDR', head) + png_chunk(b'IDAT', data) + png_chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


def jpeg_bomb(width: int, height: int) -> bytes:
    """Return a JPEG whose frame header says it is huge."""
    content = encoded('.jpg')
    place = content.index(b'\xff\xc0') + 5
    after = place + 4
    return b''.join([content[:place], struct.pack('>HH', height, width), content[after:]])


def _bmp_bomb(width: int, height: int) -> bytes:
    content = bytearray(encoded('.bmp'))
    content[18:26] = struct.pack('<ii', width, height)
    return bytes(content)


def _compressed(content: bytes, form: str = 'jpeg') -> CompressedImage:
    return CompressedImage(format=form, data=array('B', content))


def made_compressed() -> list[CompressedImage]:
    """Return hostile compressed images that chance would hardly find."""
    jpeg, png = encoded('.jpg'), encoded('.png')
    contents = [
        *(b'', b'\0', b'\xff\xd8', b'\xff\xd8\xff\xd9', b'\x89PNG\r\n\x1a\n', bytes(10_000)),
        *(jpeg[: len(jpeg) * part // 20] for part in range(20)),
        *(png[: len(png) * part // 20] for part in range(20)),
        *(jpeg + jpeg, png + jpeg, jpeg[::-1], jpeg[:-2] + bytes(1000)),
        *(png_bomb(60_000, 60_000), png_bomb(2**31 - 1, 1), png_bomb(1, 2**31 - 1)),
        *(png_bomb(2**31 - 1, 2**31 - 1), png_bomb(0, 0), png_bomb(0, 5), png_bomb(8, 8, 3)),
        # 400 million pixels that are really there, in 400 kB: below OpenCV's limit.
        png_bomb(20_000, 20_000, 0, bytes(20_001 * 20_000)),
        *(
            jpeg_bomb(65_535, 65_535),
            jpeg_bomb(65_535, 1),
            jpeg_bomb(0, 0),
            jpeg_bomb(20_000, 20_000),
        ),
        *(_bmp_bomb(30_000, 30_000), _bmp_bomb(-5, -5), _bmp_bomb(2**31 - 1, 2**31 - 1)),
        *(b'P6\n100000 100000\n255\n', b'P6\n-1 -1\n255\nxxx', b'P5 2 2 99999 xxxx', b'P7\n'),
        *(
            b'GIF89a\xff\xff\xff\xff\x80\0\0',
            b'II*\0\x08\0\0\0\xff\xff',
            b'MM\0*\0\0\0\x08\xff\xff',
        ),
        *(
            b'RIFF\xff\xff\xff\xffWEBPVP8 ',
            b'\x76\x2f\x31\x01\x02\0\0\0',
            b'#?RADIANCE\n\n-Y 9 +X 9\n',
        ),
        *(b'\0\0\0\x0cjP  \r\n\x87\n', b'\0\0\0\x20ftypavif', b'<svg></svg>', b'%PDF-1.4'),
        *(encoded(suffix, channels=4) for suffix in ('.png', '.tiff', '.webp')),
        *(encoded(suffix, channels=1) for suffix in ('.png', '.jpg', '.bmp', '.pgm')),
        *(encoded('.png', height, width) for height, width in ((1, 1), (1, 500), (500, 1))),
    ]
    formats = [_compressed(content, form) for form in FORMATS for content in (jpeg, png, b'x')]
    return [_compressed(content) for content in contents] + formats


@st.composite
def _spoiled_file(draw: Callable[..., Any]) -> bytes:
    """Draw a picture's file that is cut off or of which some bytes are other ones."""
    suffix = draw(st.sampled_from(['.jpg', '.png', '.bmp', '.webp', '.tiff', '.pgm']))
    content = bytearray(encoded(suffix, channels=1 if suffix == '.pgm' else 3))
    for place in draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = draw(st.integers(0, 255))
    cut = draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    return bytes(content[:cut]) + draw(st.binary(max_size=16))


COMPRESSED = st.builds(
    CompressedImage,
    header=HEADERS,
    format=st.one_of(st.sampled_from(FORMATS), st.text(max_size=40)),
    data=st.one_of(_spoiled_file(), _spoiled_file(), st.binary(max_size=200)).map(
        lambda content: array('B', content)
    ),
)
"""Hostile ``sensor_msgs/CompressedImage`` messages."""
