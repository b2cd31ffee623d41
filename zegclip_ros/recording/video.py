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

import numpy as np
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import BACKGROUND, overlay_with_legend
from zegclip_core.images.video import VideoWriter
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

FRAME_RATE = 10.0
"""Frames a second; ``tick`` is to be called as often."""


def with_legend(image: RgbImage, overlay: RgbImage, segmentation: Segmentation) -> RgbImage:
    """Return an overlay as it came, RGB uint8, with a legend below it.

    Args:
        image: The frame, RGB uint8 ``(H, W, 3)``.
        overlay: The frame with the colours of the classes, of the same size.
        segmentation: The labels behind it.
    """
    drawn = overlay_with_legend(image, segmentation, place='below', every_class=True)
    drawn[: overlay.shape[0], : overlay.shape[1]] = overlay
    return drawn


class LegendVideo:
    """Writes an mp4 file; the newest image is repeated until another comes.

    Args:
        path: Where the video goes.
        vocabularies: All words that will be shown; the largest of their legends settles the size.
    """

    def __init__(self, path: Path, vocabularies: Sequence[Vocabulary]) -> None:
        self._writer = VideoWriter(path, FRAME_RATE)
        self._vocabularies = list(vocabularies)
        self._canvas: RgbImage | None = None

    def show(self, image: RgbImage, size: tuple[int, ...]) -> None:
        """Show an image from now on.

        Args:
            image: RGB uint8, a frame with its legend.
            size: ``(H, W)`` of the frame in it.
        """
        if self._canvas is None:
            blank = np.zeros((*size, 3), np.uint8)
            labels, scores = np.zeros(size, np.uint8), np.ones(size, np.float32)
            shapes = [
                with_legend(blank, blank, Segmentation(labels, scores, words)).shape
                for words in self._vocabularies
            ]
            self._canvas = np.zeros(np.max(shapes, axis=0), np.uint8)
        self._canvas[:] = BACKGROUND
        height, width = np.minimum(image.shape, self._canvas.shape)[:2]
        self._canvas[:height, :width] = image[:height, :width]

    def tick(self) -> None:
        """Write the image that is shown.

        Raises:
            ImageError: If the video cannot be written.
        """
        if self._canvas is not None:
            self._writer.write(self._canvas)

    def close(self) -> None:
        """Finish the file."""
        self._canvas = None
        self._writer.close()
