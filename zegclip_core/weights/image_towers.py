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
"""Where frozen image towers come from: open_clip, timm, or a file inside a Python package.

Every source ends as a ``VisionConfig`` and a state dict under the names of
``zegclip_core.model.vit.VisionTransformer``; sizes are read off the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
import logging
from pathlib import Path
import re
from typing import Any, Literal

import torch
from torch import Tensor
from zegclip_core.errors import TowerError
from zegclip_core.model.positions import PositionResize, resize_positions
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD, VisionConfig
from zegclip_core.weights.catalogue import unusable_image
from zegclip_core.weights.clip import clip_config, CLIPWeights, load_clip_weights
from zegclip_core.weights.hub import cached_hub_file, hub_is_reachable, hub_url
from zegclip_core.weights.onnx import read_onnx_vit
from zegclip_core.weights.references import package_path, parse_reference, TowerReference

logger = logging.getLogger(__name__)

CLIP_HEAD_WIDTH = 64
"""Width of an attention head in every CLIP that does not say otherwise."""
DINOV2_EPS = 1e-6


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
        return _timm_tower(parsed)
    state_dict, head_width = read_onnx_vit(package_path(parsed))
    return timm_tower(state_dict, head_width=head_width, where=reference)


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
        TowerError: If they hold no ViT of CLIP's kind.
    """
    return clip_tower(
        weights.state_dict,
        config=weights.config,
        quick_gelu=weights.quick_gelu,
        **weights.pixels,
    )


def clip_tower(
    state_dict: Mapping[str, Tensor],
    *,
    config: Mapping[str, Any],
    quick_gelu: bool,
    **settings: Any,  # noqa: ANN401 - fields of VisionConfig
) -> ImageTower:
    """Take the image tower out of CLIP weights.

    Args:
        state_dict: Parameters in OpenAI's layout; those of the image tower begin with ``visual.``.
        config: open_clip's model configuration; ``vision_cfg`` may hold ``head_width``.
        quick_gelu: Whether the weights were trained with QuickGELU.
        **settings: Further fields of ``VisionConfig``.

    Raises:
        TowerError: If the weights hold no ViT of CLIP's kind.
    """
    prefix = 'visual.'
    tower = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
    vision = dict(config.get('vision_cfg') or {})
    shape = vision_config(
        tower,
        head_width=int(vision.get('head_width', CLIP_HEAD_WIDTH)),
        activation='quick_gelu' if quick_gelu else 'gelu',
        **settings,
    )
    return ImageTower(shape, tower)


def vision_config(
    tower: Mapping[str, Tensor],
    *,
    head_width: int,
    activation: Literal['gelu', 'quick_gelu'],
    heads: int | None = None,
    **settings: Any,  # noqa: ANN401 - fields of VisionConfig
) -> VisionConfig:
    """Read a tower's shape off its weights.

    Args:
        tower: Parameters under the names of ``VisionTransformer``.
        head_width: Width of an attention head, where ``heads`` is not known.
        activation: Activation of the feed-forward parts.
        heads: Number of attention heads.
        **settings: Further fields of ``VisionConfig``.

    Raises:
        TowerError: If these are no weights of such a tower.
    """
    needed = ('conv1.weight', 'positional_embedding', 'transformer.resblocks.0.mlp.c_fc.weight')
    missing = [key for key in needed if key not in tower]
    if missing:
        found = ', '.join(sorted(tower)[:3]) or 'none'
        raise TowerError(
            f'Expected a ViT with weights such as {missing[0]}, but the first of the weights are: '
            f'{found}. Convolutional towers cannot be used.'
        )
    width, _, patch, _ = tower['conv1.weight'].shape
    embed_dim = tower['proj'].shape[1] if 'proj' in tower else 0
    return VisionConfig(
        patch_size=patch,
        width=width,
        layers=_count_blocks(tower),
        heads=heads or width // head_width,
        mlp_width=tower['transformer.resblocks.0.mlp.c_fc.weight'].shape[0],
        grid=square_grid(tower['positional_embedding'].shape[0]),
        embed_dim=embed_dim,
        activation=activation,
        pre_norm='ln_pre.weight' in tower,
        patch_bias='conv1.bias' in tower,
        layer_scale='transformer.resblocks.0.ls_1.gamma' in tower,
        **settings,
    )


def square_grid(positions: int) -> tuple[int, int]:
    """Return the patch grid of a position table as its model was pre-trained: a square.

    Raises:
        TowerError: If the table without its [CLS] row is no square.
    """
    side = round((positions - 1) ** 0.5)
    if side * side != positions - 1:
        raise TowerError(
            'Expected a position table with one [CLS] row and a square grid, '
            f'but got {positions} rows.'
        )
    return side, side


def _count_blocks(tower: Mapping[str, Tensor]) -> int:
    pattern = re.compile(r'transformer\.resblocks\.(\d+)\.')
    return 1 + max(int(match[1]) for key in tower if (match := pattern.match(key)))


