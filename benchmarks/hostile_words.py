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
"""Vocabulary messages that should be refused, and odd ones that should not; for the fuzz test.

They are bytes, since a message may hold what is no UTF-8.
"""

import json
import struct

from hypothesis import strategies as st
from zegclip_core.messages.topic_names import topic_tokens
from zegclip_core.text.vocabulary import Vocabulary

MADE = (
    *(
        '',
        ' \n\t ',
        ' , ,\n,',
        ',',
        '[',
        '{',
        '[]',
        '{}',
        '[[]]',
        '[null]',
        '[1, 2]',
        '[true]',
        'null',
    ),
    *(
        '["person", "cat"',
        '["a",]',
        '{"name": "person"}',
        '[{"phrases": ["man"]}]',
        '[{}]',
        '[""]',
    ),
    *('[{"name": "person", "colour": "red"}]', '[{"name": "a", "color": [1, 2, 300]}]'),
    *('[{"name": "a", "color": [1.5, 2, 3]}]', '[{"name": "a", "color": "#12345g"}]'),
    *('[{"name": "a", "color": [true, 2, 3]}]', '[{"name": "a", "color": {}}]', '[{"name": {}}]'),
    *('[{"name": "a", "threshold": 2}]', '[{"name": "a", "threshold": NaN}]'),
    *('[{"name": "a", "threshold": -Infinity}]', '[{"name": "a", "threshold": 1e999}]'),
    *('[{"name": "a", "threshold": true}]', '[{"name": "a", "threshold": "0.5"}]'),
    *('[{"name": "a", "phrases": "b"}]', '[{"name": "a", "phrases": [1]}]'),
    *('[{"name": "a", "name": "b"}]', '[{"name": "a", "phrases": [[]]}]', '["\\ud800"]'),
    *('dog, horse, DOG', 'traffic light, traffic-light', 'straße, STRASSE', 'dog\x07, horse'),
    *('a, A', 'é, e', '3d, class 3d', '[' * 60_000, '[' * 900 + ']' * 900, '{"a":' * 5_000),
    *('x' * 200, 'x' * 201, 'x' * 65_536, 'x' * 65_537, 'person, ' * 131_072, '﷽' * 200),
    # Python refuses to read numbers of more digits than this, in words of its own.
    *(f'[{"1" * 5_000}]', f'[{{"name": "a", "threshold": {"1" * 5_000}}}]', f'[{"-" * 5_000}]'),
    *(
        '$(reboot)',
        '`reboot`',
        '; rm -rf ~',
        '../../etc/passwd',
        '/etc/passwd',
        'a/b~c',
        '__import__',
    ),
    *('{0.__class__}', '%s%s%n', '<script>alert(1)</script>', '\u202e\u202dgnp.exe', 'a\u200bb'),
    *(
        '\ufeffcat',
        'cat\u2028dog',
        '🚦, 🚧',
        '\uff41, a',
        'İ, i',
        '\U000e0041',
        '\ufffd',
        '"',
        "'",
        '\\',
    ),
    ','.join(f'thing {number}' for number in range(254)),
    ','.join(f'thing {number}' for number in range(255)),
    ','.join(f'thing {number}' for number in range(8_000)),
)
RAW = (
    b'\xff',
    b'per\xff\xfeson, cat',
    b'\xc3',
    b'\xed\xa0\x80',
    b'\xf4\x90\x80\x80',
    b'\xc0\x80',
    b'["\xff"]',
    b'[\xff]',
    b'cat\x00dog',
    b'\x00',
    bytes(range(256)),
    b'\xef\xbb\xbfcat',
)


def made_words() -> list[bytes]:
    """Return the content of hostile messages that chance would hardly find."""
    return [text.encode('utf-8') for text in MADE] + list(RAW)


def in_cdr(content: bytes) -> bytes:
    """Return a ``std_msgs/String`` with any bytes in it, as it goes over the wire."""
    return b'\x00\x01\x00\x00' + struct.pack('<I', len(content) + 1) + content + b'\x00'


def as_received(content: bytes) -> str:
    """Return what a Python subscriber makes of bytes: they end at a NUL, like a string of C."""
    return content.split(b'\x00')[0].decode('utf-8', 'replace')


def expected_names(text: str) -> tuple[str, ...] | None:
    """Return the names of a vocabulary's classes, ``None`` if it is to be refused."""
    try:
        names = Vocabulary.parse(text).names
        topic_tokens(names)
    except ValueError:  # Also what Python raises by itself: no such text is a vocabulary.
        return None
    return names


_NAMES = st.one_of(
    st.sampled_from(
        ['person', 'traffic light', '3d', 'café', 'C++', 'кошка', '猫', '<b>', 'a/b~c']
    ),
    st.text(
        st.characters(exclude_categories=['Cs', 'Cc'], exclude_characters=',[{'),
        min_size=1,
        max_size=20,
    ),
)
_LISTS = st.lists(_NAMES, min_size=1, max_size=6)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=['Cs']), max_size=20),
)
_JSON = st.recursive(
    _SCALARS,
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
    },
)


def _spoil(content: bytes, place: int, value: int) -> bytes:
    place %= len(content) + 1
    after = place + 1
    return content[:place] + bytes([value]) + content[after:]


def _utf8(text: str) -> bytes:
    return text.encode('utf-8', 'surrogatepass')


_GOOD = st.one_of(
    _LISTS.map(', '.join),
    _LISTS.map(json.dumps),
    st.lists(_ENTRIES, min_size=1, max_size=4).map(json.dumps),
).map(_utf8)

WORDS = st.one_of(
    _GOOD,
    st.builds(_spoil, _GOOD, st.integers(0, 200), st.integers(0, 255)),
    _JSON.map(json.dumps).map(_utf8),
    st.text(max_size=100).map(_utf8),
    st.binary(max_size=100),
)
"""Content of vocabulary messages, most of them to be refused."""
