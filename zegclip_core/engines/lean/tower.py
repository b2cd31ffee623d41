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

from collections.abc import Sequence

import torch
from torch import Tensor
from zegclip_core.engines.lean.block import LeanBlock, Prompts, Rotate
from zegclip_core.engines.lean.grids import Grid, GridTables
from zegclip_core.engines.lean.last_block import LastBlock
from zegclip_core.engines.lean.pixels import PatchProjection
from zegclip_core.engines.lean.rows import RowKernels
from zegclip_core.model.blocks import Kernels, PYTORCH
from zegclip_core.model.vit import concatenated, VisionTransformer


class LeanTower:
    """Runs an image tower; the weights stay those of the tower.

    What a block adds to the tokens waits for the norm behind it, so that both are one step.

    Args:
        visual: The tower, on its device and in its floating-point type.
        projection: Its patch convolution.
        prompts: Those of every layer, in the type of the products.
        dtype: Floating-point type of what it returns, unless it has a projection of its own.
        kernels: What computes its blocks.
        rows: What computes its norms.
        last: Stands in for the last block; ``None`` runs that as it is.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        projection: PatchProjection,
        prompts: Sequence[Prompts],
        dtype: torch.dtype,
        *,
        kernels: Kernels,
        rows: RowKernels,
        last: LastBlock | None = None,
    ) -> None:
        """Keep the parts."""
        self.visual = visual
        self.projection = projection
        self._dtype = visual.proj.dtype if visual.config.embed_dim else dtype
        self._blocks = [
            LeanBlock(block, own, kernels)
            for block, own in zip(visual.blocks, prompts, strict=True)
        ]
        self._rows = rows
        self._last = last
        self._positions = GridTables(self._make_positions)
        self._rotary = GridTables(visual.rotary_table)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return patch tokens and image embeddings as ``VisionTransformer`` does."""
        x, grid = self._embed(images)
        rotate = self._rotation(grid)
        wanted = self.visual.config.wanted_layers
        branch: Tensor | None = None
        features = []
        for index in range(self.visual.config.layers):
            if self._last is not None and index == self.visual.config.layers - 1:
                x = self._last(x if branch is None else x.add_(branch), grid, rotate)
                branch = None
            else:
                branch = self._run_block(index, x, branch, rotate)
            if index in wanted:
                features.append(self._head(x, branch))
                branch = None
        return concatenated(features, grid)

    def _rotation(self, grid: Grid) -> Rotate | None:
        """Return what turns queries and keys of a grid, if anything does."""
        if self.visual.config.rotary == 'none':
            return None
        return self.visual.placed(PYTORCH, self._rotary(grid)).rotate

    def _run_block(
        self, index: int, x: Tensor, branch: Tensor | None, rotate: Rotate | None
    ) -> Tensor:
        """Add a branch to the tokens ``(B, N, D)``, then a block's first; return its second."""
        block, lean = self.visual.blocks[index], self._blocks[index]
        dtype = block.attn.in_proj_weight.dtype
        rows = self._rows.norm(x, block.ln_1, dtype, branch=branch, extra=lean.extra)
        branch = lean.attend(rows, x.shape[1], rotate)
        return lean.feed_forward(self._rows.norm(x, block.ln_2, dtype, branch=branch))

    def _head(self, x: Tensor, branch: Tensor | None) -> tuple[Tensor, Tensor]:
        """Add a branch to the tokens and return what ``VisionTransformer.head`` does of them."""
        visual = self.visual
        if not visual.config.prompt_norm:
            return visual.pooled(self._rows.norm(x, visual.ln_post, self._dtype, branch=branch))
        normal = self._rows.norm(x, visual.prompt_norm, x.dtype, branch=branch)
        return visual.pooled(self._rows.norm(normal, visual.ln_post, self._dtype))

    def tables(self) -> list[Tensor]:
        """Return what is kept of patch grids."""
        return [table for tables in self.grid_tables() for table in tables.kept()]

    def forget_grids(self) -> None:
        """Let go of it."""
        for tables in self.grid_tables():
            tables.clear()

    def grid_tables(self) -> list[GridTables]:
        """Return all that is kept of grids."""
        rotary = [] if self.visual.config.rotary == 'none' else [self._rotary]
        return [self._positions, *rotary, *([self._last.tables] if self._last else [])]

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
