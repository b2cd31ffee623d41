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
"""A running node behind the page of ``zegclip web``: all pages see what it sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import json
import threading
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ConfigError, ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import sampled, Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.web.desk import About, Download
from zegclip_core.web.pictures import jpeg, overlay_png, png, shown
from zegclip_core.web.sessions import Session
from zegclip_core.web.settings import Settings
from zegclip_core.web.wire import levels, packed, text
from zegclip_ros.listening import Announcement, FrameParts, places_of, version_at

MOST_WAITING = 64 * 2**20
"""Bytes of images that wait for their labels at most: 2 s of a camera of 640x480 at 30 Hz."""
_VERSIONS = 8
"""Lists of words that are remembered, for frames that are late."""
_QUALITY = 80
_SMOOTHING = 'The node has its own smoothing.'


@dataclass(frozen=True)
class Labelled:
    """A frame of the robot.

    Attributes:
        number: How many came before.
        version: The node's count of its words.
        image: RGB, uint8 ``(H, W, 3)``, at most as large as pages show it.
        segmentation: Its labels as places in the vocabulary, and scores of the same size, which
            are ``(0, 0)`` where the node sends none.
    """

    number: int
    version: int
    image: RgbImage
    segmentation: Segmentation


@dataclass
class _Asked:
    """What a page has asked for.

    Attributes:
        chosen: Threshold and negative words of its last request.
        words: Those of its requests that may still come into use, and what came last.
    """

    chosen: tuple[float | None, tuple[str, ...] | None] = (None, None)
    words: list[Settings] = field(default_factory=list)

    def as_typed(self, names: Sequence[str]) -> str | None:
        """Return words in use as the page should have them in its box.

        Those of its own are as they were typed there; ``None`` while later ones are on their way.
        """
        places = [at for at, one in enumerate(self.words) if one.vocabulary.names == names]
        if not places:
            return ', '.join(names)
        del self.words[: places[-1]]
        return self.words[0].text if len(self.words) == 1 else None


class NodeDesk:
    """Shows the frames of a node to all pages, and passes their words on.

    Methods of ``Desk`` are called by the server, the others by the executor of the node.

    Args:
        name: What the node is called.
        say: Publishes words.
        set_parameters: Sets the threshold, ``None`` for the model's own, and the negative words;
            calls back with the reason if they are refused, else with ``None``.
    """

    def __init__(
        self,
        name: str,
        say: Callable[[str], None],
        set_parameters: Callable[
            [float | None, tuple[str, ...] | None, Callable[[str | None], None]], None
        ],
    ) -> None:
        self.about = About('node', name)
        self._say, self._set = say, set_parameters
        self._lock = threading.Lock()
        self._pages: dict[str, Session] = {}
        self._parts = FrameParts[npt.NDArray[Any]](
            ('image', 'labels', 'scores'), lambda part: part.nbytes, MOST_WAITING
        )
        self._versions: dict[int, tuple[int | None, Vocabulary]] = {}
        self._latest: dict[str, str] = {}
        self._last: Labelled | None = None
        self._count = 0
        self._asked: dict[str, _Asked] = {}
        self._names: tuple[str, ...] | None = None

    @property
    def watched(self) -> bool:
        """Whether a page is open."""
        with self._lock:
            return any(page.left is None for page in self._pages.values())

    def join(self, session: Session) -> None:
        """Tell a page what is known."""
        with self._lock:
            self._pages[session.name] = session
            self._asked.setdefault(session.name, _Asked())
            latest = dict(self._latest)
            self._post_words(session)
        for kind, message in latest.items():
            session.outbox.post(kind, message)

    def forget(self, session: Session) -> None:
        """Let go of a page."""
        with self._lock:
            self._pages.pop(session.name, None)
            self._asked.pop(session.name, None)

    def ask(self, session: Session, settings: Settings) -> None:
        """Publish words, and set what else has changed."""
        if settings.smoothing:
            raise ConfigError(_SMOOTHING)
        chosen = settings.threshold, settings.negatives
        asked = self._asked[session.name]
        # Of this page: one whose sliders nobody touched leaves those of the others.
        if chosen != asked.chosen:

            def answered(reason: str | None) -> None:
                if reason is not None:
                    box = 'negatives' if 'negative' in reason else 'threshold'
                    line = text('error', box=box, text=reason, asked=settings.number)
                    session.outbox.post('error', line)

            self._set(*chosen, answered)
            asked.chosen = chosen
        with self._lock:
            self._say(settings.text)
            asked.words = [*asked.words[-_VERSIONS:], settings]

    def show(self, session: Session, number: int, image: RgbImage, original: bytes) -> None:
        """Refuse a photo: the node looks through its own camera."""
        raise ImageError("Expected no photo: this page shows a node's camera.")

    def shown(self, session: Session) -> None:
        """Return nothing: a page of a node has no image of its own."""

    def frame(self, session: Session, number: int, seconds: float, data: bytes) -> None:
        """Refuse a frame: the node looks through its own camera."""
        raise ImageError("Expected no frame: this page shows a node's camera.")

    def hover(self, session: Session, row: int | None) -> None:
        """Send the scores of a class with each frame from the next one on."""
        session.state = row
        if row is not None and self._last is not None:
            self._post(session, self._last, {})

    def point(self, session: Session, x: float, y: float) -> dict[str, Any]:
        """Return the class at a place and its score; the node sends those of no other word."""
        frame = self._last
        if frame is None:
            return {}
        labels, scores = frame.segmentation.labels, frame.segmentation.scores
        height, width = labels.shape
        place = min(int(y * height), height - 1), min(int(x * width), width - 1)
        label = int(labels[place])
        is_class = label < len(frame.segmentation.vocabulary)
        name = frame.segmentation.vocabulary.names[label] if is_class else 'none of these'
        score = round(float(scores[place]), 4) if scores.size else 0.0
        ranking = [{'row': label, 'name': name, 'score': score, 'threshold': None}]
        why = 'of the best word' if scores.size else 'the node sends no scores'
        return {
            'x': x,
            'y': y,
            'label': label if is_class else None,
            'ranking': ranking,
            'why': why,
        }

    def download(self, session: Session, what: Download, alpha: float) -> bytes:
        """Return a file of the last frame."""
        frame = self._last
        if frame is None:
            raise ImageError('Expected labels to download, but there are none yet.')
        if what == 'label.png':
            return png(frame.segmentation.ids)
        if what == 'overlay.png':
            return overlay_png(frame.image, frame.segmentation, alpha)
        about = {'node': self.about.model, **frame.segmentation.report()}
        return f'{json.dumps(about, indent=2, ensure_ascii=False)}\n'.encode()

    def close(self) -> None:
        """Do nothing: there are no threads."""

    def announced(self, told: Announcement, first: int | None) -> None:
        """Take note of the words in use, and of the node's answer to the last request.

        Args:
            told: What it says.
            first: Stamp of the first frame with these words [ns]; ``None`` before there is one.
        """
        version, vocabulary = told.version, told.vocabulary
        if version < max(self._versions, default=0):  # The node was started again.
            self._versions.clear()
        if vocabulary is not None:
            self._versions[version] = first, vocabulary
            for old in sorted(self._versions)[:-_VERSIONS]:
                del self._versions[old]
        names = () if vocabulary is None else vocabulary.names
        refused = told.error is not None
        line = f'Refused: {told.error}' if refused else f'In use: {", ".join(names) or "no words"}'
        if told.warning and not refused:
            line = f'{line}. {told.warning}'
        self._tell('answer', text('answer', text=line, refused=refused, version=version))
        with self._lock:
            self._names = names
            for page in self._pages.values():
                self._post_words(page)

    def _post_words(self, page: Session) -> None:
        """Tell a page what its box should hold, unless it knows better; the lock is held."""
        words = None if self._names is None else self._asked[page.name].as_typed(self._names)
        if words is not None:
            page.outbox.post('words', text('words', text=words))

    def diagnosed(self, message: str, values: dict[str, str]) -> None:
        """Show what the node says of itself."""
        self._tell('diagnostics', text('diagnostics', rows=[('', message), *values.items()]))

    def received(self, part: str, stamp: int, array: npt.NDArray[Any]) -> None:
        """Take a part of a frame: ``image``, ``labels`` or ``scores``; show it if it is whole."""
        # A copy, since the memory of a message is not for keeping.
        kept = np.array(shown(array) if part == 'image' else array)
        parts = self._parts.add(stamp, part, kept)
        if parts is not None:
            self._show(stamp, parts)

    def _show(self, stamp: int, parts: dict[str, npt.NDArray[Any]]) -> None:
        """Show a whole frame to all pages."""
        firsts = {version: first for version, (first, _) in self._versions.items()}
        version = version_at(stamp, firsts)
        if version is None:
            return
        vocabulary = self._versions[version][1]
        image = parts['image']
        size = image.shape[:2]
        labels = sampled(places_of(parts['labels'], vocabulary), *size)
        scores = cv2.resize(parts['scores'], size[::-1], interpolation=cv2.INTER_LINEAR)
        segmentation = Segmentation(labels, np.asarray(scores, np.float32), vocabulary)
        self._count += 1
        self._last = frame = Labelled(self._count, version, image, segmentation)
        messages: dict[int | None, bytes] = {}
        with self._lock:
            pages = [page for page in self._pages.values() if page.left is None]
        for page in pages:
            self._post(page, frame, messages)

    def _post(self, page: Session, frame: Labelled, known: dict[int | None, bytes]) -> None:
        """Send a page a frame with the scores that it asked for; pages that ask alike share it."""
        row = page.state if isinstance(page.state, int) else None
        if row not in known:
            known[row] = _message(frame, row)
        page.outbox.post('result', known[row])

    def _tell(self, kind: str, message: str) -> None:
        """Tell all pages something, and those that are opened later."""
        with self._lock:
            self._latest[kind] = message
            pages = list(self._pages.values())
        for page in pages:
            page.outbox.post(kind, message)


def _message(frame: Labelled, row: int | None) -> bytes:
    """Return a frame as pages take it, with the scores of a class where it is the best one."""
    segmentation = frame.segmentation
    about = segmentation.report()
    height, width = segmentation.labels.shape
    fields = {
        'image': frame.number,
        'asked': frame.version,
        'live': True,
        'width': width,
        'height': height,
        'classes': about['classes'],
        'unlabelled': about['unlabelled']['share'],
        'negatives': [],
        'threshold': None,
        'seconds': 0.0,
        'warning': '',
    }
    arrays: dict[str, Any] = {'labels': segmentation.labels}
    if row is not None and row < len(segmentation.vocabulary) and segmentation.scores.size:
        fields['row'] = row
        arrays['map'] = levels(segmentation.scores) * (segmentation.labels == row)
    return packed('result', fields, arrays, {'photo': jpeg(frame.image, _QUALITY)})
