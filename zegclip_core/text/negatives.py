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
"""Negative words: they compete with the classes of a vocabulary and are never labels."""

from collections.abc import Iterable

from zegclip_core.errors import VocabularyError
from zegclip_core.options import MAX_CLASSES
from zegclip_core.text.phrases import clean_text, is_negated, split_text, standard_form
from zegclip_core.text.vocabulary import Vocabulary

NONE = 'none'
"""What a user writes for no negative words, which compete with those of a vocabulary."""


def parse_negatives(text: str) -> tuple[str, ...]:
    """Read negative words: a list by comma or by line, a JSON list of words, or ``none``.

    Raises:
        VocabularyError: If it is empty, or a word cannot be used.

    Example:
        >>> parse_negatives('wall, floor')
        ('wall', 'floor')
        >>> parse_negatives('none')
        ()

    """
    if text.strip().lower() == NONE:
        return ()
    words = split_text(text)
    if not words:
        raise VocabularyError(
            f'Expected negative words such as "wall, floor", or {NONE}, but got {text!r}.'
        )
    return clean_negatives(words)


def clean_negatives(words: Iterable[object]) -> tuple[str, ...]:
    """Return words with single spaces, each once; case, article and plural do not count.

    Raises:
        VocabularyError: If one cannot be used, or there are more than ``MAX_CLASSES``.
    """
    if isinstance(words, str):
        raise VocabularyError(f'Expected a list of negative words, but got {words!r}.')
    given, cleaned = list(words), dict[str, str]()
    for word in (clean_text(word, 'a negative word') for word in given):
        if is_negated(word):
            raise VocabularyError(
                'Expected a negative word to name what is there, as "wall" does, '
                f'but got {word!r}.'
            )
        cleaned.setdefault(standard_form(word), word)
        if len(cleaned) > MAX_CLASSES:  # At once: a parameter may hold millions.
            raise VocabularyError(
                f'Expected at most {MAX_CLASSES} negative words, but got {len(given)}.'
            )
    return tuple(cleaned.values())


def competing(negatives: Iterable[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the negative words that a vocabulary does not ask for, by name or by phrase.

    Case, article and plural do not count.
    """
    words = tuple(negatives)
    if not words:
        return ()
    asked = {standard_form(phrase) for entry in vocabulary.classes for phrase in entry.all_phrases}
    return tuple(word for word in words if standard_form(word) not in asked)
