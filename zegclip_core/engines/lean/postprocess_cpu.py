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
"""From mask logits to labels, without a full-size map of each class.

Bilinear upsampling is separable and never leaves the range of the four values it mixes. So a
class whose greatest value in a cell of four is below the least value of another one cannot win
there: in each tile of the picture only a few classes are brought to full size, by two small
matrix products. The labels are those of the plain way. A softmax needs the sum over all classes
as well, which ``softmax_sum`` makes without bringing any class to full size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from zegclip_core.engines.contract import PreparedWords
from zegclip_core.engines.lean.softmax_sum import SAFE_SPREAD, sum_of_exponentials
from zegclip_core.engines.lean.upsampling import mixed_values
from zegclip_core.model.scoring import Scoring
from zegclip_core.segmentation import label_type, unlabelled_id

TILE = 96
"""Side of a tile in pixels: its maps of a few classes stay in a core's cache."""
FEW = 32
"""Classes up to which tiles are larger, as most can win anywhere: fewer calls of small kernels."""
LARGE_TILE = 160
SUMMED = 16
"""Classes whose maps of a tile are added to a softmax's sum at once, for the same reason."""


@dataclass(frozen=True)
class Axis:
    """How one axis of maps is brought to another length, tile by tile.

    Attributes:
        starts: First pixel of each tile, and the length as the last one.
        cells: First and last value that each tile mixes.
        weights: Float32 ``(pixels, values)`` of each tile; each row mixes two neighbours.
    """

    starts: tuple[int, ...]
    cells: tuple[tuple[int, int], ...]
    weights: tuple[Tensor, ...]


@lru_cache(maxsize=32)
def interpolation(source: int, target: int, tile: int) -> Axis:
    """Return how ``mixed_values`` goes from ``source`` values to ``target``, in tiles."""
    low, high, share = mixed_values(source, target)
    rows = torch.arange(target)
    matrix = torch.zeros(target, source)
    matrix.index_put_((rows, low), 1 - share, accumulate=True)
    matrix.index_put_((rows, high), share, accumulate=True)
    starts = (*range(0, target, tile), target)
    spans = list(pairwise(starts))
    cells = tuple((int(low[begin]), int(high[end - 1])) for begin, end in spans)
    weights = tuple(
        matrix[begin:end, slice(first, last + 1)].contiguous()
        for (begin, end), (first, last) in zip(spans, cells, strict=True)
    )
    return Axis(starts, cells, weights)


def label_logits(
    logits: Tensor, size: tuple[int, int], words: PreparedWords, scoring: Scoring = 'sigmoid'
) -> tuple[Tensor, Tensor]:
    """Choose the class of every pixel on a CPU.

    Args:
        logits: Mask logits, float ``(B, K, h, w)``.
        size: ``(H, W)`` to bring them to.
        words: The vocabulary.
        scoring: How logits become scores; a softmax only of classes that have one bias.

    Returns:
        Labels, uint8 or uint16 ``(B, H, W)`` with thresholds applied, and the best class's score
        without its bias, float32. Of classes whose scores are equal, the first wins, unless they
        are equal only after rounding.
    """
    kind = getattr(torch, label_type(words.classes).__name__)
    labels = torch.empty((len(logits), *size), dtype=kind)
    scores = torch.empty((len(logits), *size))
    for index, maps in enumerate(logits):
        tail = _Tail(maps.float(), size, words, scoring)
        _label(tail, labels[index], scores[index])
    return labels, scores


def _label(tail: '_Tail', labels: Tensor, scores: Tensor) -> None:
    """Fill in the labels and scores ``(H, W)`` of one image."""
    classes, height, width = tail.maps.shape
    side = LARGE_TILE if classes <= FEW else TILE
    rows = interpolation(height, labels.shape[0], side)
    columns = interpolation(width, labels.shape[1], side)
    for i, (top, bottom) in enumerate(pairwise(rows.starts)):
        for j, (left, right) in enumerate(pairwise(columns.starts)):
            tile = slice(top, bottom), slice(left, right)
            labels[tile], scores[tile] = tail.tile(
                tile, (rows.cells[i], columns.cells[j]), rows.weights[i], columns.weights[j].T
            )


