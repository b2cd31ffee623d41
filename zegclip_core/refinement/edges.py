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
"""Sharp edges: outlines of classes follow the edges of the image.

Mask logits have the resolution of patches. Around each of their places they are fitted as a linear
function of the image's colour, as a guided filter does it by box filters (He et al. 2010, "Guided
image filtering"); the finer differences of colour that the image has and the grid lacks are then
added in that proportion. Where colour says nothing about the class nothing is added, and within a
cell logits stay between those of the grid around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.images.checks import RgbImage
from zegclip_core.model.scoring import Scoring
from zegclip_core.segmentation import LabelArray, unlabelled_id
from zegclip_core.text.encoder import EncodedVocabulary

RADIUS = 2
"""Places of the grid to each side over which colours are fitted."""
NOISE = 1e-3
"""Variance of colour, of [0, 1], that is taken for noise."""
GAIN = 1.5
"""How much of the difference is added: the grid has lost contrast that the fit lacks too."""
STEEPEST = 12.0
"""Logits beyond this are as good as certain; fitting them would only spread their extremes."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """What there is of each row of the words of a segmentation.

    Attributes:
        logits: Mask logits, float32 ``(R, h, w)``; the classes are the first rows.
        bias: What is subtracted from each row's score, float32 ``(R,)``.
        thresholds: Least score of a labelled pixel, float32 ``(R,)``; infinite for negatives.
        classes: How many rows are classes.
        scoring: How logits become scores.
    """

    logits: Array
    bias: Array
    thresholds: Array
    classes: int
    scoring: Scoring


def sharpened_batch(
    images: Sequence[RgbImage],
    found: Sequence[npt.NDArray[Any]],
    encoded: EncodedVocabulary,
    scoring: Scoring,
    most: int,
) -> tuple[npt.NDArray[Any], Array]:
    """Return labels and scores ``(B, H, W)`` of images whose outlines follow these.

    Args:
        images: RGB, uint8 ``(H, W, 3)`` each.
        found: Their labels and scores ``(B, H, W)``, and their mask logits, float32
            ``(B, R, h, w)``.
        encoded: The words of the rows.
        scoring: How logits become scores.
        most: As ``sharpened`` has it.
    """
    bias, thresholds = encoded.bias.cpu().numpy(), encoded.thresholds.cpu().numpy()
    classes = len(encoded.vocabulary)
    parts = [
        sharpened(image, labels, scores, Rows(logits, bias, thresholds, classes, scoring), most)
        for image, labels, scores, logits in zip(images, *found, strict=True)
    ]
    labels, scores = (np.stack(part) for part in zip(*parts, strict=True))
    return labels, scores


def sharpened(
    image: RgbImage, labels: LabelArray, scores: Array, rows: Rows, most: int
) -> tuple[LabelArray, Array]:
    """Return labels and scores whose outlines follow the image.

    Args:
        image: RGB, uint8 ``(H, W, 3)``.
        labels: Class ids of the image ``(H, W)``.
        scores: Scores of the best row, float32 ``(H, W)``.
        rows: What the labels were made of.
        most: Of how many rows outlines are refined: those that win most of the image. Pixels of
            other classes stay as they are.
    """
    best = _scores(rows.logits, rows).argmax(axis=0)
    wins = np.bincount(best.ravel(), minlength=len(rows.logits))
    chosen = np.sort(np.argsort(-wins, kind='stable')[: min(most, np.count_nonzero(wins))])
    if len(chosen) < 2:
        return labels, scores  # There are no outlines between them.
    fine = _refined(image, rows.logits[chosen])
    if rows.scoring == 'softmax':
        fine -= _log_sum(fine, rows.logits, chosen)
        score = np.exp(fine)
    else:
        score = _sigmoid(fine)
    winner = (score - rows.bias[chosen, None, None]).argmax(axis=0)
    found, score = chosen[winner], np.take_along_axis(score, winner[None], axis=0)[0]
    none = unlabelled_id(labels.dtype)
    labelled = (found < rows.classes) & (score >= rows.thresholds[found])
    sharp = np.where(labelled, found, none).astype(labels.dtype)
    kept = _are_others(labels, best, chosen, none)
    return np.where(kept, labels, sharp), np.where(kept, scores, score)


def _are_others(
    labels: LabelArray, best: npt.NDArray[np.intp], chosen: npt.NDArray[np.intp], none: int
) -> npt.NDArray[np.bool_]:
    """Return where a row wins that is not refined, bool ``(H, W)``."""
    refined = np.zeros(none + 1, np.uint8)
    refined[chosen[chosen < none]] = refined[none] = 1
    others = refined[labels] == 0
    # A pixel without a label does not say which row won.
    far = (~np.isin(best, chosen)).astype(np.float32)
    if far.any():
        size = labels.shape[1], labels.shape[0]
        others = others | ((labels == none) & (_resized(far, size) > 0.5))
    return np.asarray(others)


def _scores(logits: Array, rows: Rows) -> Array:
    """Return what rows are compared by, on the grid."""
    bias = rows.bias[:, None, None]
    if rows.scoring == 'softmax':
        powers = np.exp(logits - logits.max(axis=0))
        return np.asarray(powers / powers.sum(axis=0) - bias, np.float32)
    return np.asarray(_sigmoid(logits) - bias, np.float32)


def _sigmoid(logits: Array) -> Array:
    """Return the logistic function; far below 0 there is no overflow."""
    return np.asarray(1 / (1 + np.exp(-np.maximum(logits, np.float32(-80)))), np.float32)


def _log_sum(fine: Array, logits: Array, chosen: npt.NDArray[np.intp]) -> Array:
    """Return the logarithm of a softmax's sum, ``(H, W)``; rows not chosen stay as coarse."""
    total = np.logaddexp.reduce(fine, axis=0)
    others = np.delete(logits, chosen, axis=0)
    if len(others):
        size = fine.shape[2], fine.shape[1]
        total = np.logaddexp(total, _resized(np.logaddexp.reduce(others, axis=0), size))
    return np.asarray(total, np.float32)


