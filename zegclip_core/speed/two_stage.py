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
"""A comparator that works in two stages, as zsseg and ZegFormer do; its proposals cost nothing.

A first network proposes a hundred masks without names; each is cut out of the image, what is
around it blanked, and CLIP classifies every crop. Here the proposals are given and their making
is not timed, which is in its favour; so is that all crops are taken at once.

References:
    Xu et al., "A Simple Baseline for Open-Vocabulary Semantic Segmentation with Pre-trained
    Vision-language Model" (zsseg), https://arxiv.org/abs/2112.14757.
    Ding et al., "Decoupling Zero-Shot Semantic Segmentation" (ZegFormer),
    https://arxiv.org/abs/2112.07910.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F
from torchvision.ops import roi_align
from zegclip_core.model.vit import CLIP_MEAN, CLIP_STD, VisionTransformer
from zegclip_core.weights.checkpoint import Checkpoint

PROPOSALS = 100
"""As many as those methods' first stage makes."""
CROP = 224
"""Height and width of a crop, in pixels."""
_TEMPERATURE = 100.0
"""CLIP's factor of the similarities."""


@dataclass(frozen=True)
class Proposals:
    """Masks of parts of an image, whatever these are.

    Attributes:
        masks: float32 ``(M, H, W)``, 1 inside and 0 outside.
        boxes: The box around each, float32 ``(M, 5)``: 0, left, top, right, bottom, in pixels.
    """

    masks: Tensor
    boxes: Tensor


def seeded_proposals(height: int, width: int, device: torch.device) -> Proposals:
    """Return ellipses of many sizes all over the image."""
    rng = np.random.default_rng(0)
    size = torch.tensor([height, width])
    center = torch.from_numpy(rng.uniform(0.1, 0.9, (PROPOSALS, 2))) * size
    radii = torch.from_numpy(rng.uniform(0.05, 0.3, (PROPOSALS, 2))) * size
    (y, x), (b, a) = center.T[:, :, None, None], radii.T[:, :, None, None]  # (M, 1, 1) each
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    masks = ((rows - y) / b) ** 2 + ((columns - x) / a) ** 2 < 1.0
    least = (center - radii).clamp(min=0.0).flip(1)
    most = torch.minimum(center + radii, size).flip(1)
    boxes = torch.cat([torch.zeros(PROPOSALS, 1), least, most], dim=1)
    return Proposals(masks.float().to(device), boxes.float().to(device))


def clip_tower(checkpoint: Checkpoint) -> VisionTransformer:
    """Return CLIP's image tower out of a published model, without the prompts."""
    config = replace(
        checkpoint.config.vision, prompt_tokens=0, prompt_norm=False, class_embedding_twice=False
    )
    tower = VisionTransformer(config).eval()
    tower.load_state_dict(
        {
            name.removeprefix('visual.'): value
            for name, value in checkpoint.state_dict.items()
            if name.startswith('visual.') and 'prompt' not in name
        }
    )
    return tower


def cut_crops(pixels: Tensor, proposals: Proposals) -> Tensor:
    """Return the masked, normalised crops ``(M, 3, S, S)`` of an RGB image uint8 ``(H, W, 3)``."""
    mean, std = (pixels.new_tensor(v, dtype=torch.float32) for v in (CLIP_MEAN, CLIP_STD))
    image = ((pixels.float() - mean) / std).permute(2, 0, 1).unsqueeze(0)  # (1, 3, H, W)
    boxes = proposals.boxes
    crops = roi_align(image, boxes, (CROP, CROP), sampling_ratio=1, aligned=True)
    own = boxes.clone()
    own[:, 0] = torch.arange(len(boxes), device=boxes.device)  # Each box is cut from its own mask.
    masks = proposals.masks.unsqueeze(1)  # (M, 1, H, W)
    masked: Tensor = crops * roi_align(masks, own, (CROP, CROP), sampling_ratio=1, aligned=True)
    return masked


def classify(tower: VisionTransformer, crops: Tensor, text: Tensor) -> Tensor:
    """Return each crop's probability of every class, float32 ``(M, K)``.

    Args:
        tower: CLIP's image tower.
        crops: Masked, normalised crops, ``(M, 3, S, S)``.
        text: L2-normalised text embeddings, ``(K, C)``.
    """
    embeddings = F.normalize(tower(crops)[1], dim=-1)  # (M, C)
    return (_TEMPERATURE * embeddings @ text.T).softmax(dim=-1)


def label_pixels(probabilities: Tensor, proposals: Proposals) -> Tensor:
    """Return the class of every pixel, int64 ``(H, W)``: masks weighted by their classes."""
    scores: Tensor = torch.einsum('mk,mhw->khw', probabilities, proposals.masks)
    return scores.argmax(dim=0)
