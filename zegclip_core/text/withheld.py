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
"""Words that are withheld in training: names of classes that are measured as unseen."""

from collections.abc import Iterable, Mapping, Sequence
import re

from zegclip_core.text.phrases import standard_form

_WORD = re.compile(r"[^\W_]+(?:['\u2019](?!s\b)[^\W_]+)*")
"""A word of a sentence; the parts of one with hyphens are words, and a genitive's s is none."""
_BRACKETED_END = re.compile(r'[\s_]*\([^()]*\)\s*$')
_ALTERNATIVES = re.compile(r'[/,]')
_SPELT_APART = 2
"""By how many words more than a name has it may be written: ``t. v. monitor``."""


class Withheld:
    """Names that are kept from training, each class with other words for it.

    Case, article, number, underscores and hyphens make no difference, nor whether a name is
    written as one word: ``tvmonitor`` is also ``TV monitors``. What finds names in sentences
    serves as well where they are looked for (``named_in``).

    Example:
        >>> withheld = Withheld({'sofa': ['couch'], 'train': []})
        >>> withheld.is_withheld('the couches'), withheld.is_withheld('trainer')
        (True, False)
        >>> withheld.mentions('A cat sleeps on a couch .')
        True

    """

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        self.groups = {name: tuple(others) for name, others in groups.items()}
        names = [(key, name) for key, others in self.groups.items() for name in (key, *others)]
        self._names: dict[str, set[str]] = {}
        for key, name in names:
            if joined := _joined(name):
                self._names.setdefault(joined, set()).add(key)
        longest = max((len(_words(name)) for _, name in names), default=0)
        self._longest = longest + _SPELT_APART

    def is_withheld(self, name: str) -> bool:
        """Return whether a name as a whole is one of the words.

        What stands in brackets after it, as in ``train_(railroad_vehicle)``, is left out. Of a
        name that lists several by slash or comma, each is compared: ``Monitor/TV``.
        """
        parts = _ALTERNATIVES.split(_BRACKETED_END.sub('', name))
        return any(_joined(part) in self._names for part in parts)

    def mentions(self, sentence: str) -> bool:
        """Return whether one of the words stands in a sentence, in the singular or plural.

        Only whole words count, but they may be part of a longer name: ``sofa bed``.
        """
        return bool(self._spans(sentence))

    def named_in(self, *sentences: str) -> frozenset[str]:
        """Return the classes that sentences mention, by that name or by another word.

        Example:
            >>> withheld = Withheld({'sofa': ['couch'], 'train': []})
            >>> sorted(withheld.named_in('Two couches in a train'))
            ['sofa', 'train']

        """
        spans = (span for sentence in sentences for span in self._spans(sentence))
        joined = (''.join(words) for words in spans)
        return frozenset().union(*(self._names[name] for name in joined))

    def without_mentioned(self, nouns: Iterable[str], sentence: str) -> list[str]:
        """Return the nouns of a sentence but for those of what it mentions.

        Left out is a noun whose last word is part of a withheld word that stands in the sentence:
        of ``a big potted plant`` also ``plant``, but not ``screen door`` for ``screen``.

        Example:
            >>> withheld = Withheld({'potted plant': [], 'sofa': []})
            >>> nouns = ['potted plant', 'plant', 'red sofa', 'cat']
            >>> withheld.without_mentioned(nouns, 'A potted plant, a red sofa and a cat')
            ['cat']

        """
        mentioned = self._mentioned(sentence)
        return [noun for noun in nouns if mentioned.isdisjoint(_words(noun)[-1:])]

    def _mentioned(self, sentence: str) -> frozenset[str]:
        """Return the words of a sentence that are part of a withheld word in it."""
        return frozenset(word for span in self._spans(sentence) for word in span)

    def _spans(self, sentence: str) -> list[list[str]]:
        """Return the words of each mention of a withheld word in a sentence."""
        words = _words(sentence) if self._names else []
        spans = (
            words[start:][:count]
            for start in range(len(words))
            for count in range(1, min(self._longest, len(words) - start) + 1)
        )
        return [span for span in spans if ''.join(span) in self._names]


def _words(text: str) -> list[str]:
    """Return the words of a text, each in the singular and in small letters."""
    return [standard_form(word) for word in _WORD.findall(text.replace('_', ' '))]


def _joined(name: str) -> str:
    """Return a name as it is compared: without article and number, in one word."""
    return ''.join(_words(standard_form(name)))
