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

from zegclip_core.announcement import announcement
from zegclip_core.vocabulary import Vocabulary
from zegclip_ros.rejections import shortened


@dataclass(frozen=True)
class Words:
    """An accepted request.

    Attributes:
        version: Its number; requests count from 1.
        vocabulary: The classes.
        topics: Full name of the mask topic of each class, in the order of the ids; ``None`` for
            a class that has none.
    """

    version: int
    vocabulary: Vocabulary
    topics: tuple[str | None, ...]


@dataclass(frozen=True, order=True)
class Stamp:
    """Time of a frame, as in its header."""

    sec: int
    nanosec: int


class VocabularyState:
    """The active words, the ones that wait for the model, and the last refusal; thread-safe.

    The executor asks (``request``, ``refuse``), a worker takes over (``take``, then ``activate``
    or ``give_up``), and the one that labels frames tells of them (``labelled``). Whatever changes
    what a listener sees is announced at once.

    Args:
        announce: Takes the new state as JSON; never called by two threads at a time.
    """

    def __init__(self, announce: Callable[[str], object]) -> None:
        self._announce = announce
        self._lock = threading.RLock()
        self._requested = 0
        self._active: Words | None = None
        self._pending: Words | None = None
        self._taken: Words | None = None
        self._first: Stamp | None = None
        self._last: Stamp | None = None
        self._error: str | None = None
        self._refused: str | None = None

    @property
    def active(self) -> Words | None:
        """The words in use."""
        return self._active

    @property
    def newest(self) -> Words | None:
        """The words of the newest accepted request."""
        with self._lock:
            return self._pending or self._taken or self._active

    @property
    def error(self) -> str | None:
        """Why the last request was refused; ``None`` if it was not."""
        return self._error

    def request(self, vocabulary: Vocabulary, topics: tuple[str | None, ...]) -> Words:
        """Accept words and keep them until they are taken; earlier ones that wait are dropped."""
        with self._lock:
            self._requested += 1
            self._pending = Words(self._requested, vocabulary, topics)
            self._error = self._refused = None
            self.announce()
            return self._pending

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
            self._first = self._last = None
            self.announce()

    def retire(self) -> None:
        """Note that no frame is labelled any more; the newest words wait for the next model."""
        with self._lock:
            self._pending = self.newest
            self._active = self._taken = self._first = self._last = None
            self.announce()

    def labelled(self, words: Words, stamp: Stamp) -> bool:
        """Note that a frame is about to be published.

        The first one of its words is announced, and one that is older than the one before, since
        frames of a clock that was set back cannot be told from earlier ones otherwise.

        Returns:
            Whether it was announced.
        """
        with self._lock:
            if words is not self._active:
                return False  # Finished with the words that were there when it began.
            known = self._last is not None and stamp >= self._last
            self._last = stamp
            if not known:
                self._first = stamp
                self.announce()
            return not known

    def topics_in_use(self) -> set[str]:
        """Return the mask topics of the words that are active, taken or wait."""
        with self._lock:
            used = (self._active, self._taken, self._pending)
            topics = {topic for words in used if words is not None for topic in words.topics}
            return {topic for topic in topics if topic is not None}

    def announce(self) -> None:
        """Announce the state as it is."""
        with self._lock:
            self._announce(json.dumps(self._as_dict(), ensure_ascii=False))

    def _as_dict(self) -> dict[str, Any]:
        first, active = self._first, self._active
        return announcement(
            None if active is None else active.vocabulary,
            () if active is None else active.topics,
            version=0 if active is None else active.version,
            stamp=None if first is None else {'sec': first.sec, 'nanosec': first.nanosec},
            requested=self._requested,
            error=self._error,
            refused=self._refused,
        )