def _refined(image: RgbImage, logits: Array) -> Array:
    """Return logits ``(R, h, w)`` at the image's size, ``(R, H, W)``."""
    size = image.shape[1], image.shape[0]
    guide = image.astype(np.float32) / np.float32(255)
    grid = _resized(guide, (logits.shape[2], logits.shape[1]), cv2.INTER_AREA)
    detail = guide - _resized(grid, size)
    fit = _Fit(grid)
    around = np.ones((3, 3), np.uint8)
    fine = np.empty((len(logits), *image.shape[:2]), np.float32)
    for row, plane in enumerate(logits):
        slopes = _resized(fit.slopes(np.clip(plane, -STEEPEST, STEEPEST)), size)
        rise = np.einsum('hwc,hwc->hw', slopes, detail)
        low, high = (_resized(pick(plane, around), size) for pick in (cv2.erode, cv2.dilate))
        np.clip(_resized(plane, size) + np.float32(GAIN) * rise, low, high, out=fine[row])
    return fine


def _resized(
    values: npt.NDArray[Any], size: tuple[int, int], how: int = cv2.INTER_LINEAR
) -> Array:
    """Return values with the width and height of ``size``."""
    return np.asarray(cv2.resize(values, size, interpolation=how), np.float32)


class _Fit:
    """Fits values on a grid by its colours, float32 ``(h, w, 3)`` in [0, 1], around each place."""

    def __init__(self, grid: Array) -> None:
        """Invert the covariance of the colours around each place."""
        self._grid, self._mean = grid, _box(grid)
        products = grid[..., :, None] * grid[..., None, :]
        spread = _box(products.reshape(*grid.shape[:2], 9)).reshape(products.shape)
        spread -= self._mean[..., :, None] * self._mean[..., None, :]
        self._inverse = np.linalg.inv(spread + np.float32(NOISE) * np.eye(3, dtype=np.float32))

    def slopes(self, values: Array) -> Array:
        """Return by how much values ``(h, w)`` grow with each colour, ``(h, w, 3)``."""
        together = _box(self._grid * values[..., None]) - self._mean * _box(values)[..., None]
        return np.asarray(np.einsum('hwij,hwj->hwi', self._inverse, together), np.float32)


def _box(values: Array) -> Array:
    """Return the mean around each place, of every channel."""
    side = 2 * RADIUS + 1
    return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)
