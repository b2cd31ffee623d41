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
"""Tables that depend on the patch grid alone, kept from frame to frame."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

KEPT_GRIDS = 8
"""Tables of how many patch grids are kept; those not used for longest leave first."""

Grid = tuple[int, int]


class GridTables:
    """What depends on the patch grid alone, computed once for each.

    Args:
        make: Computes it.

    Attributes:
        given: Stands for the table of every grid, while a graph is recorded that takes it as an
            input; ``None`` otherwise.
    """

    def __init__(self, make: Callable[[Grid], Tensor]) -> None:
        """Start without any."""
        self.given: Tensor | None = None
        self._make = make
        self._tables: OrderedDict[Grid, Tensor] = OrderedDict()

    def __call__(self, grid: Grid) -> Tensor:
        """Return the table of a grid."""
        if self.given is not None:
            return self.given
        if grid not in self._tables:
            self._tables[grid] = self._make(grid)
        self._tables.move_to_end(grid)
        while len(self._tables) > KEPT_GRIDS:
            self._tables.popitem(last=False)
        return self._tables[grid]

    def kept(self) -> list[Tensor]:
        """Return the tables that are kept."""
        return list(self._tables.values())

    def clear(self) -> None:
        """Let go of all."""
        self._tables.clear()
