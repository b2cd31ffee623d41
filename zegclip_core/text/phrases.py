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
"""Words as users type them: lists, what a phrase may be, and the form in which it is encoded.

Models are trained with the singular of a noun, without an article: ``the cars`` should find what
``car`` finds. LemmInflect (https://github.com/bjascob/LemmInflect, MIT) knows the singulars.
"""

from collections.abc import Iterable
from functools import cached_property, lru_cache
import json
import re
import unicodedata

from zegclip_core.errors import shortened, VocabularyError

_NUMBERS = 'two three four five six seven eight nine ten many several few both some all'
"""Before a plural that is meant as one."""
_REST = re.compile(r'\s(?:(?:at|behind|by|for|from|in|near|of|on|under|with)\s|\().*')
"""What follows the first noun."""
_CONJUNCTION = re.compile(r'(\s+(?:and|or|&)\s+|\s*[/&]\s*)')
_ARTICLE = re.compile(r'^(?:a|an|the) (?=.)')
_QUOTES = ' "\'\u2018\u2019\u201c\u201d\u00ab\u00bb'
_BRACKETED = re.compile(r'\(([^()]*)\)|\[([^][]*)\]')
_ENDS = ' .,;:!?\u2026'
_PLURAL_ONLY = (
    'bedclothes binoculars bleachers blinds boxers braces briefs chopsticks clothes crossroads '
    'dentures dice earphones earplugs eyeglasses fries glasses goggles goods graffiti greens '
    'groceries handcuffs headphones jeans knickers leggings nachos overalls pajamas panties '
    'pants pantyhose pincers pliers premises pyjamas scissors shears shorts skittles slacks '
    'spectacles stairs starbucks states sunglasses suspenders tights tongs triceratops trousers '
    'trunks tweezers underpants undies woods'
)
"""Plurals that name one thing, or another thing than their singular, and names: they stay."""
_IRREGULAR = {
    'axes': 'axe',
    'cds': 'cd',
    'leaves': 'leaf',
    'oxen': 'ox',
    'people': 'person',
    'tvs': 'tv',
}
"""What LemmInflect does not know, or takes for another word."""
_UNKNOWN_PLURAL = re.compile(r'(.{2,}?)(?:(?<=[cs]h)es|(?<=[xz])es|(?<=[ou]s)es|(?<![aiosu])s)')
"""A word in -s that LemmInflect does not know, by the rules of a school book."""
_SHORTEST_NAME = 3
"""Unknown words in -s up to this length stay: most are names (GPS)."""
_CACHED = 20_000
_NO_QUOTES = str.maketrans('', '', '"\u201c\u201d')


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
    text = phrase
    for _ in range(2):  # Brackets may stand inside or outside of quotes and full stop.
        text = text.strip(_QUOTES)
        bracketed = _BRACKETED.fullmatch(text)
        if bracketed is not None:
            text = (bracketed[1] or bracketed[2] or '').strip(_QUOTES)
        # The last full stop of U.S. belongs to it.
        text = text.rstrip(_ENDS if text.find('.') in {-1, len(text) - 1} else ' ')
    text = _spaced(text or phrase)
    rest = _REST.search(text)
    nouns = text if rest is None else text[: rest.start()]
    singular = ''.join(_singular_noun(part) for part in _CONJUNCTION.split(nouns))
    return singular + ('' if rest is None else rest.group())


def _spaced(phrase: str) -> str:
    """Return a phrase in small letters, ligatures undone, and with single spaces in place of _."""
    return ' '.join(unicodedata.normalize('NFKC', phrase).lower().replace('_', ' ').split())


def _singular_noun(text: str) -> str:
    """Return the singular of some words of which the last one is the noun."""
    words = _ARTICLE.sub('', text).split(' ')
    if words[0] not in _NUMBERS.split() and not words[0].isdecimal():
        start, hyphen, end = words[-1].rpartition('-')
        words[-1] = start + hyphen + _singular(end)
    return ' '.join(words)


def _singular(word: str) -> str:
    """Return the singular of an English noun; another word stays as it is."""
    from lemminflect import getLemma  # Reads its tables, which start-up does not need.

    if word in _PLURAL_ONLY.split() or len(word) == 1:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    known = getLemma(word, 'NOUN', lemmatize_oov=False)
    if known:
        # Of a word without -s that may be either, such as cola, few mean the plural.
        return word if word in known and not word.endswith('s') else str(known[0])
    if getLemma(word, 'PROPN', lemmatize_oov=False):
        return word
    plural = _UNKNOWN_PLURAL.fullmatch(word)
    return word if plural is None or len(word) <= _SHORTEST_NAME else plural[1]


