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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
import json
import threading
from typing import Any, TypeAlias

from zegclip_core.messages.announcement import announcement
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.runtime.rejections import shortened

MaskTopics: TypeAlias = Mapping[str, Sequence[str | None]]
"""By camera (``''`` for the only one), the full name of the mask topic of each class, in the order
of the ids; ``None`` for a class that has none."""


@dataclass(frozen=True)
class Words:
    """An accepted request.

    Attributes:
        version: Its number; requests count from 1.
        vocabulary: The classes.
        topics: Where their masks go.
        asked: The classes as they were asked for, without the palette's colours.
    """

    version: int
    vocabulary: Vocabulary
    topics: MaskTopics
    asked: Vocabulary


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
        cameras: Names of the cameras, ``''`` for the only one.
    """

    def __init__(self, announce: Callable[[str], object], cameras: Sequence[str] = ('',)) -> None:
        self._announce = announce
        self._cameras = cameras
        self._lock = threading.RLock()
        self._requested = 0
        self._active: Words | None = None
        self._pending: Words | None = None
        self._taken: Words | None = None
        self._first: dict[str, Stamp] = {}
        self._last: dict[str, Stamp] = {}
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

    def use_cameras(self, cameras: Sequence[str]) -> None:
        """Take over the names of other cameras, while no words are active."""
        with self._lock:
            self._cameras = cameras
            self.announce()

    def request(self, vocabulary: Vocabulary, topics: MaskTopics, asked: Vocabulary) -> Words:
        """Accept words and keep them until they are taken; earlier ones that wait are dropped."""
        with self._lock:
            self._requested += 1
            self._pending = Words(self._requested, vocabulary, topics, asked)
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
            self._forget_frames()
            self.announce()

    def retire(self) -> None:
        """Note that no frame is labelled any more; the newest words wait for the next model."""
        with self._lock:
            self._pending = self.newest
            self._active = self._taken = None
            self._forget_frames()
            self.announce()

    def labelled(self, words: Words, stamp: Stamp, camera: str = '') -> bool:
        """Note that a frame is about to be published.

        The first one of its words is announced, and one that is older than the one before, since
        frames of a clock that was set back cannot be told from earlier ones otherwise. Each camera
        has its own first one: their stamps do not come in order.

        Returns:
            Whether it was announced.
        """
        with self._lock:
            if words is not self._active:
                return False  # Finished with the words that were there when it began.
            last = self._last.get(camera)
            known = last is not None and stamp >= last
            self._last[camera] = stamp
            if not known:
                self._first[camera] = stamp
                self.announce()
            return not known

    def topics_in_use(self, camera: str = '') -> set[str]:
        """Return a camera's mask topics of the words that are active, taken or wait."""
        with self._lock:
            used = [words for words in (self._active, self._taken, self._pending) if words]
            topics = {topic for words in used for topic in words.topics.get(camera, ())}
            return {topic for topic in topics if topic is not None}

    def announce(self) -> None:
        """Announce the state as it is."""
        with self._lock:
            self._announce(json.dumps(self._as_dict(), ensure_ascii=False))

    def _forget_frames(self) -> None:
        self._first.clear()
        self._last.clear()

    def _as_dict(self) -> dict[str, Any]:
        first, active = self._first.get(''), self._active
        vocabulary = None if active is None else active.vocabulary
        nowhere = [None] * len(vocabulary or ())
        state = announcement(
            vocabulary,
            nowhere if active is None else active.topics.get('', nowhere),
            version=0 if active is None else active.version,
            stamp=None if first is None else asdict(first),
            requested=self._requested,
            error=self._error,
            refused=self._refused,
        )
        if '' not in self._cameras:
            self._tell_by_camera(state, {} if active is None else active.topics)
        return state

    def _tell_by_camera(self, state: dict[str, Any], topics: MaskTopics) -> None:
        """Have stamps and topics by camera in place of those of the only one."""
        del state['stamp']
        state['stamps'] = {
            camera: asdict(self._first[camera]) if camera in self._first else None
            for camera in self._cameras
        }
        for entry in state['classes']:
            del entry['topic']
            entry['topics'] = {camera: names[entry['id']] for camera, names in topics.items()}
