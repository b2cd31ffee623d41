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
"""What all who listen to a node need: its words, and the parts of its frames put together."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from zegclip_core.errors import ConfigError, shortened, VocabularyError
from zegclip_core.segmentation import label_type, LabelArray, unlabelled_id
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

Part = TypeVar('Part')


class Stamp(BaseModel):
    """A time as messages have it."""

    sec: int
    nanosec: int

    @property
    def nanoseconds(self) -> int:
        """The time [ns]."""
        return self.sec * 10**9 + self.nanosec


class Announcement(BaseModel):
    """What ``~/active_vocabulary`` holds as JSON; ``docs/node.md`` explains it."""

    model_config = ConfigDict(frozen=True)

    version: int = Field(ge=0)
    requested: int
    classes: tuple[dict[str, Any], ...]
    stamp: Stamp | None = None
    stamps: dict[str, Stamp | None] | None = None
    error: str | None
    warning: str | None

    @classmethod
    def read(cls, text: str) -> 'Announcement':
        """Read a message.

        Raises:
            VocabularyError: If it is none, or its words are none.
        """
        try:
            found = cls.model_validate_json(text)
            _ = found.vocabulary
        except (LookupError, TypeError, ValueError) as error:
            raise VocabularyError(
                f'Expected what a node announces of its words, but got {shortened(text, 100)!r}.'
            ) from error
        return found

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The words in use, with their colours and ids; ``None`` if there are none."""
        if not self.version:
            return None
        classes = tuple(
            VocabularyClass(one['name'], one['phrases'], tuple(one['color']), one['threshold'])
            for one in self.classes
        )
        vocabulary = Vocabulary(classes)
        ids = tuple(one['id'] for one in self.classes)
        return vocabulary if ids == vocabulary.ids else vocabulary.numbered(ids)

    def first(self, camera: str) -> int | None:
        """Return the stamp of a camera's first frame with the words [ns]; ``None`` before it.

        Args:
            camera: Its name; ``''`` is the only one of a node.

        Raises:
            ConfigError: If the node has no such camera.
        """
        stamps = {'': self.stamp} if self.stamps is None else self.stamps
        if camera not in stamps:
            known = 'empty for one camera' if '' in stamps else f'one of {", ".join(stamps)}'
            raise ConfigError(f'Expected the parameter camera to be {known}, but got {camera!r}.')
        stamp = stamps[camera]
        return None if stamp is None else stamp.nanoseconds


def version_at(stamp: int, firsts: Mapping[int, int | None]) -> int | None:
    """Return the version of the words that a frame was labelled with: the newest it can have.

    Args:
        stamp: Of the frame [ns].
        firsts: By version the stamp of its first frame [ns]; ``None`` before there is one.
    """
    known = (version for version, first in firsts.items() if first is not None and first <= stamp)
    return max(known, default=None)


def places_of(ids: LabelArray, vocabulary: Vocabulary) -> LabelArray:
    """Return the places of classes for the ids of a label image, ``(H, W)``.

    An id that no class has is unlabelled.
    """
    kind = label_type(len(vocabulary))
    none = unlabelled_id(ids.dtype)
    table: NDArray[Any] = np.full(max(none, *vocabulary.ids) + 1, unlabelled_id(kind), kind)
    table[list(vocabulary.ids)] = np.arange(len(vocabulary))
    table[none] = unlabelled_id(kind)
    places: NDArray[Any] = table[ids]
    return places


class FrameParts(Generic[Part]):
    """Puts the parts of frames together by their stamps; too many that wait go, the oldest first.

    Args:
        names: The parts of a frame.
        weight: Of a part.
        most: Weight of all that wait, at most.
    """

    def __init__(self, names: Collection[str], weight: Callable[[Part], int], most: int) -> None:
        self._names, self._weight, self._most = set(names), weight, most
        self._waiting: OrderedDict[int, dict[str, Part]] = OrderedDict()

    def add(self, stamp: int, name: str, part: Part) -> dict[str, Part] | None:
        """Take a part of a frame; return all of them if they are there."""
        parts = self._waiting.setdefault(stamp, {})
        parts[name] = part
        whole = self._waiting.pop(stamp) if parts.keys() == self._names else None
        while self._weight_of_all() > self._most:
            self._waiting.popitem(last=False)
        return whole

    def _weight_of_all(self) -> int:
        return sum(self._weight(one) for parts in self._waiting.values() for one in parts.values())
