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
"""Image messages: what comes in becomes RGB, what goes out says what it is."""

from array import array
import struct
import sys
from types import SimpleNamespace
from typing import Any
import zlib

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError
from zegclip_core.messages.image_encodings import MAX_PIXELS
from zegclip_core.messages.outputs import label_fields, mask_fields, score_fields
from zegclip_ros.conversions import (
    check_frame,
    image_message,
    image_to_labels,
    image_to_rgb,
    packed_rgb,
    rgb_to_image,
    rgb_to_jpeg,
)

pytestmark = pytest.mark.ros


def make_header() -> Header:
    header = Header(frame_id='front_camera')
    header.stamp.sec, header.stamp.nanosec = 12, 345
    return header


def make_message(encoding: str, rows: list[bytes], width: int, step: int) -> Image:
    """Build a message byte by byte, without the code under test."""
    return Image(
        header=make_header(),
        height=len(rows),
        width=width,
        encoding=encoding,
        step=step,
        data=array('B', b''.join(rows)),
    )


def test_known_encodings_are_views_of_the_message() -> None:
    message = make_message('bgr8', [bytes(6)] * 2, 2, 6)
    rgb = image_to_rgb(message)
    message.data[0] = 99
    assert rgb[0, 0].tolist() == [0, 0, 99]


def test_the_padding_of_the_last_row_may_be_missing() -> None:
    message = make_message('mono8', [b'\x01\x02\xff', b'\x03\x04'], 2, 3)
    assert image_to_rgb(message)[:, :, 0].tolist() == [[1, 2], [3, 4]]


class Elsewhere:
    """A buffer whose storage is not the CPU's memory, as rosidl has them from Lyrical on."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __array__(self, dtype: object = None, copy: object = None) -> None:
        raise TypeError('this storage cannot be converted to an array')

    def __len__(self) -> int:
        return len(self.content)


class Copied(Elsewhere):
    """One that offers its values."""

    def tolist(self) -> list[int]:
        return list(self.content)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', '16SC1'])
def test_data_that_lie_elsewhere_are_copied_or_refused_with_the_reason(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'cv_bridge', SimpleNamespace(CvBridge=FakeBridge))
    message = make_message(encoding, [bytes(range(6)), bytes(range(6, 12))], 2, 6)
    plain = packed_rgb(message)
    message._data = Copied(bytes(range(12)))
    check_frame(message)
    np.testing.assert_array_equal(packed_rgb(message), plain)
    message._data = Elsewhere(bytes(range(12)))
    for read in (check_frame, image_to_rgb, packed_rgb):
        with pytest.raises(ImageError, match=r'but got a test_conversions\.Elsewhere, which'):
            read(message)


class FakeBridge:
    """cv_bridge as Kilted's, for an encoding of two bytes a pixel; PyPI's knows few of them."""

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        if encoding != '16SC1':
            raise RuntimeError('Unrecognized image encoding')
        return 'int16', 1

    def imgmsg_to_cv2(self, message: Image, desired_encoding: str) -> np.ndarray:
        assert desired_encoding == 'rgb8'
        assert message.step == 2 * message.width
        order = '>' if message.is_bigendian else '<'
        values = np.frombuffer(message.data, f'{order}i2')
        grey = values.reshape(message.height, message.width, 1).astype(np.uint8)
        return np.repeat(grey, 3, axis=2)


def test_what_is_left_goes_to_cv_bridge_without_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'cv_bridge', SimpleNamespace(CvBridge=FakeBridge))
    message = make_message('16SC1', [bytes([0, 7, 0, 9, 0xFF])] * 3, 2, 5)
    message.is_bigendian = 1
    check_frame(message)
    for rgb in (image_to_rgb(message), packed_rgb(message)):
        assert rgb.tolist() == [[[7] * 3, [9] * 3]] * 3
    message.step = 3
    with pytest.raises(ImageError, match='at least 4 bytes'):
        check_frame(message)
    message.encoding = 'rainbow'
    with pytest.raises(ImageError, match="'rainbow': RuntimeError: Unrecognized"):
        check_frame(message)


@pytest.mark.parametrize('big', [0, 1])
def test_mono16_is_seen_by_its_upper_bytes_without_a_copy(big: int) -> None:
    row = bytes([7, 1, 77, 2]) if big else bytes([1, 7, 2, 77])
    message = make_message('mono16', [row + b'\xff'] * 2, 2, 5)
    message.is_bigendian = big
    rgb = image_to_rgb(message)
    assert rgb.tolist() == [[[7] * 3, [77] * 3]] * 2
    assert packed_rgb(message).tolist() == rgb.tolist()
    message.data[0 if big else 1] = 99
    assert rgb[0, 0].tolist() == [99] * 3


@pytest.mark.parametrize(
    'encoding',
    [
        *('rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'mono16', 'rgb16'),
        *('bayer_rggb8', 'bayer_gbrg16', 'yuv422_yuy2'),
    ],
)
@pytest.mark.parametrize('padding', [0, 3])
def test_packed_pixels_are_those_of_the_view(encoding: str, padding: int) -> None:
    channels = {'mono': 1, 'baye': 1, 'yuv4': 2, 'rgba': 4, 'bgra': 4}.get(encoding[:4], 3)
    width = channels * (2 if encoding.endswith('16') else 1) * 8
    noise = np.random.default_rng(0).integers(0, 256, (6, width + padding), dtype=np.uint8)
    message = make_message(encoding, [row.tobytes() for row in noise], 8, width + padding)
    packed = packed_rgb(message)
    assert packed.flags['C_CONTIGUOUS']
    assert (packed == image_to_rgb(message)).all()


def test_rgb8_without_padding_is_not_copied() -> None:
    message = make_message('rgb8', [bytes(6)] * 2, 2, 6)
    rgb = packed_rgb(message)
    message.data[0] = 99
    assert rgb[0, 0].tolist() == [99, 0, 0]


def encoded(suffix: str, rgb: np.ndarray) -> CompressedImage:
    data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
    return CompressedImage(header=make_header(), format=suffix[1:], data=data)


def png_of_size(width: int, height: int) -> bytes:
    """Return a file that claims a size and holds no pixel of it."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(b'')), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(
    ('data', 'said'),
    [
        (b'', 'but got 0 bytes'),
        (b'\xff\xd8\xff', 'that are none'),
        (b'GIF89a' + bytes(40), 'that are none'),
        (png_of_size(9000, 9000), 'but got 9000x9000'),
        (png_of_size(50_000, 50_000), 'but got a compressed image of many more'),
        (png_of_size(8, 8), 'Cannot decode'),
        (encoded('.jpg', np.zeros((64, 64, 3), np.uint8)).data[:-9], 'its end is missing'),
        (encoded('.png', np.zeros((64, 64, 3), np.uint8)).data[:-9], 'its end is missing'),
    ],
)
def test_compressed_images_that_are_damaged_are_refused(data: bytes, said: str) -> None:
    message = CompressedImage(header=make_header(), format='jpeg', data=bytes(data))
    with pytest.raises(ImageError, match=said):
        packed_rgb(message)


