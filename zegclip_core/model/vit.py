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
"""The image tower: a lean ViT with deep prompt tokens, for CLIP and DINOv2 weights.

Parameter names are CLIP's (https://github.com/openai/CLIP, MIT) as open_clip keeps them, and the
prompts' names are those of ZegCLIP's release, so that published weights load under their own
names.

References:
    Dosovitskiy et al., "An Image is Worth 16x16 Words", https://arxiv.org/abs/2010.11929.
    Jia et al., "Visual Prompt Tuning", https://arxiv.org/abs/2203.12119.
    Zhou et al., "ZegCLIP", https://arxiv.org/abs/2212.03588.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import cast, Literal, NamedTuple

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.model.positions import PositionResize, resize_positions

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
CLIP_STD = (68.5005327, 66.6321579, 70.32316305)

_PROMPT_NORM_EPS = 1e-6


@dataclass(frozen=True)
class VisionConfig:
    """What shapes an image tower.

    Attributes:
        patch_size: Side of a patch, in pixels.
        width: Width of the tokens.
        layers: Number of transformer blocks.
        heads: Attention heads of each block.
        mlp_width: Hidden width of the blocks' feed-forward part.
        grid: ``(H, W)`` of the position table, in patches.
        embed_dim: Width of the joint space that ``proj`` leads to; 0 if there is no ``proj``.
        activation: ``quick_gelu`` for OpenAI's weights, ``gelu`` for most others.
        pre_norm: Whether a LayerNorm stands before the first block (CLIP).
        patch_bias: Whether the patch convolution has a bias (DINOv2).
        layer_scale: Whether each residual branch is scaled by a learnt vector (DINOv2).
        norm_eps: Epsilon of the LayerNorms.
        position_resize: How the position table is brought to another grid.
        mean: Mean that is subtracted from RGB pixels in [0, 255].
        std: What they are divided by then.
        prompt_tokens: Prompt tokens in each layer; 0 for none.
        prompt_dropout: Dropout of the prompts while training.
        class_embedding_twice: Whether the class embedding enters the [CLS] token a second time,
            as in the published ZegCLIP checkpoints.
        prompt_norm: Whether a trained LayerNorm stands before ``ln_post``, as there.
        feature_layers: Blocks, from 0, whose normalised tokens are concatenated as output;
            empty for the last block alone.

    """

    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    grid: tuple[int, int]
    embed_dim: int = 0
    activation: Literal['gelu', 'quick_gelu'] = 'gelu'
    pre_norm: bool = True
    patch_bias: bool = False
    layer_scale: bool = False
    norm_eps: float = 1e-5
    position_resize: PositionResize = 'bicubic'
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    prompt_tokens: int = 0
    prompt_dropout: float = 0.1
    class_embedding_twice: bool = False
    prompt_norm: bool = False
    feature_layers: tuple[int, ...] = ()

    @property
    def wanted_layers(self) -> tuple[int, ...]:
        """Blocks, from 0, whose tokens are the output."""
        return self.feature_layers or (self.layers - 1,)

    @property
    def output_dim(self) -> int:
        """Width of what the tower puts out."""
        return (self.embed_dim or self.width) * max(1, len(self.feature_layers))


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
        """Start with ones."""
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled branch."""
        return x * self.gamma


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
    """What a block spends its time in; the defaults are PyTorch's.

    Attributes:
        attend: Its attention function.
        linear: Its linear layers.
    """

    attend: AttentionFunction = attend
    linear: Linear = F.linear


PYTORCH = Kernels()


class PromptedAttention(nn.Module):
    """Self-attention of image tokens that also look at prompt tokens.

    The prompts' own outputs are never used (the next layer replaces them), so only their keys and
    values are computed: the result equals that of attention over the whole sequence.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Name and shape the parameters like ``torch.nn.MultiheadAttention``."""
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
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
        """Attend from image tokens to image and prompt tokens.

        Args:
            x: Normalised image tokens, ``(B, N, D)``.
            prompts: Keys and values of the prompt tokens; ``None`` where there are none.
            kernels: What computes it.

        Returns:
            The attention's output for the image tokens, ``(B, N, D)``.

        """
        # The tokens may be kept in a wider type than that of the products.
        x = x.to(self.in_proj_weight.dtype)
        projected = kernels.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (self._split(part) for part in projected.chunk(3, dim=-1))
        if prompts is not None:
            key = torch.cat([key, prompts[0]], dim=2)
            value = torch.cat([value, prompts[1]], dim=2)
        mixed = kernels.attend(query, key, value).transpose(1, 2).flatten(2)
        return kernels.linear(mixed, self.out_proj.weight, self.out_proj.bias)


class MLP(nn.Module):
    """The feed-forward part of a block, under CLIP's names."""

    def __init__(self, config: VisionConfig) -> None:
        """Build the two linear layers."""
        super().__init__()
        self.c_fc = nn.Linear(config.width, config.mlp_width)
        self.act: nn.Module = QuickGELU() if config.activation == 'quick_gelu' else nn.GELU()
        self.c_proj = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor, linear: Linear = F.linear) -> Tensor:
        """Return the transformed tokens, ``(B, N, D)``."""
        hidden = linear(x.to(self.c_fc.weight.dtype), self.c_fc.weight, self.c_fc.bias)
        return linear(self.act(hidden), self.c_proj.weight, self.c_proj.bias)


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: VisionConfig) -> None:
        """Build the block that the configuration describes."""
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attn = PromptedAttention(config.width, config.heads)
        self.ls_1 = LayerScale(config.width) if config.layer_scale else nn.Identity()
        self.ln_2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = MLP(config)
        self.ls_2 = LayerScale(config.width) if config.layer_scale else nn.Identity()

    def forward(
        self, x: Tensor, prompts: KeysAndValues | None, kernels: Kernels = PYTORCH
    ) -> Tensor:
        """Return the image tokens after the block.

        Args:
            x: Image tokens, ``(B, N, D)``.
            prompts: What ``prompt_keys_and_values`` returns.
            kernels: What computes it.

        """
        x = x + self.ls_1(self.attn(self.ln_1(x), prompts, kernels))
        out: Tensor = x + self.ls_2(self.mlp(self.ln_2(x), kernels.linear))
        return out

    def prompt_keys_and_values(self, prompts: Tensor | None) -> KeysAndValues | None:
        """Return keys and values of prompt tokens ``(B, T, D)``; they depend on no image."""
        if prompts is None:
            return None
        return self.attn.keys_and_values(self.ln_1(prompts.to(self.ln_1.weight.dtype)))


