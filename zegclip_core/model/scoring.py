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
"""Mask logits to scores and labels: upsampling, calibration of seen classes, sliding windows.

Follows the test protocol of ZegCLIP's release (https://github.com/ZiqinZhou66/ZegCLIP). Tensors
in, tensors out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
import torch.nn.functional as F

CHUNK_VALUES = 2**25
"""How many scores are held at full size at once, so that memory does not grow with classes."""

Scoring = Literal['sigmoid', 'softmax']
"""How logits become scores: each class's alone, or by comparison with all the others."""
Maps = Callable[[slice], Tensor]
"""Gives the full-size maps of some classes, float32 ``(k, H, W)``."""
Corners = list[tuple[slice, slice]]
"""Rows and columns of sliding windows, in pixels."""


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps ``(B, K, h, w)`` to another ``(H, W)``, bilinearly, as published."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode='bilinear', align_corners=False)


def calibrated_scores(mask_logits: Tensor, bias: Tensor, scoring: Scoring = 'sigmoid') -> Tensor:
    """Return scores ``(B, K, H, W)`` less the bias ``(K,)`` of the seen classes.

    Training pulls the scores of seen classes up; subtracting a little gives unseen ones a chance.
    """
    scores = mask_logits.sigmoid() if scoring == 'sigmoid' else mask_logits.softmax(dim=1)
    return scores - bias.view(1, -1, 1, 1)


@dataclass(frozen=True)
class Windows:
    """Overlapping square windows that are segmented one by one, in place of the whole image.

    Attributes:
        crop: Side of a window, in pixels; a shorter side of the image is taken whole.
        stride: Step between windows, in pixels, in [1, crop]. The last window is moved back
            inside.
    """

    crop: int
    stride: int

    def corners(self, size: tuple[int, int]) -> Corners:
        """Return rows and columns of every window on an image of ``(H, W)``.

        Raises:
            ValueError: If ``stride`` is not in [1, crop].
        """
        crop, stride = self.crop, self.stride
        if not 1 <= stride <= crop:
            raise ValueError(f'Expected `stride` to be in [1, crop], but got {stride} of {crop}.')

        def spans(length: int) -> Iterator[slice]:
            for index in range(max(length - crop + stride - 1, 0) // stride + 1):
                start = max(min(index * stride, length - crop), 0)
                yield slice(start, min(start + crop, length))

        return [(rows, columns) for rows in spans(size[0]) for columns in spans(size[1])]


def cut_windows(images: Tensor, corners: Corners) -> Tensor:
    """Return the windows of images ``(B, 3, H, W)`` as a batch ``(N * B, 3, h, w)``.

    First comes the first window of every image, then the second of every image.
    """
    return torch.cat([images[:, :, rows, columns] for rows, columns in corners])


def average_windows(
    logits: Tensor, corners: Corners, size: tuple[int, int], bias: Tensor | None = None
) -> Tensor:
    """Return the mean of windows, float32 ``(B, K, H, W)``, as published for either kind of model.

    Args:
        logits: Mask logits of the windows, ``(N, B, K, h, w)``.
        corners: Where the ``N`` windows lie.
        size: ``(H, W)`` of the image.
        bias: Bias of each class, float ``(K,)``; ``None`` averages logits in place of calibrated
            scores.
    """
    total = logits.new_zeros((*logits.shape[1:3], *size), dtype=torch.float32)
    count = total.new_zeros(size)  # (H, W): how many windows each pixel lies in
    for window, (rows, columns) in zip(logits, corners, strict=True):
        side = rows.stop - rows.start, columns.stop - columns.start
        maps = resize_maps(window.float(), side)  # (B, K, crop, crop)
        total[:, :, rows, columns] += maps if bias is None else calibrated_scores(maps, bias)
        count[rows, columns] += 1
    return total / count


def whole_logits(logits: Tensor, corners: Corners, size: tuple[int, int]) -> Tensor:
    """Return the mean of ``N`` windows' mask logits ``(N, B, K, h, w)``.

    It is float32 ``(B, K, h', w')``, on the grid that the whole image ``size`` would have.
    """
    rows, columns = corners[0]
    grid = (
        size[0] * logits.shape[3] // (rows.stop - rows.start),
        size[1] * logits.shape[4] // (columns.stop - columns.start),
    )
    maps = average_windows(logits, corners, size)
    return F.interpolate(maps, size=grid, mode='bilinear', antialias=True)


def best_class(
    maps: Tensor,
    size: tuple[int, int],
    bias: Tensor,
    *,
    are_logits: bool,
    scoring: Scoring = 'sigmoid',
) -> tuple[Tensor, Tensor]:
    """Choose the best class of every pixel, a few classes at a time.

    Args:
        maps: Mask logits or calibrated scores of one image, float ``(K, h, w)``.
        size: ``(H, W)`` to bring them to.
        bias: Bias of each class, float ``(K,)``; scores hold it already.
        are_logits: Whether ``maps`` are logits; they are upsampled before they become scores.
        scoring: How logits become scores.

    Returns:
        Class indices, int64 ``(H, W)``, and the best class's score without the bias, float32
        ``(H, W)``.
    """

    def full_size(chunk: slice) -> Tensor:
        return resize_maps(maps[None, chunk].float(), size)[0]

    at_once = max(CHUNK_VALUES // (size[0] * size[1]), 1)
    scores: Maps = full_size
    if are_logits:
        scores = scores_of(full_size, bias, scoring, at_once=at_once)
    return best_of(scores, size, bias, at_once=at_once)


def scores_of(logits: Maps, bias: Tensor, scoring: Scoring, *, at_once: int) -> Maps:
    """Return a function that gives the calibrated scores of some classes.

    ``logits`` gives their full-size logits and is asked for at most ``at_once`` classes at a time.
    The bias, float ``(K,)``, is infinite for a row that stands for no class.
    """
    if scoring == 'sigmoid':
        return lambda chunk: calibrated_scores(logits(chunk)[None], bias[chunk])[0]
    # The softmax's denominator in two passes over chunks of classes; padding has no share in it.
    is_padding = torch.isinf(bias)
    parts = [
        logits(chunk).masked_fill(is_padding[chunk].view(-1, 1, 1), -torch.inf).logsumexp(dim=0)
        for chunk in _chunks(len(bias), at_once)
    ]
    total = torch.stack(parts).logsumexp(dim=0)  # (H, W)
    return lambda chunk: (logits(chunk) - total).exp() - bias[chunk].view(-1, 1, 1)


def best_of(
    scores: Maps, size: tuple[int, int], bias: Tensor, *, at_once: int
) -> tuple[Tensor, Tensor]:
    """Choose the best class of every pixel of scores that are made ``at_once`` classes at a time.

    The bias, float ``(K,)``, is what was subtracted from each class's score.

    Returns:
        Class indices, int64 ``(H, W)``, and the best class's score without the bias, float32
        ``(H, W)``. Of equal scores the first class wins.
    """
    best = torch.full(size, -torch.inf, device=bias.device)
    labels = torch.zeros(size, dtype=torch.int64, device=bias.device)
    for chunk in _chunks(len(bias), at_once):
        value, index = scores(chunk).max(dim=0)
        better = value > best
        best = torch.where(better, value, best)
        labels = torch.where(better, index + chunk.start, labels)
    return labels, best + bias[labels]


def _chunks(length: int, at_once: int) -> list[slice]:
    """Return slices of ``at_once`` each that cover a length, the last one perhaps shorter."""
    return [slice(start, start + at_once) for start in range(0, length, at_once)]
