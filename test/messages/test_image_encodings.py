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
"""Image messages of bags as RGB: every encoding, padding, byte order, and what is refused."""

from types import SimpleNamespace
from typing import Any

from bag_helpers import (
    COMPRESSED,
    IMAGE,
    raw_compressed,
    raw_file,
    raw_image,
    red_until,
    TYPES,
)
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from zegclip_core.errors import ImageError
from zegclip_core.messages.image_encodings import ENCODINGS, packed_rgb

ORANGE = (240, 130, 20)
GREY = 90


def decoded(raw: bytes, kind: str = IMAGE) -> npt.NDArray[np.uint8]:
    return packed_rgb(TYPES.deserialize_cdr(raw, kind))


def orange(height: int = 8, width: int = 12) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), ORANGE, dtype=np.uint8)


def bayer(pattern: str) -> npt.NDArray[np.uint8]:
    """Return what a sensor with this colour of each of its first four pixels sees."""
    values = dict(zip('rgb', ORANGE, strict=True))
    first = np.array([values[letter] for letter in pattern], dtype=np.uint8).reshape(2, 2)
    return np.tile(first, (4, 6))


def yuv(order: str) -> npt.NDArray[np.uint8]:
    """Return an orange image whose bytes of two pixels are Y, U, Y, V or U, Y, V, Y."""
    # BT.601, Y from 16 to 235, U and V from 16 to 240.
    to_yuv = [[0.257, 0.504, 0.098], [-0.148, -0.291, 0.439], [0.439, -0.368, -0.071]]
    y, u, v = np.array(to_yuv) @ ORANGE + (16, 128, 128)
    pair = {'yuyv': [y, u, y, v], 'uyvy': [u, y, v, y]}[order]
    return np.tile(np.array(pair, dtype=np.uint8).reshape(1, 2, 2), (8, 6, 1))


