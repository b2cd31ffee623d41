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
"""LayerNorms and L2 norms of rows of channels on CUDA, each with its neighbours in one kernel."""

import torch
from torch import Tensor
import triton
import triton.language as tl

WIDE = 1024
"""Channels up to which four warps share a row; eight share a wider one."""


# The numbers of tokens change with the size of the frames: no kernel of their own for each.
# Triton reads annotations as code of the kernel, so that only what it knows may stand there.
@triton.jit(do_not_specialize=['count'])  # type: ignore[untyped-decorator]
def _norm_kernel(  # type: ignore[no-untyped-def]
    tokens,  # noqa: ANN001
    branch,  # noqa: ANN001
    weight,  # noqa: ANN001
    bias,  # noqa: ANN001
    extra,  # noqa: ANN001
    out,  # noqa: ANN001
    count,  # noqa: ANN001
    epsilon,  # noqa: ANN001
    width: tl.constexpr,
    adds: tl.constexpr,
    keeps: tl.constexpr,
    block: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < width
    to = out + (image * tl.num_programs(0) + row) * width + column
    if row >= count:
        tl.store(to, tl.load(extra + (row - count) * width + column, mask=inside), mask=inside)
    else:
        place = (image * count + row) * width + column
        value = tl.load(tokens + place, mask=inside, other=0.0).to(tl.float32)
        if adds:
            value += tl.load(branch + place, mask=inside, other=0.0).to(tl.float32)
        if keeps:
            tl.store(tokens + place, value.to(tokens.dtype.element_ty), mask=inside)
        mean = tl.sum(value, 0) / width
        centred = tl.where(inside, value - mean, 0.0)
        variance = tl.sum(centred * centred, 0) / width
        normal = centred * (1.0 / tl.sqrt(variance + epsilon))
        factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
        offset = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(to, (normal * factor + offset).to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=['stride'])  # type: ignore[untyped-decorator]
def _unit_kernel(  # type: ignore[no-untyped-def]
    values,  # noqa: ANN001
    out,  # noqa: ANN001
    stride,  # noqa: ANN001
    epsilon,  # noqa: ANN001
    width: tl.constexpr,
    block: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < width
    place = values + image * stride + row * width + column
    value = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    length = tl.maximum(tl.sqrt(tl.sum(value * value, 0)), epsilon)
    to = out + (image * tl.num_programs(0) + row) * width + column
    tl.store(to, (value / length).to(out.dtype.element_ty), mask=inside)


def norm_in_one_kernel(
    tokens: Tensor,
    branch: Tensor | None,
    layer: torch.nn.LayerNorm,
    dtype: torch.dtype,
    *,
    keep: bool = False,
    extra: Tensor | None = None,
) -> Tensor:
    """Return the LayerNorm of tokens, with what was added to them, in another type.

    Args:
        tokens: Float ``(B, N, D)``, contiguous.
        branch: What is added to them before, float ``(B, N, D)``; ``None`` for nothing.
        layer: The LayerNorm, with weight and bias.
        dtype: Floating-point type of the result.
        keep: Whether the sum takes the place of ``tokens``.
        extra: Rows ``(T, D)`` of that type to put behind those of each image, as they are.

    Returns:
        ``(B, N + T, D)``.
    """
    batch, count, width = tokens.shape
    rows = count if extra is None else count + len(extra)
    out = torch.empty((batch, rows, width), dtype=dtype, device=tokens.device)
    _norm_kernel[(rows, batch)](
        tokens,
        tokens if branch is None else branch.contiguous(),
        layer.weight,
        layer.bias,
        out if extra is None else extra,
        out,
        count,
        layer.eps,
        width,
        branch is not None,
        keep and branch is not None,
        triton.next_power_of_2(width),
        num_warps=4 if width <= WIDE else 8,
    )
    return out


def unit_in_one_kernel(values: Tensor, dtype: torch.dtype, epsilon: float) -> Tensor:
    """Return rows of length 1, in another type.

    Args:
        values: Float ``(B, N, C)``; the rows of an image lie one behind the other.
        dtype: Floating-point type of the result.
        epsilon: What shorter rows are divided by.
    """
    batch, rows, width = values.shape
    if values.stride()[1:] != (width, 1):
        values = values.contiguous()
    out = torch.empty((batch, rows, width), dtype=dtype, device=values.device)
    _unit_kernel[(rows, batch)](
        values,
        out,
        values.stride(0),
        epsilon,
        width,
        triton.next_power_of_2(width),
        num_warps=4 if width <= WIDE else 8,
    )
    return out
