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
"""Vocabularies: the classes to look for, as plain words, read from a message or a file."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from zegclip_core.errors import VocabularyError
from zegclip_core.files import read_text, user_path
from zegclip_core.options import MAX_CLASSES, MAX_ID
from zegclip_core.text.colors import assign_colors, Color, palette_colors
from zegclip_core.text.phrases import (
    check_word,
    clean_text,
    is_negated,
    shown,
    split_text,
    StandardForms,
)

MAX_TEXT = 65_536
"""Longest vocabulary text, in characters."""
_ALLOWED_KEYS = ('name', 'phrases', 'color', 'threshold', 'exact', 'id')


def _clean_color(value: Any, name: str) -> Color:  # noqa: ANN401 - decoded JSON
    """Return an RGB colour given as ``[r, g, b]`` or ``"#rrggbb"``."""
    if isinstance(value, str) and re.fullmatch(r'#[0-9a-fA-F]{6}', value):
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    is_triple = isinstance(value, list | tuple) and len(value) == 3
    if is_triple and all(type(part) is int and 0 <= part <= 255 for part in value):
        return value[0], value[1], value[2]
    raise VocabularyError(
        f'Expected the color of class {name!r} to be [r, g, b] with integers from 0 to 255 or '
        f'"#rrggbb", but got {shown(value)}.'
    )


@dataclass(frozen=True)
class VocabularyClass:
    """One class: a name, and what else is known about it.

    Attributes:
        name: What the user calls it; also the first phrase that is looked for.
        phrases: Further phrases for the same thing; all are averaged with the name.
        color: RGB, 0 to 255; ``None`` takes the name's own colour.
        threshold: Least score, in [0, 1], of a pixel of this class; ``None`` takes the model's.
        exact: Whether the words are encoded as they stand, as those of a dataset; if not, case,
            article and plural do not count (see ``Vocabulary.encoded_phrases``).
        class_id: Id in label images, 0 to ``MAX_ID``; ``None`` takes the class's place.

    Raises:
        VocabularyError: If a value is not allowed.
    """

    name: str
    phrases: tuple[str, ...] = ()
    color: Color | None = None
    threshold: float | None = None
    exact: bool = True
    class_id: int | None = None

    def __post_init__(self) -> None:
        name = clean_text(self.name, 'a class name')
        object.__setattr__(self, 'name', name)
        if isinstance(self.phrases, str) or not isinstance(self.phrases, list | tuple):
            raise VocabularyError(
                f'Expected the phrases of class {name!r} to be a list of strings, '
                f'but got {shown(self.phrases)}.'
            )
        phrases = (clean_text(text, f'a phrase of class {name!r}') for text in self.phrases)
        object.__setattr__(self, 'phrases', tuple(phrases))
        if self.color is not None:
            object.__setattr__(self, 'color', _clean_color(self.color, name))
        value = self.threshold
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0.0 <= value <= 1.0):
            raise VocabularyError(
                f'Expected the threshold of class {name!r} to be a number in [0, 1], '
                f'but got {shown(value)}.'
            )
        if not isinstance(self.exact, bool):
            raise VocabularyError(
                f'Expected "exact" of class {name!r} to be true or false, '
                f'but got {shown(self.exact)}.'
            )
        own = self.class_id
        if own is not None and not (type(own) is int and 0 <= own <= MAX_ID):
            raise VocabularyError(
                f'Expected the "id" of class {name!r} to be an integer from 0 to {MAX_ID}, '
                f'but got {shown(own)}.'
            )

    @property
    def all_phrases(self) -> tuple[str, ...]:
        """The name and the further phrases, each once, the name first."""
        return tuple(dict.fromkeys((self.name, *self.phrases)))

    @classmethod
    def from_json(cls, value: object) -> 'VocabularyClass':
        """Build a class that a user typed from a decoded JSON string or object.

        Raises:
            VocabularyError: If it is neither, lacks ``name``, or has an unknown key, or a phrase
                says what is not there.
        """
        if isinstance(value, str):
            value = {'name': value}
        if not isinstance(value, Mapping):
            raise VocabularyError(
                'Expected each class to be a string or an object with the keys '
                f'{", ".join(_ALLOWED_KEYS)}, but got {shown(value)}.'
            )
        unknown = sorted(set(value) - set(_ALLOWED_KEYS))
        if unknown or 'name' not in value:
            fault = f'the unknown key {unknown[0]!r}' if unknown else 'no "name"'
            raise VocabularyError(
                f'Expected a class object with "name" and optionally '
                f'{", ".join(_ALLOWED_KEYS[1:])}, but got {fault} in {shown(dict(value))}.'
            )
        made = cls(
            name=value['name'],
            phrases=() if value.get('phrases') is None else value['phrases'],
            color=value.get('color'),
            threshold=value.get('threshold'),
            exact=value.get('exact', False),
            class_id=value.get('id'),
        )
        for phrase in () if made.exact else filter(is_negated, made.all_phrases):
            raise VocabularyError(
                f'Expected words for what is there, but got {shown(phrase)}: models overlook the '
                'negation. Name what it is to be told from as a class of its own, or give '
                '{"name": ..., "exact": true} to have the words taken as they stand.'
            )
        return made


@dataclass(frozen=True)
class Vocabulary:
    """The classes to look for; a class's place is its id in label images unless it has another.

    Attributes:
        classes: 1 to ``MAX_CLASSES`` classes with distinct names (upper and lower case count as
            equal) and, if they have any, distinct ids.

    Raises:
        VocabularyError: If there are too few or too many, two have one name or one id, or only
            some have an id.
    """

    classes: tuple[VocabularyClass, ...]
    _colors: tuple[Color, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, 'classes', tuple(self.classes))
        _check_count(len(self.classes))
        seen: set[str] = set()
        for name in self.names:
            if name.casefold() in seen:
                raise VocabularyError(f'Expected distinct class names, but got {name!r} twice.')
            seen.add(name.casefold())
        self._check_ids()
        chosen = [entry.color for entry in self.classes]
        object.__setattr__(self, '_colors', assign_colors(self.names, chosen))

    def _check_ids(self) -> None:
        """Refuse ids for only some of the classes, or one for two of them."""
        owners: dict[int, str] = {}
        for entry in self.classes:
            if (entry.class_id is None) is self.has_ids:
                without = next(one.name for one in self.classes if one.class_id is None)
                raise VocabularyError(
                    f'Expected an "id" for every class or for none, but {without!r} has none.'
                )
            if entry.class_id is None:
                continue
            if entry.class_id in owners:
                raise VocabularyError(
                    f'Expected distinct ids, but {owners[entry.class_id]!r} and {entry.name!r} '
                    f'both have {entry.class_id}.'
                )
            owners[entry.class_id] = entry.name

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def has_ids(self) -> bool:
        """Whether the classes were given ids; else their places are their ids."""
        return self.classes[0].class_id is not None

    @property
    def ids(self) -> tuple[int, ...]:
        """Id of each class in label images, in the order of the classes."""
        given = (entry.class_id for entry in self.classes)
        return tuple(place if one is None else one for place, one in enumerate(given))

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of the classes."""
        return tuple(entry.name for entry in self.classes)

    @property
    def colors(self) -> npt.NDArray[np.uint8]:
        """Class colours, RGB uint8 of shape ``(K, 3)``, a new array each time."""
        return np.array(self._colors, dtype=np.uint8)

    def encoded_phrases(self, known: Iterable[str] = ()) -> tuple[tuple[str, ...], ...]:
        """Return the phrases of each class in the form in which they are to be encoded.

        Words that a user typed lose their article and become singular, so that ``the cars`` finds
        what ``car`` finds. Where a form would belong to two classes (``person, people``), the
        user tells them apart, and its words stay as they are.

        Words that are one of the ``known`` names of a trained model, but for case, article and
        number, are taken in the form that the model knows.
        """
        forms = StandardForms(known)
        rows = [
            [(text, text if entry.exact else forms.of(text)) for text in entry.all_phrases]
            for entry in self.classes
        ]
        owners = Counter(form for row in rows for form in {form.lower() for _, form in row})
        return tuple(
            tuple(dict.fromkeys(text if owners[form.lower()] > 1 else form for text, form in row))
            for row in rows
        )

    def painted(self, palette: str) -> 'Vocabulary':
        """Return the same classes with the colours of a palette, but for those with their own.

        Raises:
            ConfigError: If there is no such palette.
        """
        chosen = [entry.color for entry in self.classes]
        colors = palette_colors(palette, self.names, chosen)
        pairs = zip(self.classes, colors, strict=True)
        return Vocabulary(tuple(replace(entry, color=color) for entry, color in pairs))

    def numbered(self, ids: Iterable[int]) -> 'Vocabulary':
        """Return the same classes with these ids, one for each."""
        pairs = zip(self.classes, ids, strict=True)
        return Vocabulary(tuple(replace(entry, class_id=number) for entry, number in pairs))

    def index(self, name: str) -> int:
        """Return the place of a class, or raise a ``VocabularyError`` if there is none."""
        if name not in self.names:
            raise VocabularyError(
                f'Expected one of the classes {", ".join(self.names)}, but got {name!r}.'
            )
        return self.names.index(name)

    @classmethod
    def from_names(cls, names: Iterable[str]) -> 'Vocabulary':
        """Build a vocabulary from names alone, which are encoded as they stand."""
        return cls(tuple(VocabularyClass(name) for name in names))

    @classmethod
    def from_words(cls, words: Iterable[str]) -> 'Vocabulary':
        """Build a vocabulary from words that a user typed, as ``parse`` does."""
        return cls(tuple(map(VocabularyClass.from_json, words)))

    @classmethod
    def from_list(cls, entries: Iterable[str]) -> 'Vocabulary':
        """Build a vocabulary from a list whose entries a user typed one by one.

        Raises:
            VocabularyError: If an entry holds several words, or is no word; else as ``parse``.
        """
        words = list(entries)
        _check_count(len(words))  # Before each is looked at: a parameter may hold millions.
        for word in words:
            check_word(word)
            if ',' in word or '\n' in word:
                parts = ', '.join(f'"{part.strip()}"' for part in re.split(r'[,\n]', word))
                raise VocabularyError(
                    f'Expected one word in each entry, but got {shown(word)}: give [{parts}].'
                )
        return cls(tuple(VocabularyClass.from_json(_with_phrases(word)) for word in words))

    @classmethod
    def parse(cls, text: str) -> 'Vocabulary':
        """Read a vocabulary message.

        Args:
            text: A comma- or newline-separated list (``person, traffic light``), where ``couch |
                sofa`` is one class with two phrases, a JSON list of
                strings, or a JSON list of objects with ``name`` and optionally ``phrases``
                (list of strings), ``color`` (``[r, g, b]`` or ``"#rrggbb"``), ``threshold``,
                ``exact`` and ``id``.

        Raises:
            VocabularyError: If the text is empty, longer than ``MAX_TEXT`` characters, not valid
                JSON where it begins with ``[`` or ``{``, or its classes cannot be used. That a
                phrase has too many tokens for a model is found when it is encoded.

        Example:
            >>> Vocabulary.parse('person, traffic light').names
            ('person', 'traffic light')

        """
        if len(text) > MAX_TEXT:
            raise VocabularyError(
                f'Expected at most {MAX_TEXT} characters of vocabulary, but got {len(text)}.'
            )
        entries = split_text(text)
        if not entries and '[' not in text:
            raise VocabularyError('Expected at least one class name, but got an empty text.')
        is_json = text.lstrip('\ufeff \t\r\n').startswith('[')
        _check_count(len(entries))
        words = entries if is_json else [_with_phrases(str(entry)) for entry in entries]
        return cls(tuple(map(VocabularyClass.from_json, words)))

    @classmethod
    def from_file(cls, path: str | Path) -> 'Vocabulary':
        """Read a vocabulary from a UTF-8 text file that holds what ``parse`` takes.

        Raises:
            VocabularyError: If the file cannot be read or its content cannot be used.
        """
        return cls.parse(read_text(user_path(path), 'the vocabulary file', VocabularyError))


def _check_count(count: int) -> None:
    """Refuse no classes, or more than a vocabulary may have."""
    if not 1 <= count <= MAX_CLASSES:
        raise VocabularyError(
            f'Expected a vocabulary of 1 to {MAX_CLASSES} classes, but got {count}.'
        )


def _with_phrases(word: str) -> object:
    """Return ``couch | sofa``, one class with two phrases, as JSON has it; others as they are."""
    name, *phrases = (part.strip() for part in word.split('|'))
    return {'name': name, 'phrases': phrases} if phrases else word
