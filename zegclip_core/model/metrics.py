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
"""Accuracy and IoU of a whole set of images, for seen and unseen classes.

All figures come from one confusion matrix over the set, as in mmsegmentation, whose numbers
ZegCLIP and its successors report. torchmetrics' ``MeanIoU`` averages over images instead, and its
``JaccardIndex`` has no column for pixels that the model leaves unlabelled, so neither fits.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from zegclip_core.errors import DataError
from zegclip_core.options import UNLABELLED


class ConfusionMatrix:
    """Counts which class was predicted for the pixels of which class.

    A pixel whose truth is ``UNLABELLED`` is not counted. A pixel of a class that was left
    unlabelled by the model is counted as wrong.

    Args:
        num_classes: Number of classes ``K``, 1 to 254.

    Raises:
        ValueError: If ``num_classes`` is out of its range.
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes < UNLABELLED:
            raise ValueError(
                f'Expected `num_classes` to be in [1, {UNLABELLED - 1}], but got {num_classes}.'
            )
        self._matrix = np.zeros((num_classes, num_classes + 1), dtype=np.int64)

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int64]) -> 'ConfusionMatrix':
        """Return a matrix of such counts as in ``matrix``, int64 ``(K, K + 1)``."""
        if counts.ndim != 2 or counts.shape[1] != counts.shape[0] + 1:
            raise ValueError(f'Expected counts of shape (K, K + 1), but got {counts.shape}.')
        made = cls(counts.shape[0])
        made._matrix += counts
        return made

    @property
    def num_classes(self) -> int:
        """Number of classes ``K``."""
        return int(self._matrix.shape[0])

    @property
    def matrix(self) -> npt.NDArray[np.int64]:
        """Pixel counts, int64 ``(K, K + 1)``: row = truth, column = prediction; a copy.

        The last column counts the pixels that were left unlabelled.
        """
        return self._matrix.copy()

    def update(self, predicted: npt.ArrayLike, truth: npt.ArrayLike) -> None:
        """Count the pixels of one or more images.

        Args:
            predicted: Class ids below ``K`` or ``UNLABELLED``, integers of any shape.
            truth: Class ids below ``K`` or ``UNLABELLED``, integers of the same shape.

        Raises:
            DataError: If shapes differ or a value is not allowed; then nothing is counted.
        """
        guess, real = np.asarray(predicted), np.asarray(truth)
        if guess.shape != real.shape:
            raise DataError(
                'Expected predicted and true labels of one shape, '
                f'but got {guess.shape} and {real.shape}.'
            )
        self._check_labels(guess, 'predicted')
        self._check_labels(real, 'true')
        columns = self.num_classes + 1
        known = real != UNLABELLED
        guess = np.minimum(guess[known].astype(np.int64), self.num_classes)
        pairs = real[known].astype(np.int64) * columns + guess
        counts = np.bincount(pairs, minlength=self._matrix.size)
        self._matrix += counts.reshape(self._matrix.shape)

    def merge(self, other: 'ConfusionMatrix') -> None:
        """Add the counts of another part of the set, over as many classes."""
        if other.num_classes != self.num_classes:
            raise ValueError(
                f'Expected a confusion matrix of {self.num_classes} classes, '
                f'but got one of {other.num_classes}.'
            )
        self._matrix += other.matrix

    def compute(
        self, names: Sequence[str], *, seen: Collection[str] | None = None
    ) -> 'SegmentationMetrics':
        """Return the figures of everything that was counted.

        Args:
            names: The ``K`` distinct class names in the order of their ids.
            seen: Names of the classes seen in training. ``None``: all.

        Raises:
            ValueError: If ``names`` does not fit, or ``seen`` holds a name that is not among them.
        """
        if len(names) != self.num_classes or len(set(names)) != len(names):
            raise ValueError(
                f'Expected {self.num_classes} distinct class names, but got {list(names)}.'
            )
        unknown = sorted(set(seen or ()) - set(names))
        if unknown:
            raise ValueError(
                f'Expected the seen classes to be among {list(names)}, but got {unknown}.'
            )
        iou = dict(zip(names, map(float, self.iou()), strict=True))
        is_seen = {name: seen is None or name in seen for name in names}
        return SegmentationMetrics(pixel_accuracy=self.accuracy(), iou=iou, is_seen=is_seen)

    def accuracy(self) -> float:
        """Return the share of the counted pixels that got their class; nan if there are none."""
        total = int(self._matrix.sum())
        return float(np.trace(self._matrix)) / total if total else math.nan

    def iou(self) -> npt.NDArray[np.float64]:
        """Return the IoU of each class, float64 ``(K,)``, nan where its union is empty."""
        right = np.diagonal(self._matrix).astype(np.float64)
        union = self._matrix.sum(axis=1) + self._matrix[:, :-1].sum(axis=0) - right
        iou = np.full_like(right, np.nan)
        np.divide(right, union, out=iou, where=union > 0)
        return iou

    def present_miou(self) -> float:
        """Return the mean IoU over the classes that the masks hold; nan if they hold none."""
        present = self._matrix.any(axis=1)
        return float(self.iou()[present].mean()) if present.any() else math.nan

    def _check_labels(self, labels: npt.NDArray[Any], what: str) -> None:
        """Raise unless labels are integers, each a class or unlabelled."""
        if not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f'Expected {what} labels to be integers, but got {labels.dtype}.')
        wrong = (labels != UNLABELLED) & ((labels < 0) | (labels >= self.num_classes))
        if wrong.any():
            raise DataError(
                f'Expected {what} labels in [0, {self.num_classes}) or {UNLABELLED}, '
                f'but got {int(labels[wrong][0])}.'
            )


@dataclass(frozen=True)
class SegmentationMetrics:
    """Figures of a whole set, all in [0, 1].

    Attributes:
        pixel_accuracy: Share of the labelled pixels that got their class; nan if there are none.
        iou: Intersection over union by class name; nan for a class that is neither in the truth
            nor in the predictions. One that is predicted but absent has 0.
        is_seen: Whether a class was seen in training, by class name.
    """

    pixel_accuracy: float
    iou: dict[str, float]
    is_seen: dict[str, bool]

    @property
    def miou(self) -> float:
        """Mean IoU over all classes that have one."""
        return _mean(list(self.iou.values()))

    @property
    def miou_seen(self) -> float:
        """Mean IoU over the seen classes that have one; nan if none has."""
        return _mean([value for name, value in self.iou.items() if self.is_seen[name]])

    @property
    def miou_unseen(self) -> float:
        """Mean IoU over the unseen classes that have one; nan if none has."""
        return _mean([value for name, value in self.iou.items() if not self.is_seen[name]])

    @property
    def hiou(self) -> float:
        """Harmonic mean of the seen and the unseen mean IoU; nan if one of them is."""
        seen, unseen = self.miou_seen, self.miou_unseen
        # Both 0 is the limit of the mean; nan is not 0 and passes through.
        return 0.0 if seen + unseen == 0.0 else 2.0 * seen * unseen / (seen + unseen)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for a JSON file; ``None`` stands for nan, which JSON lacks."""
        names = ('pixel_accuracy', 'miou', 'miou_seen', 'miou_unseen', 'hiou')
        return {
            **{name: _json_number(getattr(self, name)) for name in names},
            'iou': {name: _json_number(value) for name, value in self.iou.items()},
        }


def _mean(values: list[float]) -> float:
    """Return the mean of the values that are not nan; nan if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _json_number(value: float) -> float | None:
    """Return a number as JSON can hold it."""
    return None if math.isnan(value) else value
