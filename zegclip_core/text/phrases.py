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
``car`` finds. A singular is one that a dictionary or CLIP's own table of words knows: a word that
neither knows stays as it was typed.
"""

from collections.abc import Iterable
from functools import cache, cached_property, lru_cache
import gzip
from itertools import islice
import re
from unicodedata import normalize

from zegclip_core.weights.catalogue import open_clip_folder

_ARTICLES = frozenset({'a', 'an', 'the'})
_NUMBERS = 'two three four five six seven eight nine ten many several few both some all'
"""Before a plural that is meant as one."""
_REST = re.compile(r'\s(?:(?:at|behind|by|for|from|in|near|of|on|under|with)\s|\().*')
"""What follows the first noun."""
_JOINT = re.compile(r'(\s+(?:and|or|&)\s+|\s*[/&]\s*)')
_QUOTES = ' "\'\u2018\u2019\u201c\u201d\u00ab\u00bb'
_BRACKETED = re.compile(r'\(([^()]*)\)|\[([^][]*)\]')
_ENDS = ' .,;:!?\u2026'
_OTHER_THINGS = (
    'bedclothes binoculars bleachers blinds boxers braces briefs chopsticks clothes crossroads '
    'dentures dice earphones earplugs eyeglasses fries glasses goggles goods graffiti greens '
    'groceries handcuffs headphones jeans knickers leggings nachos overalls pajamas panties pants '
    'pantyhose pincers pliers premises pyjamas scissors shears shorts slacks spectacles stairs '
    'starbucks states suspenders tights tongs trousers trunks tweezers woods'
)
"""Plurals that name one thing, or another thing than their singular, and names: they stay."""
_IRREGULAR = {
    'axes': 'axe',
    'cds': 'cd',
    'leaves': 'leaf',
    'mantises': 'mantis',
    'oxen': 'ox',
    'pcs': 'pc',
    'people': 'person',
    'tvs': 'tv',
}
"""What the dictionary does not know, or takes for another word."""
_SHORT = 3
"""Words in -s up to this length that no dictionary knows stay: most are names (GPS)."""
_PART = 3
"""Least letters of each part of a compound."""
_BYTES, _BPE_WORDS = 256, 49152 - 256 - 2
"""CLIP's table begins with the bytes, twice, and ends with two marks; the rest are merges."""

_PROHIBITED = (
    'camping cycling diving dumping entry exit fishing fly frills go littering loitering '
    'overtaking parking passing photography smoking standing stopping swimming trespassing '
    'waiting'
)
_UNWELCOME = 'bicycles? cameras? cell dogs? drinks? eating food pets? phones? touching trucks?'
"""What only signs say: without the sign it is a negation (``no dogs in the street``)."""
_SIGNS = r'(?: (?:allowed|phones?))*[ -](?:signs?|symbols?|stickers?|zones?|areas?)\b'
_NO_NEGATIONS = re.compile(
    r'\bno\.? ?(?=\d)|\b(?:forget|touch)[ -]me[ -]nots?\b|\bnever[ -]ending\b|'
    rf'\bno[ -](?:left |right )?(?:{"|".join(_PROHIBITED.split())}|u[ -]turns?|turns?)(?= \w)|'
    rf'\bno[ -](?:{"|".join(_UNWELCOME.split())})(?={_SIGNS})|'
    rf"\b(?:do[ -]not|don't)[ -]\w+(?={_SIGNS})"
)
"""Parts of names of things: numbers, flowers, and what signs and areas are for."""
_NEGATION = re.compile(
    r"\b(?:no|not|none|nobody|no-?one|nothing|nowhere|cannot|never|neither|nor(?!')|without|w/o|"
    r"except|excluding|(?:anything|everything|everyone|everybody|all) but|\w+n't|"
    r'(?:is|are|was|were|do|does|did|has|have|had)nt|(?:other|rather) than|instead of|'
    r'(?:absence|devoid|free|lack) of|lacking)\b|^[!\u00ac]'
)
_NO_QUOTES = str.maketrans('', '', '"\u201c\u201d')
_CACHED = 20_000


@lru_cache(maxsize=_CACHED)
def standard_form(phrase: str) -> str:
    """Return a phrase in small letters, in the singular, and without an article before it.

    Only English is known. What has no singular, or names something else in the plural
    (``glasses``), keeps its number, and so does what is counted (``two cars``).

    Example:
        >>> standard_form('The Traffic Lights')
        'traffic light'
        >>> standard_form('cups of tea and cakes')
        'cup of tea and cakes'

    """
    text = _spaced(_bare(phrase))
    rest = _REST.search(text)
    nouns = text if rest is None else text[: rest.start()]
    parts = [_noun(part) for part in _JOINT.split(nouns)]
    return ''.join(parts) + ('' if rest is None else rest.group())


