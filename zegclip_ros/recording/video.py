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
"""A video of overlays with their legends, at the speed of life."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from zegclip_core.errors import ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import BACKGROUND, overlay_with_legend
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

FRAME_RATE = 10.0
"""Frames a second; ``tick`` is to be called as often."""


def with_legend(image: RgbImage, overlay: RgbImage, segmentation: Segmentation) -> RgbImage:
    """Return an overlay as it came, RGB uint8, with a legend.

    Args:
        image: The frame, RGB uint8 ``(H, W, 3)``.
        overlay: The frame with the colours of the classes, of the same size.
        segmentation: The labels behind it.
    """
    picture = overlay_with_legend(image, segmentation, place='below', every_class=True)
    picture[: overlay.shape[0], : overlay.shape[1]] = overlay
    return picture


class LegendVideo:
    """Writes an mp4 file; the newest picture is repeated until another comes.

    Args:
        path: Where the video goes.
        vocabularies: All words that will be shown; their legends settle the size.
    """

    def __init__(self, path: Path, vocabularies: Sequence[Vocabulary]) -> None:
        self._path = path
        self._vocabularies = list(vocabularies)
        self._writer: cv2.VideoWriter | None = None
        self._canvas: RgbImage | None = None

    def show(self, picture: RgbImage, size: tuple[int, ...]) -> None:
        """Show a picture from now on.

        Args:
            picture: RGB uint8, a frame with its legend.
            size: ``(H, W)`` of the frame in it.

        Raises:
            ImageError: If the video cannot be written.
        """
        if self._canvas is None:
            self._canvas = self._open(size)
        self._canvas[:] = BACKGROUND
        height, width = (
            min(have, room)
            for have, room in zip(picture.shape, self._canvas.shape[:2], strict=False)
        )
        self._canvas[:height, :width] = picture[:height, :width]

    def _open(self, size: tuple[int, ...]) -> RgbImage:
        """Open the file for the largest of all legends; return an empty canvas."""
        blank = np.zeros((*size, 3), np.uint8)
        labels, scores = np.zeros(size, np.uint8), np.ones(size, np.float32)
        sizes = [
            with_legend(blank, blank, Segmentation(labels, scores, words)).shape
            for words in self._vocabularies
        ]
        # Codecs want even sides.
        height, width = (2 * ((max(side) + 1) // 2) for side in list(zip(*sizes, strict=True))[:2])
        fourcc = cv2.VideoWriter.fourcc(*'mp4v')
        self._writer = cv2.VideoWriter(str(self._path), fourcc, FRAME_RATE, (width, height))
        if not self._writer.isOpened():
            raise ImageError(f'Cannot write the video {self._path}.')
        return np.zeros((height, width, 3), np.uint8)

    def tick(self) -> None:
        """Write the picture of this moment."""
        if self._writer is not None and self._canvas is not None:
            self._writer.write(cv2.cvtColor(self._canvas, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