_TIMM_NAMES = (
    (r'^cls_token$', 'class_embedding'),
    (r'^pos_embed$', 'positional_embedding'),
    (r'^patch_embed\.proj\.', 'conv1.'),
    (r'^norm_pre\.', 'ln_pre.'),
    (r'^norm\.', 'ln_post.'),
    (r'^blocks\.', 'transformer.resblocks.'),
    (r'\.norm([12])\.', r'.ln_\1.'),
    (r'\.attn\.qkv\.(weight|bias)$', r'.attn.in_proj_\1'),
    (r'\.attn\.proj\.', '.attn.out_proj.'),
    (r'\.mlp\.fc1\.', '.mlp.c_fc.'),
    (r'\.mlp\.fc2\.', '.mlp.c_proj.'),
    (r'\.ls([12])\.gamma$', r'.ls_\1.gamma'),
)


def _rename(key: str) -> str:
    for pattern, replacement in _TIMM_NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def timm_tower(
    state_dict: Mapping[str, Tensor],
    *,
    head_width: int = CLIP_HEAD_WIDTH,
    where: str,
    **settings: Any,  # noqa: ANN401 - fields of VisionConfig
) -> ImageTower:
    """Take weights in timm's layout of a ViT (plain, DINOv2 or CLIP kind).

    Args:
        state_dict: Parameters under timm's names; a classification head is left out.
        head_width: Width of an attention head.
        where: What the weights are called in an error message.
        **settings: Further fields of ``VisionConfig``.

    Raises:
        TowerError: If the weights have parts that this tower has no place for.
    """
    tower = {_rename(key): value for key, value in state_dict.items()}
    tower = {key: value for key, value in tower.items() if not key.startswith('head.')}
    odd = [
        key for key in tower if not re.match(r'(transformer|conv1|ln_|class_|positional_)', key)
    ]
    if odd or not {'class_embedding', 'ln_post.weight'} <= set(tower):
        raise TowerError(
            f'Expected {where} to be a ViT of the plain, CLIP or DINOv2 kind with a [CLS] token, '
            f'but {"it has " + odd[0] if odd else "it lacks the [CLS] token or the last norm"}.'
        )
    tower['class_embedding'] = tower['class_embedding'].flatten()
    tower['positional_embedding'] = tower['positional_embedding'].flatten(0, -2)
    defaults: dict[str, Any] = {'norm_eps': DINOV2_EPS, 'mean': IMAGENET_MEAN, 'std': IMAGENET_STD}
    config = vision_config(tower, head_width=head_width, activation='gelu', **defaults | settings)
    return ImageTower(config, tower)


def _timm_tower(reference: TowerReference) -> ImageTower:
    """Load a timm model, from its hub or from a file."""
    import timm  # takes seconds, and a model of another kind never needs it

    if not timm.is_model(reference.name.split('.')[0]):
        near = ', '.join(timm.list_models(f'*{reference.name[:8]}*')[:5])
        raise TowerError(
            f'Expected a model name of timm{f", such as {near}" if near else ""}, '
            f'but got {reference.name!r}.'
        )
    model = _create_timm(timm, reference)
    data = model.pretrained_cfg
    settings = {
        'mean': tuple(255.0 * value for value in data['mean']),
        'std': tuple(255.0 * value for value in data['std']),
        'norm_eps': model.norm.eps,
        'heads': model.blocks[0].attn.num_heads,
    }
    return timm_tower(model.state_dict(), where=str(reference), **settings)


def _create_timm(timm: Any, reference: TowerReference) -> Any:  # noqa: ANN401 - not annotated
    """Build a timm model with weights from a file or, if none is named, from timm's hub."""
    path = None if reference.path is None else str(Path(reference.path).expanduser())
    if path is not None and not Path(path).is_file():
        raise TowerError(f'Expected a file with timm weights, but there is none at {path}.')
    try:
        if path is None:
            _check_timm_download(timm, reference)
        return timm.create_model(
            reference.name, pretrained=path is None, checkpoint_path=path or '', num_classes=0
        ).eval()
    except TowerError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).strip().partition('\n')[0][:200]
        raise TowerError(
            f'Cannot load {reference}: {reason}. Without a network, fetch the weights elsewhere '
            f'and name them as timm:{reference.name}/file:PATH.'
        ) from error


def _check_timm_download(timm: Any, reference: TowerReference) -> None:  # noqa: ANN401
    """Refuse a model that is neither on this machine nor can be fetched, before any retries."""
    known = timm.get_pretrained_cfg(reference.name)
    repository = str(getattr(known, 'hf_hub_id', None) or '')
    names = ['model.safetensors', 'pytorch_model.bin']
    if cached_hub_file(repository, names) is None and not hub_is_reachable():
        raise TowerError(
            f'The weights of {reference} are not on this machine and the model hub cannot be '
            f'reached. Fetch {hub_url(repository, names[0])} where there is a network, and name '
            f'it as timm:{reference.name}/file:PATH.'
        )


def resized_positions(
    tower: ImageTower, grid: tuple[int, int], mode: PositionResize
) -> ImageTower:
    """Return the tower with its position table brought to another grid, as ZegCLIP trains it."""
    table = tower.state_dict['positional_embedding']
    resized = resize_positions(table, tower.config.grid, grid, mode).to(torch.float32)
    return ImageTower(
        replace(tower.config, grid=grid), {**tower.state_dict, 'positional_embedding': resized}
    )
