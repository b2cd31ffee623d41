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
"""What is done to each row of channels between products: residuals, LayerNorms, L2 norms."""

from collections.abc import Callable
import logging
from types import ModuleType

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.devices import is_of_device, reason_of

logger = logging.getLogger(__name__)

EPSILON = 1e-12
"""What shorter rows are divided by, as in ``torch.nn.functional.normalize``."""


class RowKernels:
    """Norms of rows with what stands before and behind them, by PyTorch or as one kernel each.

    A model's parts share one, so that all of them change at once.

    Attributes:
        fused: Whether kernels of Triton compute them, which need CUDA; once one of them fails,
            PyTorch does.
    """

    fused = False

    def _by_kernel(self, compute: Callable[[ModuleType], Tensor]) -> Tensor | None:
        """Return what a kernel gives; ``None`` without kernels.

        Raises:
            Exception: If memory is short, or the device is lost.
        """
        if not self.fused:
            return None
        try:
            # Triton is not everywhere that torch is, and only CUDA needs it.
            from zegclip_core.engines.lean import rows_cuda

            return compute(rows_cuda)
        # No compiler, or too few registers: each its own kind of error, and nothing was computed.
        except Exception as error:
            if is_of_device(error):
                raise
            self.fused = False
            logger.warning(
                'Frames take longer than they need to, as the kernels for norms fail here: %s.',
                reason_of(error),
            )
            return None

    def norm(
        self,
        tokens: Tensor,
        layer: nn.LayerNorm,
        dtype: torch.dtype,
        *,
        branch: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        """Add a branch to tokens, in their place, and return their LayerNorm.

        Args:
            tokens: Float ``(B, N, D)``, contiguous.
            layer: The LayerNorm.
            dtype: Floating-point type of the result.
            branch: What is added, float ``(B, N, D)``; ``None`` for nothing.
            extra: Rows ``(T, D)`` of that type to put behind those of each image, as they are.

        Returns:
            ``(B, N + T, D)``.
        """
        found = self._by_kernel(
            lambda kernels: kernels.norm_in_one_kernel(
                tokens, branch, layer, dtype, keep=True, extra=extra
            )
        )
        if found is not None:
            return found
        if branch is not None:
            tokens.add_(branch)
        return with_rows(layer(tokens), extra, dtype)

    def norm_of_sum(self, one: Tensor, other: Tensor, layer: nn.LayerNorm) -> Tensor:
        """Return a LayerNorm of a sum, ``(B, N, D)`` in the type of what is added."""
        found = self._by_kernel(
            lambda kernels: kernels.norm_in_one_kernel(one.contiguous(), other, layer, one.dtype)
        )
        if found is not None:
            return found
        normal: Tensor = layer(one + other)
        return normal

    def unit(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return rows ``(B, N, C)`` L2-normalised, in a type."""
        found = self._by_kernel(lambda kernels: kernels.unit_in_one_kernel(values, dtype, EPSILON))
        if found is not None:
            return found
        return F.normalize(values, dim=-1, eps=EPSILON).to(dtype)


def with_rows(tokens: Tensor, extra: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return tokens ``(B, N, D)`` in a type, each image's followed by rows ``(T, D)``."""
    if extra is None:
        return tokens.to(dtype)
    batch, count, width = tokens.shape
    if dtype == tokens.dtype:
        return torch.cat([tokens, extra.expand(batch, -1, -1)], dim=1)
    out = torch.empty((batch, count + len(extra), width), dtype=dtype, device=tokens.device)
    out[:, :count] = tokens
    out[:, count:] = extra
    return out
