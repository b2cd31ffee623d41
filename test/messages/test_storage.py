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
"""Data of messages in any storage: looked into where they lie, copied, or refused in one line."""

from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from zegclip_core.errors import EncodingError
from zegclip_core.messages.depth import depth_metres
from zegclip_core.messages.image_encodings import packed_rgb
from zegclip_core.messages.storage import message_bytes

CONTENT = bytes(range(12))
DEVICE = 'storage of a device'


class Foreign:
    """Has no buffer protocol, and NumPy cannot convert it."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content

    def __array__(self, dtype: object = None, copy: object = None) -> None:
        raise TypeError(DEVICE)

    def __len__(self) -> int:
        return len(self.content)


class WithBytes(Foreign):
    """Offers the fastest way."""

    def __bytes__(self) -> bytes:
        return self.content


class WithToBytes(Foreign):
    """Offers NumPy's way."""

    def tobytes(self) -> bytes:
        return self.content


class WithToList(Foreign):
    """Offers numbers."""

    def tolist(self) -> list[int]:
        return list(self.content)


class WithOneThatFails(WithToList):
    """Offers two ways, the first of which fails."""

    def __bytes__(self) -> bytes:
        raise RuntimeError(DEVICE)


class Failing(Foreign):
    """Offers a way that fails, in two lines."""

    def tolist(self) -> list[int]:
        raise RuntimeError(f'{DEVICE}\nis lost')


class Signed(Foreign):
    """Offers numbers that are no bytes."""

    def tolist(self) -> list[int]:
        return [-1]


def image(data: object, encoding: str = 'rgb8') -> SimpleNamespace:
    return SimpleNamespace(
        height=2, width=2, encoding=encoding, is_bigendian=0, step=6, data=data, header=None
    )


@pytest.mark.parametrize(
    'data',
    [
        array('B', CONTENT),
        CONTENT,
        bytearray(CONTENT),
        memoryview(CONTENT),
        np.frombuffer(CONTENT, np.uint8),
    ],
)
def test_what_numpy_can_look_into_is_not_copied(data: object) -> None:
    assert message_bytes(data) is data


def test_what_lies_in_pieces_is_copied() -> None:
    assert bytes(message_bytes(memoryview(CONTENT)[::2])) == CONTENT[::2]
    assert bytes(message_bytes(np.frombuffer(CONTENT, np.uint8)[::-1])) == CONTENT[::-1]


@pytest.mark.parametrize('kind', [WithBytes, WithToBytes, WithToList, WithOneThatFails])
def test_a_foreign_buffer_that_offers_its_bytes_is_copied(kind: type[Foreign]) -> None:
    with pytest.raises(TypeError):
        np.asarray(kind())
    np.testing.assert_array_equal(
        packed_rgb(image(kind())), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    )
    metres = depth_metres(SimpleNamespace(**{**vars(image(kind(), '16UC1')), 'step': 4}))
    assert metres[0].tolist() == pytest.approx([0.256, 0.770])


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (Foreign(), 'test_storage.Foreign, which does not give NumPy its bytes and has no way'),
        (Failing(), 'copying them failed: RuntimeError: storage of a device is lost.'),
        (Signed(), 'copying them failed: ValueError'),
        (None, 'builtins.NoneType'),
        ('text', 'builtins.str'),
        (12, 'builtins.int'),
    ],
)
@pytest.mark.parametrize('encoding', ['rgb8', 'mono8', 'nv12', 'mono16'])
def test_any_other_is_refused_in_one_line_that_names_the_cause(
    data: object, words: str, encoding: str
) -> None:
    with pytest.raises(EncodingError) as caught:
        packed_rgb(image(data, encoding))
    text = str(caught.value)
    assert text.startswith("Expected the data of a message to lie in the CPU's memory, but got a ")
    assert words in text
    assert '\n' not in text


def test_compressed_images_and_depth_are_refused_by_the_same() -> None:
    compressed = SimpleNamespace(format='jpeg', data=Foreign())
    depth = image(Foreign(), '16UC1')
    for read, message in ((packed_rgb, compressed), (depth_metres, depth)):
        with pytest.raises(EncodingError, match=r"lie in the CPU's memory"):
            read(message)


def test_copies_can_be_written_to_as_torch_wants_it() -> None:
    assert packed_rgb(image(WithBytes())).flags.writeable


def test_a_foreign_buffer_that_is_too_short_is_refused_by_its_length() -> None:
    with pytest.raises(ValueError, match='at least 12 bytes of data'):
        packed_rgb(image(WithBytes(CONTENT[:7])))
