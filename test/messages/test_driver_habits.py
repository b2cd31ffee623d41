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
"""What camera drivers send beside the book: padded files, missing ends, 12 bits, generic types."""

from types import SimpleNamespace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from zegclip_core.errors import ImageError
from zegclip_core.images import values
from zegclip_core.messages.image_encodings import check_image, packed_rgb, rgb_view

RNG = np.random.default_rng(0)
NOISE = cv2.resize(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8), (160, 120))
"""Soft noise, BGR as OpenCV writes it."""


def compressed(data: bytes) -> SimpleNamespace:
    return SimpleNamespace(format='jpeg', data=np.frombuffer(data, np.uint8))


def raw(pixels: npt.NDArray[np.generic], encoding: str, big: int = 0) -> SimpleNamespace:
    data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
    height, width = pixels.shape[:2]
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=big,
        step=data.size // height,
        data=data,
    )


def file(suffix: str, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, NOISE, list(options))[1])


def decoded(data: bytes) -> npt.NDArray[np.uint8]:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB)


PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


@pytest.mark.parametrize(
    ('whole', 'tail'),
    [
        (file('.jpg'), bytes(4096)),
        (file('.jpg'), b'\xff' * 9000),
        (file('.jpg', *PROGRESSIVE), bytes(4096)),
        (file('.png'), bytes(4096)),
        (file('.png'), b'a comment of the driver' * 100),
    ],
)
def test_files_with_something_behind_their_end_are_read(whole: bytes, tail: bytes) -> None:
    message = compressed(whole + tail)
    check_image(message)
    assert np.array_equal(packed_rgb(message), decoded(whole))


@pytest.mark.parametrize('options', [(), PROGRESSIVE, (cv2.IMWRITE_JPEG_QUALITY, 100)])
@pytest.mark.parametrize('missing', [1, 2])
def test_a_jpeg_that_lacks_its_end_marker_alone_is_read(
    options: tuple[int, ...], missing: int
) -> None:
    whole = file('.jpg', *options)
    assert np.array_equal(packed_rgb(compressed(whole[:-missing])), decoded(whole))


@pytest.mark.parametrize('options', [(), PROGRESSIVE])
@pytest.mark.parametrize('kept', [0.3, 0.5, 0.9, 0.97])
def test_a_jpeg_that_lacks_more_is_refused(options: tuple[int, ...], kept: float) -> None:
    whole = file('.jpg', *options)
    torn = whole[: int(len(whole) * kept)]
    for data in (torn, torn + bytes(4096)):
        with pytest.raises(ImageError, match='damaged, or its end is missing'):
            packed_rgb(compressed(data))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, '_said', set())


GREY = np.array([[0, 1024, 2048, 4095]], np.uint16)
SHOWN = [0, 64, 128, 255]


@pytest.mark.usefixtures('fresh')
@pytest.mark.parametrize('big', [0, 1])
@pytest.mark.parametrize(
    ('encoding', 'channels'), [('mono16', 1), ('rgb16', 3), ('bgr16', 3), ('bgra16', 4)]
)
def test_12_bits_in_16_bit_messages_are_no_black_and_that_is_said_once(
    encoding: str, channels: int, big: int, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.repeat(GREY[..., None], channels, axis=2).astype('>u2' if big else '<u2')
    message = raw(pixels, encoding, big)
    for read in (packed_rgb, rgb_view):
        assert read(message)[0, :, 1].tolist() == SHOWN
    (line,) = caplog.messages
    assert 'images with a 16-bit encoding never exceed 4095' in line


@pytest.mark.usefixtures('fresh')
@pytest.mark.parametrize('channels', [1, 3])
def test_12_bits_in_a_compressed_png_are_no_black(channels: int) -> None:
    pixels = np.repeat(GREY[..., None], channels, axis=2)
    data = bytes(cv2.imencode('.png', pixels)[1])
    assert packed_rgb(compressed(data))[0, :, 0].tolist() == SHOWN


@pytest.mark.usefixtures('fresh')
def test_all_16_bits_stay_16_bits(caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.array([[0, 4096, 65535]], np.uint16)
    assert packed_rgb(raw(pixels, 'mono16'))[0, :, 0].tolist() == [0, 16, 255]
    data = bytes(cv2.imencode('.png', pixels)[1])
    assert packed_rgb(compressed(data))[0, :, 0].tolist() == [0, 16, 255]
    assert caplog.messages == []


@pytest.mark.parametrize(
    ('generic', 'same'), [('8UC1', 'mono8'), ('8UC3', 'bgr8'), ('8UC4', 'bgra8')]
)
def test_generic_encodings_are_what_opencv_means(generic: str, same: str) -> None:
    channels = int(generic[-1])
    pixels = RNG.integers(0, 256, (4, 5, channels), dtype=np.uint8)
    for read in (packed_rgb, rgb_view):
        assert np.array_equal(read(raw(pixels, generic)), read(raw(pixels, same)))


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_generic_types_of_distances_look_like_depth(encoding: str) -> None:
    message = raw(np.zeros((4, 5), np.float32), encoding)
    with pytest.raises(ImageError, match=f'{encoding}, which looks like depth'):
        check_image(message)


MOSAIC = {'rggb': 'BG', 'bggr': 'RG', 'gbrg': 'GR', 'grbg': 'GB'}
"""What OpenCV calls a pattern: by its second row."""


@pytest.mark.parametrize('pattern', MOSAIC)
@pytest.mark.parametrize('ending', ['8; png compressed ', '8; png compressed mono8', '8'])
def test_the_mosaic_of_a_sensor_that_was_compressed_as_it_is_becomes_colours(
    pattern: str, ending: str
) -> None:
    rng = np.random.default_rng(3)
    mosaic = rng.integers(0, 256, (20, 30), np.uint8)
    _, file = cv2.imencode('.png', mosaic)
    message = SimpleNamespace(format=f'bayer_{pattern}{ending}', data=file.reshape(-1))
    code = getattr(cv2, f'COLOR_Bayer{MOSAIC[pattern]}2RGB')
    assert np.array_equal(packed_rgb(message), cv2.cvtColor(mosaic, code))


@pytest.mark.parametrize(
    'kind', ['bayer_rggb8; png compressed bgr8', 'rgb8; png compressed bgr8', '']
)
def test_colours_that_a_driver_has_computed_stay(kind: str) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)
    _, file = cv2.imencode('.png', rgb[..., ::-1])
    message = SimpleNamespace(format=kind, data=file.reshape(-1))
    assert np.array_equal(packed_rgb(message), rgb)
