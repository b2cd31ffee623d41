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
"""The highest rates that a device reaches, by precision: what the methods' are compared with."""

from collections.abc import Callable
from functools import partial
import math
import time

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.devices import DTYPES
from zegclip_core.speed.timing import timed

SECONDS = 2.0
"""How long a precision may take; a product that would end later is not begun."""
_SHAPES = (
    (512, 512, 512),
    (1025, 768, 3072),
    *((side, side, side) for side in (2048, 4096, 8192)),
)
"""Rows, inputs and outputs: small ones for a slow device, then the largest linear layer of the
published model, then large ones."""
_CALLS = 5


@torch.inference_mode()
def measure_ceiling(precision: str, device: torch.device, seconds: float = SECONDS) -> float:
    """Return the highest rate of large products in a precision, in TFLOP/s.

    A multiplication and its addition are two operations. Of several shapes and, on a CPU, of the
    two libraries that may multiply, the fastest call counts.
    """
    end, best, last = time.perf_counter() + seconds, 0.0, math.inf
    for rows, inputs, outputs in _SHAPES:
        operations = 2 * rows * inputs * outputs
        if time.perf_counter() + operations / last > end:
            break
        for work in _products(rows, inputs, outputs, DTYPES[precision], device):
            for _ in range(1 + _CALLS):  # The first chooses a kernel.
                last = operations / timed(device, work)[1]
                best = max(best, last)
                if time.perf_counter() > end:
                    break
    return best / 1e12


def _products(
    rows: int, inputs: int, outputs: int, dtype: torch.dtype, device: torch.device
) -> list[Callable[[], Tensor]]:
    """Return the ways to multiply matrices of a shape."""
    a = torch.ones(rows, inputs, dtype=dtype, device=device)
    b = torch.ones(outputs, inputs, dtype=dtype, device=device)
    ways: list[Callable[[], Tensor]] = [partial(F.linear, a, b)]
    if device.type == 'cpu':
        # A convolution of one pixel is the same, by oneDNN.
        pixels = a.T[None, :, None].contiguous(memory_format=torch.channels_last)
        ways.append(partial(F.conv2d, pixels, b[:, :, None, None]))
    return ways
