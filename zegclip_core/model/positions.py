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
    """Bring a position table to another patch grid; the rows of prefix tokens stay.

    Args:
        table: ``(P + H * W, D)``, the rows of the ``P`` prefix tokens first.
        old: ``(H, W)`` of the table, in patches.
        new: ``(h, w)`` wanted, in patches.
        mode: How patches in between are interpolated.

    Returns:
        ``(P + h * w, D)``, computed in float32 and given back in the dtype of ``table``.

    """
    if old == new:
        return table
    prefix, patches = table.tensor_split([len(table) - old[0] * old[1]])
    grid = patches.float().reshape(1, *old, -1).permute(0, 3, 1, 2)  # (1, D, H, W)
    if mode == 'bicubic_offset':
        scale = [(wide + _GRID_OFFSET) / narrow for wide, narrow in zip(new, old, strict=True)]
        grid = F.interpolate(grid, scale_factor=scale, mode='bicubic', align_corners=False)
    else:
        grid = F.interpolate(grid, size=new, mode=mode, align_corners=False)
    return torch.cat([prefix, grid.flatten(2).squeeze(0).T.to(table.dtype)])
