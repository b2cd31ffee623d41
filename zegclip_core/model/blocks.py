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
"""Parts of the image tower: blocks whose image tokens also attend to prompts, and pooling."""

from collections.abc import Callable
import math
from typing import get_args, Literal, NamedTuple

import torch
from torch import nn, Tensor
import torch.nn.functional as F

Activation = Literal['gelu', 'quick_gelu', 'gelu_tanh']
"""Activation of the feed-forward parts: QuickGELU for OpenAI's weights, GELU for most others, and
its approximation by tanh for some of SigLIP."""
QUICK_GELU = 1.702
"""The factor in QuickGELU's sigmoid."""


class QuickGELU(nn.Module):
    """The sigmoid approximation of GELU that OpenAI's CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x * sigmoid(QUICK_GELU * x)``."""
        return x * torch.sigmoid(QUICK_GELU * x)


class LayerScale(nn.Module):
    """A learnt factor for each channel of a residual branch (Touvron et al., CaiT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled branch."""
        return x * self.gamma


def activation_layer(activation: Activation) -> nn.Module:
    """Return a layer that computes an activation."""
    if activation == 'quick_gelu':
        return QuickGELU()
    return nn.GELU(approximate='tanh' if activation == 'gelu_tanh' else 'none')


KeysAndValues = tuple[Tensor, Tensor]
"""Keys and values of prompt tokens, each ``(B, heads, T, D / heads)``."""
AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Softmax attention of queries, keys and values, each ``(B, heads, N, D / heads)``."""
Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A linear layer of tokens ``(B, N, I)``, its weight ``(O, I)`` and its bias ``(O,)``."""


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax attention over ``(B, heads, N, D / heads)``."""
    if query.device.type == 'cpu' and query.requires_grad:
        # The CPU's fused kernel takes three times as long as this to train, in bfloat16 above all.
        with torch.autocast('cpu', enabled=False):
            scores = query.float() @ key.float().transpose(-2, -1)
            weights = (scores / math.sqrt(query.shape[-1])).softmax(dim=-1)
            mixed: Tensor = weights @ value.float()
            return mixed
    return F.scaled_dot_product_attention(query, key, value)


class Kernels(NamedTuple):
    """What a block spends its time in, attention and linear layers; by default PyTorch's.

    A tower with rotary positions adds ``rotate``, which turns queries or keys of its tokens,
    ``(B, heads, N, D / heads)``.
    """

    attend: AttentionFunction = attend
    linear: Linear = F.linear
    rotate: Callable[[Tensor], Tensor] | None = None


PYTORCH = Kernels()


class PromptedAttention(nn.Module):
    """Self-attention of image tokens that also look at prompt tokens.

    The prompts' own outputs are never used (the next layer replaces them), so only their keys and
    values are computed: the result equals that of attention over the whole sequence.
    """

    def __init__(self, width: int, heads: int, *, norm_eps: float | None = None) -> None:
        """Name and shape the parameters like ``torch.nn.MultiheadAttention``.

        With ``norm_eps``, a LayerNorm stands before the last layer (EVA-02's sub-LN).
        """
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.norm = nn.Identity() if norm_eps is None else nn.LayerNorm(width, eps=norm_eps)
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def _split(self, x: Tensor) -> Tensor:
        """Return tokens ``(B, N, D)`` as ``(B, heads, N, D / heads)``."""
        parts: Tensor = x.unflatten(-1, (self.heads, -1))
        return parts.transpose(1, 2)

    def keys_and_values(self, prompts: Tensor) -> KeysAndValues:
        """Return keys and values of normalised prompt tokens ``(B, T, D)``."""
        width = prompts.shape[-1]
        weight, bias = self.in_proj_weight[width:], self.in_proj_bias[width:]
        key, value = F.linear(prompts.to(weight.dtype), weight, bias).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(
        self, x: Tensor, prompts: KeysAndValues | None, kernels: Kernels = PYTORCH
    ) -> Tensor:
        """Attend from normalised image tokens ``(B, N, D)`` to these and to any prompt tokens."""
        # The tokens may be kept in a wider type than that of the products.
        x = x.to(self.in_proj_weight.dtype)
        projected = kernels.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (self._split(part) for part in projected.chunk(3, dim=-1))
        if kernels.rotate is not None:
            query, key = kernels.rotate(query), kernels.rotate(key)
        if prompts is not None:
            key = torch.cat([key, prompts[0]], dim=2)
            value = torch.cat([value, prompts[1]], dim=2)
        mixed = self.norm(kernels.attend(query, key, value).transpose(1, 2).flatten(2))
        return kernels.linear(mixed, self.out_proj.weight, self.out_proj.bias)


class MLP(nn.Module):
    """The feed-forward part of a block, under CLIP's names."""

    def __init__(self, width: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.act = activation_layer(activation)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor, linear: Linear = F.linear) -> Tensor:
        """Return the transformed tokens, ``(B, N, D)``."""
        hidden = linear(x.to(self.c_fc.weight.dtype), self.c_fc.weight, self.c_fc.bias)
        return linear(self.act(hidden), self.c_proj.weight, self.c_proj.bias)


class GatedMLP(nn.Module):
    """SwiGLU in the place of the feed-forward part (Shazeer, https://arxiv.org/abs/2002.05202).

    The gate's rows of ``c_fc`` come first. With ``norm_eps``, a LayerNorm stands before the last
    layer (EVA-02's sub-LN).
    """

    def __init__(self, width: int, hidden: int, *, norm_eps: float | None = None) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 2 * hidden)
        self.act = nn.SiLU()
        self.norm = nn.Identity() if norm_eps is None else nn.LayerNorm(hidden, eps=norm_eps)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor, linear: Linear = F.linear) -> Tensor:
        """Return the transformed tokens, ``(B, N, D)``."""
        both = linear(x.to(self.c_fc.weight.dtype), self.c_fc.weight, self.c_fc.bias)
        gate, hidden = both.chunk(2, dim=-1)
        return linear(self.norm(self.act(gate) * hidden), self.c_proj.weight, self.c_proj.bias)