class Transformer(nn.Module):
    """The stack of blocks, a module of its own only for CLIP's parameter names."""

    def __init__(self, config: VisionConfig) -> None:
        """Build all blocks."""
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config) for _ in range(config.layers))


class VisionTransformer(nn.Module):
    """Images to patch tokens and an image embedding, with prompt tokens in every layer.

    Frozen weights are CLIP's; what ZegCLIP trains has ``prompt`` in its name.

    Args:
        config: The tower's shape.

    """

    def __init__(self, config: VisionConfig) -> None:
        """Build the tower with untrained weights."""
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=config.patch_bias)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        positions = 1 + config.grid[0] * config.grid[1]
        self.positional_embedding = nn.Parameter(torch.randn(positions, width) * width**-0.5)
        self.ln_pre = (
            nn.LayerNorm(width, eps=config.norm_eps) if config.pre_norm else nn.Identity()
        )
        self.transformer = Transformer(config)
        self.ln_post = nn.LayerNorm(width, eps=config.norm_eps)
        if config.embed_dim:
            self.proj = nn.Parameter(torch.randn(width, config.embed_dim) * width**-0.5)
        if config.prompt_tokens:
            self._add_prompts()
        if config.prompt_norm:
            self.prompt_norm = nn.LayerNorm(width, eps=_PROMPT_NORM_EPS)

    def _add_prompts(self) -> None:
        """Make the prompts' parameters, initialised as in the release."""
        config = self.config
        bound = math.sqrt(6.0 / (3 * config.patch_size**2 + config.width))
        tokens, width = config.prompt_tokens, config.width
        self.prompt_embeddings = nn.Parameter(torch.empty(1, tokens, width))
        self.deep_prompt_embeddings = nn.Parameter(torch.empty(config.layers - 1, tokens, width))
        nn.init.uniform_(self.prompt_embeddings, -bound, bound)
        nn.init.uniform_(self.deep_prompt_embeddings, -bound, bound)
        self.prompt_proj = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.prompt_proj.weight, a=0, mode='fan_out')
        self.prompt_drop = nn.Dropout(config.prompt_dropout)

    def _prompts(self, batch: int) -> list[Tensor | None]:
        """Return the prompt tokens of every layer, each ``(B, T, D)``."""
        if not self.config.prompt_tokens:
            return [None] * self.config.layers
        table = torch.cat([self.prompt_embeddings, self.deep_prompt_embeddings])
        projected = self.prompt_proj(table).unsqueeze(1).expand(-1, batch, -1, -1)
        return list(self.prompt_drop(projected))

    def prompt_keys_and_values(self) -> list[KeysAndValues | None]:
        """Return keys and values of every layer's prompt tokens, for a batch of one."""
        prompts = self._prompts(1)
        return [
            block.prompt_keys_and_values(part)
            for block, part in zip(self.blocks, prompts, strict=True)
        ]

    @property
    def blocks(self) -> list[Block]:
        """The transformer blocks."""
        return cast(list[Block], list(self.transformer.resblocks))

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Return the position table ``(1 + h * w, D)`` of a grid of patches."""
        return resize_positions(
            self.positional_embedding, self.config.grid, grid, self.config.position_resize
        )

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens before the first block, ``(B, 1 + h * w, D)``, and the grid."""
        patches = self.conv1(images)
        grid = (patches.shape[2], patches.shape[3])
        patches = patches.flatten(2).transpose(1, 2)
        cls = self.class_embedding.expand(patches.shape[0], 1, -1)
        if self.config.class_embedding_twice:
            cls = cls + self.class_embedding
        x = torch.cat([cls, patches], dim=1) + self.positions(grid)
        tokens: Tensor = self.ln_pre(x)
        return tokens, grid

    def head(self, x: Tensor) -> Tensor:
        """Normalise and project a block's tokens, ``(B, N, D)``."""
        if self.config.prompt_norm:
            x = self.prompt_norm(x)
        x = self.ln_post(x)
        return x.to(self.proj.dtype) @ self.proj if self.config.embed_dim else x

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images.

        Args:
            images: Normalised RGB, ``(B, 3, H, W)``; what is left over at the right and at the
                bottom of whole patches is not seen.

        Returns:
            Patch tokens ``(B, C, h, w)`` with ``h`` and ``w`` in patches, and the [CLS] embedding
            ``(B, C)``; ``C`` is the configuration's ``output_dim``. Neither is normalised.

        """
        x, (rows, columns) = self.embed(images)
        wanted = self.config.wanted_layers
        features = []
        prompts = self._prompts(images.shape[0])
        for index, block in enumerate(self.blocks):
            x = block(x, block.prompt_keys_and_values(prompts[index]))
            if index in wanted:
                features.append(self.head(x))
        out = torch.cat(features, dim=-1)
        patch_tokens = out[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))
        return patch_tokens, out[:, 0]