class StandardForms:
    """The forms in which phrases are encoded for a model.

    A phrase that is one of the ``known`` names which the model was trained with, but for case,
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


MAX_NAME = 200
"""Longest class name or phrase, in characters."""

_BYTE_ORDER_MARK = '\ufeff'
_JOINERS = '\u200c\u200d'
"""Of emoji, and between letters of Persian and of Indian scripts."""
_COMMENT = re.compile(r'^[ \t]*#[ \t][^\r\n]*', re.MULTILINE)
"""A line of a list that is for its readers alone."""
_BULLET = re.compile(r'^[-*\u2022]\s+')
"""Before each line of a list as Markdown and YAML have it."""
_OTHER_COMMAS = re.compile('[;\uff1b\u061b\u060c\u3001\uff0c\ufe10\ufe50]')
"""What stands between words in other lists and scripts."""
_COMMA_NAMES = {';': 'semicolon', '\u3001': 'CJK comma', '\uff0c': 'full-width comma'}
_FILE = re.compile(r'\.(?:txt|csv|tsv|ya?ml|json|lst|names|xml|toml|ini)$', re.IGNORECASE)
_SCORE = re.compile(r'(?:[:=]\s*|\()([01]?\.\d+|[01]\.0*)\)?\Z')
"""A score behind a name: ``cat:0.3``, ``cat (0.3)``; searched for in linear time."""
_QUOTED_BY = {'"': '"', "'": "'", '\u201c': '\u201d'}


def shown(value: object) -> str:
    """Return a value as an error message shows it: quoted and short."""
    return shortened(repr(value))


def clean_text(text: object, what: str) -> str:
    """Return a name or phrase with single spaces, its letters composed (NFC).

    ``what`` is what it is called in an error message.

    Raises:
        VocabularyError: If it is no string, has neither letter, digit nor pictograph, is longer
            than ``MAX_NAME``, or holds control characters, ones that nobody sees, or what is left
            of undecodable bytes.
    """
    if not isinstance(text, str):
        raise VocabularyError(f'Expected {what} to be a string, but got {shown(text)}.')
    cleaned = ' '.join(unicodedata.normalize('NFC', text).split())
    if not cleaned or len(cleaned) > MAX_NAME:
        raise VocabularyError(
            f'Expected {what} to have 1 to {MAX_NAME} characters, but got {shown(text)} '
            f'with {len(cleaned)}.'
        )
    categories = {char: unicodedata.category(char) for char in cleaned if char not in _JOINERS}
    if '\ufffd' in cleaned or {'Cc', 'Cf', 'Cs'} & set(categories.values()):
        raise VocabularyError(f'Expected {what} to be readable UTF-8 text, but got {shown(text)}.')
    if not any(category[0] in 'LN' or category == 'So' for category in categories.values()):
        raise VocabularyError(
            f'Expected {what} to have a letter or a digit, but got {shown(text)}.'
        )
    return cleaned


def split_text(text: str) -> list[object]:
    """Return the entries of a JSON list, or of a list by comma and by line; some are strings.

    A line that begins with ``# `` is no part of a list.

    Raises:
        VocabularyError: If a list in JSON cannot be read, or one that is not has a semicolon
            between its words, or a comma between quotes.
    """
    stripped = _COMMENT.sub('', text.lstrip(_BYTE_ORDER_MARK)).strip()
    if stripped[:1] in {'[', '{'}:
        try:
            value = json.loads(stripped)
        # Numbers of thousands of digits are a plain ValueError.
        except (ValueError, RecursionError) as error:
            raise VocabularyError(
                f'Expected a vocabulary in JSON, but it cannot be read: {error}.'
            ) from error
        if not isinstance(value, list):
            raise VocabularyError(f'Expected a JSON list of classes, but got {shown(value)}.')
        return value
    parts = (_BULLET.sub('', part.strip()) for part in re.split(r'[,\r\n]', stripped))
    return [_unquoted(part) for part in parts if part]


def check_word(part: str) -> None:
    """Refuse what is no word: several ones, a file, a list, a score behind a name.

    Raises:
        VocabularyError: If it is; the text says how it is to be given.
    """
    other = _OTHER_COMMAS.search(part)
    if other is not None:
        raise VocabularyError(
            f'Expected a comma or a line break between words, but got {shown(part)} with a '
            f'{_COMMA_NAMES.get(other[0], other[0])}.'
        )
    if _FILE.search(part):
        raise VocabularyError(
            f'Expected words, but got {shown(part)}, which looks like a file: give it as '
            '--classes-file, or as the parameter vocabulary_file.'
        )
    if part[:1] in {'[', '{'}:
        raise VocabularyError(
            f'Expected a word, but got {shown(part)}, which looks like a part of a list or of '
            'JSON: give either words with commas between them, or one JSON list.'
        )
    score = _SCORE.search(part)
    name = '' if score is None else part[: score.start()].rstrip()
    if score is not None and re.search(r'\w', name):
        raise VocabularyError(
            f'Expected a word, but got {shown(part)}: a threshold of its own is given as JSON, '
            f'[{{"name": "{shortened(name)}", "threshold": {float(score[1])}}}].'
        )


def _unquoted(part: str) -> str:
    """Return a word of a list without the quotes around it."""
    check_word(part)
    end = _QUOTED_BY.get(part[0])
    if end is None or (end == "'" and not part.endswith(end)):
        return part
    if len(part) < 3 or not part.endswith(end):
        raise VocabularyError(
            f'Expected words without quotes, but got {shown(part)}; words with a comma are given '
            'as JSON: ["salt, pepper"].'
        )
    return part[1:-1]
