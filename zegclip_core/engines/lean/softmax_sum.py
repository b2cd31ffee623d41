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
"""A softmax's sum over all classes at full size, without a map of any class at full size.

Between two neighbouring values of a row, bilinear upsampling is a straight line: from pixel to
pixel a class's logit grows by the same step, so that its exponential is multiplied by the same
factor. Two exponentials a cell and row take the place of one a pixel.
"""

from functools import lru_cache

import torch
from torch import Tensor
from zegclip_core.engines.lean.upsampling import mixed_values

SAFE_SPREAD = 80.0
"""Logits that lie further below the greatest of their patch have no exponential in float32."""
AT_ONCE = 1 << 19
"""Exponentials at once: more do not stay in a cache, of fewer threads wait for each other."""


@lru_cache(maxsize=32)
def _runs(source: int, target: int) -> tuple[Tensor, ...]:
    """Return the runs of pixels along which the share grows by the same step.

    Returns:
        Of each run its two values, the share of its first pixel, and the step; of each pixel its
        run, and its place in it.
    """
    low, high, share = mixed_values(source, target)
    # Pixels before the middle of the first value are flat, and those behind it are not.
    marks = 2 * low + (share == 0)
    _, run, counts = torch.unique_consecutive(marks, return_inverse=True, return_counts=True)
    first = counts.cumsum(0) - counts
    step = (share[first + counts - 1] - share[first]) / (counts - 1).clamp(min=1)
    places = torch.arange(target) - first[run]
    return low[first], high[first], share[first, None], step[:, None], run, places


def sum_of_exponentials(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the sum over all classes of the exponentials of upsampled maps.

    Args:
        maps: Float32 ``(K, h, w)``, in ``[-SAFE_SPREAD, 0]``.
        size: ``(H, W)``.

    Returns:
        Float32 ``(H, W)``.

    """
    above, below, share = mixed_values(maps.shape[1], size[0])
    left, right, start, step, run, places = _runs(maps.shape[2], size[1])
    rows = maps.permute(1, 2, 0).contiguous()
    base = rows.index_select(1, left)
    rise = rows.index_select(1, right) - base
    sums = torch.empty(int(places.max()) + 1, size[0], len(left))
    height = max(AT_ONCE // base[0].numel(), 1)
    for top in range(0, size[0], height):
        part = slice(top, min(top + height, size[0]))
        mix = share[part, None, None]
        first = torch.lerp(base[above[part]], base[below[part]], mix)
        slope = torch.lerp(rise[above[part]], rise[below[part]], mix)
        values = first.addcmul_(slope, start).exp_()
        factor = slope.mul_(step).exp_()
        torch.sum(values, 2, out=sums[0, part])
        for place in range(1, len(sums)):
            torch.sum(values.mul_(factor), 2, out=sums[place, part])
    return sums.movedim(0, 2)[:, run, places]