def wide(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Return 16-bit values that mean the same."""
    return pixels.astype(np.uint16) * 257


GREYS = np.full((8, 12), GREY, dtype=np.uint8)
ALPHA = np.full((8, 12, 1), 7, dtype=np.uint8)
IMAGES: dict[str, npt.NDArray[Any]] = {
    'rgb8': orange(),
    'bgr8': orange()[..., ::-1],
    'rgba8': np.concatenate([orange(), ALPHA], axis=2),
    'bgra8': np.concatenate([orange()[..., ::-1], ALPHA], axis=2),
    'mono8': GREYS,
    **{f'bayer_{name}8': bayer(name) for name in ('rggb', 'bggr', 'gbrg', 'grbg')},
    'yuyv': yuv('yuyv'),
    'yuv422_yuy2': yuv('yuyv'),
    'uyvy': yuv('uyvy'),
    'yuv422': yuv('uyvy'),
}
IMAGES |= {f'{name[:-1]}16': wide(pixels) for name, pixels in IMAGES.items() if name.endswith('8')}


@pytest.mark.parametrize('encoding', IMAGES)
def test_every_encoding_shows_the_colour(encoding: str) -> None:
    rgb = decoded(raw_image(IMAGES[encoding], encoding))
    assert (rgb.shape, rgb.dtype) == ((8, 12, 3), np.uint8)
    assert rgb.flags.c_contiguous
    assert rgb.flags.writeable
    expected = (GREY, GREY, GREY) if 'mono' in encoding else ORANGE
    # Colour from brightness and two differences in 8 bits is off by a few.
    tolerance = 6 if 'yu' in encoding or 'uy' in encoding else 0
    assert np.abs(rgb[2:-2, 2:-2].astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
def test_planes_of_colour_below_the_brightness(encoding: str) -> None:
    pair = yuv('uyvy')[0, :2].ravel()
    u, y, v = pair[:3]
    colors = [u, v] if encoding == 'nv12' else [v, u]
    planes = np.concatenate([np.full((8, 12), y), np.tile(colors, (4, 6))]).astype(np.uint8)
    rgb = decoded(raw_image(planes, encoding, height=8, step=12))
    assert rgb.shape == (8, 12, 3)
    assert np.abs(rgb.astype(int) - ORANGE).max() <= 6


def test_the_table_names_what_is_tested() -> None:
    assert set(ENCODINGS) == set(IMAGES) | {'nv12', 'nv21'} | {'8UC1', '8UC3', '8UC4'}


@pytest.mark.parametrize('encoding', ['rgb8', 'mono8', 'bayer_rggb8', 'rgb16'])
def test_padding_at_the_end_of_the_rows_is_left_out(encoding: str) -> None:
    pixels = IMAGES[encoding]
    rows = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8).reshape(8, -1)
    padded = np.pad(rows, ((0, 0), (0, 5)), constant_values=255)
    plain = decoded(raw_image(pixels, encoding))
    raw = raw_image(padded, encoding, width=12, step=padded.shape[1])
    assert np.array_equal(decoded(raw), plain)
    short = padded.ravel()[:-5]
    assert np.array_equal(
        decoded(raw_image(padded, encoding, width=12, step=padded.shape[1], data=short)), plain
    )


@pytest.mark.parametrize('encoding', ['mono16', 'rgb16', 'bayer_grbg16'])
def test_the_byte_order_is_that_of_the_message(encoding: str) -> None:
    pixels = IMAGES[encoding].copy()
    pixels[:4] = 3000
    swapped = raw_image(pixels.astype('>u2'), encoding, is_bigendian=1)
    assert np.array_equal(decoded(swapped), decoded(raw_image(pixels, encoding)))


def test_the_upper_bytes_of_sixteen_bits_are_seen() -> None:
    values = np.array([[0, 128, 129, 32768, 65535]], dtype=np.uint16)
    assert decoded(raw_image(values, 'mono16'))[0, :, 1].tolist() == [0, 0, 0, 128, 255]


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_compressed_images_are_decoded(suffix: str) -> None:
    rgb = decoded(raw_file(red_until(8), suffix), COMPRESSED)
    assert rgb.shape == (12, 16, 3)
    assert np.abs(rgb[:, 4].astype(int) - (255, 0, 0)).max() <= 4
    assert np.abs(rgb[:, 14].astype(int) - 100).max() <= 4


def test_compressed_images_with_swapped_channels_say_so() -> None:
    _, data = cv2.imencode('.png', red_until(16))
    raw = raw_compressed(data, 'rgb8; png compressed rgb8')
    assert decoded(raw, COMPRESSED)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'width': 0}, 'but got 0x12'),
        ({'height': 2**31, 'width': 2**31}, 'Expected an image of 1 to'),
        ({'step': 47}, 'step of at least 48'),
        ({'width': 17}, 'step of at least 51'),
        ({'height': 13}, 'at least 624 bytes'),
        ({'data': np.zeros(0, dtype=np.uint8)}, 'but got 0'),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ImageError, match=says):
        decoded(raw_image(red_until(3), 'rgb8', **changes))


@pytest.mark.parametrize('encoding', ['8UC7', '32FC3', '', 'jpeg'])
def test_encodings_that_are_no_image_are_refused(encoding: str) -> None:
    with pytest.raises(ImageError, match=f"encoded as rgb8, .* but got '{encoding}'"):
        decoded(raw_image(red_until(3), encoding))


@pytest.mark.parametrize('data', [b'', b'no image', b'\xff\xd8\xff\xe0 torn'])
def test_what_does_not_decode_is_refused(data: bytes) -> None:
    message = SimpleNamespace(data=np.frombuffer(data, dtype=np.uint8), format='jpeg')
    with pytest.raises(ImageError, match=f'got {len(data)} bytes'):
        packed_rgb(message)


def test_sizes_that_the_conversion_does_not_know_are_refused() -> None:
    planes = np.zeros((5, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match='cannot convert'):
        decoded(raw_image(planes, 'nv12', height=3, width=3, step=3, data=planes.ravel()))
