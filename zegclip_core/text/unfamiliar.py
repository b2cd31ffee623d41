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
"""Words that a text tower cannot know, or may not: of other scripts and languages, gibberish."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
import re
from typing import Protocol, runtime_checkable
import unicodedata

from zegclip_core.errors import shortened
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.about import languages_of

_MULTILINGUAL = re.compile(r'multiling|xlm|mt5|nllb|m-clip', re.IGNORECASE)
_WORD = re.compile(r'[^\W\d_]+')
_SHORTEST = 4
"""Letters of the shortest word that is looked up; shorter ones are names and units."""
_NAMED = 5


@runtime_checkable
class Tokenizing(Protocol):
    """A text tower that tells how it reads words."""

    @property
    def name(self) -> str:
        """The reference that names this tower."""

    def pieces(self, texts: Iterable[str]) -> list[int]:
        """Return of each text how many tokens it has, those of its ends left out; 0 for unknown.

        A text is unknown if one of its tokens stands for whatever the tower does not have.
        """


@dataclass(frozen=True)
class Unfamiliar:
    """The classes that a tower does not know, by name."""

    unknown: tuple[str, ...] = ()
    """Those of another script than the tower's, or with tokens that it does not have."""
    doubtful: tuple[str, ...] = ()
    """Those that are no English and that the tower has to spell."""

    def __str__(self) -> str:
        """Return what to say of them; empty if there is none."""
        parts = []
        if self.unknown:
            parts.append(f'the model cannot read {_listed(self.unknown)}')
        if self.doubtful:
            parts.append(f'the model may not know {_listed(self.doubtful)}')
        if not parts:
            return ''
        return f'{" and ".join(parts)}: its text tower has learnt English. Give English words.'


def unfamiliar(vocabulary: Vocabulary, tower: object) -> Unfamiliar:
    """Return the classes that a text tower cannot know, or may not.

    Classes whose words are to be taken as they stand are left out, and so are towers that have
    learnt many languages, or do not tell how they read words.
    """
    if not isinstance(tower, Tokenizing) or _learnt_many_languages(tower.name):
        return Unfamiliar()
    unknown, doubtful = [], []
    for entry in (entry for entry in vocabulary.classes if not entry.exact):
        phrases = entry.all_phrases
        if not any(_is_readable(text, tower) for text in phrases):
            unknown.append(entry.name)
        elif not any(_is_likely(text, tower) for text in phrases):
            doubtful.append(entry.name)
    return Unfamiliar(tuple(unknown), tuple(doubtful))


def _learnt_many_languages(name: str) -> bool:
    return bool(_MULTILINGUAL.search(name)) or languages_of(name) == 'many'


def _is_readable(phrase: str, tower: Tokenizing) -> bool:
    """Return whether a phrase is in the tower's script and of tokens that it has."""
    letters = [char for char in phrase if char.isalpha()]
    latin = all(unicodedata.name(char, '').startswith('LATIN') for char in letters)
    return latin and all(tower.pieces([phrase]))


def _is_likely(phrase: str, tower: Tokenizing) -> bool:
    """Return whether each word of a phrase is English, or one that the tower has as a whole."""
    words = [word.lower() for word in _WORD.findall(phrase) if len(word) >= _SHORTEST]
    return all(tower.pieces([word]) == [1] or _is_english(word) for word in words)


@lru_cache(maxsize=20_000)
def _is_english(word: str) -> bool:
    from lemminflect import getAllLemmas  # Reads its tables, which start-up does not need.

    return bool(getAllLemmas(word))


def _listed(names: tuple[str, ...]) -> str:
    shown = ', '.join(shortened(repr(name), 40) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f'{shown} and {len(names) - _NAMED} more'
