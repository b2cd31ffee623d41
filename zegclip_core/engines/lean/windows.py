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
"""Sliding windows as one batch, and their average without a full-size map of each class."""

from collections.abc import Callable

import torch
from torch import Tensor
from zegclip_core.engines.contract import PreparedWords, Windows
from zegclip_core.engines.plain import with_unlabelled
from zegclip_core.model.scoring import (
    best_of,
    calibrated_scores,
    Maps,
    resize_maps,
    scores_of,
    Scoring,
    window_corners,
)

CHUNK_VALUES = 2**23
"""How many scores are averaged at once; a class takes as many as an image has pixels."""

Corners = list[tuple[slice, slice]]


def label_windows(
    images: Tensor,
    predict: Callable[[Tensor], Tensor],
    windows: Windows,
    words: PreparedWords,
    size: tuple[int, int],
    scoring: Scoring,
) -> tuple[Tensor, Tensor]:
    """Label every pixel by the average of the windows that it lies in; see ``sliding_maps``.

    Args:
        images: What the model takes, ``(B, 3, H, W)``.
        predict: Gives the mask logits ``(N, K, h, w)`` of windows.
        windows: Their size and stride.
        words: The vocabulary.
        size: ``(H, W)`` of labels and scores.
        scoring: How logits become scores.

    Returns:
        As an engine's ``run`` does.
    """
    whole = images.shape[2], images.shape[3]
    corners = window_corners(whole, crop=windows.crop, stride=windows.stride)
    batch = torch.cat([images[:, :, rows, columns] for rows, columns in corners])
    # First all images of the first window, and so on.
    logits = predict(batch).unflatten(0, (len(corners), len(images))).float()
    count = images.new_zeros(whole, dtype=torch.float32)
    for corner in corners:
        count[corner] += 1
    largest = max(whole[0] * whole[1], size[0] * size[1])

    def best(maps: Tensor) -> tuple[Tensor, Tensor]:
        def average(chunk: slice) -> Tensor:
            bias = words.bias[chunk] if scoring == 'sigmoid' else None
            total = _sum(maps[:, chunk], corners, whole, bias)
            return resize_maps((total / count)[None], size)[0]

        at_once = max(CHUNK_VALUES // largest, 1)
        scores: Maps = average
        if scoring == 'softmax':
            scores = scores_of(average, words.bias, scoring, at_once=at_once)
        return best_of(scores, size, words.bias, at_once=at_once)

    return with_unlabelled([best(logits[:, index]) for index in range(len(images))], words)


def _sum(logits: Tensor, corners: Corners, whole: tuple[int, int], bias: Tensor | None) -> Tensor:
    """Return the sum of the windows' scores ``(k, H, W)``; without a bias, of their logits.

    Args:
        logits: Of the windows, ``(N, k, h, w)``.
        corners: Where they lie.
        whole: ``(H, W)`` of the image.
        bias: Bias of each class, float32 ``(k,)``.
    """
    total = logits.new_zeros((logits.shape[1], *whole))
    for window, (rows, columns) in zip(logits, corners, strict=True):
        side = rows.stop - rows.start, columns.stop - columns.start
        maps = resize_maps(window[None], side)
        total[:, rows, columns] += (maps if bias is None else calibrated_scores(maps, bias))[0]
    return total
