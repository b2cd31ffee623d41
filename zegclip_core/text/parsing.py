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
"""Texts as users type them: what a name or phrase may be, and lists of them."""

import json
import re
import unicodedata

from zegclip_core.errors import shortened, VocabularyError

MAX_NAME = 200
"""Longest class name or phrase, in characters."""

_BYTE_ORDER_MARK = '\ufeff'
_JOINERS = '\u200c\u200d'
"""Of emoji, and between letters of Persian and of Indian scripts."""
_COMMENT = re.compile(r'^[ \t]*#[ \t][^\r\n]*', re.MULTILINE)
"""A line of a list that is for its readers alone."""
_BULLET = re.compile(r'^[-*\u2022]\s+')
"""Before each line of a list as Markdown and YAML have it."""
_QUOTES = {'"': '"', "'": "'", '\u201c': '\u201d'}


def shown(value: object) -> str:
    """Return a value as an error message shows it: quoted and short."""
    return shortened(repr(value))


def clean_text(text: object, what: str) -> str:
    """Return a name or phrase with single spaces, its letters composed (NFC).

    Args:
        text: What the user gave.
        what: What it is called in an error message.

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
    kinds = {unicodedata.category(char) for char in cleaned if char not in _JOINERS}
    # Control characters, unseen ones, halves of a surrogate pair.
    if '\ufffd' in cleaned or kinds & {'Cc', 'Cf', 'Cs'}:
        raise VocabularyError(f'Expected {what} to be readable UTF-8 text, but got {shown(text)}.')
    if not any(kind[0] in 'LN' or kind == 'So' for kind in kinds):
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
    if stripped[:1] not in {'[', '{'}:
        parts = (_BULLET.sub('', part.strip()) for part in re.split(r'[,\r\n]', stripped))
        return [_unquoted(part) for part in parts if part]
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


def _unquoted(part: str) -> str:
    """Return a word of a list without the quotes around it."""
    if ';' in part:
        raise VocabularyError(
            f'Expected a comma or a line break between words, but got {shown(part)} with a '
            'semicolon.'
        )
    end = _QUOTES.get(part[0])
    if end is None or (end == "'" and not part.endswith(end)):
        return part
    if len(part) < 3 or not part.endswith(end):
        raise VocabularyError(
            f'Expected words without quotes, but got {shown(part)}; words with a comma are given '
            'as JSON: ["salt, pepper"].'
        )
    return part[1:-1]
