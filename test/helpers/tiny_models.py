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
"""Small seeded models in the layout of the published checkpoints, and images for them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

WIDTH = 64  # one attention head, as CLIP's are 64 channels wide
PATCH = 8
GRID = 4


def _block(prefix: str, generator: torch.Generator) -> dict[str, Tensor]:
    shapes = {
        'attn.in_proj_weight': (3 * WIDTH, WIDTH),
        'attn.in_proj_bias': (3 * WIDTH,),
        'attn.out_proj.weight': (WIDTH, WIDTH),
        'attn.out_proj.bias': (WIDTH,),
        'mlp.c_fc.weight': (4 * WIDTH, WIDTH),
        'mlp.c_fc.bias': (4 * WIDTH,),
        'mlp.c_proj.weight': (WIDTH, 4 * WIDTH),
        'mlp.c_proj.bias': (WIDTH,),
    }
    tensors = {f'{prefix}{k}': _random(shape, generator) for k, shape in shapes.items()}
    return tensors | _norm(f'{prefix}ln_1') | _norm(f'{prefix}ln_2')


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 0.2 * torch.randn(shape, generator=generator)


def _norm(prefix: str) -> dict[str, Tensor]:
    return {f'{prefix}.weight': torch.ones(WIDTH), f'{prefix}.bias': torch.zeros(WIDTH)}


def _linear(prefix: str, rows: int, columns: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {
        f'{prefix}.weight': _random((rows, columns), generator),
        f'{prefix}.bias': _random((rows,), generator),
    }


def _tower(layers: int, prompts: int, generator: torch.Generator) -> dict[str, Tensor]:
    tensors = {
        'class_embedding': _random((WIDTH,), generator),
        'positional_embedding': _random((1 + GRID * GRID, WIDTH), generator),
        'conv1.weight': _random((WIDTH, 3, PATCH, PATCH), generator),
        'proj': _random((WIDTH, WIDTH), generator),
        'prompt_embeddings': _random((1, prompts, WIDTH), generator),
        'deep_prompt_embeddings': _random((layers - 1, prompts, WIDTH), generator),
        **_linear('prompt_proj', WIDTH, WIDTH, generator),
    }
    for name in ('ln_pre', 'ln_post', 'prompt_norm'):
        tensors |= _norm(name)
    for index in range(layers):
        tensors |= _block(f'transformer.resblocks.{index}.', generator)
    return tensors


def _decoder(layers: int, generator: torch.Generator) -> dict[str, Tensor]:
    tensors = _linear('q_proj', WIDTH, 2 * WIDTH, generator)
    for index in range(layers):
        prefix = f'decoder_1.layers.{index}.'
        for name in ('q', 'k', 'v', 'proj'):
            tensors |= _linear(f'{prefix}multihead_attn.{name}', WIDTH, WIDTH, generator)
        tensors |= _linear(f'{prefix}linear1', 2 * WIDTH, WIDTH, generator)
        tensors |= _linear(f'{prefix}linear2', WIDTH, 2 * WIDTH, generator)
        for name in ('norm1', 'norm2', 'norm3'):
            tensors |= _norm(f'{prefix}{name}')
        # These never act, but the published files have them.
        tensors[f'{prefix}self_attn.in_proj_weight'] = torch.zeros(3 * WIDTH, WIDTH)
        tensors[f'{prefix}self_attn.in_proj_bias'] = torch.zeros(3 * WIDTH)
        tensors |= _linear(f'{prefix}self_attn.out_proj', WIDTH, WIDTH, generator)
    tensors['loss_decode.criterion.empty_weight'] = torch.ones(16)
    return tensors


def _text(layers: int, generator: torch.Generator) -> dict[str, Tensor]:
    tensors = {
        'token_embedding.weight': _random((49408, WIDTH), generator),
        'positional_embedding': _random((77, WIDTH), generator),
        'text_projection': _random((WIDTH, WIDTH), generator),
        **_norm('ln_final'),
    }
    for index in range(layers):
        tensors |= _block(f'transformer.resblocks.{index}.', generator)
    return tensors


def published_state(*, seed: int = 0, prompts: int = 3) -> dict[str, Tensor]:
    """Return random weights under the names of the published checkpoints."""
    generator = torch.Generator().manual_seed(seed)
    parts = {
        'backbone.': _tower(2, prompts, generator),
        'decode_head.': _decoder(3, generator),
        'text_encoder.': _text(2, generator),
    }
    return {
        f'{prefix}{key}': value
        for prefix, tensors in parts.items()
        for key, value in tensors.items()
    }


def write_published(path: Path, *, seed: int = 0, prompts: int = 3) -> Path:
    """Write a published checkpoint, with what mmcv puts beside the weights."""
    state = published_state(seed=seed, prompts=prompts)
    torch.save({'meta': {'iter': 1}, 'state_dict': state, 'optimizer': {}}, path)
    return path


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return an RGB image of noise, uint8 ``(H, W, 3)``."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
