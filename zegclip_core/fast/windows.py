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
from zegclip_core.fast.contract import PreparedWords, Windows
from zegclip_core.fast.plain import with_unlabelled
from zegclip_core.inference import best_of, calibrated_scores, resize_maps, window_corners

CHUNK_VALUES = 2**23
"""How many scores are averaged at once; a class takes as many as an image has pixels."""

Corners = list[tuple[slice, slice]]


def label_windows(
    images: Tensor,
    predict: Callable[[Tensor], Tensor],
    windows: Windows,
    words: PreparedWords,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Label every pixel by the average score of the windows that it lies in.

    Args:
        images: What the model takes, ``(B, 3, H, W)``.
        predict: Gives the mask logits ``(N, K, h, w)`` of windows.
        windows: Their size and stride.
        words: The vocabulary.
        size: ``(H, W)`` of labels and scores.

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
        def scores(chunk: slice) -> Tensor:
            average = _sum(maps[:, chunk], corners, whole, words.bias[chunk]) / count
            return resize_maps(average[None], size)[0]

        return best_of(scores, size, words.bias, at_once=max(CHUNK_VALUES // largest, 1))

    return with_unlabelled([best(logits[:, index]) for index in range(len(images))], words)


def _sum(logits: Tensor, corners: Corners, whole: tuple[int, int], bias: Tensor) -> Tensor:
    """Return the sum of the windows' scores, ``(k, H, W)``, from their logits ``(N, k, h, w)``."""
    total = logits.new_zeros((logits.shape[1], *whole))
    for window, (rows, columns) in zip(logits, corners, strict=True):
        side = rows.stop - rows.start, columns.stop - columns.start
        total[:, rows, columns] += calibrated_scores(resize_maps(window[None], side), bias)[0]
    return total
