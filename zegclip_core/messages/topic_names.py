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
"""Names of topics: of cameras, of their outputs, and of classes, which words become."""

from collections.abc import Iterable, Sequence
import hashlib
import re
import unicodedata

from zegclip_core.errors import ConfigError, VocabularyError

MAX_CAMERAS = 32
LONGEST_NAME = 64
"""Characters of a camera's name, so that the rest of a topic has room."""
TOKEN = '[A-Za-z_][A-Za-z0-9_]*'
"""Pattern of what may stand between the slashes of a topic."""
_LONGEST = 100
"""Longest token; DDS allows some 250 characters for the whole name, namespaces included."""

_PAIRS = (
    'аa бb вv гg дd еe ёe жzh зz иi йy кk лl мm нn оo пp '  # noqa: RUF001
    'рr сs тt уu фf хkh цts чch шsh щshch ъ ыy ь эe юyu яya іi їyi єye ґg '  # noqa: RUF001
    'αa βv γg δd εe ζz ηi θth ιi κk λl μm νn '  # noqa: RUF001
    'ξx οo πp ρr σs ςs τt υy φf χch ψps ωo '  # noqa: RUF001
    'ßss æae œoe øo đd ðd łl þth ıi'  # noqa: RUF001
)
_ROMANISED = {pair[0]: pair[1:] for pair in _PAIRS.split()}
"""Letters that no decomposition turns into ASCII, and how they are spelled in it."""


def _spelled(char: str) -> str:
    """Return ASCII letters for one lower-case character, or ``_`` for what separates words."""
    if char in _ROMANISED:
        return _ROMANISED[char]
    if not char.isalnum():
        return '' if _is_accent(char) else '_'
    # Lower case once more: a mathematical capital has no lower case of its own.
    decomposed = unicodedata.normalize('NFKD', char).lower()
    parts = [part for part in decomposed if not _is_accent(part)]
    plain = ''.join(_ROMANISED.get(part, part) if part.isalnum() else '_' for part in parts)
    if plain.isascii():
        return plain
    # KATAKANA LETTER NE, HANGUL SYLLABLE GO: the last word is the sound. Others have a number.
    name = unicodedata.name(char, '')
    if name.startswith(('HIRAGANA', 'KATAKANA', 'HANGUL')):
        return name.split()[-1].lower()
    return f'_u{ord(char):04x}_'


def _is_accent(char: str) -> bool:
    return unicodedata.category(char) == 'Mn'


def topic_token(name: str) -> str:
    """Return a class name as one token of a topic name.

    Lower case, words joined by ``_``, accents dropped, Cyrillic, Greek, kana and Hangul spelled in
    Latin letters, other scripts as code points; ``class_`` goes before a leading digit.

    Example:
        >>> topic_token('Traffic light'), topic_token('café'), topic_token('3d')
        ('traffic_light', 'cafe', 'class_3d')

    """
    spelled = ''.join(map(_spelled, unicodedata.normalize('NFC', name.lower())))
    token = '_'.join(part for part in spelled.split('_') if part)
    if not token:  # Punctuation or symbols only.
        token = '_'.join(f'u{ord(char):04x}' for char in name)
        token = f'class_{token}'
    if token[0].isdigit():
        token = f'class_{token}'
    if len(token) > _LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        token = f'{token[: _LONGEST - 9].rstrip("_")}_{digest}'
    return token


def topic_tokens(names: Sequence[str]) -> tuple[str, ...]:
    """Return one token a class name, in the same order, or a ``VocabularyError`` for two alike."""
    owners: dict[str, str] = {}
    for name in names:
        token = topic_token(name)
        if token in owners:
            raise VocabularyError(
                f'Expected class names with distinct topic names, but {owners[token]!r} and '
                f'{name!r} both become {token!r}.'
            )
        owners[token] = name
    return tuple(owners)


def allowed_topics(names: Iterable[str]) -> dict[str, str]:
    """Return for each topic of any system an absolute topic that ROS allows, no two alike.

    Those that ROS allows stay as they are.

    Example:
        >>> allowed_topics(['/cam-1/image', '/cam_1/image', 'rear/0'])
        {'/cam_1/image': '/cam_1/image', '/cam-1/image': '/cam_1/image_2', 'rear/0': '/rear/_0'}

    """
    parts = {name: filter(None, name.split('/')) for name in names}
    spelled = {
        name: ''.join(f'/{_allowed(one)}' for one in found) for name, found in parts.items()
    }
    topics: dict[str, str] = {}
    for name in sorted(spelled, key=lambda one: (spelled[one] != one, one)):
        topic, number = spelled[name], 1
        while topic in topics.values():
            number += 1
            topic = f'{spelled[name]}_{number}'
        topics[name] = topic
    return topics


def _allowed(part: str) -> str:
    """Return what stands between two slashes as ROS allows it."""
    for one in (part, f'_{part}'):
        if re.fullmatch(TOKEN, one):
            return one
    return topic_token(part)


def check_cameras(names: Sequence[str], what: str) -> None:
    """Check that names can be parts of topics; ``what`` says in the error where they come from.

    Raises:
        ConfigError: If one is not a valid name, one is given twice or there are too many.
    """
    given = repr(','.join(names)[:200])
    pattern = r'[A-Za-z](_?[A-Za-z0-9])*_?'
    if not all(len(name) <= LONGEST_NAME and re.fullmatch(pattern, name) for name in names):
        raise ConfigError(
            f'Expected {what} to be names of at most {LONGEST_NAME} letters, digits and single _ '
            f'with a letter first, such as front,rear, but got {given}.'
        )
    if len(set(names)) < len(names):
        raise ConfigError(f'Expected {what} to name each camera once, but got {given}.')
    if len(names) > MAX_CAMERAS:
        raise ConfigError(
            f'Expected {what} to name at most {MAX_CAMERAS} cameras, but got {len(names)}.'
        )


def image_topic(camera: str) -> str:
    """Return the relative topic of a camera's images; ``''`` is the only camera."""
    return f'{camera}/image' if camera else 'image'


def cloud_topic(camera: str) -> str:
    """Return the relative topic of a camera's clouds; ``''`` is the only camera."""
    return f'{camera}/cloud' if camera else 'cloud'


def depth_topic(camera: str) -> str:
    """Return the relative topic of a camera's depth images; ``''`` is the only camera."""
    return f'{camera}/depth' if camera else 'depth'


def info_topic(camera: str) -> str:
    """Return the relative topic of what is known of a camera; ``''`` is the only camera."""
    return f'{camera}/camera_info' if camera else 'camera_info'


def output_topic(camera: str, output: str) -> str:
    """Return a camera's topic for an output such as ``overlay``; ``''`` is the only camera."""
    return f'~/{camera}/{output}' if camera else f'~/{output}'
