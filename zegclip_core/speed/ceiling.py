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
"""What the device can do at most: products of large matrices, and copying."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from zegclip_core.devices import DTYPES
from zegclip_core.speed.watch import Watch

_SIDES = {'cpu': (1024, 2048), 'cuda': (4096, 8192)}
"""Sides of the square matrices to try: larger ones are not faster, and take longer."""
_COPIED = {'cpu': 2**28, 'cuda': 2**30}
"""Bytes to copy, many times what caches hold."""
_REPEATS = 5


@dataclass(frozen=True)
class Ceiling:
    """The fastest that was seen.

    Attributes:
        tflops: Rate of a product of large matrices by precision, in 10^12 operations a second.
        copy_gbps: Bytes read and written by a copy, in 10^9 a second.
    """

    tflops: dict[str, float]
    copy_gbps: float

    @property
    def peak_tflops(self) -> float:
        """The rate of the fastest precision."""
        return max(self.tflops.values())


def measure_ceiling(device: torch.device, *, shrink: int = 1) -> Ceiling:
    """Measure a device; takes a few seconds.

    Args:
        device: Where.
        shrink: What to divide the sizes by, for a rough and quick figure.

    """
    names = [name for name in DTYPES if device.type == 'cuda' or name != 'fp16']
    sides = [max(side // shrink, 16) for side in _SIDES[device.type]]
    tflops = {
        name: max(_product_rate(device, DTYPES[name], side) for side in sides) for name in names
    }
    return Ceiling(tflops, _copy_rate(device, _COPIED[device.type] // shrink**2))


def _product_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Return the rate of the product of two square matrices [TFLOP/s]."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    seconds = _fastest(device, lambda: torch.mm(left, right, out=out))
    return 2.0 * side**3 / seconds / 1e12


def _copy_rate(device: torch.device, count: int) -> float:
    """Return how fast bytes are read and written by a copy [GB/s]."""
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2.0 * count / _fastest(device, lambda: target.copy_(source)) / 1e9


@torch.inference_mode()
def _fastest(device: torch.device, work: Callable[[], object]) -> float:
    """Return the least time that a piece of work takes, after one that does not count [s]."""
    watch, times = Watch(device), []
    for _ in range(1 + _REPEATS):
        watch.start()
        work()
        times.append(watch.seconds())
    return min(times[1:])
