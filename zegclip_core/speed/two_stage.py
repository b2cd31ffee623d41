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
"""A comparator that works in two stages, as zsseg and ZegFormer do; proposals cost it nothing.

A first network proposes a hundred masks without names; each is cut out of the image, what is
around it blanked, and CLIP classifies every cut-out. Here the proposals are given and their making
is not timed, which is in its favour; so is that all cut-outs are taken at once.

References:
    Xu et al., "A Simple Baseline for Open-Vocabulary Semantic Segmentation with Pre-trained
    Vision-language Model" (zsseg), https://arxiv.org/abs/2112.14757.
    Ding et al., "Decoupling Zero-Shot Semantic Segmentation" (ZegFormer),
    https://arxiv.org/abs/2112.07910.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
import torch.nn.functional as F
from torchvision.ops import roi_align
from zegclip_core.model.vit import CLIP_MEAN, CLIP_STD
from zegclip_core.speed.literal import clip_block, norm, part, positions_of, Weights

CROPS = 100
"""Proposals, as many as those methods' first stage makes."""
CROP_GRID = 14
"""Patches along a side of a cut-out: 224 pixels with CLIP's patches of 16."""
_TEMPERATURE = 100.0
"""CLIP's factor of the similarities."""


@dataclass(frozen=True)
class Proposals:
    """Masks of parts of an image, whatever these are.

    Attributes:
        masks: Float ``(M, H, W)`` in [0, 1].
        boxes: Around each, float ``(M, 5)``: 0, left, top, right, bottom, in pixels.
    """

    masks: Tensor
    boxes: Tensor


def seeded_proposals(height: int, width: int, device: torch.device) -> Proposals:
    """Return ellipses of many sizes all over the image; the first one is all of it."""
    rng = np.random.default_rng(0)
    masks: npt.NDArray[np.float32] = np.zeros((CROPS, height, width), np.float32)
    boxes: list[list[int]] = []
    for mask in masks:
        axes = rng.uniform(0.05, 0.3, 2) * (height, width)
        center = rng.uniform(0.1, 0.9, 2) * (height, width)
        middle, radii = (tuple(int(v) for v in pair[::-1]) for pair in (center, axes))
        cv2.ellipse(mask, middle, radii, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        if not mask.any() or not boxes:
            mask[:] = 1.0
        rows, columns = np.nonzero(mask)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        boxes.append([0, *map(int, edges)])
    table = torch.tensor(np.array(boxes, np.float32), device=device)
    return Proposals(torch.from_numpy(masks).to(device), table)


@dataclass(frozen=True)
class TwoStage:
    """CLIP on every proposal of an image.

    Attributes:
        weights: CLIP's image tower under its own names.
        grid: Side of its position table, in patches.
        heads: Its attention heads.
    """

    weights: Weights
    grid: int
    heads: int

    @property
    def _kernel(self) -> Tensor:
        """The patch convolution, whose type and device are those of all weights."""
        return self.weights['conv1.weight']

    @property
    def side(self) -> int:
        """Side of a cut-out, in pixels."""
        return CROP_GRID * self._kernel.shape[-1]

    def cut(self, pixels: Tensor, proposals: Proposals) -> Tensor:
        """Return the cut-outs ``(M, 3, S, S)`` of an RGB frame uint8 ``(H, W, 3)``."""
        mean, std = (pixels.new_tensor(v, dtype=torch.float32) for v in (CLIP_MEAN, CLIP_STD))
        image = ((pixels.float() - mean) / std).permute(2, 0, 1).unsqueeze(0)
        size, boxes = (self.side, self.side), proposals.boxes
        parts = roi_align(image, boxes, size, sampling_ratio=1, aligned=True)
        own = boxes.clone()
        own[:, 0] = torch.arange(len(boxes), device=boxes.device)
        masks = proposals.masks.unsqueeze(1)
        shown = roi_align(masks, own, size, sampling_ratio=1, aligned=True)
        cut: Tensor = (parts * shown).to(self._kernel.dtype)
        return cut

    def classify(self, crops: Tensor, text: Tensor) -> Tensor:
        """Return each cut-out's probability of every class, float32 ``(M, K)``."""
        own = self.weights
        patches = F.conv2d(crops, own['conv1.weight'], stride=self._kernel.shape[-1])
        cls = own['class_embedding'].expand(len(crops), 1, -1)
        tokens = torch.cat([cls, patches.flatten(2).transpose(1, 2)], dim=1)
        positions = positions_of(own['positional_embedding'], self.grid, (CROP_GRID, CROP_GRID))
        x = norm(tokens + positions, own, 'ln_pre').transpose(0, 1)
        for index in range(len({key.split('.')[2] for key in own if 'resblocks' in key})):
            x = clip_block(x, own, index, self.heads)
        features: Tensor = F.normalize(norm(x[0], own, 'ln_post') @ own['proj'], dim=-1)
        similarities = features @ text.to(features).T
        return similarities.float().mul(_TEMPERATURE).softmax(dim=-1)

    def label(self, probabilities: Tensor, proposals: Proposals) -> Tensor:
        """Return the class of every pixel, int64 ``(H, W)``: masks weighted by their classes."""
        maps: Tensor = torch.einsum('mk,mhw->khw', probabilities, proposals.masks)
        return maps.argmax(dim=0)


def clip_tower(published: Weights, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Return CLIP's image tower out of a published checkpoint, without the prompts."""
    tower = part(published, 'backbone.')
    return {key: value.to(device, dtype) for key, value in tower.items() if 'prompt' not in key}
