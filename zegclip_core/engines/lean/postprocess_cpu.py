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
"""From mask logits to labels on a CPU, without a full-size map of each class.

Bilinear upsampling is separable and never leaves the range of the four values it mixes. So a
class whose greatest value in a cell of four is below the least value of another one cannot win
there: in each tile of the image only a few classes are brought to full size, by two small matrix
products. The labels are those of the plain engine.

A softmax needs the sum over all classes as well. Between two neighbouring values of a row,
bilinear upsampling is a straight line: from pixel to pixel a class's logit grows by the same
step, so that its exponential is multiplied by the same factor. Two exponentials a cell and row
take the place of one a pixel, and no class is brought to full size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.model.scoring import Scoring
from zegclip_core.segmentation import label_type, unlabelled_id

TILE = 96
"""Side of a tile in pixels: its maps of a few classes stay in a core's cache."""
FEW = 32
"""Classes up to which tiles are larger, as most can win anywhere: fewer calls of small kernels."""
LARGE_TILE = 160
SUMMED = 16
"""Classes whose maps of a tile are added to a softmax's sum at once, to stay in that cache."""
SAFE_SPREAD = 80.0
"""Logits that lie further below the greatest of their patch have no exponential in float32."""
AT_ONCE = 1 << 19
"""Exponentials at once: more do not stay in a cache, of fewer threads wait for each other."""


