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
"""ViTs of timm: a table of weight names for each family, and how a model's weights are had."""

from collections.abc import Mapping
from dataclasses import replace
import re
from typing import Any

import torch
from torch import nn, Tensor
from zegclip_core.errors import TowerError
from zegclip_core.files import user_path
from zegclip_core.model.blocks import Activation
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD
from zegclip_core.weights.about import nearest_names
from zegclip_core.weights.catalogue import cached_hub_file, hub_is_reachable, hub_url, TIMM_FILES
from zegclip_core.weights.families import BLOCKS, square_grid, TowerFamily
from zegclip_core.weights.names import TowerReference

_OURS = f'{BLOCKS}*'
TIMM = TowerFamily(
    kind='a ViT of the plain, CLIP or DINOv2 kind with a class token',
    mark='patch_embed.proj.weight',
    names={
        'cls_token': 'class_embedding',
        'pos_embed': 'positional_embedding',
        'patch_embed.proj.*': 'conv1.*',
        'norm_pre.*': 'ln_pre.*',
        'norm.*': 'ln_post.*',
        'blocks.*.norm1.*': f'{_OURS}.ln_1.*',
        'blocks.*.norm2.*': f'{_OURS}.ln_2.*',
        'blocks.*.attn.qkv.*': f'{_OURS}.attn.in_proj_*',
        'blocks.*.attn.proj.*': f'{_OURS}.attn.out_proj.*',
        'blocks.*.mlp.fc1.*': f'{_OURS}.mlp.c_fc.*',
        'blocks.*.mlp.fc2.*': f'{_OURS}.mlp.c_proj.*',
        'blocks.*.ls1.gamma': f'{_OURS}.ls_1.gamma',
        'blocks.*.ls2.gamma': f'{_OURS}.ls_2.gamma',
        'head.**': None,
    },
    needed=('class_embedding', 'ln_post.weight'),
    grid=square_grid,
    facts={'head_width': 64, 'norm_eps': 1e-6, 'mean': IMAGENET_MEAN, 'std': IMAGENET_STD},
)
SIGLIP = replace(
    TIMM,
    kind='a ViT with attention pooling and without a class token, as SigLIP has it',
    mark='attn_pool.latent',
    names={
        **{key: name for key, name in TIMM.names.items() if key != 'cls_token'},
        'attn_pool.latent': 'pool.probe',
        ('attn_pool.q.*', 'attn_pool.kv.*'): 'pool.attention.in_proj_*',
        'attn_pool.proj.*': 'pool.attention.out_proj.*',
        'attn_pool.norm.*': 'pool.layernorm.*',
        'attn_pool.mlp.**': 'pool.mlp.**',
    },
    needed=('pool.probe', 'ln_post.weight'),
    facts={**TIMM.facts, 'pooling': 'map'},
)
"""SigLIP and SigLIP 2 (Zhai et al., https://arxiv.org/abs/2303.15343; Tschannen et al.,
https://arxiv.org/abs/2502.14786)."""
REGISTERS = replace(
    TIMM,
    kind='a ViT of the DINOv2 kind with registers',
    mark='reg_token',
    names={**TIMM.names, 'reg_token': 'register_embedding'},
    needed=(*TIMM.needed, 'register_embedding'),
    placed=0,
)
"""DINOv2 with registers (Darcet et al., https://arxiv.org/abs/2309.16588)."""


TIPS = replace(
    REGISTERS,
    kind='a ViT of TIPSv2, with two class tokens',
    mark='register_tokens',
    names={
        **{key: name for key, name in REGISTERS.names.items() if key != 'reg_token'},
        'register_tokens': 'register_embedding',
        'mask_token': None,
        # As transformers writes them.
        'blocks.*.mlp.c_fc.*': f'{_OURS}.mlp.c_fc.*',
        'blocks.*.mlp.c_proj.*': f'{_OURS}.mlp.c_proj.*',
    },
    placed=1,
    facts={
        **TIMM.facts,
        'position_resize': 'bilinear_antialias',
        'mean': (0.0, 0.0, 0.0),
        'std': (255.0, 255.0, 255.0),
    },
)
"""TIPSv2 (Cao et al., https://arxiv.org/abs/2604.12012) as released, in DINOv2's own naming: its
one register is the second class token, which was trained with synthetic captions."""
TIPS_GATED = replace(
    TIPS,
    kind='a ViT of TIPSv2, with two class tokens and SwiGLU',
    mark='blocks.0.mlp.w12.weight',
    names={
        **{key: name for key, name in TIPS.names.items() if '.mlp.' not in str(key)},
        'blocks.*.mlp.w12.*': f'{_OURS}.mlp.c_fc.*',
        'blocks.*.mlp.w3.*': f'{_OURS}.mlp.c_proj.*',
    },
    needed=(*TIPS.needed, 'register_embedding'),
    facts={**TIPS.facts, 'gated_mlp': True},
)


