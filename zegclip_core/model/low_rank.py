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
"""Low-rank updates of an image tower's weights: trained beside them, merged into them for use.

Reference: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
https://arxiv.org/abs/2106.09685. The factor that it multiplies updates with is 1 here.
"""

from collections.abc import Mapping

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.model.blocks import Block, Kernels
from zegclip_core.model.vit import VisionTransformer

PREFIX = 'low_rank.'
"""What the names of updates begin with, behind it the number of the block and the layer."""
_LAYERS = {
    'in_proj': 'attn.in_proj_weight',
    'out_proj': 'attn.out_proj.weight',
    'c_fc': 'mlp.c_fc.weight',
    'c_proj': 'mlp.c_proj.weight',
}
"""The matrices of a block that are updated, by the names of their updates."""
_PARTS = ('up', 'down')


class LowRank(nn.Module):
    """An update ``up @ down`` of a matrix ``(O, I)``; a new one changes nothing."""

    def __init__(self, out_dim: int, in_dim: int, rank: int) -> None:
        """Build it."""
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, in_dim) * in_dim**-0.5)
        self.up = nn.Parameter(torch.zeros(out_dim, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the update adds to a linear layer of ``x``, ``(..., I)``: ``(..., O)``."""
        return F.linear(F.linear(x, self.down), self.up)


class LowRankUpdates(nn.Module):
    """Updates of the attention and feed-forward matrices of a tower's last blocks.

    Args:
        visual: The tower.
        rank: Rank of the updates, at least 1.
        blocks: How many of the last blocks have them.
    """

    def __init__(self, visual: VisionTransformer, rank: int, blocks: int) -> None:
        super().__init__()
        chosen = list(enumerate(visual.blocks))[-blocks:] if blocks else []
        for index, block in chosen:
            updates = {
                name: LowRank(*block.get_parameter(path).shape, rank)
                for name, path in _LAYERS.items()
            }
            self.add_module(str(index), nn.ModuleDict(updates))

    def kernels(self, visual: VisionTransformer) -> Kernels:
        """Return kernels that run the tower's blocks as if the updates were merged.

        Cheaper to train than merged weights: no gradient of a whole matrix is computed.
        """
        updates = {
            id(_weight(visual.blocks[int(index)], name)): update
            for index, layers in self.named_children()
            for name, update in layers.named_children()
        }

        def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            out = F.linear(x, weight, bias)
            update = updates.get(id(weight))
            return out if update is None else out + update(x)

        return Kernels(linear=linear)


def _weight(block: Block, name: str) -> nn.Parameter:
    return block.get_parameter(_LAYERS[name])


def merge(tower: Mapping[str, Tensor], updates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a tower's weights with the updates added, in float32 where there are any.

    Args:
        tower: Under the names of ``VisionTransformer``.
        updates: Under the names of ``LowRankUpdates``, without ``PREFIX``.

    Raises:
        ValueError: If the tower has no weight that an update is for, half of an update is
            missing, or it is of another shape.
    """
    merged = dict(tower)
    for name in sorted({key.rpartition('.')[0] or key for key in updates}):
        index, _, layer = name.partition('.')
        path = f'transformer.resblocks.{index}.{_LAYERS.get(layer, "")}'
        if path not in tower:
            raise ValueError(f'there is no weight for the update {name}')
        merged[path] = tower[path].float() + _product(name, updates, tower[path].shape)
    odd = sorted(key for key in updates if key.rpartition('.')[2] not in _PARTS)
    if odd:
        raise ValueError(f'there is no such part of an update as {odd[0]}')
    return merged


def _product(name: str, updates: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
    """Return what an update adds to a matrix of a shape, float32."""
    missing = [part for part in _PARTS if f'{name}.{part}' not in updates]
    if missing:
        raise ValueError(f'the update {name} has no {missing[0]}')
    up, down = (updates[f'{name}.{part}'].float() for part in _PARTS)
    if (*up.shape, *down.shape) != (shape[0], down.shape[0], down.shape[0], shape[1]):
        raise ValueError(
            f'the update {name} of a matrix {tuple(shape)} is a product of {tuple(up.shape)} and '
            f'{tuple(down.shape)}'
        )
    return up @ down
