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
"""Phrases as users type them: the form in which they are encoded, and what no model understands.

Models are trained with the singular of a noun, without an article. ``the cars`` should find what
``car`` finds.
"""

from collections.abc import Iterable
from functools import cache, lru_cache

from pluralizer import Pluralizer

_ARTICLES = frozenset({'a', 'an', 'the'})
_PREPOSITIONS = frozenset({'at', 'behind', 'by', 'for', 'from', 'in', 'near', 'of', 'on', 'with'})
_PLURAL_NAMES = (
    'bedclothes binoculars bleachers chopsticks clothes dentures earphones earplugs glasses '
    'goggles groceries handcuffs headphones jeans leggings nachos overalls pajamas pants pliers '
    'pyjamas scissors shears shorts slacks spectacles stairs sunglasses tights tongs trousers '
    'trunks tweezers woods'
)
"""Plurals that name one thing, or another thing than their singular: they stay."""
_SINGULARS = 'lens mantis species triceratops'
"""Words that are no plurals, although they look so to the library."""
_IRREGULAR = (('daisy', 'daisies'), ('magpie', 'magpies'))
"""Singulars and plurals that the library does not know."""
_SHORT = 3
"""Words in -s up to this length stay: more of them are names (GPS, bus) than plurals."""
_FIRST = frozenset({'no', 'none', 'nobody', 'nothing'})
_ANYWHERE = frozenset(
    {'not', 'cannot', 'never', 'neither', 'nor', 'without', 'except', 'excluding'}
)
_SIGNS = frozenset({'sign', 'signs'})
_CACHED = 20_000


@lru_cache(maxsize=_CACHED)
def standard_form(phrase: str) -> str:
    """Return a phrase in small letters, in the singular, and without an article before it.

    Only English is known. What has no singular, or names something else in the plural
    (``glasses``), keeps its number.

    Example:
        >>> standard_form('The Traffic Lights')
        'traffic light'
        >>> standard_form('cups of tea')
        'cup of tea'

    """
    words = phrase.lower().split()
    if len(words) > 1 and words[0] in _ARTICLES:
        del words[0]
    # The first noun phrase ends before the first preposition, and its last word is the noun.
    ends = (place for place, word in enumerate(words) if place and word in _PREPOSITIONS)
    noun = next(ends, len(words)) - 1
    words[noun] = _singular(words[noun])
    return ' '.join(words)


def _singular(word: str) -> str:
    """Return the singular of an English noun; another word stays as it is."""
    if not word.isascii() or (len(word) <= _SHORT and word.endswith('s')):
        return word
    return _pluralizer().singular(word)


@cache
def _pluralizer() -> Pluralizer:
    made = Pluralizer()  # type: ignore[no-untyped-call]
    for word in f'{_PLURAL_NAMES} {_SINGULARS}'.split():
        made.add_uncountable_rule(word)
    for singular, plural in _IRREGULAR:
        made.add_irregular_rule(singular, plural)
    return made


class StandardForms:
    """The forms in which phrases are encoded for a model.

    Args:
        known: Names that the model was trained with. A phrase that is one of them, but for case,
            article and number, gets the form that the model knows.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        names = tuple(known)
        self._alike = {standard_form(name): name for name in reversed(names)}
        self._same = {name.lower(): name for name in reversed(names)}

    def of(self, phrase: str) -> str:
        """Return the form of a phrase."""
        same = self._same.get(phrase.lower())
        if same is not None:
            return same
        form = standard_form(phrase)
        return self._alike.get(form, form)


def is_negated(phrase: str) -> bool:
    """Return whether a phrase says what is not there, such as ``road without cars``.

    Models know these words from captions and look for the thing all the same. A ``no parking
    sign`` is a thing.

    Example:
        >>> is_negated('not a car')
        True

    """
    words = phrase.lower().replace('\u2019', "'").split()
    if words[-1] in _SIGNS:
        return False
    return words[0] in _FIRST or any(word in _ANYWHERE or word.endswith("n't") for word in words)