def _eva02_completed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the biases of keys, which are zero, and turn the projection to the joint space."""
    found = dict(weights)
    for key, bias in weights.items():
        if key.endswith('.attn.q_proj.bias'):
            found[key.replace('q_proj', 'k_proj')] = torch.zeros_like(bias)
    if 'head.weight' in found:
        found['head.weight'] = found['head.weight'].T
    return found


EVA02 = replace(
    TIMM,
    kind='a ViT of EVA-02 CLIP, with rotary positions and SwiGLU',
    mark='blocks.0.mlp.fc1_g.weight',
    names={
        **{
            key: name
            for key, name in TIMM.names.items()
            if not re.search('fc1|qkv|head', str(key))
        },
        tuple(f'blocks.*.attn.{part}_proj.*' for part in 'qkv'): f'{_OURS}.attn.in_proj_*',
        'blocks.*.attn.norm.*': f'{_OURS}.attn.norm.*',
        ('blocks.*.mlp.fc1_g.*', 'blocks.*.mlp.fc1_x.*'): f'{_OURS}.mlp.c_fc.*',
        'blocks.*.mlp.norm.*': f'{_OURS}.mlp.norm.*',
        'head.weight': 'proj',
        'head.bias': 'proj_bias',
    },
    needed=(*TIMM.needed, f'{BLOCKS}0.attn.norm.weight', f'{BLOCKS}0.mlp.norm.weight'),
    facts={**TIMM.facts, 'gated_mlp': True, 'rotary': 'eva02'},
    completed=_eva02_completed,
)
"""EVA-02 as CLIP's image tower (Sun et al., "EVA-CLIP", https://arxiv.org/abs/2303.15389)."""


def _dinov3_completed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add biases of queries, keys and values, and a table of one place, all zero."""
    found = dict(weights)
    for key, weight in weights.items():
        if key.endswith('.attn.qkv.weight'):
            found.setdefault(key.replace('weight', 'bias'), weight.new_zeros(len(weight)))
    found['no_places'] = torch.zeros_like(weights['reg_token'][:, :1])
    return found


DINOV3 = replace(
    REGISTERS,
    kind='a ViT of the DINOv3 kind',
    mark='blocks.0.gamma_1',
    names={
        **{
            key: name
            for key, name in REGISTERS.names.items()
            if '.ls' not in str(key) and key != 'pos_embed'
        },
        'no_places': 'positional_embedding',
        'blocks.*.gamma_1': f'{_OURS}.ls_1.gamma',
        'blocks.*.gamma_2': f'{_OURS}.ls_2.gamma',
        ('blocks.*.mlp.fc1_g.*', 'blocks.*.mlp.fc1_x.*'): f'{_OURS}.mlp.c_fc.*',
    },
    facts={**TIMM.facts, 'norm_eps': 1e-5, 'rotary': 'dinov3'},
    completed=_dinov3_completed,
)
"""DINOv3 (Simeoni et al., https://arxiv.org/abs/2508.10104): places are angles alone."""
_DINOV3_PLACES = (100.0, 'separate', True)
"""Base, division by each side, and pairs of channels of DINOv3's rotary positions."""
_GATED = ('SwiGLU', 'GluMlp')
"""Feed-forward parts of timm's whose gate comes first."""


def load_timm_weights(reference: TowerReference) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load a timm model's parameters, and the ``VisionConfig`` fields that they do not tell.

    Raises:
        TowerError: If there is no such model or file, or its weights cannot be had.
    """
    import timm  # takes seconds, and a model of another kind never needs it

    if not timm.is_model(reference.name.split('.')[0]):
        near = ', '.join(nearest_names(reference.name.split('.')[0], timm.list_models('vit_*'), 5))
        such = f', such as {near},' if near else ''
        raise TowerError(f'Expected a model name of timm{such} but got {reference.name!r}.')
    path = None if reference.path is None else user_path(reference.path)
    if path is not None and not path.is_file():
        raise TowerError(f'Expected a file with timm weights, but there is none at {path}.')
    try:
        if path is None:
            _check_download(timm.get_pretrained_cfg(reference.name), reference)
        model: Any = timm.create_model(
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
    _check_arithmetic(model, reference)
    return model.state_dict(), {
        'mean': tuple(255.0 * value for value in model.pretrained_cfg['mean']),
        'std': tuple(255.0 * value for value in model.pretrained_cfg['std']),
        'norm_eps': getattr(model.norm, 'eps', TIMM.facts['norm_eps']),
        'heads': model.blocks[0].attn.num_heads,
        'activation': _activation(model.blocks[0].mlp.act),
        'gated_mlp': type(model.blocks[0].mlp).__name__ in _GATED,
        'grid': tuple(model.patch_embed.grid_size),
    }


def _check_arithmetic(model: nn.Module, reference: TowerReference) -> None:
    """Refuse a model that has no blocks, or rotary positions that are not computed here."""
    rope: Any = getattr(model, 'rope', None)
    kind = type(rope).__name__
    is_dinov3 = kind == 'RotaryEmbeddingDinoV3' and (
        (rope.temperature, rope.normalize_coords, rope.rotate_half) == _DINOV3_PLACES
    )
    if not hasattr(model, 'blocks') or not hasattr(model, 'patch_embed'):
        why = 'which has no patch tokens that go through blocks'
    elif rope is not None and not is_dinov3 and kind != 'RotaryEmbeddingCat':
        why = f'whose rotary positions ({kind}) are not computed here'
    else:
        return
    raise TowerError(f'Expected a ViT of a known family, but got {reference}, {why}.')


def _activation(layer: nn.Module) -> Activation:
    """Return our name of an activation of timm's."""
    if type(layer).__name__ == 'QuickGELU':
        return 'quick_gelu'
    tanh = type(layer).__name__ == 'GELUTanh' or getattr(layer, 'approximate', '') == 'tanh'
    return 'gelu_tanh' if tanh else 'gelu'


def _check_download(pretrained: object, reference: TowerReference) -> None:
    """Refuse a model that is neither on this machine nor can be fetched, before any retries."""
    repository = str(getattr(pretrained, 'hf_hub_id', None) or '')
    if cached_hub_file(repository, [*TIMM_FILES]) is None and not hub_is_reachable():
        raise TowerError(
            f'The weights of {reference} are not on this machine and the model hub cannot be '
            f'reached. Fetch {hub_url(repository, TIMM_FILES[0])} where there is a network, and '
            f'name it as timm:{reference.name}/file:PATH.'
        )
