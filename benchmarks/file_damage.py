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
"""What becomes of files on their way: cut off, flipped bits, other endings, hostile texts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.file_seeds import Files, TEXTS
import numpy as np

Random = np.random.Generator


@dataclass(frozen=True)
class Input:
    """A damaged file.

    Attributes:
        kind: Which kind of file it is given out as.
        damage: What was done to it.
        origin: The whole file of that kind that it was made of, or whose name it bears.
        name: How it is called.
        content: What it holds.
    """

    kind: str
    damage: str
    origin: str
    name: str
    content: bytes


def _cut(rng: Random, data: bytes) -> bytes:
    # Heads and ends matter most, and are short.
    near = (int(rng.integers(len(data))), int(rng.integers(80)), len(data) - int(rng.integers(80)))
    return data[: max(near[rng.choice(3, p=(0.6, 0.2, 0.2))], 0)]


def _flip(rng: Random, data: bytes, within: int | None = None) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 17))):
        place = int(rng.integers(min(within or len(data), len(data))))
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _flip_head(rng: Random, data: bytes) -> bytes:
    return _flip(rng, data, within=400)


def _over(rng: Random, data: bytes) -> bytes:
    """Write over a part: zeros, ones or noise."""
    start = int(rng.integers(len(data)))
    length = min(int(rng.integers(1, 600)), len(data) - start)
    fill = (bytes(length), b'\xff' * length, rng.bytes(length))[rng.integers(3)]
    return data[:start] + fill + data[start:][length:]


def _number(rng: Random, data: bytes) -> bytes:
    """Put a number at some place, as a length or a count."""
    numbers = (0, 1, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    raw = numbers[rng.integers(len(numbers))].to_bytes(4, ('little', 'big')[rng.integers(2)])
    start = int(rng.integers(min(len(data), 2000)))
    return data[:start] + raw + data[start:][4:]


def _drop(rng: Random, data: bytes) -> bytes:
    start, end = sorted(rng.integers(len(data), size=2).tolist())
    length = min(end - start, 500)
    return data[:start] + data[start:][length:]


def _repeat(rng: Random, data: bytes) -> bytes:
    start, end = sorted(rng.integers(len(data), size=2).tolist())
    return data[:end] + data[start:]


def _append(rng: Random, data: bytes) -> bytes:
    return data + (bytes(4096), rng.bytes(500), data)[rng.integers(3)]


def _other_text(rng: Random, data: bytes) -> bytes:
    """Write a text in another encoding, or with what no text holds."""
    text = data.decode()
    place = int(rng.integers(len(text)))
    odd = ('\0', '\x1b[31m', '\u202e', '\ufeff', '\t\t', '\r', '"', "'", '{', '&a [*a]', '\n\n\n')
    changed = (
        text.encode('utf-16'),
        text.encode('utf-8-sig'),
        text.replace('\n', '\r').encode(),
        text[:place].encode() + b'\xe9\xff' + text[place:].encode(),
        (text[:place] + odd[rng.integers(len(odd))] + text[place:]).encode(),
    )
    return changed[rng.integers(len(changed))]


def _other_value(rng: Random, data: bytes) -> bytes:
    """Put another value in the place of one."""
    values = (
        *('null', '-1', '1e999', '9' * 5000, '.nan', '[]', '{}', '""', 'true', '2026-13-45'),
        *(
            '0b_',
            '[[[[1]]]]',
            '"' + 'x' * 5000 + '"',
            '!!python/object:os.system x',
            '*none',
            '<<',
        ),
    )
    words = data.decode().split(' ')
    words[int(rng.integers(len(words)))] = values[rng.integers(len(values))]
    return ' '.join(words).encode()


def _deep(rng: Random, data: bytes) -> bytes:
    """Nest lists, or have aliases of aliases stand for thousands of millions of values."""
    depth = (200, 5000, 100_000)[rng.integers(3)]
    aliases = '\n'.join(f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]' for n in range(1, 12))
    texts = (
        '[' * depth,
        '[' * depth + ']' * depth,
        '{"a":' * depth,
        f'a0: &a0 [x, x, x]\n{aliases}\nname: *a11\n',
        f'a0: &a0 [x, x, x]\n{aliases}\ntrain: *a11\n' + data.decode(),
        'name: &a\n  name: *a\n',
    )
    return texts[rng.integers(len(texts))].encode()


def _lines(rng: Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b''.join(lines[: int(rng.integers(len(lines) + 1))])


CUT, OTHER = 'cut off', 'mislabelled'
REPEATED, APPENDED = 'a part repeated', 'something appended'
_ANY: Mapping[str, Callable[[Random, bytes], bytes]] = {
    CUT: _cut,
    'bits flipped': _flip,
    'bits flipped in the head': _flip_head,
    'written over': _over,
    'a number replaced': _number,
    'a part missing': _drop,
    REPEATED: _repeat,
    APPENDED: _append,
}
_OF_TEXTS: Mapping[str, Callable[[Random, bytes], bytes]] = {
    'another encoding': _other_text,
    'another value': _other_value,
    'nested deeply': _deep,
    'lines mixed': _lines,
}
DAMAGES = (*_ANY, *_OF_TEXTS, OTHER)


def draw(seeds: Mapping[str, Files], seed: int, number: int) -> Input:
    """Return an input by its number; the kinds take turns.

    Args:
        seeds: Whole files by kind.
        seed: Another one gives other inputs.
        number: From 0.
    """
    rng = np.random.default_rng([seed, number])
    kinds = sorted(seeds)
    kind = kinds[number % len(kinds)]
    ways = {**_ANY, **_ANY, **(_OF_TEXTS if kind in TEXTS else {})}
    choices = [*ways, CUT, OTHER]  # Files are cut off more often than anything else.
    damage = choices[rng.integers(len(choices))]
    origin = str(rng.choice(sorted(seeds[kind])))
    if damage != OTHER:
        content = ways[damage](rng, seeds[kind][origin])
        return Input(kind, damage, origin, origin, content)
    other = kinds[rng.integers(len(kinds))]
    made_of = str(rng.choice(sorted(seeds[other])))
    return Input(kind, damage, made_of, origin, seeds[other][made_of])
