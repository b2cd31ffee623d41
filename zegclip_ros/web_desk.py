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

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
import json
import threading
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ConfigError, ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import label_type, LabelArray, sampled, Segmentation, unlabelled_id
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.web.desk import About, Download
from zegclip_core.web.pictures import jpeg, overlay_png, png, shown
from zegclip_core.web.sessions import Session
from zegclip_core.web.settings import Settings
from zegclip_core.web.wire import levels, packed, text

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


def places_of(ids: LabelArray, vocabulary: Vocabulary) -> LabelArray:
    """Return the places of classes for the ids of a label image, ``(H, W)``.

    An id that no class has is unlabelled.
    """
    kind = label_type(len(vocabulary))
    table = np.full(int(np.iinfo(ids.dtype).max) + 1, unlabelled_id(kind))
    table[list(vocabulary.ids)] = np.arange(len(vocabulary))
    places = table[ids]
    return places.astype(np.uint8) if kind is np.uint8 else places.astype(np.uint16)


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
        self._parts: OrderedDict[int, dict[str, npt.NDArray[Any]]] = OrderedDict()
        self._versions: dict[int, tuple[int | None, Vocabulary]] = {}
        self._latest: dict[str, str] = {}
        self._last: Labelled | None = None
        self._count = 0
        self._sent: dict[str, tuple[float | None, tuple[str, ...] | None]] = {}

    @property
    def watched(self) -> bool:
        """Whether a page is open."""
        with self._lock:
            return any(page.left is None for page in self._pages.values())

    def join(self, session: Session) -> None:
        """Tell a page what is known."""
        with self._lock:
            self._pages[session.name] = session
            latest = dict(self._latest)
        for kind, message in latest.items():
            session.outbox.post(kind, message)

    def forget(self, session: Session) -> None:
        """Let go of a page."""
        with self._lock:
            self._pages.pop(session.name, None)
        self._sent.pop(session.name, None)

    def ask(self, session: Session, settings: Settings) -> None:
        """Publish words, and set what else has changed."""
        if settings.smoothing:
            raise ConfigError(_SMOOTHING)
        chosen = settings.threshold, settings.negatives
        # Of this page: one whose sliders nobody touched leaves those of the others.
        if chosen != self._sent.get(session.name, (None, None)):

            def answered(reason: str | None) -> None:
                if reason is not None:
                    box = 'negatives' if 'negative' in reason else 'threshold'
                    line = text('error', box=box, text=reason, asked=settings.number)
                    session.outbox.post('error', line)

            self._set(*chosen, answered)
            self._sent[session.name] = chosen
        self._say(settings.text)

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

    def announced(self, state: dict[str, Any], vocabulary: Vocabulary | None) -> None:
        """Take note of the words in use, and of the node's answer to the last request."""
        version, stamp = int(state['version']), state.get('stamp')
        since = None if stamp is None else stamp['sec'] * 10**9 + stamp['nanosec']
        if version < max(self._versions, default=0):  # The node was started again.
            self._versions.clear()
        if vocabulary is not None:
            self._versions[version] = since, vocabulary
            for old in sorted(self._versions)[:-_VERSIONS]:
                del self._versions[old]
        names = '' if vocabulary is None else ', '.join(vocabulary.names)
        refused = state.get('error') is not None
        line = f'Refused: {state["error"]}' if refused else f'In use: {names or "no words"}'
        if state.get('warning') and not refused:
            line = f'{line}. {state["warning"]}'
        self._tell('answer', text('answer', text=line, refused=refused, version=version))
        self._tell('words', text('words', text=names))

    def diagnosed(self, message: str, values: dict[str, str]) -> None:
        """Show what the node says of itself."""
        self._tell('diagnostics', text('diagnostics', rows=[('', message), *values.items()]))

    def received(self, part: str, stamp: int, array: npt.NDArray[Any]) -> None:
        """Take a part of a frame: ``image``, ``labels`` or ``scores``; show it if it is whole."""
        parts = self._parts.setdefault(stamp, {})
        # A copy, since the memory of a message is not for keeping.
        parts[part] = np.array(shown(array) if part == 'image' else array)
        if {'image', 'labels', 'scores'} <= parts.keys():
            del self._parts[stamp]
            self._show(stamp, parts)
        while (
            sum(one.nbytes for each in self._parts.values() for one in each.values())
            > MOST_WAITING
        ):
            self._parts.popitem(last=False)

    def _words_at(self, stamp: int) -> tuple[int, Vocabulary] | None:
        """Return the words that a frame was labelled with, and their version."""
        known = [
            (version, vocabulary)
            for version, (since, vocabulary) in self._versions.items()
            if since is not None and since <= stamp
        ]
        return max(known, key=lambda one: one[0], default=None)

    def _show(self, stamp: int, parts: dict[str, npt.NDArray[Any]]) -> None:
        """Show a whole frame to all pages."""
        words = self._words_at(stamp)
        if words is None:
            return
        version, vocabulary = words
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
