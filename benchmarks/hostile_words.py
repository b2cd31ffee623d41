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
"""Hostile words, and which of them the node has to take."""

from collections.abc import Sequence
import json
from pathlib import Path
import struct
from typing import Any

from hypothesis import strategies as st
import yaml
from zegclip_core.messages.topic_names import topic_tokens
from zegclip_core.text.vocabulary import Vocabulary

Strategy = st.SearchStrategy[Any]
CDR_HEAD = b'\x00\x01\x00\x00'
"""What every message begins with on the wire."""
TEXTS = yaml.safe_load(Path(__file__).with_name('hostile_texts.yaml').read_text('utf-8'))
"""Encodings, formats and words that go wrong."""

_LONG = (
    *('[' * 60_000, '[' * 900 + ']' * 900, '{"a":' * 5_000, '﷽' * 200, 'person, ' * 131_072),
    *('x' * 200, 'x' * 201, 'x' * 65_536, 'x' * 65_537),
    # Python refuses to read numbers with more digits than this, in words of its own.
    *(f'[{"1" * 5_000}]', f'[{{"name": "a", "threshold": {"1" * 5_000}}}]', f'[{"-" * 5_000}]'),
    *(','.join(f'thing {number}' for number in range(count)) for count in (254, 255, 8_000)),
)
_NOT_UTF8 = (
    *(b'\xff', b'per\xff\xfeson, cat', b'\xc3', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'\xc0\x80'),
    *(b'["\xff"]', b'[\xff]', b'cat\x00dog', b'\x00', bytes(range(256)), b'\xef\xbb\xbfcat'),
)


def made_words() -> list[bytes]:
    """Return the content of vocabulary messages."""
    texts = [*(text for group in TEXTS['words'] for text in group), *_LONG]
    return [*(text.encode() for text in texts), *_NOT_UTF8]


def in_cdr(content: bytes) -> bytes:
    """Return a ``std_msgs/String`` with any bytes in it, as it goes over the wire."""
    return CDR_HEAD + struct.pack('<I', len(content) + 1) + content + b'\x00'


def expected_names(content: bytes | Sequence[str]) -> tuple[str, ...] | None:
    """Return the class names that words lead to, or ``None`` if they have to be refused.

    Args:
        content: What a vocabulary message holds, or the value of ``class_names``.
    """
    try:
        if isinstance(content, bytes):
            # For a Python subscriber a text ends at a NUL, like a string of C.
            names = Vocabulary.parse(content.split(b'\x00')[0].decode('utf-8', 'replace')).names
        else:
            names = Vocabulary.from_list(content).names
        topic_tokens(names)
    except ValueError:
        return None
    return names


_NAMES = st.one_of(
    st.sampled_from(['person', 'traffic light', '3d', 'café', 'C++', 'кошка', '猫', 'a/b~c']),
    st.text(
        st.characters(exclude_categories=['Cs', 'Cc'], exclude_characters=',[{'),
        min_size=1,
        max_size=20,
    ),
)
_UNICODE = st.text(st.characters(exclude_categories=['Cs']), max_size=20)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _UNICODE),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
_ENTRIES = st.fixed_dictionaries(
    {'name': st.one_of(_NAMES, _NAMES, _JSON)},
    optional={
        'phrases': st.one_of(st.lists(_NAMES, max_size=3), _JSON),
        'color': st.one_of(st.just('#12ab9F'), st.just([1, 2, 3]), _JSON),
        'threshold': st.one_of(st.floats(0, 1), _JSON),
        'id': st.one_of(st.integers(0, 254), st.integers(0, 3), _JSON),
    },
)
_LISTS = st.lists(_NAMES, min_size=1, max_size=6)
_GOOD = st.one_of(
    _LISTS.map(', '.join),
    _LISTS.map(json.dumps),
    st.lists(_ENTRIES, min_size=1, max_size=4).map(json.dumps),
).map(str.encode)


def _spoil(content: bytes, place: int, value: int) -> bytes:
    spoiled = bytearray(content)
    spoiled[place % len(content)] = value
    return bytes(spoiled)


WORDS: Strategy = st.one_of(
    _GOOD,
    st.builds(_spoil, _GOOD, st.integers(0, 200), st.integers(0, 255)),
    _JSON.map(json.dumps).map(str.encode),
    st.text(max_size=100).map(lambda text: text.encode('utf-8', 'surrogatepass')),
    st.binary(max_size=100),
)
"""Content of vocabulary messages, most of which have to be refused."""
