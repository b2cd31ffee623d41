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
"""What the camera node shows: photos, slowly panned and zoomed, videos, and live cameras."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
import itertools
import logging
import math
from pathlib import Path
import threading
from typing import Protocol

import cv2
import numpy as np
from zegclip_core.errors import ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.media import Frame, is_video, Media, media_in, read_image

logger = logging.getLogger(__name__)

PHOTOS = ('astronaut', 'chelsea', 'coffee', 'rocket')
"""Public-domain photos that scikit-image's package carries itself."""
CLOSEST = 1.3
"""Greatest zoom."""


class Scene(Protocol):
    """Something to show."""

    def frame(self, seconds: float) -> RgbImage | None:
        """Return the picture this long after the beginning; ``None`` when it is over."""


class PhotoScene:
    """A photo through a window that wanders over it.

    Args:
        photo: RGB, uint8 ``(H, W, 3)``.
        size: ``(H, W)`` of the pictures.
        duration: Seconds until it is over.
    """

    def __init__(self, photo: RgbImage, size: tuple[int, int], duration: float) -> None:
        self._photo = photo
        self._size = size
        self._duration = duration

    def frame(self, seconds: float) -> RgbImage | None:
        """Return what the window shows, RGB uint8 of the wanted size."""
        if seconds >= self._duration:
            return None
        height, width = self._size
        turn = 2 * math.pi * seconds / self._duration
        # Twice in and out, while it wanders once around the middle.
        zoom = 1 + (CLOSEST - 1) * (1 - math.cos(2 * turn)) / 2
        scale = max(height / self._photo.shape[0], width / self._photo.shape[1]) * zoom
        left = (self._photo.shape[1] * scale - width) * (1 + math.sin(turn)) / 2
        top = (self._photo.shape[0] * scale - height) * (1 - math.cos(turn)) / 2
        window = np.array([[scale, 0, -left], [0, scale, -top]])
        picture = cv2.warpAffine(
            self._photo, window, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(picture, dtype=np.uint8)


class VideoScene:
    """A video at its own speed.

    Raises:
        ImageError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        media = Media(path)
        self._rate = media.frame_rate or 25.0
        self._frames = media.frames()

    def frame(self, seconds: float) -> RgbImage | None:
        """Return the frame of this moment, RGB uint8 ``(H, W, 3)``; ``None`` at the end.

        Raises:
            ImageError: If nothing of it can be decoded.
        """
        due = int(seconds * self._rate)
        for frame in self._frames:
            if frame.index >= due:
                return frame.image
        return None


class Playlist:
    """Scenes one after another, again and again.

    Args:
        makers: Make the scenes, each when its turn comes. One that raises ``ImageError`` is
            logged and left out.
    """

    def __init__(self, makers: Sequence[Callable[[], Scene]]) -> None:
        self._makers = itertools.cycle(enumerate(makers))
        self._count = len(makers)
        self._scene: Scene | None = None
        self._began = 0.0

    def frame(self, seconds: float) -> RgbImage:
        """Return the picture this long after the beginning, RGB uint8 ``(H, W, 3)``.

        Raises:
            ImageError: If no scene has anything to show.
        """
        for _ in range(self._count + 1):
            try:
                picture = self._scene.frame(seconds - self._began) if self._scene else None
                if picture is not None:
                    return picture
                self._scene, self._began = None, seconds
                self._scene = next(self._makers)[1]()
            except ImageError as error:
                self._scene = None
                logger.warning('%s It is left out.', error)
        picture = self._scene.frame(0.0) if self._scene else None
        if picture is None:
            raise ImageError('None of the pictures and videos can be shown.')
        return picture


class LiveCamera:
    """A camera of this machine; always its newest frame.

    A thread of its own reads, since frames that nobody reads queue up in the driver.

    Raises:
        ImageError: If there is no such camera.
    """

    def __init__(self, number: int) -> None:
        frames = Media(number).frames()
        self._newest: RgbImage | None = None
        self._fault: ImageError | None = None
        self._thread = threading.Thread(target=self._read, args=(frames,), daemon=True)
        self._thread.start()

    def _read(self, frames: Iterator[Frame]) -> None:
        try:
            for frame in frames:
                self._newest = frame.image
            self._fault = ImageError('The camera gives no more frames.')
        except ImageError as error:
            self._fault = error

    def frame(self, seconds: float) -> RgbImage | None:
        """Return the frame that came since the last call, ``None`` if none did.

        Raises:
            ImageError: If the camera has failed.
        """
        newest, self._newest = self._newest, None
        if newest is None and self._fault is not None:
            raise self._fault
        return newest


def bundled_photo(name: str) -> RgbImage:
    """Return a photo of scikit-image's package, RGB uint8 ``(H, W, 3)``.

    Raises:
        ImageError: If scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise ImageError(
            'Expected scikit-image, whose photos are shown unless the parameter source names '
            'something else, but it is not installed; try: pip install scikit-image.'
        ) from error
    return np.asarray(getattr(data, name)(), dtype=np.uint8)


def open_source(source: str | int, size: tuple[int, int], hold: float) -> Scene | Playlist:
    """Return what to show.

    Args:
        source: Nothing for the bundled photos; the path of a picture, a video or a folder of
            both; or the number of a camera.
        size: ``(H, W)`` that photos are shown at; videos and cameras keep theirs.
        hold: Seconds that a photo is shown.

    Raises:
        ImageError: If the source cannot be shown.
    """
    if source == '':
        bundled_photo(PHOTOS[0])  # Tells at once if there are none.
        return Playlist([partial(_bundled_scene, name, size, hold) for name in PHOTOS])
    media = Media(source)
    if isinstance(media.source, int):
        return LiveCamera(media.source)
    paths = media_in(media.source) if media.kind == 'folder' else [media.source]
    return Playlist([partial(_scene, path, size, hold) for path in paths])


def _bundled_scene(name: str, size: tuple[int, int], hold: float) -> Scene:
    return PhotoScene(bundled_photo(name), size, hold)


def _scene(path: Path, size: tuple[int, int], hold: float) -> Scene:
    if is_video(path):
        return VideoScene(path)
    return PhotoScene(read_image(path), size, hold)
