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
"""Which words are looked for, which were asked for, and what became of the last request."""

from collections.abc import Callable
from dataclasses import dataclass
import json
import threading
from typing import Any

from zegclip_core.vocabulary import Vocabulary
from zegclip_ros.rejections import shortened


@dataclass(frozen=True)
class Words:
    """A vocabulary and where its masks go.

    Attributes:
        vocabulary: The classes.
        topics: Full name of the mask topic of each class, in the order of the ids.
    """

    vocabulary: Vocabulary
    topics: tuple[str, ...]


@dataclass(frozen=True)
class Stamp:
    """Time of a frame, as in its header."""

    sec: int
    nanosec: int


class VocabularyState:
    """The active words, the ones that wait for the model, and the last refusal; thread-safe.

    The executor thread asks (``request``, ``refuse``), the worker takes over (``take``, then
    ``activate`` or ``give_up``, and ``labelled``). Whatever changes what a listener sees is
    announced at once.

    Args:
        announce: Takes the new state as JSON; never called by two threads at a time.
    """

    def __init__(self, announce: Callable[[str], object]) -> None:
        self._announce = announce
        self._lock = threading.RLock()
        self._version = 0
        self._active: Words | None = None
        self._pending: Words | None = None
        self._taken: Words | None = None
        self._stamp: Stamp | None = None
        self._error: str | None = None
        self._refused: str | None = None

    def request(self, words: Words) -> None:
        """Keep words until the worker takes them; earlier ones that still wait are dropped."""
        with self._lock:
            self._pending = words
            if self._error is not None:
                self._error = self._refused = None
                self.announce()

    def refuse(self, text: str, error: BaseException) -> None:
        """Note that the last request cannot be used; words that are active or wait stay."""
        with self._lock:
            self._error = str(error)
            self._refused = shortened(text, 100)
            self.announce()

    def take(self) -> Words | None:
        """Return the words that wait, which wait no longer."""
        with self._lock:
            self._taken, self._pending = self._pending, None
            return self._taken

    def give_up(self, words: Words, error: BaseException) -> None:
        """Note that words that were taken cannot be encoded."""
        with self._lock:
            self._taken = None
            self.refuse(', '.join(words.vocabulary.names), error)

    def activate(self, words: Words) -> None:
        """Note that frames are labelled with these words from now on."""
        with self._lock:
            self._active, self._taken = words, None
            self._version += 1
            self._stamp = None
            self.announce()

    def labelled(self, stamp: Stamp) -> None:
        """Note that a frame was labelled with the active words; only the first one counts."""
        with self._lock:
            if self._stamp is None:
                self._stamp = stamp
                self.announce()

    def topics_in_use(self) -> set[str]:
        """Return the mask topics of the words that are active, taken or wait."""
        with self._lock:
            used = (self._active, self._taken, self._pending)
            return {topic for words in used if words is not None for topic in words.topics}

    def announce(self) -> None:
        """Announce the state as it is."""
        with self._lock:
            self._announce(json.dumps(self._as_dict(), ensure_ascii=False))

    def _as_dict(self) -> dict[str, Any]:
        stamp = self._stamp
        return {
            'version': self._version,
            'classes': [] if self._active is None else _classes(self._active),
            'stamp': None if stamp is None else {'sec': stamp.sec, 'nanosec': stamp.nanosec},
            'error': self._error,
            'refused': self._refused,
        }


def _classes(words: Words) -> list[dict[str, Any]]:
    """Return the classes as they stand in the announcement."""
    rows = zip(words.vocabulary.classes, words.vocabulary.colors, words.topics, strict=True)
    return [
        {
            'id': index,
            'name': entry.name,
            'phrases': list(entry.phrases),
            'color': [int(part) for part in color],
            'threshold': entry.threshold,
            'topic': topic,
        }
        for index, (entry, color, topic) in enumerate(rows)
    ]
