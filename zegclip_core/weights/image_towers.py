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
"""Frozen image towers by reference: weights of a known family, and the shape read off them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
import math
from typing import Any

import torch
from torch import Tensor
from zegclip_core.errors import TowerError
from zegclip_core.model.vit import PositionResize, resize_positions, VisionConfig
from zegclip_core.weights.catalogue import unusable_image
from zegclip_core.weights.clip import CLIP, clip_config, CLIPWeights, load_clip_weights
from zegclip_core.weights.families import rename_weights, TowerFamily
from zegclip_core.weights.onnx import DINOV2, read_onnx_vit
from zegclip_core.weights.references import package_path, parse_reference, TowerReference
from zegclip_core.weights.state_dicts import under
from zegclip_core.weights.timm_towers import load_timm_weights, TIMM

FAMILIES: tuple[TowerFamily, ...] = (CLIP, TIMM, DINOV2)
"""Those that image towers can be of."""
_BLOCKS = 'transformer.resblocks.'
_NEEDED = ('conv1.weight', 'positional_embedding', f'{_BLOCKS}0.mlp.c_fc.weight')
"""Weights, under our names, that tell a tower's shape."""


@dataclass(frozen=True)
class ImageTower:
    """Weights of a frozen image tower.

    Attributes:
        config: Their shape, without prompts.
        state_dict: Parameters under the names of ``VisionTransformer``.
    """

    config: VisionConfig
    state_dict: dict[str, Tensor]


def load_image_tower(reference: str) -> ImageTower:
    """Load the image tower that a reference names (``zegclip_core.weights.references``).

    Raises:
        TowerError: If it cannot be found or read, or is of a kind that this project cannot use.
    """
    parsed = parse_reference(reference)
    if parsed.kind == 'open_clip':
        check_image_tower(parsed)
        return clip_image_tower(load_clip_weights(parsed))
    if parsed.kind == 'timm':
        weights, facts = load_timm_weights(parsed)
        return image_tower(weights, where=reference, **facts)
    return image_tower(read_onnx_vit(package_path(parsed)), where=reference)


def check_image_tower(reference: TowerReference) -> None:
    """Refuse a model of open_clip whose image tower is no plain ViT, before any download.

    Raises:
        TowerError: If it is none, or there is no such model.
    """
    reason = unusable_image(clip_config(reference))
    if reason:
        raise TowerError(
            f'Expected a CLIP whose image tower is a plain ViT, but got {reference}: {reason}, '
            'which is not supported.'
        )


def clip_image_tower(weights: CLIPWeights) -> ImageTower:
    """Take the image tower out of weights of open_clip.

    Raises:
        TowerError: If they hold no tower of a known family.
    """
    vision = weights.config.get('vision_cfg') or {}
    facts: dict[str, Any] = dict(weights.pixels)
    if 'head_width' in vision:
        facts['head_width'] = vision['head_width']
    size, patch = vision.get('image_size'), vision.get('patch_size')
    if size and patch:
        height, width = (size, size) if isinstance(size, int) else size
        facts['grid'] = (height // patch, width // patch)
    return image_tower(
        under('visual.', weights.state_dict),
        where=weights.source,
        activation='quick_gelu' if weights.quick_gelu else 'gelu',
        **facts,
    )


def image_tower(
    weights: Mapping[str, Tensor],
    *,
    where: str,
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    **facts: Any,  # noqa: ANN401 - fields of VisionConfig
) -> ImageTower:
    """Bring the weights of any known family under our names, and read their shape off them.

    Args:
        weights: Under the names of their family.
        where: What the weights are called in an error message.
        heads: Attention heads of each block; ``None`` where the source does not tell.
        grid: ``(H, W)`` of the position table as the source tells it. Where it does not, or the
            table is of another size, the family says how the grid is known.
        **facts: Further fields of ``VisionConfig``, and ``head_width``, in place of the family's.

    Raises:
        TowerError: If the weights are of no known family, or have parts that it does not know.
    """
    family = next((each for each in FAMILIES if each.mark in weights), None)
    if family is None:
        found = ', '.join(sorted(weights)[:3]) or 'none'
        raise TowerError(
            f'Expected a ViT with weights such as {CLIP.mark}, but the first of the weights are: '
            f'{found}. Convolutional towers cannot be used.'
        )
    expected = f'{where} to be {family.kind}'
    tower = rename_weights(weights, family.names, expected=expected)
    missing = [key for key in (*_NEEDED, *family.needed) if key not in tower]
    if missing:
        raise TowerError(f'Expected {expected}, but it lacks {missing[0]}.')
    # Some families keep a batch of one, and CLIP's class embedding has no row.
    for key in ('positional_embedding', 'register_embedding'):
        if key in tower:
            tower[key] = tower[key].flatten(0, -2)  # (N, D)
    if 'class_embedding' in tower:
        tower['class_embedding'] = tower['class_embedding'].flatten()  # (D,)
    prefix = int('class_embedding' in tower) + len(tower.get('register_embedding', ()))
    patches = len(tower['positional_embedding']) - prefix
    if grid is None or math.prod(grid) != patches:
        grid = family.grid(patches)
    facts = {**family.facts, **facts}
    head_width = facts.pop('head_width')
    width, _, patch, _ = tower['conv1.weight'].shape
    config = VisionConfig(
        patch_size=patch,
        width=width,
        layers=len({key.split('.')[2] for key in tower if key.startswith(_BLOCKS)}),
        heads=heads or width // head_width,
        mlp_width=len(tower[f'{_BLOCKS}0.mlp.c_fc.weight']),
        grid=grid,
        embed_dim=tower['proj'].shape[1] if 'proj' in tower else 0,
        num_prefix_tokens=prefix,
        pre_norm='ln_pre.weight' in tower,
        patch_bias='conv1.bias' in tower,
        layer_scale=f'{_BLOCKS}0.ls_1.gamma' in tower,
        **facts,
    )
    return ImageTower(config, tower)


def resized_positions(
    tower: ImageTower, grid: tuple[int, int], mode: PositionResize
) -> ImageTower:
    """Return the tower with its position table brought to another grid, as ZegCLIP trains it."""
    table = tower.state_dict['positional_embedding']
    resized = resize_positions(table, tower.config.grid, grid, mode).to(torch.float32)
    return ImageTower(
        replace(tower.config, grid=grid), {**tower.state_dict, 'positional_embedding': resized}
    )
