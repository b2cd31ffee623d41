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
"""Images with their labels in Rerun: a recording in a file, or a viewer that is running."""

from __future__ import annotations

import atexit
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
import socket
import ssl
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from zegclip_core.errors import ConfigError
from zegclip_core.images.drawing import UNLABELLED_NAME
from zegclip_core.segmentation import label_type, Moment, Segmentation, unlabelled_id
from zegclip_core.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import rerun
    from zegclip_core.images.checks import RgbImage

VIEWER = 'rerun+http://127.0.0.1:9876/proxy'
"""Where a viewer listens that was started on this machine without options."""
MAX_MAPS = 24
"""Most maps of mask logits with one image: those of the words with the most pixels."""
PICTURES, VIDEOS = 'pictures', 'videos'
"""Entities that images and videos lie below; each video has one of its own."""
LONGEST = 60.0
"""How long a viewer may take for an image [s]."""
_QUALITY = 90
_PATIENCE = 2.0
"""How long a viewer may take to answer [s]."""
_GREETING = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How HTTP/2, over which viewers are reached, begins: its preface, and a frame of no settings."""
_SETTINGS = b'\4'
"""Type of the frame that a server begins with, in its fourth byte."""


def check_viewer(url: str) -> None:
    """Refuse a viewer that nobody could send to: Rerun itself would wait, and then drop all.

    Raises:
        ConfigError: If the URL is none of Rerun's, or no viewer answers there.
    """
    form = f'a URL such as {VIEWER}'
    try:
        parts = urlsplit(url)
        place = parts.hostname or '', parts.port or 9876
    except ValueError as error:
        raise ConfigError(f'Expected {form}, but got {url!r}: {error}.') from error
    if parts.scheme not in {'rerun', 'rerun+http', 'rerun+https'} or parts.path != '/proxy':
        raise ConfigError(f'Expected {form}, but got {url!r}.')
    try:
        reason = _greeted(place, secure=parts.scheme == 'rerun+https')
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise ConfigError(
            f'Expected a Rerun viewer at {url}, but there is none ({reason}): start it by `rerun`.'
        )


def _greeted(place: tuple[str, int], *, secure: bool) -> str:
    """Greet a server; return what is wrong with its answer, ``''`` for nothing."""
    with socket.create_connection(place, timeout=_PATIENCE) as connection:
        if secure:
            context = ssl.create_default_context()
            context.set_alpn_protocols(['h2'])
            connection = context.wrap_socket(connection, server_hostname=place[0])
        connection.sendall(_GREETING)
        with connection.makefile('rb') as answer:
            fits = answer.read(4)[3:] == _SETTINGS
    return '' if fits else 'something else listens there'


class RerunLog:
    """Logs images and what was found in them.

    Below ``pictures``, or ``videos/NAME``, lie ``image``, ``labels`` and, a tensor for each word,
    ``mask_logits/WORD``. Names and colours of the labels hold for the whole recording. Pictures
    are counted by the timeline ``picture``, frames of a video by ``frame`` and ``video_time``.

    Args:
        stream: Where to.
        vocabulary: The classes of all images.
        alpha: Weight of the colours in [0, 1].
        waits: Whether to wait for a viewer after each image, so that none pile up.

    Attributes:
        lost: Why a viewer takes no more; ``None`` as long as it does.
    """

    def __init__(
        self,
        stream: rerun.RecordingStream,
        vocabulary: Vocabulary,
        *,
        alpha: float,
        waits: bool = False,
    ) -> None:
        self._stream, self._alpha, self._waits = stream, alpha, waits
        self.lost: str | None = None
        self._counts: dict[Hashable, int] = {}
        self._mapped: dict[str, set[str]] = {}
        stream.log('/', annotation_context(vocabulary), static=True)

    def add(
        self,
        name: str,
        image: RgbImage,
        segmentation: Segmentation,
        moment: Moment | None = None,
    ) -> None:
        """Log an image, unless the viewer was lost.

        Args:
            name: Of the image, or of its video.
            image: RGB, uint8 ``(H, W, 3)``.
            segmentation: What was found in it; without mask logits no maps are logged.
            moment: Of a video's frame; ``None`` for a picture.
        """
        import rerun

        if self.lost is not None:
            return
        root = self._begin(name, moment)
        stream = self._stream
        if moment is None:
            stream.log([*root, 'name'], rerun.TextDocument(name))
        shown = rerun.Image(image).compress(jpeg_quality=_QUALITY)
        stream.log([*root, 'image'], shown)
        labels = rerun.SegmentationImage(segmentation.ids, opacity=self._alpha)
        stream.log([*root, 'labels'], labels)
        self._log_maps(root, segmentation)
        if self._waits:
            self.wait()

    def wait(self) -> str | None:
        """Wait until the viewer has all; return why it takes no more, ``None`` if it does."""
        if self.lost is None:
            try:
                self._stream.flush(timeout_sec=LONGEST)
            except Exception as error:  # Rerun has no type of its own for it.
                self.lost = str(error).partition('\n')[0]
        return self.lost

    def _begin(self, name: str, moment: Moment | None) -> list[str]:
        """Set the time of what is logged next; return the parts of its entity's path."""
        import rerun

        key = None if moment is None else moment.stream
        count = self._counts.get(key, 0)
        self._counts[key] = count + 1
        self._stream.reset_time()
        if moment is None:
            self._stream.set_time('picture', sequence=count)
            root = [PICTURES]
        else:
            self._stream.set_time('frame', sequence=count)
            self._stream.set_time('video_time', duration=moment.seconds)
            root = [VIDEOS, name]
        if not count:
            self._show(rerun.new_entity_path(root))
        return root

    def _show(self, path: str) -> None:
        """Have the viewer show the images below an entity, beside those it shows already."""
        import rerun.blueprint

        self._mapped[path] = set()
        views = [
            rerun.blueprint.Spatial2DView(origin=each, name=each.strip('/'))
            for each in self._mapped
        ]
        self._stream.send_blueprint(rerun.blueprint.Blueprint(rerun.blueprint.Grid(*views)))

    def _log_maps(self, root: list[str], segmentation: Segmentation) -> None:
        """Log the maps of the words with the most pixels, and clear those of other images."""
        import rerun

        if segmentation.mask_logits is None:
            return
        shares = segmentation.shares()
        chosen = sorted(range(len(shares)), key=[*shares.values()].__getitem__, reverse=True)
        names = segmentation.vocabulary.names
        for index in chosen[:MAX_MAPS]:
            logits = segmentation.mask_logits[index].astype(np.float16)
            shown = rerun.Tensor(logits, dim_names=('height', 'width'))
            self._stream.log([*root, 'mask_logits', names[index]], shown)
        mapped = {names[index] for index in chosen[:MAX_MAPS]}
        path = rerun.new_entity_path(root)
        for name in self._mapped[path] - mapped:
            self._stream.log([*root, 'mask_logits', name], rerun.Clear(recursive=False))
        self._mapped[path] = mapped


