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
"""Position tables of image towers, brought to other patch grids."""

from typing import Literal

import torch
from torch import Tensor
import torch.nn.functional as F

PositionResize = Literal['bilinear', 'bicubic', 'bicubic_offset']
"""Bilinear, bicubic, or as DINO and NACLIP do it: bicubic, with the scale of a grid that is a
tenth of a patch larger."""
_GRID_OFFSET = 0.1


def resize_positions(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], mode: PositionResize
) -> Tensor:
    """Bring a position table to another patch grid; the [CLS] row stays.

    Args:
        table: ``(1 + H * W, D)``, the [CLS] row first.
        old: ``(H, W)`` of the table.
        new: ``(H, W)`` wanted.
        mode: How.

    Returns:
        ``(1 + H * W, D)`` of the new grid, computed in float32 and given back in the old dtype.

    """
    if old == new:
        return table
    grid = table[1:].float().reshape(1, *old, -1).permute(0, 3, 1, 2)
    if mode == 'bicubic_offset':
        scale = [(wide + _GRID_OFFSET) / narrow for wide, narrow in zip(new, old, strict=True)]
        grid = F.interpolate(grid, scale_factor=scale, mode='bicubic', align_corners=False)
    else:
        grid = F.interpolate(grid, size=new, mode=mode, align_corners=False)
    patches = grid.flatten(2).squeeze(0).T
    return torch.cat([table[:1], patches.to(table.dtype)])
