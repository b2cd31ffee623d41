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
"""The image tower: a ViT with deep prompt tokens.

Parameter names are CLIP's (https://github.com/openai/CLIP, MIT) as open_clip keeps them, and the
prompts' names are those of ZegCLIP's release, so that published weights load under their own
names. Weights of other families are renamed by the tables of ``zegclip_core.weights``.

References:
    Dosovitskiy et al., "An Image is Worth 16x16 Words", https://arxiv.org/abs/2010.11929.
    Jia et al., "Visual Prompt Tuning", https://arxiv.org/abs/2203.12119.
    Zhou et al., "ZegCLIP", https://arxiv.org/abs/2212.03588.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import cast, Literal

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.errors import ModelError
from zegclip_core.model.blocks import (
    Activation,
    AttentionPooling,
    Block,
    Kernels,
    KeysAndValues,
    Pooling,
    POOLINGS,
    PYTORCH,
)
from zegclip_core.model.rotary import ROTARIES, Rotary, rotary_table, rotate

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
CLIP_STD = (68.5005327, 66.6321579, 70.32316305)

PositionResize = Literal['bilinear', 'bilinear_antialias', 'bicubic', 'bicubic_offset']
"""Bilinear, the same with a low-pass before it where the grid shrinks (TIPSv2), bicubic, or as
DINO and NACLIP do it: bicubic, with the scale of a grid that is a tenth of a patch larger."""
_GRID_OFFSET = 0.1

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
        num_prefix_tokens: Tokens that stand before the patch tokens: the class token, then
            registers; 0 for none. Each has a row of its own in the position table.
        pooling: How the image embedding is made of the tokens.
        activation: ``quick_gelu`` for OpenAI's weights, ``gelu`` for most others, ``gelu_tanh``
            for some of SigLIP.
        pre_norm: Whether a LayerNorm stands before the first block (CLIP).
        patch_bias: Whether the patch convolution has a bias (DINOv2).
        layer_scale: Whether each residual branch is scaled by a learnt vector (DINOv2).
        gated_mlp: Whether the feed-forward part is a SwiGLU (EVA-02), whatever the activation.
        sub_norms: Whether a LayerNorm stands before the last layer of each branch (EVA-02).
        rotary: How queries and keys are turned by the places of their patches.
        proj_bias: Whether ``proj`` has a bias (EVA-02).
        norm_eps: Epsilon of the LayerNorms.
        position_resize: How the position table is brought to another grid.
        mean: Mean that is subtracted from RGB pixels in [0, 255].
        std: What they are divided by then.
        prompt_tokens: Prompt tokens in each layer; 0 for none.
        prompt_dropout: Dropout of the prompts while training.
        class_embedding_twice: Whether the class embedding is added to the class token a second
            time, as in the published ZegCLIP checkpoints.
        prompt_norm: Whether a trained LayerNorm stands before ``ln_post``, as there.
        feature_layers: Blocks, from 0, whose normalised tokens are concatenated as output;
            empty for the last block alone.

    Raises:
        ModelError: If the pooling or ``rotary`` is not known, or the pooling or
            ``class_embedding_twice`` needs a class token that there is not.

    """

    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    grid: tuple[int, int]
    embed_dim: int = 0
    num_prefix_tokens: int = 1
    pooling: Pooling = 'token'
    activation: Activation = 'gelu'
    pre_norm: bool = True
    patch_bias: bool = False
    layer_scale: bool = False
    gated_mlp: bool = False
    sub_norms: bool = False
    rotary: Rotary = 'none'
    proj_bias: bool = False
    norm_eps: float = 1e-5
    position_resize: PositionResize = 'bicubic'
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    prompt_tokens: int = 0
    prompt_dropout: float = 0.1
    class_embedding_twice: bool = False
    prompt_norm: bool = False
    feature_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.rotary not in ROTARIES:
            raise ModelError(
                f'Expected `rotary` to be one of {", ".join(ROTARIES)}, but got {self.rotary!r}.'
            )
        if self.pooling not in POOLINGS:
            raise ModelError(
                f'Expected the pooling to be one of {", ".join(POOLINGS)}, '
                f'but got {self.pooling!r}.'
            )
        needs_class_token = self.pooling == 'token' or self.class_embedding_twice
        if self.num_prefix_tokens < int(needs_class_token):
            raise ModelError(
                f'Expected at least {int(needs_class_token)} prefix tokens with the pooling '
                f'{self.pooling!r}, but got {self.num_prefix_tokens}.'
            )

    @property
    def wanted_layers(self) -> tuple[int, ...]:
        """Blocks, from 0, whose tokens are the output."""
        return self.feature_layers or (self.layers - 1,)

    @property
    def output_dim(self) -> int:
        """Width of what the tower puts out."""
        return (self.embed_dim or self.width) * max(1, len(self.feature_layers))


