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
"""How many operations each side needs, counted from the model's shape.

Counted are the products of matrices and the convolutions; what is done to each element comes on
top and is small. A multiplication with its addition is one MAC and two operations.
"""

from typing import Literal

from zegclip_core.model.vit import VisionConfig
from zegclip_core.model.zegclip import ZegCLIPConfig

Style = Literal['literal', 'plain', 'lean']
"""Prompts as tokens of the sequence and the whole decoder; prompts as keys and values alone and
the last layer as one product; the same with all that is constant computed beforehand."""


def tower_macs(vision: VisionConfig, patches: int, style: Style) -> int:
    """Return the MACs of the image tower.

    Args:
        vision: Its shape.
        patches: Patches of the image.
        style: How it is computed.

    """
    width, prompts = vision.width, vision.prompt_tokens
    tokens = 1 + patches
    rows = tokens + prompts if style == 'literal' else tokens
    layer = rows * (4 * width**2 + 2 * width * vision.mlp_width)
    layer += 2 * rows * (tokens + prompts) * width
    # The shared projection of the prompts; where they are no tokens, their keys and values too.
    matrices = {'literal': 1, 'plain': 3, 'lean': 0}[style]
    layer += matrices * prompts * width**2
    embedding = patches * 3 * vision.patch_size**2 * width
    features = max(1, len(vision.feature_layers))
    return embedding + vision.layers * layer + features * rows * width * vision.embed_dim


def decoder_macs(
    config: ZegCLIPConfig,
    patches: int,
    canvas: int,
    classes: int,
    style: Style,
    candidates: int = 0,
) -> int:
    """Return the MACs of relationship descriptor and decoder.

    Args:
        config: The model's shape.
        patches: Patch tokens that the queries look at.
        canvas: Tokens that masks are drawn on; the same but for a detail branch.
        classes: Number of classes.
        style: How it is computed.
        candidates: Of more classes only so many are drawn on a canvas of its own; 0 for all.

    """
    dim = config.dim
    halves = 2 if config.relationship_descriptor else 1
    layer = 2 * classes * dim**2 + 2 * patches * dim**2
    layer += 2 * classes * patches * dim + 2 * classes * dim * config.decoder_mlp_dim
    descriptor = halves * classes * dim**2
    if style == 'literal':
        return config.decoder_layers * layer + descriptor
    if style == 'lean':
        descriptor -= classes * dim**2  # What depends on the words alone.
    last = 2 * classes * dim**2 + classes * canvas * dim
    if 0 < candidates < classes and canvas != patches:
        last = 2 * (classes + candidates) * dim**2
        last += (classes * patches + candidates * canvas) * dim
    return (config.decoder_layers - 1) * layer + descriptor + last


def joining_macs(config: ZegCLIPConfig, size: tuple[int, int], classes: int, style: Style) -> int:
    """Return the MACs of what the published model lacks: projections and the detail branch."""
    macs, dim, width = 0, config.dim, config.detail_width
    patch = config.vision.patch_size
    if config.projections:
        tokens = 1 + (size[0] // patch) * (size[1] // patch)
        macs += tokens * config.vision.output_dim * dim
        macs += 0 if style == 'lean' else classes * config.text_dim * dim
    if width:
        half, quarter = (_cells(size, step) for step in (2, 4))
        macs += half * 9 * 3 * width // 2 + quarter * 9 * width // 2 * width
        macs += quarter * ((dim + width) * 2 * width + 9 * 2 * width + 2 * width * dim)
    return macs


def _cells(size: tuple[int, int], step: int) -> int:
    """Return how many cells strided convolutions make of an image."""
    return -(-size[0] // step) * -(-size[1] // step)


def model_flops(
    config: ZegCLIPConfig,
    size: tuple[int, int],
    classes: int,
    style: Style,
    candidates: int = 0,
) -> float:
    """Return the operations of one image, from normalised pixels to mask logits.

    Args:
        config: The model's shape.
        size: ``(H, W)`` of the image.
        classes: Number of classes.
        style: How it is computed.
        candidates: As in ``decoder_macs``.

    """
    patch = config.vision.patch_size
    patches = (size[0] // patch) * (size[1] // patch)
    canvas = _cells(size, 4) if config.detail_width else patches
    macs = tower_macs(config.vision, patches, style)
    macs += decoder_macs(config, patches, canvas, classes, style, candidates)
    return 2.0 * (macs + joining_macs(config, size, classes, style))


def crops_flops(vision: VisionConfig, crops: int, patches: int, classes: int) -> float:
    """Return the operations of CLIP on so many crops: [CLS] features, and a score for each class.

    Args:
        vision: The image tower's shape; its prompts take no part.
        crops: Number of crops.
        patches: Patches of each.
        classes: Number of classes.

    """
    width, tokens = vision.width, 1 + patches
    layer = tokens * (4 * width**2 + 2 * width * vision.mlp_width) + 2 * tokens**2 * width
    embedding = patches * 3 * vision.patch_size**2 * width
    one = embedding + vision.layers * layer + (width + classes) * vision.embed_dim
    return 2.0 * crops * one
