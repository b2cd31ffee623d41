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
"""A copy of a network whose weights hold what a frame would otherwise compute."""

from collections.abc import Sequence
import copy
from fnmatch import fnmatchcase

import torch
from torch import nn, Tensor
from zegclip_core.engines.contract import Network
from zegclip_core.model.blocks import Block, LayerScale, QUICK_GELU, QuickGELU
from zegclip_core.model.vit import VisionTransformer


def own_copy(network: Network, device: torch.device) -> Network:
    """Return a copy on a device, ready to be used, whose parameters may be replaced.

    On the same device it takes no memory: a parameter shares its values with the network's until
    it gets others.
    """
    memo: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach().to(device), requires_grad=False)
        for parameter in network.parameters()
    }
    return copy.deepcopy(network, memo).eval()


def cast(network: Network, dtype: torch.dtype, float32: Sequence[str]) -> None:
    """Bring a model's parameters to a type, those whose names match a pattern to float32."""
    for name, parameter in network.named_parameters():
        stays = any(fnmatchcase(name, pattern) for pattern in float32)
        parameter.data = parameter.data.to(torch.float32 if stays else dtype)


def fold_quick_gelu(visual: VisionTransformer) -> None:
    """Fold QuickGELU's factor into the weights around it, which leaves one kernel of three.

    ``x * sigmoid(a x)`` is ``silu(a x) / a``: ``a`` goes into the layer before, ``1 / a`` into
    the layer behind. A tower that is folded already, or has another activation, stays as it is.
    """
    for block in visual.blocks:
        mlp = block.mlp
        if isinstance(mlp.act, QuickGELU):
            mlp.act = nn.SiLU(inplace=True)
            for parameter in mlp.c_fc.parameters():
                parameter.data = parameter.data * QUICK_GELU
            mlp.c_proj.weight.data = mlp.c_proj.weight.data / QUICK_GELU


def fold_layer_scale(block: Block) -> None:
    """Fold the factors of a block's branches into the layers before them; it may have none."""
    branches = (('ls_1', block.attn.out_proj), ('ls_2', block.mlp.c_proj))
    for name, layer in branches:
        scale = getattr(block, name)
        if isinstance(scale, LayerScale):
            gamma: Tensor = scale.gamma.data
            layer.weight.data = layer.weight.data * gamma[:, None]
            layer.bias.data = layer.bias.data * gamma
            setattr(block, name, nn.Identity())