class Block(nn.Module):
    """One pre-norm transformer block of tokens ``(B, N, D)``; the heads divide ``D``.

    ``gated`` puts ``GatedMLP`` in the place of ``MLP``, ``sub_norms`` a LayerNorm before the last
    layer of both branches.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        mlp_width: int,
        activation: Activation,
        eps: float,
        layer_scale: bool,
        gated: bool = False,
        sub_norms: bool = False,
    ) -> None:
        super().__init__()
        inner = eps if sub_norms else None
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.attn = PromptedAttention(width, heads, norm_eps=inner)
        self.ls_1 = LayerScale(width) if layer_scale else nn.Identity()
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mlp: MLP | GatedMLP = (
            GatedMLP(width, mlp_width, norm_eps=inner)
            if gated
            else MLP(width, mlp_width, activation)
        )
        self.ls_2 = LayerScale(width) if layer_scale else nn.Identity()

    def forward(
        self, x: Tensor, prompts: KeysAndValues | None, kernels: Kernels = PYTORCH
    ) -> Tensor:
        """Return image tokens ``(B, N, D)`` behind the block.

        ``prompts`` is what ``prompt_keys_and_values`` returns.
        """
        x = x + self.ls_1(self.attn(self.ln_1(x), prompts, kernels))
        out: Tensor = x + self.ls_2(self.mlp(self.ln_2(x), kernels.linear))
        return out

    def prompt_keys_and_values(self, prompts: Tensor | None) -> KeysAndValues | None:
        """Return keys and values of prompt tokens ``(B, T, D)``; they depend on no image."""
        if prompts is None:
            return None
        return self.attn.keys_and_values(self.ln_1(prompts.to(self.ln_1.weight.dtype)))


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

    Example:
        >>> AttentionPooling(32, heads=4, mlp_width=64, eps=1e-6)(torch.rand(2, 35, 32)).shape
        torch.Size([2, 32])

    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        mlp_width: int,
        eps: float,
        activation: Activation = 'gelu',
    ) -> None:
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
        self.act = activation_layer(activation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one embedding ``(B, D)`` of normalised tokens ``(B, N, D)``."""
        tokens = tokens.to(self.probe.dtype)
        probe = self.probe.expand(len(tokens), -1, -1)  # (B, 1, D)
        mixed, _ = self.attention(probe, tokens, tokens, need_weights=False)
        return self._transformed(mixed)[:, 0]

    def each(self, tokens: Tensor) -> Tensor:
        """Return what each of the normalised tokens ``(B, N, D)`` would be pooled to if alone.

        The probe has nothing else to attend to, so that a token takes the value path only: this
        is MaskCLIP's step for a tower that is pooled by attention.
        """
        tokens = tokens.to(self.probe.dtype)
        width = tokens.shape[-1]
        weight, bias = self.attention.in_proj_weight, self.attention.in_proj_bias
        last = slice(2 * width, None)
        values = F.linear(tokens, weight[last], bias[last])
        return self._transformed(self.attention.out_proj(values))

    def _transformed(self, mixed: Tensor) -> Tensor:
        """Return what was attended to, ``(B, N, D)``, behind the MLP."""
        hidden = self.act(self.mlp['fc1'](self.layernorm(mixed)))
        out: Tensor = mixed + self.mlp['fc2'](hidden)
        return out
