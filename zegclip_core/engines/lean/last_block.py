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
"""The last block of a training-free model in the lean tower."""

from torch import Tensor
from zegclip_core.engines.lean.block import Rotate
from zegclip_core.engines.lean.grids import Grid, GridTables
from zegclip_core.model.blocks import Block, Kernels
from zegclip_core.model.training_free import neighbourhood, run_last_block, TrainingFreeConfig


class LastBlock:
    """Runs the last block as an attention has it; NACLIP's neighbourhoods are kept.

    Args:
        block: CLIP's, on its device and in its floating-point type.
        config: Says which attention it is.
        kernels: What computes it.
    """

    def __init__(self, block: Block, config: TrainingFreeConfig, kernels: Kernels) -> None:
        """Keep the parts."""
        self.tables = GridTables(self._neighbourhood)
        self._block, self._config = block, config
        self._kernels = kernels

    def __call__(self, x: Tensor, grid: Grid, rotate: Rotate | None = None) -> Tensor:
        """Return the tokens ``(B, P + h * w, D)`` behind the block.

        ``rotate`` is as of ``LeanBlock.attend``.
        """
        attention = self._config.attention
        near = self.tables(grid) if attention == 'naclip' else None
        kernels = self._kernels._replace(rotate=rotate)
        return run_last_block(self._block, x, attention, near, kernels)

    def _neighbourhood(self, grid: Grid) -> Tensor:
        """Return NACLIP's neighbourhood in the type of the products."""
        prefix = self._config.vision.num_prefix_tokens
        table = neighbourhood(grid, self._config.gaussian_std, prefix)
        return table.to(self._block.attn.in_proj_weight)