class VisionTransformer(nn.Module):
    """Images to patch tokens and an image embedding, with prompt tokens in every layer.

    Frozen weights are CLIP's; what ZegCLIP trains has ``prompt`` in its name.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        width, patch, prefix = config.width, config.patch_size, config.num_prefix_tokens
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=config.patch_bias)
        if prefix:
            self.class_embedding = nn.Parameter(torch.randn(width) * scale)
        if prefix > 1:
            self.register_embedding = nn.Parameter(torch.randn(prefix - 1, width) * scale)
        positions = prefix + config.grid[0] * config.grid[1]
        self.positional_embedding = nn.Parameter(torch.randn(positions, width) * scale)
        self.ln_pre = (
            nn.LayerNorm(width, eps=config.norm_eps) if config.pre_norm else nn.Identity()
        )
        blocks = (
            Block(
                width,
                heads=config.heads,
                mlp_width=config.mlp_width,
                activation=config.activation,
                eps=config.norm_eps,
                layer_scale=config.layer_scale,
                gated=config.gated_mlp,
                sub_norms=config.sub_norms,
            )
            for _ in range(config.layers)
        )
        # A module of its own only for CLIP's parameter names.
        self.transformer = nn.ModuleDict({'resblocks': nn.ModuleList(blocks)})
        self.ln_post = nn.LayerNorm(width, eps=config.norm_eps)
        if config.pooling == 'map':
            self.pool = AttentionPooling(
                width,
                heads=config.heads,
                mlp_width=config.mlp_width,
                eps=config.norm_eps,
                activation=config.activation,
            )
        if config.embed_dim:
            self.proj = nn.Parameter(torch.randn(width, config.embed_dim) * scale)
        if config.proj_bias:
            self.proj_bias = nn.Parameter(torch.zeros(config.embed_dim))
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

    def normalised_prompts(self) -> list[Tensor | None]:
        """Return every layer's prompt tokens behind its first norm, ``(T, D)``."""
        return [
            None if part is None else block.ln_1(part[0].to(block.ln_1.weight.dtype))
            for block, part in zip(self.blocks, self._prompts(1), strict=True)
        ]

    @property
    def blocks(self) -> list[Block]:
        """The transformer blocks."""
        return cast(list[Block], [*self.transformer['resblocks'].children()])

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Return the position table ``(P + h * w, D)`` of a grid: ``P`` prefix tokens, patches."""
        return resize_positions(
            self.positional_embedding, self.config.grid, grid, self.config.position_resize
        )

    def rotary_table(self, grid: tuple[int, int]) -> Tensor:
        """Return what turns queries and keys on a grid, float32 ``(2, P + h * w, D / heads)``."""
        config = self.config
        width = config.width // config.heads
        table = rotary_table(config.rotary, grid, config.num_prefix_tokens, width)
        return table.to(self.positional_embedding.device)

    def placed(self, kernels: Kernels, table: Tensor) -> Kernels:
        """Return kernels whose attention turns queries and keys by that table."""
        return kernels._replace(rotate=lambda x: rotate(x, table, self.config.rotary))

    def prefix_tokens(self) -> Tensor:
        """Return the prefix tokens before their positions are added, ``(P, D)``."""
        if not self.config.num_prefix_tokens:
            return self.positional_embedding[:0]
        tokens = self.class_embedding[None]
        if self.config.class_embedding_twice:
            tokens = tokens + self.class_embedding
        if self.config.num_prefix_tokens > 1:
            tokens = torch.cat([tokens, self.register_embedding])
        return tokens

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens before the first block, ``(B, P + h * w, D)``, and the grid."""
        patches = self.conv1(images)  # (B, D, h, w)
        grid = (patches.shape[2], patches.shape[3])
        patches = patches.flatten(2).transpose(1, 2)  # (B, h * w, D)
        prefix = self.prefix_tokens().expand(patches.shape[0], -1, -1)
        x = torch.cat([prefix, patches], dim=1) + self.positions(grid)
        tokens: Tensor = self.ln_pre(x)
        return tokens, grid

    def head(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise, project and pool the tokens ``(B, P + h * w, D)`` behind a block.

        Returns patch tokens ``(B, h * w, C)`` and the image embedding ``(B, C)``.
        """
        if self.config.prompt_norm:
            x = self.prompt_norm(x)
        return self.pooled(self.ln_post(x))

    def pooled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project and pool normalised tokens ``(B, P + h * w, D)``; result as of ``head``."""
        tokens, prefix = self._project(x), self.config.num_prefix_tokens
        patch_tokens = tokens[:, prefix:]
        if self.config.pooling == 'token':
            return patch_tokens, tokens[:, 0]
        if self.config.pooling == 'avg':
            return patch_tokens, patch_tokens.mean(dim=1)
        return patch_tokens, self._project(self.pool(x))

    def _project(self, x: Tensor) -> Tensor:
        """Bring ``(..., D)`` into the joint space, ``(..., C)``, if the tower has one."""
        if not self.config.embed_dim:
            return x
        projected = x.to(self.proj.dtype) @ self.proj
        return projected + self.proj_bias if self.config.proj_bias else projected

    def forward(self, images: Tensor, kernels: Kernels = PYTORCH) -> tuple[Tensor, Tensor]:
        """Encode images.

        Args:
            images: Normalised RGB, ``(B, 3, H, W)``; what is left over at the right and at the
                bottom of whole patches is not seen.
            kernels: What computes the blocks.

        Returns:
            Patch tokens ``(B, C, h, w)`` with ``h`` and ``w`` in patches, and the image embedding
            ``(B, C)``; ``C`` is the configuration's ``output_dim``. Neither is normalised.

        """
        x, grid = self.embed(images)
        if self.config.rotary != 'none':
            kernels = self.placed(kernels, self.rotary_table(grid))
        prompts = self._prompts(images.shape[0])
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x, block.prompt_keys_and_values(prompts[index]), kernels)
            if index in self.config.wanted_layers:
                features.append(self.head(x))
        return concatenated(features, grid)