def _spaced(phrase: str) -> str:
    """Return a phrase in small letters, ligatures undone, and with single spaces in place of _."""
    return ' '.join(normalize('NFKC', phrase).lower().replace('_', ' ').split())


def _bare(phrase: str) -> str:
    """Return a phrase without quotes around it and without a full stop."""
    inner = _unbracketed(phrase.strip(_QUOTES))
    # The last full stop of U.S. belongs to it.
    ends = _ENDS if inner.find('.') in {-1, len(inner) - 1} else ' '
    return _unbracketed(inner.rstrip(ends).strip(_QUOTES)) or phrase


def _unbracketed(phrase: str) -> str:
    """Return a phrase without brackets around the whole of it."""
    match = _BRACKETED.fullmatch(phrase)
    return phrase if match is None else (match[1] or match[2] or '').strip(_QUOTES)


def _noun(text: str) -> str:
    """Return the singular of some words of which the last one is the noun."""
    words = text.split(' ')
    if len(words) > 1 and words[0] in _ARTICLES:
        del words[0]
    if words[0] not in _NUMBERS.split() and not words[0].isdecimal():
        words[-1] = _singular(words[-1])
    return ' '.join(words)


def _singular(word: str) -> str:
    """Return the singular of an English noun; another word stays as it is."""
    if word in _OTHER_THINGS.split():
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    found = _in_dictionary(word) or _in_table(word) or _in_compound(word)
    if found:
        return found
    start, hyphen, end = word.rpartition('-')
    return f'{start}-{_singular(end)}' if hyphen and end else word


def _in_dictionary(word: str) -> str | None:
    """Return the singular that a dictionary has, the commonest first; a singular's is itself."""
    from lemminflect import getLemma  # reads its tables, which start-up does not need

    if len(word) == 1:
        return word
    for kind in ('NOUN', 'PROPN'):
        found = getLemma(word, kind, lemmatize_oov=False)
        if found:
            # Of a word without -s that may be either, such as cola, few mean the plural.
            is_singular = kind == 'PROPN' or (word in found and not word.endswith('s'))
            return word if is_singular else str(found[0])
    return None


def _in_table(word: str) -> str | None:
    """Return the singular that is a commoner word of CLIP's than the word itself, if one is."""
    ranks = _clip_words()
    if not word.endswith('s') or word.endswith('ss') or len(word) <= _SHORT:
        return None
    choices = [word[:-1], f'{word[:-3]}y' if word.endswith('ies') else '']
    if word.endswith(('ches', 'shes', 'ses', 'xes', 'zes', 'oes')):
        choices.append(word[:-2])
    known = [choice for choice in choices if choice in ranks]
    best = min(known, key=ranks.__getitem__, default=None)
    return best if best and ranks[best] < ranks.get(word, _BPE_WORDS) else None


def _in_compound(word: str) -> str | None:
    """Return the singular of two nouns in one word that is in no table, such as ``hubcaps``."""
    if word in _clip_words():
        return None  # CLIP knows it as a word and its singular as none: a name.
    for place in range(_PART, len(word) - _PART):
        start, end = word[:place], word[place:]
        if _in_dictionary(start) == start:
            found = _in_dictionary(end)
            if found and found != end:
                return start + found
    return None


@cache
def _clip_words() -> dict[str, int]:
    """Return the whole words of CLIP's table with their places, the commonest first."""
    path = open_clip_folder() / 'bpe_simple_vocab_16e6.txt.gz'
    with gzip.open(path, 'rt', encoding='utf-8') as file:
        merges = islice(file.read().split('\n'), 1, _BPE_WORDS - _BYTES + 1)
    entries = (merge.replace(' ', '') for merge in merges)
    ends = '</w>'
    return {
        entry.removesuffix(ends): place
        for place, entry in enumerate(entries)
        if entry.endswith(ends)
    }


class StandardForms:
    """The forms in which phrases are encoded for a model.

    Args:
        known: Names that the model was trained with. A phrase that is one of them, but for case,
            article and number, gets the form that the model knows.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = tuple(known)
        self._same = {name.lower(): name for name in reversed(self._known)}

    @cached_property
    def _alike(self) -> dict[str, str]:
        # Only with the first phrase that is not known as it is: the dictionary takes a while.
        return {standard_form(name): name for name in reversed(self._known)}

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
    text = _spaced(phrase).replace('\u2019', "'").translate(_NO_QUOTES)
    return _NEGATION.search(_NO_NEGATIONS.sub('', text)) is not None
