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

from collections import OrderedDict

import torch
from torch import Tensor
from zegclip_core.fast.pixels import PatchProjection
from zegclip_core.vit import KeysAndValues, Mix, VisionTransformer

KEPT_GRIDS = 8
"""Position tables of how many patch grids are kept; those not used for longest leave first."""


class LeanTower:
    """Runs an image tower; the weights stay those of the tower.

    Args:
        visual: The tower, on its device and in its floating-point type.
        projection: Its patch convolution.
        prompts: Keys and values of every layer's prompts; ``None`` computes them every time.
        mix: Attention of queries to keys and values; ``None`` for PyTorch's.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        projection: PatchProjection,
        prompts: list[KeysAndValues | None] | None,
        mix: Mix | None = None,
    ) -> None:
        """Keep the parts."""
        self.visual = visual
        self.projection = projection
        self.prompts = prompts
        self._mix = mix
        self._tables: OrderedDict[tuple[int, int], Tensor] = OrderedDict()

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return patch tokens and image embeddings as ``VisionTransformer`` does."""
        x, grid = self._embed(images)
        constants = self.prompts
        if constants is None:
            constants = self.visual.prompt_constants()
        wanted = self.visual.config.wanted_layers
        features = []
        for index, block in enumerate(self.visual.blocks):
            x = block.step(x, _expanded(constants[index], len(x)), self._mix)
            if index in wanted:
                features.append(self.visual.finish(x))
        out = features[0] if len(features) == 1 else torch.cat(features, dim=-1)
        return out[:, 1:].transpose(1, 2).unflatten(2, grid), out[:, 0]

    def tables(self) -> list[Tensor]:
        """Return the position tables that are kept."""
        return list(self._tables.values())

    def forget_grids(self) -> None:
        """Let go of the position tables."""
        self._tables.clear()

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens before the first block, and the grid."""
        patches, grid = self.projection(images)
        table = self._table(grid)
        x = table.new_empty((len(patches), len(table), patches.shape[2]))
        x[:, 0] = table[0]
        torch.add(patches, table[1:], out=x[:, 1:])
        tokens: Tensor = self.visual.ln_pre(x)
        return tokens, grid

    def _table(self, grid: tuple[int, int]) -> Tensor:
        """Return the positions of a grid, the [CLS] token's embedding added to its row."""
        if grid not in self._tables:
            visual = self.visual
            table = visual.positions(grid).detach().clone()
            times = 2 if visual.config.class_embedding_twice else 1
            table[0] += times * visual.class_embedding.detach()
            self._tables[grid] = table
        self._tables.move_to_end(grid)
        while len(self._tables) > KEPT_GRIDS:
            self._tables.popitem(last=False)
        return self._tables[grid]


def _expanded(constants: KeysAndValues | None, batch: int) -> KeysAndValues | None:
    """Return keys and values for a batch."""
    if constants is None or batch == 1:
        return constants
    key, value = (part.expand(batch, -1, -1, -1) for part in constants)
    return key, value