def test_wide_labels_masks_and_scores_describe_their_bytes() -> None:
    labels = np.array([[0, 300, 65535]], dtype=np.uint16)
    message = image_message(label_fields(labels), make_header())
    assert (message.encoding, message.step, message.is_bigendian) == ('16UC1', 6, 0)
    assert bytes(message.data) == struct.pack('<HHH', 0, 300, 65535)
    assert (image_to_labels(message) == labels).all()
    mask = image_message(mask_fields(np.array([[True, False], [False, True]])), make_header())
    assert (mask.encoding, bytes(mask.data)) == ('mono8', bytes([255, 0, 0, 255]))
    scores = image_message(score_fields(np.array([[0.25, 1.0]], dtype=np.float32)), make_header())
    assert (scores.encoding, scores.width, scores.step) == ('32FC1', 2, 8)
    assert bytes(scores.data) == struct.pack('<ff', 0.25, 1.0)


def test_a_jpeg_is_smaller_the_less_quality_it_has() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    fine, coarse = (rgb_to_jpeg(noise, make_header(), quality) for quality in (95, 10))
    assert len(coarse.data) < len(fine.data) / 2
    assert fine.header == make_header()
    assert packed_rgb(fine).shape == noise.shape


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'step': 5}, 'step of at least 6 bytes for 2 pixels of rgb8, but got 5'),
        ({'data': array('B', bytes(11))}, 'at least 12 bytes of data .* but got 11'),
        ({'height': 0}, 'but got 2x0'),
        ({'width': 2**31, 'height': 2**31}, f'1 to {MAX_PIXELS} pixels'),
        ({'encoding': 'rainbow64'}, 'rainbow64'),
    ],
)
def test_messages_that_contradict_themselves_are_refused(
    change: dict[str, Any], said: str
) -> None:
    message = make_message('rgb8', [bytes(6)] * 2, 2, 6)
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ImageError, match=said):
        check_frame(message)
    with pytest.raises(ImageError, match=said):
        image_to_rgb(message)


@pytest.mark.parametrize(('encoding', 'size'), [('32FC1', 4), ('16UC1', 2)])
def test_an_encoding_that_has_no_colours_is_refused(encoding: str, size: int) -> None:
    message = make_message(encoding, [bytes(2 * size)] * 2, 2, 2 * size)
    for read in (check_frame, image_to_rgb, packed_rgb):
        with pytest.raises(ImageError, match=f'{encoding}, which looks like depth'):
            read(message)


def test_without_cv_bridge_rare_encodings_get_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    message = make_message('8SC3', [bytes(24)] * 4, 8, 24)
    with pytest.raises(ImageError, match='cv_bridge, and that is not installed'):
        image_to_rgb(message)


def test_outputs_keep_the_header_and_describe_their_bytes() -> None:
    header = make_header()
    labels = np.array([[0, 1, 255], [2, 2, 2]], dtype=np.uint8)
    message = image_message(label_fields(labels), header)
    assert (message.encoding, message.height, message.width, message.step) == ('mono8', 2, 3, 3)
    assert bytes(message.data) == bytes([0, 1, 255, 2, 2, 2])
    assert message.header == header
    assert (image_to_labels(message) == labels).all()


def test_rgb_images_come_back_as_they_went_even_from_a_slice() -> None:
    rgb = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)[::2, ::-1]
    message = rgb_to_image(rgb, make_header())
    assert (message.encoding, message.height, message.width, message.step) == ('rgb8', 2, 5, 15)
    assert (image_to_rgb(message) == rgb).all()


def test_a_label_image_of_another_encoding_is_refused() -> None:
    message = rgb_to_image(np.zeros((2, 2, 3), np.uint8), make_header())
    with pytest.raises(ImageError, match='mono8'):
        image_to_labels(message)
