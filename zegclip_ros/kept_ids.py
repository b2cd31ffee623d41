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
"""Ids that stay: a word keeps its id while others come and go, and no id changes hands quickly."""

from collections.abc import Callable, Iterable

from zegclip_core.errors import VocabularyError
from zegclip_core.options import MAX_ID
from zegclip_core.segmentation import NARROW
from zegclip_core.text.vocabulary import Vocabulary

QUIET = 10.0
"""Seconds for which no frame may have had an id before another word gets it.

Consumers remember ids: a tile of Nav2's semantic costmap layer does for ``tile_map_decay_time``.
"""


class KeptIds:
    """Remembers which words had which ids in the last frames; not thread-safe.

    Args:
        clock: Returns the time in seconds, as consumers see it; it may stand still and jump.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._published: list[tuple[Vocabulary, float]] = []

    def published(self, vocabulary: Vocabulary) -> None:
        """Note that a frame is published with the ids of a vocabulary."""
        others = [one for one in self._recent() if one[0] is not vocabulary]
        self._published = [(vocabulary, self._clock()), *others]

    def _recent(self) -> list[tuple[Vocabulary, float]]:
        """Forget what was long ago; return the others, the newest first, with their last times."""
        now = self._clock()
        # Of a clock that is set back, all counts as just now.
        times = ((vocabulary, min(when, now)) for vocabulary, when in self._published)
        self._published = [pair for pair in times if now - pair[1] <= QUIET]
        return self._published

    def number(self, vocabulary: Vocabulary, in_use: Iterable[Vocabulary]) -> Vocabulary:
        """Return a vocabulary with ids: each word's own, and for a new word the lowest free one.

        Args:
            vocabulary: Words, with ids that the user chose or without.
            in_use: Words that frames are or will be labelled with, the newest first.

        Raises:
            VocabularyError: If there are too many words or too few free ids, or if an id that the
                user chose is another word's.
        """
        owners: dict[int, str] = {}
        for other in [*in_use, *(one for one, _ in self._recent())]:
            for number, name in zip(other.ids, other.names, strict=True):
                owners.setdefault(number, name)
        if vocabulary.has_ids:
            _check_chosen(vocabulary, owners)
            return vocabulary
        return vocabulary.numbered(_numbers(vocabulary.names, owners))


def _check_chosen(vocabulary: Vocabulary, owners: dict[int, str]) -> None:
    """Refuse ids that other words have, or had a moment ago."""
    for number, name in zip(vocabulary.ids, vocabulary.names, strict=True):
        if owners.get(number, name) != name:
            raise VocabularyError(
                f'Expected ids that no other word had in the last {QUIET:.0f} s, as stable_ids is '
                f'on, but {name!r} is to have the id {number} of {owners[number]!r}.'
            )


def _numbers(names: tuple[str, ...], owners: dict[int, str]) -> list[int]:
    """Return the id of each word; of one that has two, the newer one."""
    if len(names) > NARROW:
        raise VocabularyError(
            f'Expected at most {NARROW} classes while stable_ids is on, so that label images '
            f'stay mono8, but got {len(names)}.'
        )
    own: dict[str, int] = {}
    for number, name in owners.items():
        if number <= MAX_ID:
            own.setdefault(name, number)
    free = (number for number in range(MAX_ID + 1) if number not in owners)
    numbers = [own[name] if name in own else next(free, None) for name in names]
    found = [number for number in numbers if number is not None]
    if len(found) < len(names):
        raise VocabularyError(
            f'Expected ids for {len(names)} words, but only {len(found)} of 0 to {MAX_ID} are '
            f'their own or were not in use in the last {QUIET:.0f} s: try again later, or with '
            'fewer new words.'
        )
    return found