class _Tail:
    """Labels the tiles of one image."""

    def __init__(
        self, maps: Tensor, size: tuple[int, int], words: PreparedWords, scoring: Scoring
    ) -> None:
        """Find which classes can win where, in the maps ``(K, h, w)`` of an image."""
        self.sums: Tensor | None = None
        if scoring == 'softmax':
            # The same is subtracted from every class, before and hence after the upsampling.
            maps = maps - maps.amax(dim=0)
            if float(maps.min()) > -SAFE_SPREAD:
                self.sums = sum_of_exponentials(maps, size)
        self.maps = maps
        self.words = words
        self.scoring = scoring
        self.unlabelled = unlabelled_id(label_type(words.classes))
        bias = words.bias
        # Scores have the order of logits, so that of classes with one bias these tell the best.
        self.calibrated = len(bias) > 1 and not bool((bias == bias[0]).all())
        if self.calibrated and scoring == 'softmax':
            raise ValueError('Expected one bias for all classes of a softmax.')
        values = maps
        if self.calibrated:
            values = maps.sigmoid() - bias.view(-1, 1, 1)
        greatest, least = _cell_bounds(values)
        # "not below" in place of "at least", so that a NaN, which no order knows, leaves a class.
        self.can_win = ~(greatest < least.amax(dim=0))

    def tile(
        self,
        place: tuple[slice, slice],
        cells: tuple[tuple[int, int], tuple[int, int]],
        rows: Tensor,
        columns: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return labels and scores of a tile.

        Args:
            place: Its rows and columns.
            cells: First and last row, first and last column of the values that it mixes.
            rows: ``(H, h)``.
            columns: ``(w, W)``.
        """
        (top, bottom), (left, right) = cells
        down, across = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
        classes = self.can_win[:, down, across].flatten(1).any(dim=1).nonzero().flatten()
        part = self.maps[:, slice(top, bottom + 1), slice(left, right + 1)]
        maps = part.index_select(0, classes)
        best, index = self._best((rows @ maps) @ columns, classes)
        found = classes[index]
        if self.scoring == 'sigmoid':
            score = best.sigmoid_()
        elif self.sums is not None:
            score = best.exp_().div_(self.sums[place])
        else:
            score = self._sum(part, rows, columns, best).reciprocal_()
        reached = score >= self.words.thresholds[found]
        return found.masked_fill_(~reached, self.unlabelled), score

    def _sum(self, part: Tensor, rows: Tensor, columns: Tensor, best: Tensor) -> Tensor:
        """Return the sum of all classes' exponentials, the best one's being 1, ``(H, W)``."""
        total = torch.zeros_like(best)
        for maps in part.split(SUMMED):
            total += ((rows @ maps) @ columns).sub_(best).exp_().sum(dim=0)
        return total

    def _best(self, logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit of the best class of every pixel, and its place in ``classes``."""
        values = logits
        if self.calibrated:
            values = logits.sigmoid() - self.words.bias[classes].view(-1, 1, 1)
        best = values[0].clone()
        index = torch.zeros(best.shape, dtype=torch.int64)
        for place in range(1, len(classes)):
            better = values[place] > best
            torch.maximum(best, values[place], out=best)
            index.masked_fill_(better, place)
        if self.calibrated:
            best = logits.gather(0, index[None])[0]
        return best, index


def _cell_bounds(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the greatest and the least of the four corners of every cell of ``(K, h, w)``.

    The last row and the last column are cells of their own, mixed with themselves.
    """
    greatest = least = values
    for axis in (1, 2):
        greatest = _of_neighbours(greatest, axis, torch.maximum)
        least = _of_neighbours(least, axis, torch.minimum)
    return greatest, least


def _of_neighbours(values: Tensor, axis: int, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return of each value and the next along an axis the one that is picked."""
    last = values.shape[axis] - 1
    picked = pick(values.narrow(axis, 0, last), values.narrow(axis, 1, last))
    return torch.cat([picked, values.narrow(axis, last, 1)], dim=axis)
