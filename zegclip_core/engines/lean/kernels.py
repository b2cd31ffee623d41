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
"""What the blocks of the image tower are computed by, by device and floating-point type."""

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.model.blocks import Kernels, PYTORCH, QUICK_GELU, QuickGELU
from zegclip_core.model.vit import VisionTransformer

ROWS = 256
"""Queries at a time; more do not fit into a core's cache, fewer make small products."""


def kernels_for(device: torch.device, dtype: torch.dtype) -> Kernels:
    """Return what is fastest there."""
    if device.type == 'cpu' and dtype == torch.bfloat16:
        return Kernels(attend=attend_in_bfloat16)
    # PyTorch's own convolutions, without oneDNN, are slow.
    has_onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    if device.type == 'cpu' and dtype == torch.float32 and has_onednn:
        return Kernels(linear=convolve)
    return PYTORCH


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a linear layer as a convolution of one pixel.

    PyTorch gives products in float32 to MKL and convolutions to oneDNN, which is a sixth faster
    at them on processors of AMD. The layout is the same, so that nothing is copied.

    Args:
        x: Tokens, ``(B, N, I)``.
        weight: ``(O, I)``.
        bias: ``(O,)``, or ``None``.

    Returns:
        ``(B, N, O)``.
    """
    pixels = x.unsqueeze(1).permute(0, 3, 1, 2)  # (B, I, 1, N) in channels-last memory
    out = F.conv2d(pixels, weight[:, :, None, None], bias)  # (B, O, 1, N)
    return out.permute(0, 2, 3, 1).squeeze(1)


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


def attend_in_bfloat16(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax attention as products in bfloat16.

    On a CPU, PyTorch's fused kernel takes as long in bfloat16 as in float32; this takes about two
    thirds of it. The scores before the softmax are rounded to bfloat16 on the way.

    Args:
        query: ``(B, heads, N, D / heads)``.
        key: ``(B, heads, M, D / heads)``.
        value: ``(B, heads, M, D / heads)``.

    Returns:
        ``(B, heads, N, D / heads)``.
    """
    # Contiguous copies: the products would copy strided parts once for every few rows.
    queries, keys, values = (
        part.contiguous().flatten(0, 1) for part in (query * query.shape[-1] ** -0.5, key, value)
    )
    keys = keys.transpose(1, 2)  # (B * heads, D / heads, M)
    mixed = torch.empty_like(queries)
    for start in range(0, queries.shape[1], ROWS):
        rows = slice(start, start + ROWS)
        weights = torch.bmm(queries[:, rows], keys).softmax(dim=-1)  # (B * heads, ROWS, M)
        mixed[:, rows] = torch.bmm(weights, values)
    out: Tensor = mixed.unflatten(0, query.shape[:2])
    return out
