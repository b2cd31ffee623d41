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
"""The decoder and the detail branch with fewer, larger steps."""

from typing import cast

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.engines.lean.pixels import FoldedConvolution
from zegclip_core.engines.lean.rows import RowKernels
from zegclip_core.model.blocks import Linear
from zegclip_core.model.decoder import DecoderLayer, MaskAttention, MaskDecoder
from zegclip_core.model.zegclip import DetailBranch, LogitScale

ALIGNED = 8
"""Rows of products begin at multiples of so many values: CUDA's fast kernels ask for it."""


class LeanDecoder:
    """Runs a decoder on rows of tokens; all layers' keys and values are one product of them.

    The last layer's projections, which compare queries with features, and the factor and offset
    of its logits are one matrix.

    Args:
        decoder: The decoder, on its device and in its floating-point type.
        exact: The same decoder before it was cast, of which that matrix is made.
        scale: Factor and offset of the mask logits, if there are any.
        rows: What computes its norms.
    """

    def __init__(
        self,
        decoder: MaskDecoder,
        exact: MaskDecoder,
        scale: LogitScale | None,
        rows: RowKernels,
    ) -> None:
        """Join the weights."""
        self._layers = cast(list[DecoderLayer], list(decoder.layers[:-1]))
        attentions = [layer.multihead_attn for layer in self._layers]
        parts = [part for each in attentions for part in (each.k, each.v)]
        if parts:
            self._weight = torch.cat([part.weight.detach() for part in parts])
            self._bias = torch.cat([part.bias.detach() for part in parts])
        self._compare = [
            part.to(decoder.compare.q.weight) for part in joined_comparison(exact.compare, scale)
        ]
        self._rows = rows

    def decode(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return queries ``(B, R, C)`` behind all layers but the last.

        The tokens ``(B, N, C)`` are L2-normalised.
        """
        if not self._layers:
            return queries
        heads = self._layers[0].multihead_attn.heads
        joined = F.linear(tokens, self._weight, self._bias)
        # Keys and values of each layer in turn, (2 L, B, heads, N, C / heads).
        parts = joined.unflatten(-1, (-1, heads, tokens.shape[-1] // heads)).permute(2, 0, 3, 1, 4)
        for layer, key, value in zip(self._layers, parts[::2], parts[1::2], strict=True):
            attention = layer.multihead_attn
            query = attention.q(queries).unflatten(-1, (heads, -1)).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(query, key, value)
            mixed = attention.proj(mixed.transpose(1, 2).flatten(2))
            queries = self._rows.norm_of_sum(queries, mixed, layer.norm2)
            hidden = layer.linear2(F.relu(layer.linear1(queries)))
            queries = self._rows.norm_of_sum(queries, hidden, layer.norm3)
        return queries

    def mask_logits(self, queries: Tensor, features: Tensor) -> Tensor:
        """Return mask logits ``(B, R, N)`` of decoded queries ``(B, R, C)``.

        The features ``(B, N, C)`` are L2-normalised.
        """
        weight, bias = self._compare
        width = features.shape[-1]
        compared = F.linear(queries, weight, bias)  # (B, R, C + ALIGNED)
        logits = compared[..., :width] @ features.transpose(1, 2)
        return logits.add_(compared[..., width, None])


def joined_comparison(compare: MaskAttention, scale: LogitScale | None) -> tuple[Tensor, Tensor]:
    """Return weight and bias of one linear layer for ``MaskAttention``'s two and the scale.

    Of a query it gives, in float64, what the product with a feature takes, ``C`` values, then
    what is added to the product, then ``ALIGNED - 1`` zeros. With ``q = s (W x + b)`` the mask
    logit of a feature ``t`` is ``q . (K t + c)``, which is ``(K^T q) . t + c . q``.
    """
    weight, bias, keys, offset = (
        part.detach().double()
        for layer in (compare.q, compare.k)
        for part in (layer.weight, layer.bias)
    )
    factor = compare.scale * (1.0 if scale is None else scale.log_scale.detach().double().exp())
    rows = torch.cat([keys.T, offset[None]]) * factor  # (C + 1, C)
    joined, added = rows @ weight, rows @ bias
    if scale is not None:
        added[-1] += scale.bias.detach().double()
    room = ALIGNED - 1
    return F.pad(joined, (0, 0, 0, room)), F.pad(added, (0, room))


class LeanDetail:
    """Runs a detail branch on rows of pixels, each with all its channels.

    A convolution of one pixel and bilinear upsampling change places: what the branch mixes of
    the patch tokens is computed on the patches.

    Args:
        detail: The branch, on its device and in its floating-point type.
        stem: Its first convolution.
        linear: What computes its linear layers.
    """

    def __init__(self, detail: DetailBranch, stem: FoldedConvolution, linear: Linear) -> None:
        """Part the weights."""
        second = cast(nn.Conv2d, detail.stem[3]).weight
        second.data = second.data.contiguous(memory_format=stem.memory_format)
        self._detail, self._stem, self._linear = detail, stem, linear
        dim = detail.out.out_channels
        mix = detail.mix.weight.detach().flatten(1)  # (2 W, C + W)
        self._of_tokens, self._of_pixels = (
            part.contiguous() for part in mix.split([dim, mix.shape[1] - dim], dim=1)
        )
        self._out = detail.out.weight.detach().flatten(1)

    def __call__(self, tokens: Tensor, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the fine tokens ``(B, H * W, C)`` that ``DetailBranch`` gives, and ``(H, W)``.

        Args:
            tokens: Projected patch tokens, ``(B, C, h, w)``.
            images: What ``resized`` gives, ``(B, 3, 4 H, 4 W)``.
        """
        detail = self._detail
        pixels = detail.stem[1:](self._stem(images))  # (B, W, H, W)
        size = (pixels.shape[2], pixels.shape[3])
        coarse = upsampled(tokens, size)
        mixed = self._linear(rows_of(pixels), self._of_pixels, detail.mix.bias)
        shared = self._linear(rows_of(tokens), self._of_tokens, None)
        mixed = F.gelu(
            mixed.add_(upsampled(maps_of(shared, (tokens.shape[2], tokens.shape[3])), size))
        )
        spread = detail.spread(maps_of(mixed, size))
        mixed = mixed.add_(rows_of(F.gelu(spread)))
        return self._linear(mixed, self._out, detail.out.bias).add_(coarse), size


def rows_of(maps: Tensor) -> Tensor:
    """Return maps ``(B, C, h, w)`` as rows ``(B, h * w, C)``, contiguous."""
    return maps.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def maps_of(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Return rows ``(B, h * w, C)`` as maps ``(B, C, h, w)`` in channels-last memory."""
    out: Tensor = rows.unflatten(1, size).permute(0, 3, 1, 2)
    return out


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps ``(B, C, h, w)`` at a size, as rows ``(B, H * W, C)``."""
    return rows_of(F.interpolate(maps, size=size, mode='bilinear'))
