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
"""Figures of calm masks: how much labels flicker, how right they are, where their outlines lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
import math

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.options import UNLABELLED

WITHIN = 5
"""Frames within which a pixel has to get its old class back for the change to count as flicker."""
TOLERANCE = 0.0075
"""Distance of outlines that still match, in diagonals of the image."""

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def flicker(frames: Sequence[Labels]) -> float:
    """Return the share of pixels, of all steps from frame to frame, that change and change back.

    A change counts if the class of before is there again in one of the ``WITHIN`` frames that
    begin with the changed one.
    """
    counted = 0
    for now in range(1, len(frames)):
        before = frames[now - 1]
        changed = frames[now] != before
        later = frames[slice(now + 1, now + WITHIN)]
        counted += int((changed & np.any([frame == before for frame in later], axis=0)).sum())
    return counted / max(sum(frame.size for frame in frames[1:]), 1)


def outline(region: Mask) -> Mask:
    """Return the pixels of a region beside which there are others that are not its own."""
    inner = cv2.erode(region.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    return region & ~inner.astype(bool)


def boundary_scores(labels: Labels, truth: Labels) -> Iterator[float]:
    """Yield the boundary F-score of each class that the truth shows an outline of.

    Pixels that the truth says nothing about have the class of the nearest one that it knows: half
    of the band that PASCAL VOC leaves open around objects is theirs.
    """
    reach = max(round(TOLERANCE * float(math.hypot(*truth.shape))), 1)
    side = 2 * reach + 1
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.uint8)
    for number in np.unique(truth):
        found, wanted = outline(labels == number), outline(truth == number)
        if number == UNLABELLED or not wanted.any():
            continue
        precision = _share_near(found, wanted, near)
        recall = _share_near(wanted, found, near)
        yield 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(one: Mask, other: Mask, near: npt.NDArray[np.uint8]) -> float:
    """Return the share of the pixels of one outline that lie near another one."""
    reached = cv2.dilate(other.astype(np.uint8), near).astype(bool)
    return float(reached[one].mean()) if one.any() else 0.0


def filled(truth: Labels, unknown: int) -> Labels:
    """Return a truth whose unknown pixels have the class of the nearest known one."""
    open_ = (truth == unknown).astype(np.uint8)
    if not open_.any() or open_.all():
        return truth
    _, nearest = cv2.distanceTransformWithLabels(
        open_, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    classes = np.zeros(nearest.max() + 1, truth.dtype)
    classes[nearest[open_ == 0]] = truth[open_ == 0]
    return classes[nearest]


@dataclass
class Tally:
    """Counts what a way of labelling gives.

    Attributes:
        classes: How many classes there are; one more stands for none of them.
        flickers: Flicker of each clip.
        outlines: Boundary F-scores of all images and classes.
        seconds: What the way takes of each frame beyond the model.
    """

    classes: int
    flickers: list[float] = field(default_factory=list)
    outlines: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with no pixel."""
        self._pixels = np.zeros((self.classes + 1, self.classes + 1), np.int64)

    def add(self, labels: Labels, truth: Labels, known: Mask) -> None:
        """Count the pixels of an image; none of the classes is ``UNLABELLED`` in both.

        Args:
            labels: What was found.
            truth: What is there.
            known: Where that is sure.
        """
        ours, theirs = (
            np.where(part == UNLABELLED, self.classes, part).astype(np.int64)[known]
            for part in (labels, truth)
        )
        side = self.classes + 1
        counts = np.bincount(theirs * side + ours, minlength=side**2)
        self._pixels += counts.reshape(side, side)

    @property
    def accuracy(self) -> float:
        """Share of pixels with the right class."""
        return float(np.trace(self._pixels) / max(self._pixels.sum(), 1))

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that are there of intersection over union."""
        right = np.diag(self._pixels)
        union = self._pixels.sum(axis=0) + self._pixels.sum(axis=1) - right
        there = self._pixels.sum(axis=1) > 0
        return float((right / np.maximum(union, 1))[there].mean())
