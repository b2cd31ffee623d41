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
"""Synonyms and definitions of things that can be seen, read from WordNet's own files.

Reference: Fellbaum (ed.), "WordNet: An Electronic Lexical Database", 1998; the format is that of
wndb(5WN). The files come with Debian's package ``wordnet-base`` among others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zegclip_core.errors import DataError
from zegclip_core.files import user_path

_DATA, _INDEX = 'data.noun', 'index.noun'
_VISIBLE = {5: 'animal', 6: 'artifact', 8: 'body', 13: 'food', 15: 'location', 17: 'object'}
_VISIBLE |= {18: 'person', 20: 'plant', 27: 'substance'}
"""Numbers of the lexicographers' files whose nouns name what one can see."""


@dataclass(frozen=True)
class Synset:
    """Words that mean the same, in small letters, and what they mean."""

    words: tuple[str, ...]
    definition: str


def read_synsets(root: str | Path) -> tuple[Synset, ...]:
    """Read what can be seen; names of a single person or place are left out.

    Of a word that has several meanings only the most frequent one is taken, and none if that
    cannot be seen.

    Args:
        root: The folder with ``data.noun`` and ``index.noun``.

    Raises:
        DataError: If one of these is not there, or is not WordNet's.
    """
    data, index = (user_path(root) / name for name in (_DATA, _INDEX))
    for path in (data, index):
        if not path.is_file():
            raise DataError(f'Expected WordNet as {path}, but there is no such file.')
    try:
        first = {fields[0]: _first_meaning(fields) for fields in _lines(index)}
        return tuple(_synsets(data, first))
    except (ValueError, IndexError) as error:
        raise DataError(f'Expected {data} and {index} to be WordNet, but: {error}.') from error


def _lines(path: Path) -> Iterator[list[str]]:
    """Yield the fields of each line but those of the licence, which begin with spaces."""
    with path.open(encoding='utf-8') as file:
        yield from (line.split() for line in file if not line.startswith('  '))


def _first_meaning(fields: list[str]) -> str:
    """Return where the most frequent meaning of a word stands in the data."""
    count = int(fields[2])
    return fields[-count]


def _synsets(path: Path, first: dict[str, str]) -> Iterator[Synset]:
    """Yield what can be seen; ``first`` tells each word's most frequent meaning."""
    for fields in _lines(path):
        if int(fields[1]) not in _VISIBLE:
            continue
        count = int(fields[3], 16)
        found = fields[4::2][:count]
        # What has a capital letter is a name or Latin.
        words = [word for word in found if word.islower() and first.get(word) == fields[0]]
        if words:
            mark = fields.index('|')
            gloss = ' '.join(fields[mark:]).removeprefix('| ')
            definition = gloss.partition(';')[0].strip()
            yield Synset(tuple(word.replace('_', ' ') for word in words), definition)
