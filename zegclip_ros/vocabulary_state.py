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
"""Which words are in use, which were asked for, and what became of the last request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
import json
import threading
from typing import TypeAlias

from zegclip_core.errors import shortened
from zegclip_core.messages.outputs import announcement
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.kept_ids import KeptIds

MaskTopics: TypeAlias = Mapping[str, Sequence[str | None]]
"""By camera (``''`` for the only one), the full name of the mask topic of each class, in the order
of the classes; ``None`` for a class without a mask topic."""


@dataclass(frozen=True)
class AcceptedRequest:
    """Words that the node was asked to look for and has accepted.

    Attributes:
        version: Number of the request, from 1.
        vocabulary: The classes, with colours of the palette, and with the ids that they keep.
        topics: Where their masks are published.
        asked: The classes as they were asked for, without those colours and ids.
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
    """The active request, those that wait for the model, and the last refusal; thread-safe.

    The executor asks (``accept``, ``refuse``), the thread of words encodes (``take``, then
    ``activate`` or ``give_up``), and the thread of frames tells which frames are labelled with
    them (``labelled``). Whatever changes what a subscriber sees is announced at once.

    Attributes:
        active: The request whose words are in use.
        error: Why the last request was refused; ``None`` if it was not.
        warning: Which of the words in use the model may not know; ``None`` if it knows all.

    Args:
        announce: Gets each new state as JSON; never called by two threads at a time.
        clock: Returns the time in seconds, as subscribers see it.
        cameras: Names of the cameras, ``''`` for the only one.
    """

    def __init__(
        self,
        announce: Callable[[str], object],
        clock: Callable[[], float],
        cameras: Sequence[str] = ('',),
    ) -> None:
        self._announce = announce
        self._cameras = cameras
        self._ids = KeptIds(clock)
        self._lock = threading.RLock()
        self._requested = 0
        self.active: AcceptedRequest | None = None
        self._pending: AcceptedRequest | None = None
        self._taken: AcceptedRequest | None = None
        self._first: dict[str, Stamp] = {}
        self._last: dict[str, Stamp] = {}
        self.error: str | None = None
        self._refused: str | None = None
        self.warning: str | None = None

    @property
    def newest(self) -> AcceptedRequest | None:
        """The newest accepted request."""
        with self._lock:
            return next(iter(self._requests), None)

    @property
    def _requests(self) -> list[AcceptedRequest]:
        """The requests that wait, are taken or active, the newest first."""
        return [one for one in (self._pending, self._taken, self.active) if one is not None]

    def with_kept_ids(self, vocabulary: Vocabulary) -> Vocabulary:
        """Return words with the ids that they had, or with new ones: see ``KeptIds``.

        Raises:
            VocabularyError: If they cannot have any.
        """
        with self._lock:
            return self._ids.number(vocabulary, [one.vocabulary for one in self._requests])

    def use_cameras(self, cameras: Sequence[str]) -> None:
        """Take over the names of other cameras, while no words are active."""
        with self._lock:
            self._cameras = cameras
            self.announce()

    def accept(
        self, vocabulary: Vocabulary, topics: MaskTopics, asked: Vocabulary
    ) -> AcceptedRequest:
        """Accept a request; it replaces an earlier one that still waits."""
        with self._lock:
            self._requested += 1
            self._pending = AcceptedRequest(self._requested, vocabulary, topics, asked)
            self.error = self._refused = None
            self.announce()
            return self._pending

    def refuse(self, text: str, error: BaseException) -> None:
        """Note that the words of the last request cannot be used; earlier requests stay."""
        with self._lock:
            self.error = str(error)
            self._refused = shortened(' '.join(text.split()), 100)
            self.announce()

    def take(self) -> AcceptedRequest | None:
        """Return the request that waits, to be encoded; ``None`` if there is none."""
        with self._lock:
            self._taken, self._pending = self._pending, None
            return self._taken

    def give_up(self, request: AcceptedRequest, error: BaseException) -> None:
        """Note that the words of a request that was taken cannot be encoded."""
        with self._lock:
            self._taken = None
            self.refuse(', '.join(request.vocabulary.names), error)

    def activate(self, request: AcceptedRequest, warning: str | None = None) -> None:
        """Note that frames are labelled with the words of this request from now on.

        ``warning`` says which of them the model may not know.
        """
        with self._lock:
            self.warning = warning
            if self.active is not None:  # A frame with its ids may be in work.
                self._ids.published(self.active.vocabulary)
            self.active, self._taken = request, None
            self._first, self._last = {}, {}
            self.announce()

    def retire(self) -> None:
        """Note that no frame is labelled any more; the newest request waits for the next model."""
        with self._lock:
            self._pending = self.newest
            self.active = self._taken = self.warning = None
            self._first, self._last = {}, {}
            self.announce()

    def labelled(self, request: AcceptedRequest, stamp: Stamp, camera: str = '') -> bool:
        """Note that a frame is about to be published; return whether it was announced.

        The first frame with new words is announced, and each that is older than the one before:
        after a clock was set back, frames cannot be told from earlier ones otherwise. Each camera
        has a first frame of its own, since the stamps of two cameras do not come in order.
        """
        with self._lock:
            self._ids.published(request.vocabulary)
            if request is not self.active:
                return False  # The words changed while the frame was in work.
            last = self._last.get(camera)
            self._last[camera] = stamp
            if last is not None and stamp >= last:
                return False
            self._first[camera] = stamp
            self.announce()
            return True

    def topics_in_use(self, camera: str = '') -> set[str]:
        """Return a camera's mask topics of the requests that are active, taken or wait."""
        with self._lock:
            topics = {
                topic for request in self._requests for topic in request.topics.get(camera, ())
            }
            return {topic for topic in topics if topic is not None}

    def announce(self) -> None:
        """Announce the present state."""
        with self._lock:
            active = self.active
            vocabulary = None if active is None else active.vocabulary
            topics: MaskTopics = {} if active is None else active.topics
            stamps = {
                camera: asdict(self._first[camera]) if camera in self._first else None
                for camera in self._cameras
            }
            state = announcement(
                vocabulary,
                topics.get('', [None] * len(vocabulary or ())),
                version=0 if active is None else active.version,
                stamp=stamps.get(''),
                requested=self._requested,
                error=self.error,
                refused=self._refused,
                warning=self.warning,
            )
            if '' not in self._cameras:  # Several cameras: stamps and topics of each by its name.
                del state['stamp']
                state['stamps'] = stamps
                for place, entry in enumerate(state['classes']):
                    del entry['topic']
                    entry['topics'] = {
                        name: of_camera[place] for name, of_camera in topics.items()
                    }
            self._announce(json.dumps(state, ensure_ascii=False))
