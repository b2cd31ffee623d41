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
"""The image tower without what is the same for every image."""

import torch
from torch import Tensor
from zegclip_core.engines.lean.grids import Grid, GridTables
from zegclip_core.engines.lean.last_block import LastBlock
from zegclip_core.engines.lean.pixels import PatchProjection
from zegclip_core.model.blocks import Kernels, KeysAndValues, PYTORCH
from zegclip_core.model.vit import concatenated, VisionTransformer


class LeanTower:
    """Runs an image tower; the weights stay those of the tower.

    Args:
        visual: The tower, on its device and in its floating-point type.
        projection: Its patch convolution.
        prompts: Keys and values of every layer's prompts; ``None`` computes them every time.
        kernels: What computes its blocks.
        last: Stands in for the last block; ``None`` runs that as it is.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        projection: PatchProjection,
        prompts: list[KeysAndValues | None] | None,
        kernels: Kernels = PYTORCH,
        last: LastBlock | None = None,
    ) -> None:
        """Keep the parts."""
        self.visual = visual
        self.projection = projection
        self.prompts = prompts
        self._kernels = kernels
        self._last = last
        self._positions = GridTables(self._make_positions)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return patch tokens and image embeddings as ``VisionTransformer`` does."""
        x, grid = self._embed(images)
        constants = self.prompts
        if constants is None:
            constants = self.visual.prompt_keys_and_values()
        wanted = self.visual.config.wanted_layers
        features = []
        for index, block in enumerate(self.visual.blocks):
            if self._last is not None and index == self.visual.config.layers - 1:
                x = self._last(x, grid)
            else:
                x = block(x, _expanded(constants[index], x.shape[0]), self._kernels)
            if index in wanted:
                features.append(self.visual.head(x))
        return concatenated(features, grid)

    def tables(self) -> list[Tensor]:
        """Return what is kept of patch grids."""
        return [table for tables in self.grid_tables() for table in tables.kept()]

    def forget_grids(self) -> None:
        """Let go of it."""
        for tables in self.grid_tables():
            tables.clear()

    def grid_tables(self) -> list[GridTables]:
        """Return all that is kept of grids."""
        return [self._positions, *([self._last.tables] if self._last else [])]

    def _embed(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Return the tokens before the first block, and the grid."""
        patches, grid = self.projection(images)  # (B, h * w, D)
        table, prefix = self._positions(grid), self.visual.config.num_prefix_tokens
        first = table[:prefix].expand(patches.shape[0], -1, -1)
        x = torch.cat([first, patches + table[prefix:]], dim=1)
        tokens: Tensor = self.visual.ln_pre(x)
        return tokens, grid

    def _make_positions(self, grid: Grid) -> Tensor:
        """Return the positions of a grid, the prefix tokens added to their rows."""
        table = self.visual.positions(grid).detach().clone()
        table[: self.visual.config.num_prefix_tokens] += self.visual.prefix_tokens().detach()
        return table


def _expanded(constants: KeysAndValues | None, batch: int) -> KeysAndValues | None:
    """Return keys and values for a batch."""
    if constants is None or batch == 1:
        return constants
    key, value = (part.expand(batch, -1, -1, -1) for part in constants)
    return key, value
