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
"""The graph that is exported: pixels and words in, labels and scores out, for one size.

What does not depend on its inputs is computed here once: keys and values of the prompt tokens and
the position table of the grid.
"""

import copy
from dataclasses import replace

import torch
from torch import nn, Tensor
from zegclip_core.model.blocks import Kernels, KeysAndValues, PromptedAttention
from zegclip_core.model.scoring import calibrated_scores, resize_maps
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP


class FixedPrompts(nn.Module):
    """Attention whose prompt tokens are known: their keys and values are constants."""

    def __init__(self, attention: PromptedAttention, constants: KeysAndValues) -> None:
        """Keep both."""
        super().__init__()
        self.attention = attention
        self.key, self.value = (nn.Parameter(part.clone(), False) for part in constants)

    def forward(self, x: Tensor, prompts: None, kernels: Kernels) -> Tensor:
        """Attend from image tokens ``(1, N, D)`` to image tokens and prompts."""
        out: Tensor = self.attention(x, (self.key, self.value), kernels)
        return out


class ExportedGraph(nn.Module):
    """A model with the normalisation before it and the postprocessing behind it.

    Args:
        network: The model, float32 on the CPU; it is copied.
        size: ``(H, W)`` of image, labels and scores, in whole patches.
    """

    def __init__(self, network: ZegCLIP, size: tuple[int, int]) -> None:
        """Compute the constants."""
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.size = size
        vision = network.config.vision
        self.mean, self.std = (
            nn.Parameter(torch.tensor(values).view(1, 3, 1, 1), False)
            for values in (vision.mean, vision.std)
        )
        with torch.no_grad():
            _fix(self.network.visual, (size[0] // vision.patch_size, size[1] // vision.patch_size))

    def forward(
        self, image: Tensor, text: Tensor, bias: Tensor, thresholds: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Label every pixel.

        Args:
            image: RGB, uint8 ``(1, H, W, 3)``.
            text: L2-normalised text embeddings of the classes, float32 ``(K, C)``.
            bias: What is subtracted from each class's score before the best is chosen, ``(K,)``.
            thresholds: Least score of a labelled pixel, ``(K,)``.

        Returns:
            Labels, int32 ``(1, H, W)``, -1 where no class reaches its threshold; the best class's
            score without its bias, float32 ``(1, H, W)``; and the mask logits before they are
            upsampled, float32 ``(1, K, h, w)``.

        """
        # A cast first: TensorRT takes bytes as an input and computes nothing else with them.
        pixels = image.float().permute(0, 3, 1, 2)
        logits = self.network((pixels - self.mean) / self.std, text)
        # (1, K, H, W) to (1, H, W)
        best, labels = calibrated_scores(resize_maps(logits, self.size), bias).max(dim=1)
        flat = labels.flatten()
        scores = best + bias.index_select(0, flat).view(best.shape)
        least = thresholds.index_select(0, flat).view(best.shape)
        return torch.where(scores >= least, labels, -1).int(), scores, logits


def _fix(visual: VisionTransformer, grid: tuple[int, int]) -> None:
    """Put constants in the place of what is the same for every image of a patch grid."""
    constants, table = visual.prompt_keys_and_values(), visual.positions(grid)
    for block, prompts in zip(visual.blocks, constants, strict=True):
        if prompts is not None:
            block.add_module('attn', FixedPrompts(block.attn, prompts))
    visual.positional_embedding = nn.Parameter(table, False)
    visual.config = replace(visual.config, grid=grid, prompt_tokens=0)
