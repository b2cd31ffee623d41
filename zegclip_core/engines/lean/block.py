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
"""A block of the image tower, on tokens that were normalised before."""

from collections.abc import Callable

import torch
from torch import Tensor
from zegclip_core.model.blocks import Block, Kernels, KeysAndValues

Rotate = Callable[[Tensor], Tensor]
"""Turns queries or keys ``(B, heads, N, D / heads)``."""
Prompts = Tensor | KeysAndValues | None
"""A layer's prompts: normalised, ``(T, D)``, or their keys and values; ``None`` for none."""


class LeanBlock:
    """The branches of a block; what they are added to, and the norms, are the tower's.

    Normalised prompts are rows behind the tokens: the one product that makes queries, keys and
    values of all rows leaves those of tokens and prompts in one place. Keys and values of
    prompts cost no product, but those of all tokens are copied to stand beside them.

    Args:
        block: The block, on its device and in its floating-point type.
        prompts: Its prompts, in the type of the products.
        kernels: What computes it.

    Attributes:
        extra: Rows ``(T, D)`` that ``attend`` expects behind the normalised tokens, if any.
    """

    def __init__(self, block: Block, prompts: Prompts, kernels: Kernels) -> None:
        """Keep the parts."""
        self._attention, self._mlp = block.attn, block.mlp
        self.extra = prompts if isinstance(prompts, Tensor) else None
        self._constants = None if isinstance(prompts, Tensor) else prompts
        self._kernels = kernels

    def attend(self, rows: Tensor, tokens: int, rotate: Rotate | None = None) -> Tensor:
        """Return what attention adds to the tokens ``(B, N, D)``.

        Args:
            rows: Normalised, ``(B, N + T, D)`` in the type of the products: tokens, then prompts.
            tokens: How many are tokens, ``N``.
            rotate: Turns queries or keys of the tokens, where their places do so.
        """
        attention, attend, linear = self._attention, self._kernels.attend, self._kernels.linear
        projected = linear(rows, attention.in_proj_weight, attention.in_proj_bias)
        parts = projected.unflatten(-1, (3, attention.heads, -1))  # (B, N + T, 3, heads, d)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        query = query[:, :, :tokens]
        if rotate is not None:
            query = rotate(query)
            # The prompts behind the tokens have no place.
            key = torch.cat([rotate(key[:, :, :tokens]), key[:, :, tokens:]], dim=2)
        if self._constants is not None:
            key, value = (
                torch.cat([part, constant.expand(part.shape[0], -1, -1, -1)], dim=2)
                for part, constant in zip((key, value), self._constants, strict=True)
            )
        mixed = attention.norm(attend(query, key, value).transpose(1, 2).flatten(2))
        return linear(mixed, attention.out_proj.weight, attention.out_proj.bias)

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """Return what the feed-forward part adds to the tokens, of these normalised."""
        out: Tensor = self._mlp(tokens, self._kernels.linear)
        return out
