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
"""The light decoder: text embeddings find their patches.

Reference: Zhou et al., "ZegCLIP", CVPR 2023, https://arxiv.org/abs/2212.03588, section 3.3.
Parameter names are those of its release, less the weights that take no part there: the
self-attention and ``norm1`` of every layer, and all of the last layer but its query and key
projections (only that layer's attention logits are the prediction).
"""

import math
from typing import cast

import torch
from torch import nn, Tensor
import torch.nn.functional as F


class CrossAttention(nn.Module):
    """Attention of class queries to patch tokens."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attend from ``queries`` ``(B, K, C)`` to ``tokens`` ``(B, N, C)``."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(queries), self.k(tokens), self.v(tokens))
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class DecoderLayer(nn.Module):
    """Cross-attention and feed-forward, each with a LayerNorm behind it; no self-attention."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, dropout: float) -> None:
        super().__init__()
        self.multihead_attn = CrossAttention(dim, heads, dropout)
        self.linear1 = nn.Linear(dim, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return the queries ``(B, K, C)`` after looking at ``tokens`` ``(B, N, C)``."""
        return self.finish(queries, self.multihead_attn(queries, tokens))

    def finish(self, queries: Tensor, mixed: Tensor) -> Tensor:
        """Return the queries behind the layer, ``mixed`` being what they attended to."""
        queries = self.norm2(queries + self.drop(mixed))
        hidden = self.drop(F.relu(self.linear1(queries)))
        out: Tensor = self.norm3(queries + self.drop(self.linear2(hidden)))
        return out


class MaskAttention(nn.Module):
    """The last layer's attention logits, averaged over its heads."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5 / heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return the mask logits ``(B, K, N)`` of ``queries`` ``(B, K, C)``.

        The mean over heads of scaled query-key products is one product over all channels. The key
        projection is applied to the queries instead of the tokens, as there are far fewer:
        ``q . (W t + b) = (q W) . t + q . b``.
        """
        query = self.q(queries) * self.scale
        offset = query @ self.k.bias
        logits: Tensor = (query @ self.k.weight) @ tokens.transpose(1, 2) + offset.unsqueeze(-1)
        return logits


class RelationshipDescriptor(nn.Module):
    """Class queries that know the image: text embeddings joined by their match with it."""

    def __init__(self, dim: int, enabled: bool = True) -> None:
        """Build the projection of ``[t * g, t]``, or of the text embedding ``t`` alone.

        The latter, with ``enabled`` off, is the paper's ablation.
        """
        super().__init__()
        self.enabled = enabled
        self.q_proj = nn.Linear(2 * dim if enabled else dim, dim)

    def forward(self, text_embeddings: Tensor, image_embedding: Tensor) -> Tensor:
        """Return queries ``(B, K, C)`` of texts ``(K, C)`` for images ``(B, C)``."""
        batch = image_embedding.shape[0]
        texts = text_embeddings.unsqueeze(0).expand(batch, -1, -1)
        if self.enabled:
            texts = torch.cat([texts * image_embedding.unsqueeze(1), texts], dim=-1)
        queries: Tensor = self.q_proj(texts)
        return queries

    def constants(self, text_embeddings: Tensor) -> Tensor:
        """Return the part of the queries ``(K, C)`` that no image changes."""
        dim = text_embeddings.shape[-1]
        return F.linear(text_embeddings, self.q_proj.weight[:, -dim:], self.q_proj.bias)

    def queries(
        self, text_embeddings: Tensor, constants: Tensor, image_embedding: Tensor
    ) -> Tensor:
        """Return queries as ``forward`` does, ``constants`` being those of the texts."""
        batch = image_embedding.shape[0]
        if not self.enabled:
            return constants.unsqueeze(0).expand(batch, -1, -1)
        dim = text_embeddings.shape[-1]
        joined = text_embeddings.unsqueeze(0) * image_embedding.unsqueeze(1)
        return F.linear(joined, self.q_proj.weight[:, :dim]) + constants


class MaskDecoder(nn.Module):
    """Text embeddings, patch tokens and the image embedding to one mask logit map a class.

    Args:
        dim: Width ``C`` of the joint space.
        layers: Number of layers, at least 1; the last one only compares.
        heads: Attention heads; must divide ``dim``.
        mlp_dim: Hidden width of the layers' feed-forward part.
        dropout: Dropout while training.
        relationship_descriptor: Whether queries are ``[t * g, t]`` of text embedding ``t`` and
            image embedding ``g``, or ``t`` alone.

    Raises:
        ValueError: If there is no layer, or ``heads`` does not divide ``dim``.

    Example:
        >>> decoder = MaskDecoder(32, layers=3, heads=4, mlp_dim=64)
        >>> decoder(torch.rand(2, 32, 7, 5), torch.rand(2, 32), torch.rand(9, 32)).shape
        torch.Size([2, 9, 7, 5])

    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int,
        heads: int,
        mlp_dim: int,
        dropout: float = 0.1,
        relationship_descriptor: bool = True,
    ) -> None:
        super().__init__()
        if layers < 1 or dim % heads:
            raise ValueError(
                'Expected at least 1 decoder layer and heads that divide the width, '
                f'but got {layers} layers, {heads} heads and width {dim}.'
            )
        self.relationship = RelationshipDescriptor(dim, relationship_descriptor)
        full = [DecoderLayer(dim, heads, mlp_dim, dropout) for _ in range(layers - 1)]
        # The last layer is a module of its own only for the published parameter names.
        last = nn.ModuleDict({'multihead_attn': MaskAttention(dim, heads)})
        self.layers = nn.ModuleList([*full, last])

    @torch.no_grad()
    def start_with_cosines(self) -> float:
        """Make the mask logits of a new decoder cosines of text embedding and patch token.

        So words that training will not ask for start where aligned towers have them. The layers
        before the last add nothing to the queries, but their norms act: they take from a text
        embedding its mean over the channels and bring it to the length ``sqrt(C)``, less a share
        of about ``C * 5e-6``. With the last layer alone the text embedding stays as it is.

        Returns:
            The factor of the cosines: the last layer's own, times ``sqrt(C)`` where there are
            others before it.
        """
        for name, parameter in self.named_parameters():
            # What a layer adds to the queries, and how the last one changes them.
            if any(part in name for part in ('.proj.', 'linear2.', 'q_proj.')):
                parameter.zero_()
        dim = self.relationship.q_proj.out_features
        self.relationship.q_proj.weight[:, -dim:].fill_diagonal_(1.0)
        compare = self.compare
        for layer in (compare.q, compare.k):
            layer.weight.zero_().fill_diagonal_(1.0)
            layer.bias.zero_()
        length = math.sqrt(dim) if len(self.layers) > 1 else 1.0
        factor: float = length * compare.scale
        return factor

    @property
    def compare(self) -> MaskAttention:
        """The last layer, which compares queries with features."""
        return cast(MaskAttention, self.layers[-1].get_submodule('multihead_attn'))

    def forward(
        self,
        patch_tokens: Tensor,
        image_embedding: Tensor,
        text_embeddings: Tensor,
        mask_features: Tensor | None = None,
    ) -> Tensor:
        """Predict one mask logit map per class.

        Classes never attend to each other, so ``K`` is free and a class's map does not depend on
        which others are asked for.

        Args:
            patch_tokens: L2-normalised patch tokens, ``(B, C, h, w)``, ``h`` and ``w`` in patches.
            image_embedding: L2-normalised embedding of the image, ``(B, C)``.
            text_embeddings: L2-normalised text embeddings of the classes, ``(K, C)``.
            mask_features: L2-normalised features that the queries are compared with,
                ``(B, C, H, W)``; ``None`` for the patch tokens.

        Returns:
            Mask logits before the sigmoid, ``(B, K, h, w)``, or ``(B, K, H, W)``.

        Raises:
            ValueError: If the inputs disagree on ``B`` or ``C``, or ``K`` is 0.

        """
        batch, dim = patch_tokens.shape[:2]
        if image_embedding.shape != (batch, dim) or text_embeddings.shape[1:] != (dim,):
            raise ValueError(
                'Expected patch tokens (B, C, h, w), image embedding (B, C) and text embeddings '
                f'(K, C), but got {tuple(patch_tokens.shape)}, {tuple(image_embedding.shape)} and '
                f'{tuple(text_embeddings.shape)}.'
            )
        if not text_embeddings.shape[0]:  # ``len`` would fix the class count of an export.
            raise ValueError('Expected at least 1 class, but got none.')
        queries = self.relationship(text_embeddings, image_embedding)
        queries = self.decode_queries(queries, patch_tokens)
        return self.mask_logits(queries, patch_tokens if mask_features is None else mask_features)

    def decode_queries(self, queries: Tensor, patch_tokens: Tensor) -> Tensor:
        """Return queries ``(B, K, C)`` after all layers but the last.

        The patch tokens ``(B, C, h, w)`` are L2-normalised. Classes never attend to each other.
        """
        tokens = patch_tokens.flatten(2).transpose(1, 2)  # (B, h * w, C)
        *full, _ = self.layers
        for layer in full:
            queries = layer(queries, tokens)
        return queries

    def mask_logits(self, queries: Tensor, mask_features: Tensor) -> Tensor:
        """Compare decoded queries with L2-normalised features ``(B, C, H, W)``: the last layer.

        Returns mask logits before the sigmoid, ``(B, K, H, W)``.
        """
        logits: Tensor = self.compare(queries, mask_features.flatten(2).transpose(1, 2))
        out: Tensor = logits.unflatten(2, mask_features.shape[2:])
        return out
