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
"""Which values a bilinear upsampling mixes, along one axis."""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=32)
def mixed_values(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return how ``torch.nn.functional.interpolate`` goes from ``source`` values to ``target``.

    That is: bilinear, the outer edges of the first and the last value kept in place.

    Returns:
        Of each pixel the two values that it mixes, int64 ``(target,)`` each, and the share of the
        second one, float32.

    """
    scale = torch.tensor(source, dtype=torch.float32) / target  # As torch rounds it.
    at = ((torch.arange(target) + 0.5) * scale - 0.5).clamp(0)
    low = at.long().clamp(max=source - 1)
    return low, (low + 1).clamp(max=source - 1), at - low
