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
"""What every engine does: pixels and words in, a label and a score for every pixel out.

``zegclip_core.segmenter`` joins an engine to NumPy and to words. Engines take and give tensors.
"""

from dataclasses import dataclass
import math
from typing import Protocol

import torch
from torch import Tensor
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.zegclip import ZegCLIP

Network = ZegCLIP | TrainingFreeCLIP
"""What an engine runs."""


@dataclass(frozen=True, eq=False)
class PreparedWords:
    """What an engine keeps of a vocabulary; an engine may add what it computes once.

    Attributes:
        embeddings: L2-normalised text embeddings, float32 ``(K, C)`` on the engine's device.
        bias: Calibration of each row, float32 ``(K,)`` likewise.
        thresholds: Least score of a labelled pixel, float32 ``(K,)`` likewise; infinite for what
            competes but is never a label.
        classes: How many of the first rows are classes; it sets the type of the labels.
    """

    embeddings: Tensor
    bias: Tensor
    thresholds: Tensor
    classes: int


@dataclass(frozen=True)
class Windows:
    """Overlapping square windows that are looked at one by one, in place of the whole image.

    Attributes:
        crop: Side of a window, in pixels.
        stride: Step between windows, in pixels, in [1, crop].
    """

    crop: int
    stride: int


@dataclass(frozen=True)
class LeanOptions:
    """Which savings the lean path makes; each can be left out, to measure what it gives.

    Attributes:
        prompt_constants: Keys and values of the prompt tokens are computed once a model.
        last_layer_product: The last decoder layer is one product of queries and tokens; else it is
            run whole, though only the logits of its attention are used.
        vocabulary_constants: What depends on the words alone is computed once a vocabulary.
        folded_input: Mean and deviation of the pixels are folded into the first convolutions.
        fused_tail: Upsampling, calibration, thresholds and the best class in one pass that never
            holds a full-size map of each class.
        float32_stream: Where the products are of a narrower type, the tokens that every block adds
            to, and their norms, stay in float32; on a CPU, so does the decoder. This takes time
            and saves labels, the only step that does.
        folded_activation: The factor of CLIP's QuickGELU is folded into the weights around it.
        float32_convolutions: On a CPU in float32, the image tower's linear layers are convolutions
            of one pixel, for which PyTorch has a faster library.
        bfloat16_attention: On a CPU in bfloat16, attention is made of products in that type,
            which is faster than the fused kernel and rounds a little more.
        cuda_graphs: On CUDA, a frame is one replay of a recorded graph.
    """

    prompt_constants: bool = True
    last_layer_product: bool = True
    vocabulary_constants: bool = True
    folded_input: bool = True
    fused_tail: bool = True
    float32_stream: bool = True
    folded_activation: bool = True
    float32_convolutions: bool = True
    bfloat16_attention: bool = True
    cuda_graphs: bool = True


class Engine(Protocol):
    """Labels the pixels of frames. One thread runs it, but ``prepare`` may be in another."""

    def prepare(
        self, embeddings: Tensor, bias: Tensor, thresholds: Tensor, classes: int | None = None
    ) -> PreparedWords:
        """Return what ``run`` needs of a vocabulary.

        Args:
            embeddings: L2-normalised text embeddings, float32 ``(K, C)`` on any device.
            bias: What is subtracted from each class's score, float32 ``(K,)``.
            thresholds: Least score of a labelled pixel, float32 ``(K,)``.
            classes: How many of the first rows are classes; where another row wins, a pixel is
                unlabelled. ``None`` for all.

        Raises:
            ValueError: If ``classes`` is not in [1, K].
        """

    def run(
        self,
        pixels: Tensor,
        size: tuple[int, int],
        words: PreparedWords,
        output_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Label every pixel of frames of one size.

        Args:
            pixels: RGB, uint8 ``(B, H, W, 3)``, on the CPU or the engine's device.
            size: Working size ``(h, w)`` that the frames are brought to.
            words: What ``prepare`` of this engine returned.
            output_size: ``(H, W)`` of labels and scores.

        Returns:
            Labels, uint8 ``(B, H, W)``, uint16 above 254 classes, the greatest value of the type
            where no class reaches its threshold; and the best class's score without its bias,
            float32 ``(B, H, W)``. Both are the caller's to keep.
        """

    def release_memory(self) -> None:
        """Let go of what the next frame can make again: recorded graphs, tables, buffers."""


def thresholds_of(thresholds: Tensor, classes: int | None) -> tuple[Tensor, int]:
    """Return thresholds that only classes can reach, and how many classes there are.

    Args:
        thresholds: Least score of a labelled pixel, float ``(K,)``.
        classes: As in ``Engine.prepare``.

    Raises:
        ValueError: As there.
    """
    rows = len(thresholds)
    classes = rows if classes is None else classes
    if not 1 <= classes <= rows:
        raise ValueError(f'Expected `classes` to be in [1, {rows}], but got {classes}.')
    is_class = torch.arange(rows, device=thresholds.device) < classes
    return thresholds.masked_fill(~is_class, math.inf), classes
