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
"""Softmax attention, by device and floating-point type."""

import torch
from torch import Tensor
from zegclip_core.vit import Mix

ROWS = 256
"""Queries at a time; more do not fit into a core's cache, fewer make small products."""


def attention_for(device: torch.device, dtype: torch.dtype) -> Mix | None:
    """Return what attends fastest there; ``None`` for PyTorch's own kernels."""
    return attend_in_bfloat16 if device.type == 'cpu' and dtype == torch.bfloat16 else None


def attend_in_bfloat16(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax attention over ``(B, heads, N, D / heads)`` as products in bfloat16.

    On a CPU, PyTorch's fused kernel takes as long in bfloat16 as in float32; this takes about two
    thirds of it. The scores before the softmax are rounded to bfloat16 on the way.
    """
    # Of its own each: products would copy what is strewn once for every few rows.
    queries, keys, values = (
        part.contiguous().flatten(0, 1) for part in (query * query.shape[-1] ** -0.5, key, value)
    )
    keys = keys.transpose(1, 2)
    mixed = torch.empty_like(queries)
    for start in range(0, queries.shape[1], ROWS):
        rows = slice(start, start + ROWS)
        weights = torch.bmm(queries[:, rows], keys).softmax(dim=-1)
        mixed[:, rows] = torch.bmm(weights, values)
    out: Tensor = mixed.unflatten(0, query.shape[:2])
    return out