def concatenated(
    features: Sequence[tuple[Tensor, Tensor]], grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Concatenate what ``VisionTransformer.head`` gives for each of ``L`` blocks.

    Returns patch tokens ``(B, L * C, h, w)`` of that grid and the embedding ``(B, L * C)``.
    """
    patch_tokens, embedding = (
        parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        for parts in zip(*features, strict=True)
    )
    maps = patch_tokens.transpose(1, 2)  # (B, L * C, h * w)
    # Not unflattened: the sides of what is would be constants of an ONNX file with free sizes.
    return maps.reshape(maps.shape[0], maps.shape[1], grid[0], grid[1]), embedding


def resize_positions(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], mode: PositionResize
) -> Tensor:
    """Bring a position table to another patch grid; the rows of prefix tokens stay.

    Args:
        table: ``(P + H * W, D)``, the rows of the ``P`` prefix tokens first.
        old: ``(H, W)`` of the table, in patches.
        new: ``(h, w)`` wanted, in patches.
        mode: How patches in between are interpolated.

    Returns:
        ``(P + h * w, D)``, computed in float32 and given back in the dtype of ``table``.

    """
    if old == new:
        return table
    prefix, patches = table.tensor_split([len(table) - old[0] * old[1]])
    grid = patches.float().reshape(1, *old, -1).permute(0, 3, 1, 2)  # (1, D, H, W)
    if mode == 'bicubic_offset':
        scale = [(wide + _GRID_OFFSET) / narrow for wide, narrow in zip(new, old, strict=True)]
        grid = F.interpolate(grid, scale_factor=scale, mode='bicubic', align_corners=False)
    else:
        way, _, low_pass = mode.partition('_')
        grid = F.interpolate(
            grid, size=new, mode=way, align_corners=False, antialias=bool(low_pass)
        )
    return torch.cat([prefix, grid.flatten(2).squeeze(0).T.to(table.dtype)])