def annotation_context(vocabulary: Vocabulary) -> rerun.AnnotationContext:
    """Return names and colours of the ids of a label image; unlabelled pixels are transparent."""
    import rerun

    colors = vocabulary.colors.tolist()
    classes = [
        rerun.AnnotationInfo(id=number, label=name, color=color)
        for number, name, color in zip(vocabulary.ids, vocabulary.names, colors, strict=True)
    ]
    kind = np.uint8 if vocabulary.has_ids else label_type(len(vocabulary))
    nothing = rerun.AnnotationInfo(unlabelled_id(kind), UNLABELLED_NAME, (0, 0, 0, 0))
    return rerun.AnnotationContext([*classes, nothing])


@contextmanager
def rerun_log(target: Path | str, vocabulary: Vocabulary, *, alpha: float) -> Iterator[RerunLog]:
    """Give a log into a file, which is whole after the block, or to the viewer of a URL.

    Args:
        target: File, or URL of a viewer (``check_viewer``).
        vocabulary: The classes of all images.
        alpha: Weight of the colours in [0, 1].

    Raises:
        ConfigError: After the block, if a viewer did not take all.
    """
    import rerun

    rerun.set_strict_mode(True)  # Else what is wrong would be a line of its own log at most.
    stream = rerun.RecordingStream('zegclip')
    if isinstance(target, Path):
        stream.save(target)
    else:
        stream.connect_grpc(target)
    is_file = isinstance(target, Path)
    log = RerunLog(stream, vocabulary, alpha=alpha, waits=not is_file)
    try:
        yield log
        if is_file:
            stream.flush()
        elif (reason := log.wait()) is not None:
            raise ConfigError(f'Expected the viewer at {target} to take all, but: {reason}')
    finally:
        if is_file:
            stream.disconnect()
        else:
            _leave(stream)


def _leave(stream: rerun.RecordingStream) -> None:
    """Leave a viewer, also one that takes nothing, which Rerun would wait for without end."""
    import rerun

    leaving = threading.Thread(target=stream.disconnect, daemon=True)
    leaving.start()
    leaving.join(_PATIENCE)
    if leaving.is_alive():
        atexit.unregister(rerun.rerun_shutdown)