@lru_cache(maxsize=32)
def mixed_values(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return which of ``source`` values ``torch.nn.functional.interpolate`` mixes along one axis.

    That is bilinear, with the outer edges of the first and the last value kept in place.

    Returns:
        Of each pixel the two neighbouring values that it mixes, int64 ``(target,)`` each, and
        the share of the second one, float32 ``(target,)`` in [0, 1].
    """
    scale = torch.tensor(source, dtype=torch.float32) / target  # As torch rounds it.
    at = ((torch.arange(target) + 0.5) * scale - 0.5).clamp(0)
    low = at.long().clamp(max=source - 1)
    return low, (low + 1).clamp(max=source - 1), at - low


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
    logits: Tensor,
    size: tuple[int, int],
    vocabulary: EngineVocabulary,
    scoring: Scoring = 'sigmoid',
) -> tuple[Tensor, Tensor]:
    """Choose the class of every pixel on a CPU.

    Args:
        logits: Mask logits, float ``(B, R, h, w)``.
        size: ``(H, W)`` to bring them to.
        vocabulary: The words of the rows.
        scoring: How logits become scores; a softmax only of classes that have one bias.

    Returns:
        Labels, uint8 or uint16 ``(B, H, W)`` with thresholds applied, and the best class's score
        without its bias, float32 ``(B, H, W)``. Of classes whose scores are equal, the first
        wins, unless they are equal only after rounding.

    Raises:
        ValueError: If classes of a softmax differ in their bias.
    """
    kind = getattr(torch, label_type(vocabulary.classes).__name__)
    labels = torch.empty((len(logits), *size), dtype=kind)
    scores = torch.empty((len(logits), *size))
    side = LARGE_TILE if logits.shape[1] <= FEW else TILE
    rows = interpolation(logits.shape[2], size[0], side)
    columns = interpolation(logits.shape[3], size[1], side)
    for index, maps in enumerate(logits):
        image = TiledImage(maps.float(), size, vocabulary, scoring)
        for i, (top, bottom) in enumerate(pairwise(rows.starts)):
            for j, (left, right) in enumerate(pairwise(columns.starts)):
                tile = slice(top, bottom), slice(left, right)
                labels[index][tile], scores[index][tile] = image.label(
                    tile, (rows.cells[i], columns.cells[j]), rows.weights[i], columns.weights[j].T
                )
    return labels, scores


class TiledImage:
    """Mask logits of one image, float32 ``(R, h, w)``, that is labelled tile by tile.

    Attributes:
        can_win: Which rows can win somewhere in which cell of four values, bool ``(R, h, w)``.
    """

    def __init__(
        self, maps: Tensor, size: tuple[int, int], vocabulary: EngineVocabulary, scoring: Scoring
    ) -> None:
        """Find which classes can win where."""
        self._sums: Tensor | None = None
        if scoring == 'softmax':
            # The same is subtracted from every class, before and hence after the upsampling.
            maps = maps - maps.amax(dim=0)
            if float(maps.min()) > -SAFE_SPREAD:
                self._sums = sum_of_exponentials(maps, size)  # (H, W)
        self._maps = maps
        self._vocabulary = vocabulary
        self._scoring = scoring
        self._unlabelled = unlabelled_id(label_type(vocabulary.classes))
        bias = vocabulary.bias
        # Scores have the order of logits, so that of classes with one bias these tell the best.
        self._calibrated = len(bias) > 1 and not bool((bias == bias[0]).all())
        if self._calibrated and scoring == 'softmax':
            raise ValueError('Expected one bias for all classes of a softmax.')
        # Greatest and least of the four corners of every cell, (R, h, w).
        greatest = least = maps.sigmoid() - bias.view(-1, 1, 1) if self._calibrated else maps
        for axis in (1, 2):
            greatest = _of_neighbours(greatest, axis, torch.maximum)
            least = _of_neighbours(least, axis, torch.minimum)
        # "not below" in place of "at least", so that a NaN, which no order knows, leaves a class.
        self.can_win = ~(greatest < least.amax(dim=0))

    def label(
        self,
        place: tuple[slice, slice],
        cells: tuple[tuple[int, int], tuple[int, int]],
        rows: Tensor,
        columns: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return labels, int64, and scores, float32, of a tile of ``(H, W)`` pixels.

        Args:
            place: Its rows and columns in the image, in pixels.
            cells: First and last row, first and last column of the ``(h, w)`` values it mixes.
            rows: Upsampling of the rows, float32 ``(H, h)``.
            columns: Upsampling of the columns, float32 ``(w, W)``.
        """
        (top, bottom), (left, right) = cells
        down, across = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
        classes = self.can_win[:, down, across].flatten(1).any(dim=1).nonzero().flatten()  # (k,)
        part = self._maps[:, slice(top, bottom + 1), slice(left, right + 1)]  # (R, h, w)
        logits = (rows @ part.index_select(0, classes)) @ columns  # (k, H, W)
        best, index = self._best(logits, classes)
        found = classes[index]
        if self._scoring == 'sigmoid':
            score = best.sigmoid_()
        elif self._sums is not None:
            score = best.exp_().div_(self._sums[place])
        else:
            # Logits so far apart that only the distance to the best one has an exponential.
            total = torch.zeros_like(best)
            for maps in part.split(SUMMED):
                total += ((rows @ maps) @ columns).sub_(best).exp_().sum(dim=0)
            score = total.reciprocal_()
        reached = score >= self._vocabulary.thresholds[found]
        return found.masked_fill_(~reached, self._unlabelled), score

    def _best(self, logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best class's logit and its place in ``classes`` ``(k,)``, ``(H, W)`` each."""
        values = logits
        if self._calibrated:
            values = logits.sigmoid() - self._vocabulary.bias[classes].view(-1, 1, 1)
        best = values[0].clone()
        index = torch.zeros(best.shape, dtype=torch.int64)
        for place in range(1, len(classes)):
            better = values[place] > best
            torch.maximum(best, values[place], out=best)
            index.masked_fill_(better, place)
        if self._calibrated:
            best = logits.gather(0, index[None])[0]
        return best, index


def _of_neighbours(values: Tensor, axis: int, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return of each value and the next along an axis the one that is picked.

    The last row and the last column are cells of their own, mixed with themselves.
    """
    last = values.shape[axis] - 1
    picked = pick(values.narrow(axis, 0, last), values.narrow(axis, 1, last))
    return torch.cat([picked, values.narrow(axis, last, 1)], dim=axis)


@lru_cache(maxsize=32)
def _runs(source: int, target: int) -> tuple[Tensor, ...]:
    """Return the runs of pixels along which the share of the second value grows evenly.

    Returns:
        Of each run its two values ``(n,)``, the share of its first pixel ``(n, 1)`` and the step
        ``(n, 1)``; of each pixel its run ``(target,)``, and its place in it ``(target,)``.
    """
    low, high, share = mixed_values(source, target)
    # Pixels before the middle of the first value are flat, and those behind it are not.
    marks = 2 * low + (share == 0)
    _, run, counts = torch.unique_consecutive(marks, return_inverse=True, return_counts=True)
    first = counts.cumsum(0) - counts
    step = (share[first + counts - 1] - share[first]) / (counts - 1).clamp(min=1)
    places = torch.arange(target) - first[run]
    return low[first], high[first], share[first, None], step[:, None], run, places


def sum_of_exponentials(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the sum over classes of exponentials of upsampled maps, float32 ``(H, W)``.

    The maps, float32 ``(K, h, w)``, lie in ``[-SAFE_SPREAD, 0]``.
    """
    above, below, share = mixed_values(maps.shape[1], size[0])
    left, right, start, step, run, places = _runs(maps.shape[2], size[1])
    rows = maps.permute(1, 2, 0).contiguous()  # (h, w, K): sums run over contiguous memory
    base = rows.index_select(1, left)  # (h, n, K): the left value of every run
    rise = rows.index_select(1, right) - base
    sums = torch.empty(int(places.max()) + 1, size[0], len(left))  # (longest run, H, n)
    height = max(AT_ONCE // base[0].numel(), 1)
    for top in range(0, size[0], height):
        part = slice(top, min(top + height, size[0]))
        mix = share[part, None, None]
        # Logits of the first pixel of every run, and their slope along it, (rows, n, K).
        first = torch.lerp(base[above[part]], base[below[part]], mix)
        slope = torch.lerp(rise[above[part]], rise[below[part]], mix)
        values = first.addcmul_(slope, start).exp_()
        factor = slope.mul_(step).exp_()
        torch.sum(values, 2, out=sums[0, part])
        for place in range(1, len(sums)):
            torch.sum(values.mul_(factor), 2, out=sums[place, part])
    return sums.movedim(0, 2)[:, run, places]
