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
"""What brings the output of two towers into one space."""

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.model.blocks import Block

HEAD_WIDTH = 64
"""Width of an attention head of the blocks behind a projection."""
_MLP_RATIO = 4
_EPS = 1e-6


class Projection(nn.Module):
    """A LayerNorm and a linear map, or an MLP with one hidden layer, into the joint space."""

    def __init__(self, in_dim: int, dim: int, dropout: float = 0.0, hidden: int = 0) -> None:
        """Build it; ``dropout`` acts on the normalised features while training."""
        super().__init__()
        self.norm = nn.LayerNorm(in_dim)
        self.drop = nn.Dropout(dropout)
        if hidden:
            self.hidden = nn.Linear(in_dim, hidden)
        self.has_hidden = hidden > 0
        self.linear = nn.Linear(hidden or in_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_dim)`` to ``(..., dim)``."""
        x = self.drop(self.norm(x))
        if self.has_hidden:
            x = F.gelu(self.hidden(x))
        out: Tensor = self.linear(x)
        return out


class PatchProjection(Projection):
    """A projection of patch tokens, with transformer blocks behind it if there are any.

    Reference: Jose et al., "DINOv2 Meets Text" (dino.txt), https://arxiv.org/abs/2412.16334,
    trains two blocks on a frozen tower.
    """

    def __init__(self, in_dim: int, dim: int, dropout: float = 0.0, blocks: int = 0) -> None:
        """Build it; heads of the blocks are ``HEAD_WIDTH`` wide, or wider to divide ``dim``."""
        super().__init__(in_dim, dim, dropout)
        most = max(dim // HEAD_WIDTH, 1)
        heads = next(count for count in range(most, 0, -1) if dim % count == 0)
        new = [
            Block(
                dim,
                heads=heads,
                mlp_width=_MLP_RATIO * dim,
                activation='gelu',
                eps=_EPS,
                layer_scale=False,
            )
            for _ in range(blocks)
        ]
        for block in new:
            # A new block adds nothing: what the linear map has learnt is where it starts.
            for layer in (block.attn.out_proj, block.mlp.c_proj):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.blocks = nn.ModuleList(new)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, h, w, in_dim)`` to ``(B, h, w, dim)``."""
        tokens: Tensor = super().forward(x)
        if not len(self.blocks):
            return tokens
        flat = tokens.flatten(1, 2)  # (B, h * w, dim)
        for block in self.blocks:
            flat = block(flat, None)
        return torch.unflatten(flat, 1, tokens.shape[1:3])
