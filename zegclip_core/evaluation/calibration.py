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
"""Which threshold: precision and recall of labels where some of what is seen is on no list.

Classes of a dataset are withheld from the vocabulary in turn. Their pixels are then unknown, and
any label there is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tqdm import tqdm
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.errors import DataError
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

if TYPE_CHECKING:
    from zegclip_core.segmenter import Segmenter

THRESHOLDS: npt.NDArray[np.float32] = (np.arange(100) / 100.0).astype(np.float32)
"""What is swept: 0 to 0.99 by hundredths."""
TOLERANCE = 0.01
"""How much F1 may be given up for a smaller threshold.

F1 changes little around its maximum, and images of another kind score lower: there a smaller
threshold loses fewer pixels.
"""
_UNKNOWN = -1
"""Stands in a mask for the classes that are withheld."""
_IGNORED = -2
"""Stands in a mask for what has no class at all."""
_KINDS = ('right', 'labelled', 'unknown_labelled')

Counts = npt.NDArray[np.int64]
Figures = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Pixels of a set, counted at each threshold of ``THRESHOLDS``.

    Attributes:
        right: Pixels that got their class, int64 ``(T,)``.
        labelled: Pixels that got any class, int64 ``(T,)``.
        unknown_labelled: Pixels of withheld classes that got any class, int64 ``(T,)``.
        known: Pixels whose class was asked for.
        unknown: Pixels whose class was withheld.
    """

    right: Counts
    labelled: Counts
    unknown_labelled: Counts
    known: int
    unknown: int

    @property
    def precision(self) -> Figures:
        """Share of the labelled pixels that got their class, 1 where none is labelled."""
        shares: Figures = np.ones(len(THRESHOLDS))
        np.divide(self.right, self.labelled, out=shares, where=self.labelled > 0)
        return shares

    @property
    def recall(self) -> Figures:
        """Share of the pixels of classes that were asked for that got their class."""
        recall: Figures = self.right / max(self.known, 1)
        return recall

    @property
    def f1(self) -> Figures:
        """Harmonic mean of precision and recall."""
        f1: Figures = 2.0 * self.right / np.maximum(self.labelled + self.known, 1)
        return f1

    @property
    def left_unlabelled(self) -> Figures:
        """Share of the pixels of withheld classes that got no class."""
        shares: Figures = 1.0 - self.unknown_labelled / max(self.unknown, 1)
        return shares

    @property
    def best(self) -> int:
        """Place of the threshold with the greatest F1, the least of several."""
        return int(self.f1.argmax())

    @property
    def chosen(self) -> int:
        """Place of the least threshold whose F1 is at most ``TOLERANCE`` below the greatest."""
        return int(np.argmax(self.f1 >= self.f1.max() - TOLERANCE))

    def row(self, place: int) -> dict[str, float]:
        """Return the figures at one threshold."""
        figures: dict[str, npt.NDArray[Any]] = {
            'threshold': THRESHOLDS,
            'precision': self.precision,
            'recall': self.recall,
            'f1': self.f1,
            'unknown_left_unlabelled': self.left_unlabelled,
        }
        return {name: round(float(values[place]), 4) for name, values in figures.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return all figures for a JSON file."""
        rows = [self.row(place) for place in range(len(THRESHOLDS))]
        counts = {'known_pixels': self.known, 'unknown_pixels': self.unknown}
        picked = {'chosen': rows[self.chosen], 'best_f1': rows[self.best]}
        return {**counts, **picked, 'sweep': rows}


def withheld_classes(number: int, rounds: int) -> list[list[int]]:
    """Return the classes that each round withholds, each class in one round.

    Neighbours in a dataset's order are often alike, so they are withheld in different rounds.

    Raises:
        DataError: If there are fewer than 2 rounds, or more than classes.

    Example:
        >>> withheld_classes(5, 2)
        [[0, 2, 4], [1, 3]]

    """
    if not 2 <= rounds <= number:
        raise DataError(
            f'Expected 2 to {number} rounds for {number} classes, so that each class is withheld '
            f'in one and asked for in another, but got {rounds}.'
        )
    return [list(range(first, number, rounds)) for first in range(rounds)]


def sweep_thresholds(
    segmenter: Segmenter,
    dataset: SegmentationDataset,
    indices: Iterable[int],
    *,
    rounds: int,
    negatives: Sequence[str] | None = None,
) -> Sweep:
    """Label images once in each round, and count what each threshold would leave.

    Args:
        segmenter: The model; its threshold has no effect.
        dataset: Images with masks.
        indices: Which of them.
        rounds: Into how many parts the classes are dealt; each part is withheld once.
        negatives: Words that compete with the classes; ``None`` takes the segmenter's.

    Raises:
        DataError: If the rounds do not fit the number of classes.
    """
    tally = _Tally()
    parts = withheld_classes(len(dataset.classes), rounds)
    names, asked = dataset.classes, []
    for part in parts:
        kept = [place for place in range(len(names)) if place not in part]
        entries = tuple(VocabularyClass(names[place], threshold=0.0) for place in kept)
        ids = np.full(256, _IGNORED, dtype=np.int64)  # From the dataset's to the round's.
        ids[: len(names)] = _UNKNOWN
        ids[kept] = np.arange(len(kept))
        asked.append((segmenter.encode(Vocabulary(entries), negatives=negatives), ids))
    for index in tqdm(list(indices), desc=f'labelling {dataset.title} in {rounds} rounds'):
        sample = dataset[index]
        for words, ids in asked:
            tally.add(segmenter.segment(sample.image, words), ids[sample.labels])
    return tally.result()


class _Tally:
    """Counts pixels by the number of thresholds that their score reaches."""

    def __init__(self) -> None:
        self._reached = {name: np.zeros(len(THRESHOLDS) + 1, np.int64) for name in _KINDS}
        self._known = self._unknown = 0

    def add(self, found: Segmentation, truth: npt.NDArray[np.int64]) -> None:
        """Count one image, labelled at threshold 0."""
        self._known += int(np.count_nonzero(truth >= 0))
        self._unknown += int(np.count_nonzero(truth == _UNKNOWN))
        # As the engines compare: a score that equals a threshold reaches it.
        reached = np.searchsorted(THRESHOLDS, found.scores, side='right')
        counted = ~found.unlabelled & (truth != _IGNORED)
        for name, chosen in (
            ('right', counted & (found.labels == truth)),
            ('labelled', counted),
            ('unknown_labelled', counted & (truth == _UNKNOWN)),
        ):
            self._reached[name] += np.bincount(reached[chosen], minlength=len(THRESHOLDS) + 1)

    def result(self) -> Sweep:
        """Return the counts at each threshold: of the pixels that reach it or a greater one."""
        counts = {name: values[::-1].cumsum()[::-1][1:] for name, values in self._reached.items()}
        return Sweep(**counts, known=self._known, unknown=self._unknown)
