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

Follows the test protocol of ZegCLIP's release (https://github.com/ZiqinZhou66/ZegCLIP); tensors
in, tensors out.
"""

from collections.abc import Callable
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


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps ``(B, K, h, w)`` to another ``(H, W)``, bilinearly, as published."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode='bilinear', align_corners=False)


def calibrated_scores(mask_logits: Tensor, bias: Tensor) -> Tensor:
    """Return sigmoid scores less the bias of the seen classes.

    Training pulls the scores of seen classes up; subtracting a little gives unseen ones a chance.

    Args:
        mask_logits: Float ``(B, K, H, W)``.
        bias: What is subtracted from each class's score, float ``(K,)``.

    Returns:
        Scores of the same shape, in [-bias, 1].

    """
    return mask_logits.sigmoid() - bias.view(1, -1, 1, 1)


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Return where sliding windows begin; the last one is moved back inside.

    Raises:
        ValueError: If ``stride`` is not in [1, crop].
    """
    if not 1 <= stride <= crop:
        raise ValueError(f'Expected `stride` to be in [1, crop], but got {stride} of {crop}.')
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - crop), 0) for index in range(count)]


def sliding_maps(
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    crop: int,
    stride: int,
    bias: Tensor,
    scoring: Scoring = 'sigmoid',
) -> Tensor:
    """Average what overlapping windows give, as published for either kind of model.

    Args:
        predict: Gives mask logits ``(B, K, h, w)`` of normalised windows ``(B, 3, H, W)``.
        images: Normalised images, ``(B, 3, H, W)``.
        crop: Side of a window, in pixels; a smaller image is one window.
        stride: Step between windows, in pixels, in [1, crop].
        bias: Bias of each class, float ``(K,)``.
        scoring: How logits become scores.

    Returns:
        Float32 ``(B, K, H, W)``: the mean of calibrated scores, for a softmax that of logits.

    Raises:
        ValueError: If ``stride`` is out of its range.
    """
    batch, _, height, width = images.shape
    total = images.new_zeros((batch, len(bias), height, width), dtype=torch.float32)
    count = total.new_zeros((1, 1, height, width))
    for rows, columns in window_corners((height, width), crop=crop, stride=stride):
        window = images[:, :, rows, columns]
        logits = resize_maps(predict(window).float(), (window.shape[2], window.shape[3]))
        are_scores = scoring == 'sigmoid'
        total[:, :, rows, columns] += calibrated_scores(logits, bias) if are_scores else logits
        count[:, :, rows, columns] += 1
    return total / count


def window_corners(size: tuple[int, int], *, crop: int, stride: int) -> list[tuple[slice, slice]]:
    """Return rows and columns of every sliding window on an image of ``(H, W)``; all are alike."""
    return [
        (slice(top, min(top + crop, size[0])), slice(left, min(left + crop, size[1])))
        for top in window_starts(size[0], crop, stride)
        for left in window_starts(size[1], crop, stride)
    ]


def whole_scores(predict: Callable[[Tensor], Tensor], images: Tensor, *, bias: Tensor) -> Tensor:
    """Return calibrated scores of whole images at their own size, float32 ``(B, K, H, W)``."""
    logits = resize_maps(predict(images).float(), (images.shape[2], images.shape[3]))
    return calibrated_scores(logits, bias)


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
    """Return what gives the calibrated scores of some classes, of what gives their logits.

    Args:
        logits: Gives full-size logits.
        bias: Bias of each class, float ``(K,)``; infinite for what stands for no class.
        scoring: How logits become scores.
        at_once: How many classes to ask for, at least 1.

    """
    if scoring == 'sigmoid':
        return lambda chunk: calibrated_scores(logits(chunk)[None], bias[chunk])[0]
    nobody = torch.isinf(bias)
    parts = [
        logits(chunk).masked_fill(nobody[chunk].view(-1, 1, 1), -torch.inf).logsumexp(dim=0)
        for chunk in chunks(len(bias), at_once)
    ]
    total = torch.stack(parts).logsumexp(dim=0)
    return lambda chunk: (logits(chunk) - total).exp() - bias[chunk].view(-1, 1, 1)


def best_of(
    scores: Maps, size: tuple[int, int], bias: Tensor, *, at_once: int
) -> tuple[Tensor, Tensor]:
    """Choose the best class of every pixel of scores that are made a few classes at a time.

    Args:
        scores: Gives the calibrated scores of some classes.
        size: ``(H, W)`` of the scores.
        bias: As in ``best_class``.
        at_once: How many classes to ask for, at least 1.

    Returns:
        As ``best_class`` does.

    """
    best = torch.full(size, -torch.inf, device=bias.device)
    labels = torch.zeros(size, dtype=torch.int64, device=bias.device)
    for chunk in chunks(len(bias), at_once):
        value, index = scores(chunk).max(dim=0)
        better = value > best
        best = torch.where(better, value, best)
        labels = torch.where(better, index + chunk.start, labels)
    return labels, best + bias[labels]


def chunks(length: int, at_once: int) -> list[slice]:
    """Return slices of so many each, the last one of fewer."""
    return [slice(start, start + at_once) for start in range(0, length, at_once)]
