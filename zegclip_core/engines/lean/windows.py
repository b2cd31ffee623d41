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
"""The average of sliding windows, without a full-size map of each class."""

from torch import Tensor
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.engines.plain import with_unlabelled
from zegclip_core.model.scoring import (
    average_windows,
    best_of,
    Corners,
    Maps,
    resize_maps,
    scores_of,
    Scoring,
)

CHUNK_VALUES = 2**23
"""How many scores are averaged at once; a class takes as many as an image has pixels."""


def label_windows(
    logits: Tensor,
    corners: Corners,
    size: tuple[int, int],
    vocabulary: EngineVocabulary,
    output_size: tuple[int, int],
    scoring: Scoring,
) -> tuple[Tensor, Tensor]:
    """Label every pixel by the average of the windows that it lies in.

    Args:
        logits: Mask logits of the windows, float ``(N, B, R, h, w)``.
        corners: Where the ``N`` windows lie.
        size: ``(H, W)`` of the image that they were cut from.
        vocabulary: The words of the rows.
        output_size: ``(H, W)`` of labels and scores.
        scoring: How logits become scores.

    Returns:
        Labels, uint8 or uint16 ``(B, H, W)``, and scores, float32 ``(B, H, W)``.
    """
    largest = max(size[0] * size[1], output_size[0] * output_size[1])
    at_once = max(CHUNK_VALUES // largest, 1)

    def best(image: Tensor) -> tuple[Tensor, Tensor]:
        """Label an image of windows ``(N, 1, R, h, w)``."""

        def average(chunk: slice) -> Tensor:
            bias = vocabulary.bias[chunk] if scoring == 'sigmoid' else None
            maps = average_windows(image[:, :, chunk], corners, size, bias)
            return resize_maps(maps, output_size)[0]  # (k, H, W)

        scores: Maps = average
        if scoring == 'softmax':
            scores = scores_of(average, vocabulary.bias, scoring, at_once=at_once)
        return best_of(scores, output_size, vocabulary.bias, at_once=at_once)

    return with_unlabelled([best(image) for image in logits.split(1, dim=1)], vocabulary)
