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
from zegclip_core.engines.contract import LeanOptions
from zegclip_core.model.blocks import Kernels, QUICK_GELU, QuickGELU
from zegclip_core.model.vit import VisionTransformer

ROWS = 256
"""Queries at a time; more do not fit into a core's cache, fewer make small products."""


def kernels_for(device: torch.device, dtype: torch.dtype, options: LeanOptions) -> Kernels:
    """Return what is fastest there."""
    kernels = Kernels()
    if device.type != 'cpu':
        return kernels
    if dtype == torch.bfloat16 and options.bfloat16_attention:
        kernels = kernels._replace(attend=attend_in_bfloat16)
    if dtype == torch.float32 and options.float32_convolutions and _has_onednn():
        kernels = kernels._replace(linear=convolve)
    return kernels


def _has_onednn() -> bool:
    """Return whether PyTorch computes convolutions by oneDNN; its own are slow."""
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a linear layer of tokens ``(B, N, I)`` as a convolution of one pixel.

    PyTorch gives products in float32 to MKL and convolutions to oneDNN, which is a sixth faster
    at them on processors of AMD. The layout is the same, so that nothing is copied.
    """
    pixels = x.unsqueeze(1).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).squeeze(1)


def fold_quick_gelu(visual: VisionTransformer) -> None:
    """Bring QuickGELU's factor into the weights around it: one kernel is left of it, not three.

    ``x * sigmoid(a x)`` is ``silu(a x) / a``.
    """
    for block in visual.blocks:
        mlp = block.mlp
        if isinstance(mlp.act, QuickGELU):
            mlp.act = nn.SiLU(inplace=True)
            for parameter in mlp.c_fc.parameters():
                parameter.data = parameter.data * QUICK_GELU
            mlp.c_proj.weight.data = mlp.c_proj.weight.data / QUICK_GELU


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
