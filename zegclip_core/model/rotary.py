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
"""Rotary positions: queries and keys of patches are turned by angles that tell their place.

Prefix tokens and prompts have no place and stay as they are.

References:
    Su et al., "RoFormer", https://arxiv.org/abs/2104.09864.
    Fang et al., "EVA-02", https://arxiv.org/abs/2303.11331, for the two axes of an image.
    Simeoni et al., "DINOv3", https://arxiv.org/abs/2508.10104.
"""

import math
from typing import get_args, Literal

import torch
from torch import Tensor

Rotary = Literal['none', 'eva02', 'dinov3']
"""Where angles come from.

``eva02``: rows and columns, brought to the grid of 16 by 16 that it was pre-trained on; channels
in neighbouring pairs.
``dinov3``: places between -1 and 1 along each axis; each channel with the one half a head behind.
"""
ROTARIES: tuple[Rotary, ...] = get_args(Rotary)
_EVA02_SIDE, _EVA02_BASE = 16, 10_000.0
_DINOV3_BASE = 100.0


def rotary_table(kind: Rotary, grid: tuple[int, int], prefix: int, width: int) -> Tensor:
    """Return cosines and sines of every token's angles, float32 ``(2, P + h * w, D)``.

    Args:
        kind: Where the angles come from, not ``none``.
        grid: ``(h, w)``, in patches.
        prefix: How many tokens, ``P``, stand before the patches and are not turned.
        width: Width of an attention head, ``D``, a multiple of 4.
    """
    steps = torch.arange(width // 4, dtype=torch.float32) / (width // 4)
    if kind == 'eva02':
        places = [torch.arange(side, dtype=torch.float32) / side * _EVA02_SIDE for side in grid]
        frequencies = _EVA02_BASE**-steps
    else:
        places = [2 * (torch.arange(side, dtype=torch.float32) + 0.5) / side - 1 for side in grid]
        frequencies = 2 * math.pi * _DINOV3_BASE**-steps
    at = torch.stack(torch.meshgrid(*places, indexing='ij'), dim=-1).flatten(0, 1)  # (h * w, 2)
    angles = (at[:, :, None] * frequencies).flatten(1)  # (h * w, D / 2)
    angles = torch.cat([angles.new_zeros(prefix, width // 2), angles])
    wide = angles.repeat_interleave(2, -1) if kind == 'eva02' else torch.cat([angles, angles], -1)
    return torch.stack([wide.cos(), wide.sin()])


def rotate(x: Tensor, table: Tensor, kind: Rotary) -> Tensor:
    """Turn queries or keys ``(B, heads, P + h * w, D)`` by a table of ``rotary_table``'s."""
    if kind == 'eva02':
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    else:
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
    return (x * table[0] + turned * table[1]).to(x.dtype)
