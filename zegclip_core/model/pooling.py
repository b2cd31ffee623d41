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
"""Pooling: how the tokens of an image tower become one embedding of the image."""

from typing import get_args, Literal

import torch
from torch import nn, Tensor
import torch.nn.functional as F

Pooling = Literal['token', 'avg', 'map']
"""How the image embedding is made, by timm's names (``global_pool``).

``token``: the first prefix token, as in CLIP and DINOv2 (the class token).
``avg``: the mean of the patch tokens.
``map``: attention pooling over all tokens, as in SigLIP.
"""
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


class AttentionPooling(nn.Module):
    """Attention pooling: a learnt probe attends to all tokens, then goes through an MLP.

    Parameters have the names of SigLIP's ``vision_model.head`` in transformers, those of the
    attention the names of ``torch.nn.MultiheadAttention``.

    References:
        Zhai et al., "Scaling Vision Transformers", https://arxiv.org/abs/2106.04560, for the head.
        Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (SigLIP),
            https://arxiv.org/abs/2303.15343.

    Args:
        width: Width ``D`` of the tokens.
        heads: Attention heads; must divide ``width``.
        mlp_width: Hidden width of the MLP.
        eps: Epsilon of the LayerNorm.

    Example:
        >>> AttentionPooling(32, heads=4, mlp_width=64, eps=1e-6)(torch.rand(2, 35, 32)).shape
        torch.Size([2, 32])

    """

    def __init__(self, width: int, *, heads: int, mlp_width: int, eps: float) -> None:
        """Build the head with untrained weights."""
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.layernorm = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.ModuleDict(
            {
                'fc1': nn.Linear(width, mlp_width),
                'fc2': nn.Linear(mlp_width, width),
            }
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one embedding ``(B, D)`` of normalised tokens ``(B, N, D)``."""
        tokens = tokens.to(self.probe.dtype)
        probe = self.probe.expand(len(tokens), -1, -1)  # (B, 1, D)
        mixed, _ = self.attention(probe, tokens, tokens, need_weights=False)
        hidden = F.gelu(self.mlp['fc1'](self.layernorm(mixed)))
        pooled: Tensor = mixed + self.mlp['fc2'](hidden)
        return pooled[:, 0]
