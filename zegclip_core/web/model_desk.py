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
"""A model that labels the images of all open pages in turn."""

from dataclasses import dataclass, field
import logging
import tempfile
import threading
import time
from typing import Any, IO

from zegclip_core.errors import ImageError, VocabularyError, ZegCLIPError
from zegclip_core.images.checks import RgbImage
from zegclip_core.refinement.smoothing import TemporalSmoother
from zegclip_core.segmentation import Moment
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.text.phrases import StandardForms
from zegclip_core.web.desk import About, Download
from zegclip_core.web.found import Found
from zegclip_core.web.pictures import overlay_png, png, read_frame, read_photo
from zegclip_core.web.sessions import Session
from zegclip_core.web.settings import BoxError, Settings
from zegclip_core.web.turns import Turns
from zegclip_core.web.wire import text

_AT_ONCE = 16
"""Classes of one page that are encoded before it is the next page's turn."""
_IN_MEMORY = 2**18
"""Bytes of a photo's file from which on it lies on the disk."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _View:
    """What is known of one page.

    Attributes:
        asked: What is to be encoded; ``None`` if nothing is.
        begun: How many of its classes are encoded.
        encoded: The words in use.
        settings: What they were asked with.
        image: What is labelled, RGB; ``None`` before the first one.
        number: The page's count of it.
        original: The file that it came from.
        frame: A frame that is to take its place, with its number and its time [s].
        seconds: Time of the image if it is a frame [s].
        row: The row whose score map the page shows.
        found: The last result.
    """

    asked: Settings | None = None
    begun: int = 0
    encoded: EncodedVocabulary | None = None
    settings: Settings | None = None
    image: RgbImage | None = None
    number: int = 0
    original: IO[bytes] | None = None
    frame: tuple[int, float, bytes] | None = None
    seconds: float | None = None
    row: int | None = None
    found: Found | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class ModelDesk:
    """Labels images by a segmenter.

    One thread encodes words and one runs the model; each takes a little work of one page, then of
    the next one. Words that are still encoded do not keep a page from the labels of those before.

    Args:
        segmenter: The model, without smoothing of its own.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._smoother = TemporalSmoother(0.0)
        self._words = Turns('web_words', self._encode)
        self._frames = Turns('web_frames', self._label)

    @property
    def about(self) -> About:
        """What the page is told once."""
        segmenter = self._segmenter
        return About(
            'model',
            segmenter.model_name,
            segmenter.threshold,
            segmenter.negatives,
            segmenter.short_side,
        )

    def join(self, session: Session) -> None:
        """Send what was found last to a page that was opened again."""
        if session.state is None:
            session.state = _View()
        elif session.state.encoded is not None and session.state.image is not None:
            self._frames.add(session)

    def forget(self, session: Session) -> None:
        """Let go of a page's image and words."""
        session.state = _View()

    def ask(self, session: Session, settings: Settings) -> None:
        """Look for other words, or in another way."""
        view: _View = session.state
        with view.lock:
            view.asked, view.begun = settings, 0
        self._words.add(session)

    def show(self, session: Session, number: int, image: RgbImage, original: bytes) -> None:
        """Label a photo."""
        view: _View = session.state
        # It lives as long as the photo is shown.
        file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        file.write(original)
        with view.lock:
            view.image, view.number, view.original = image, number, file
            view.frame = view.seconds = None
        self._frames.add(session)

    def shown(self, session: Session) -> tuple[int, RgbImage] | None:
        """Return the page's image."""
        view: _View = session.state
        with view.lock:
            return None if view.image is None else (view.number, view.image)

    def frame(self, session: Session, number: int, seconds: float, data: bytes) -> None:
        """Label a frame; one that still waits is dropped."""
        view: _View = session.state
        with view.lock:
            view.frame = number, seconds, data
        self._frames.add(session)

    def hover(self, session: Session, row: int | None) -> None:
        """Send the score map of a row."""
        view: _View = session.state
        view.row = row
        if row is not None and view.found is not None:
            message = view.found.map_message(row)
            if message is not None:
                session.outbox.post('map', message)

    def point(self, session: Session, x: float, y: float) -> dict[str, Any]:
        """Return what is at a place."""
        found = session.state.found
        return {} if found is None else found.at(x, y)

    def download(self, session: Session, what: Download, alpha: float) -> bytes:
        """Return a file of what was found last, at the size of the photo itself."""
        view: _View = session.state
        with view.lock:
            found, file = view.found, view.original
            data = b''
            if file is not None:
                file.seek(0)
                data = file.read()
                # The labels of the photo before would fit its file in no pixel.
                found = found if found is not None and found.number == view.number else None
        if found is None:
            raise ImageError('Expected labels to download, but there are none yet.')
        image = read_photo(data) if data else found.image
        height, width = image.shape[:2]
        segmentation = found.whole((height, width))
        if what == 'label.png':
            return png(segmentation.ids)
        if what == 'overlay.png':
            return overlay_png(image, segmentation, alpha)
        return found.report(segmentation)

    def close(self) -> None:
        """End the threads."""
        self._words.close()
        self._frames.close()

    def _encode(self, session: Session) -> None:
        """Encode a few words of a page, and when all are there, use them."""
        view: _View = session.state
        with view.lock:
            asked, begun = view.asked, view.begun
            view.begun = begun + _AT_ONCE
        if asked is None:
            return
        try:
            encoded = self._encoded(asked, begun)
        except Exception as error:
            box = 'words' if isinstance(error, VocabularyError) else 'image'
            post_error(session, error, box, asked.number)
            return
        with view.lock:
            again = view.asked is not asked or encoded is None
            if not again:
                view.asked, view.encoded, view.settings = None, encoded, asked
        if again:
            self._words.add(session)
        else:
            session.outbox.post('answer', text('answer', asked=asked.number))
            self._frames.add(session)

    def _encoded(self, asked: Settings, begun: int) -> EncodedVocabulary | None:
        """Encode the classes from ``begun`` on; ``None`` unless these are the last."""
        known = self._segmenter.settings.seen_classes
        forms = StandardForms(known)
        rivals = ((forms.of(word),) for word in asked.negatives or ())
        classes = [*asked.vocabulary.encoded_phrases(known), *rivals]
        if begun + _AT_ONCE < len(classes):
            self._segmenter.text_encoder.encode_classes(classes[begun:][:_AT_ONCE])
            return None
        return self._segmenter.encode(
            asked.vocabulary, threshold=asked.threshold, negatives=asked.negatives
        )

    def _label(self, session: Session) -> None:
        """Label what a page shows, and post it."""
        view: _View = session.state
        with view.lock:
            frame, view.frame = view.frame, None
        try:
            if frame is not None:
                image = read_frame(frame[2])
                with view.lock:
                    view.number, view.seconds, _ = frame
                    view.image, view.original = image, None
            found = self._found(view, live=frame is not None)
        except Exception as error:
            post_error(session, error, 'image')
            return
        if found is None:
            session.outbox.post('idle', text('idle', image=view.number))
            return
        view.found = found
        session.outbox.post('result', found.message(view.row))
        if not found.live:
            session.outbox.post('explanation', found.explanation_message())

    def _found(self, view: _View, *, live: bool) -> Found | None:
        """Run the model on what a page shows; ``None`` if it has no words or no image yet."""
        with view.lock:
            image, encoded, settings = view.image, view.encoded, view.settings
            number, seconds = view.number, view.seconds
        if image is None or encoded is None or settings is None:
            return None
        smooths = live and seconds is not None and settings.smoothing > 0.0
        self._segmenter.engine.steps = (self._smoother,) if smooths else ()
        if smooths and seconds is not None:
            self._smoother.share = settings.smoothing
            self._smoother.moments = (Moment(id(view), seconds),)
        start = time.perf_counter()
        segmentation = self._segmenter.segment(image, encoded, mask_logits='all')
        taken = time.perf_counter() - start
        return Found(
            self._segmenter, number, settings.number, image, live, encoded, segmentation, taken
        )


def post_error(session: Session, error: Exception, box: str, number: int | None = None) -> None:
    """Tell a page what went wrong, in one line beside the box that caused it."""
    line = str(error)
    if not isinstance(error, ZegCLIPError):
        logger.error('The page asked for what fails.', exc_info=error)
        line = f'This cannot be worked on: {type(error).__name__}. The log has more.'
    if isinstance(error, BoxError):
        box = error.box
    session.outbox.post(f'error {box}', text('error', box=box, text=line, asked=number))
