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
"""Regions: the connected parts of each class in a segmentation, with boxes and mean scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import cut_to_width, write_text
from zegclip_core.segmentation import LabelArray, Segmentation

MAX_REGIONS = 1000
"""Most regions of an image that are returned; noise would have hundreds of thousands."""
Border: TypeAlias = npt.NDArray[Any]
"""Pixels of a border, one after another, int32 ``(N, 1, 2)``: column and row."""
_TEXT_HEIGHT = 14
"""Size of a name's letters beside its box [px]."""


@dataclass(frozen=True)
class Region:
    """One connected part of a class; pixels that touch at a corner are connected.

    Attributes:
        place: The class's place in the vocabulary.
        box: Left, top, width and height of the smallest box around it [px].
        center: Mean column and row of its pixels [px]; whole numbers are centres of pixels.
        area: Number of its pixels.
        score: Mean score of its pixels, in [0, 1].
    """

    place: int
    box: tuple[int, int, int, int]
    center: tuple[float, float]
    area: int
    score: float

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the box's first pixel."""
        return self.box[1], self.box[0]

    def mask(self, labels: LabelArray) -> npt.NDArray[np.bool_]:
        """Return which pixels of its box are its own, bool; ``labels`` are the whole image's."""
        left, top, width, height = self.box
        rows, columns = slice(top, top + height), slice(left, left + width)
        part = cv2.inRange(labels[rows, columns], self.place, self.place)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
        # Others of its class may reach into the box; only one fills it and has this area.
        whole = [0, 0, width, height, self.area]
        own = [number for number in range(1, count) if stats[number].tolist() == whole]
        return np.asarray(parts == own[0])


@dataclass(frozen=True)
class _Outline:
    """A region by its border and those of its holes, which OpenCV follows pixel by pixel."""

    place: int
    borders: list[Border]
    area: int

    def region(self, scores: npt.NDArray[np.float32], scratch: npt.NDArray[np.float32]) -> Region:
        """Return the region.

        Args:
            scores: Those of the whole image, ``(H, W)``.
            scratch: As many values, which are overwritten: fresh memory would take longer.
        """
        left, top, width, height = cv2.boundingRect(self.borders[0])
        inside = scratch[: height * width].reshape(height, width)
        inside.fill(0.0)
        # Filled together: holes are left out, but for their borders, which belong to the region.
        cv2.drawContours(inside, self.borders, -1, 1.0, cv2.FILLED, offset=(-left, -top))
        part = scores[slice(top, top + height), slice(left, left + width)]
        # By BLAS, which is faster than OpenCV's means and moments of masks.
        score = min(float(np.vdot(inside, part)) / self.area, 1.0)
        columns = (np.ones(height, np.float32) @ inside).astype(np.float64) @ np.arange(width)
        rows = (inside @ np.ones(width, np.float32)).astype(np.float64) @ np.arange(height)
        center = left + float(columns) / self.area, top + float(rows) / self.area
        return Region(self.place, (left, top, width, height), center, self.area, score)


def find_regions(segmentation: Segmentation, min_area: int = 1) -> list[Region]:
    """Return the connected parts of all classes, by class and then by size, the largest first.

    Args:
        segmentation: What was found in an image.
        min_area: Least number of pixels of a region.

    Returns:
        At most ``MAX_REGIONS``: the largest, if there are more.
    """
    labels, classes = segmentation.labels, len(segmentation.vocabulary)
    pixels = cv2.calcHist([labels], [0], None, [classes], [0, classes]).ravel()
    present = np.flatnonzero(pixels >= min_area).tolist()
    mask, scratch = np.empty(labels.shape, np.uint8), np.empty(labels.size, np.float32)
    found = [one for place in present for one in _outlines(labels, place, min_area, mask)]
    found = sorted(found, key=lambda one: -one.area)[:MAX_REGIONS]
    found.sort(key=lambda one: one.place)
    return [one.region(segmentation.scores, scratch) for one in found]


def _outlines(
    labels: LabelArray, place: int, min_area: int, mask: npt.NDArray[np.uint8]
) -> Iterator[_Outline]:
    """Yield the outlines of the regions of a class that have at least so many pixels.

    ``mask``, of the same shape, is overwritten.
    """
    cv2.inRange(labels, place, place, mask)
    left, top, width, height = cv2.boundingRect(mask)
    part = mask[slice(top, top + height), slice(left, left + width)]
    borders, hierarchy = cv2.findContours(
        part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top)
    )
    around: dict[int, list[Border]] = {}
    for at, owner in enumerate(hierarchy[0, :, 3].tolist()):
        around.setdefault(at if owner < 0 else owner, []).append(borders[at])
    for at, own in around.items():
        area = _enclosed(borders[at], 1) - sum(_enclosed(hole, -1) for hole in own[1:])
        if area >= min_area:
            yield _Outline(place, own, area)


def _enclosed(border: Border, sign: int) -> int:
    """Return how many pixels a border encloses, with itself (1) or without (-1), by Pick."""
    steps = len(border) if len(border) > 1 else 0
    return round(cv2.contourArea(border) + sign * steps / 2) + 1


def draw_regions(
    image: RgbImage, regions: Sequence[Region], segmentation: Segmentation
) -> npt.NDArray[np.uint8]:
    """Draw each region's box in its class's colour, with name and mean score.

    Args:
        image: RGB uint8 ``(H, W, 3)``, contiguous, such as an overlay; it is not changed.
        regions: What ``find_regions`` found.
        segmentation: Where it was found.

    Returns:
        RGB uint8 ``(H, W, 3)``, a new array.
    """
    drawn = np.array(image, dtype=np.uint8)
    names, colors = segmentation.vocabulary.names, segmentation.vocabulary.colors.tolist()
    for region in regions:
        left, top, width, height = region.box
        corner = (left + width - 1, top + height - 1)
        cv2.rectangle(drawn, (left, top), corner, colors[region.place], thickness=2)
        text = cut_to_width(f'{names[region.place]} {region.score:.2f}', _TEXT_HEIGHT, width)
        write_text(drawn, text, left + 3, top + _TEXT_HEIGHT + 2, _TEXT_HEIGHT)
    return drawn
