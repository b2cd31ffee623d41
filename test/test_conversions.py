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
import sys
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError
from zegclip_ros.conversions import (
    check_image,
    image_message,
    image_to_labels,
    image_to_rgb,
    labels_to_image,
    mask_to_image,
    MAX_PIXELS,
    rgb_to_image,
)

pytestmark = pytest.mark.ros

RED_AND_BLUE = [(200, 10, 20), (30, 40, 250)]


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


@pytest.mark.parametrize(
    ('encoding', 'row', 'expected'),
    [
        ('rgb8', bytes([200, 10, 20, 30, 40, 250]), RED_AND_BLUE),
        ('bgr8', bytes([20, 10, 200, 250, 40, 30]), RED_AND_BLUE),
        ('rgba8', bytes([200, 10, 20, 9, 30, 40, 250, 8]), RED_AND_BLUE),
        ('bgra8', bytes([20, 10, 200, 9, 250, 40, 30, 8]), RED_AND_BLUE),
        ('mono8', bytes([7, 77]), [(7, 7, 7), (77, 77, 77)]),
    ],
)
@pytest.mark.parametrize('padding', [0, 1, 5])
def test_encodings_become_rgb_without_their_row_padding(
    encoding: str, row: bytes, expected: list[tuple[int, int, int]], padding: int
) -> None:
    padded = row + b'\xff' * padding
    message = make_message(encoding, [padded, padded, padded], 2, len(padded))
    rgb = image_to_rgb(message)
    assert rgb.dtype == np.uint8
    assert rgb.tolist() == [[list(pixel) for pixel in expected]] * 3


def test_known_encodings_are_views_of_the_message() -> None:
    message = make_message('bgr8', [bytes(6)] * 2, 2, 6)
    rgb = image_to_rgb(message)
    message.data[0] = 99
    assert rgb[0, 0].tolist() == [0, 0, 99]


def test_the_padding_of_the_last_row_may_be_missing() -> None:
    message = make_message('mono8', [b'\x01\x02\xff', b'\x03\x04'], 2, 3)
    assert image_to_rgb(message)[:, :, 0].tolist() == [[1, 2], [3, 4]]


def test_bayer_is_left_to_cv_bridge() -> None:
    pytest.importorskip('cv_bridge')
    # A grey scene is grey under any colour filter; step holds two bytes of padding.
    message = make_message('bayer_rggb8', [bytes([90] * 8 + [0, 0])] * 6, 8, 10)
    rgb = image_to_rgb(message)
    assert rgb.shape == (6, 8, 3)
    assert (rgb == 90).all()


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'step': 5}, 'step of at least 6 bytes for 2 pixels of rgb8, but got 5'),
        ({'data': array('B', bytes(11))}, 'at least 12 bytes of data .* but got 11'),
        ({'data': array('B')}, 'but got 0'),
        ({'width': 0, 'step': 0}, 'but got 0x2'),
        ({'height': 0}, 'but got 2x0'),
        ({'width': 2**31, 'height': 2**31}, f'1 to {MAX_PIXELS} pixels'),
        ({'encoding': 'rainbow64'}, 'rainbow64'),
        ({'encoding': ''}, "''"),
        ({'step': 2**32 - 1}, 'bytes of data'),
    ],
)
def test_messages_that_contradict_themselves_are_refused(
    change: dict[str, Any], said: str
) -> None:
    message = make_message('rgb8', [bytes(6)] * 2, 2, 6)
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ImageError, match=said):
        check_image(message)
    with pytest.raises(ImageError, match=said):
        image_to_rgb(message)


def test_an_encoding_that_has_no_colours_is_refused() -> None:
    pytest.importorskip('cv_bridge')
    message = make_message('32FC1', [bytes(8)] * 2, 2, 8)
    with pytest.raises(ImageError, match='32FC1'):
        image_to_rgb(message)


def test_without_cv_bridge_rare_encodings_get_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    message = make_message('bayer_rggb8', [bytes(8)] * 4, 8, 8)
    with pytest.raises(ImageError, match='cv_bridge, and that is not installed'):
        image_to_rgb(message)


def test_outputs_keep_the_header_and_describe_their_bytes() -> None:
    header = make_header()
    labels = np.array([[0, 1, 255], [2, 2, 2]], dtype=np.uint8)
    message = labels_to_image(labels, header)
    assert (message.encoding, message.height, message.width, message.step) == ('mono8', 2, 3, 3)
    assert bytes(message.data) == bytes([0, 1, 255, 2, 2, 2])
    assert message.header == header
    assert (image_to_labels(message) == labels).all()


def test_masks_are_0_and_255() -> None:
    mask = np.array([[True, False], [False, True]])
    message = mask_to_image(mask, make_header())
    assert (message.encoding, bytes(message.data)) == ('mono8', bytes([255, 0, 0, 255]))


def test_rgb_images_come_back_as_they_went_even_from_a_slice() -> None:
    rgb = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)[::2, ::-1]
    message = rgb_to_image(rgb, make_header())
    assert (message.encoding, message.height, message.width, message.step) == ('rgb8', 2, 5, 15)
    assert (image_to_rgb(message) == rgb).all()


def test_a_label_image_of_another_encoding_is_refused() -> None:
    message = image_message(np.zeros((2, 2, 3), np.uint8), 'rgb8', make_header())
    with pytest.raises(ImageError, match='mono8'):
        image_to_labels(message)
