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
"""A lean model's way from images to features as a graph of OpenVINO.

Sizes and the number of images stay free: tables of patch grids are inputs of the graph.
"""

from typing import Any
import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor
from zegclip_core.engines.lean.model import Features, LeanModel

_GRID = (3, 5)  # Any whose sides no other size of a model could be mistaken for.


class FeatureGraph(nn.Module):
    """Features as a function of images and of the tables of their patch grid.

    Args:
        model: In float32 on the CPU, with PyTorch's own kernels.
    """

    def __init__(self, model: LeanModel) -> None:
        """Keep the model and register its weights."""
        super().__init__()
        self.model, self.network = model, model.network

    def forward(self, images: Tensor, *tables: Tensor) -> Features:
        """Return what ``LeanModel.features`` does, with these tables in place of its own."""
        kept = self.model.tower.grid_tables()
        for place, table in zip(kept, tables, strict=True):
            place.given = table
        try:
            return self.model.features(images)
        finally:
            for place in kept:
                place.given = None


def grid_tables(model: LeanModel, height: int, width: int) -> list[npt.NDArray[np.float32]]:
    """Return the tables of the patch grid of images of a size, in the order of the inputs."""
    patch = model.tower.projection.patch
    grid = (height // patch, width // patch)
    tables = [table(grid) for table in model.tower.grid_tables()]
    return [table.detach().float().numpy() for table in tables]


@torch.no_grad()
def record(model: LeanModel) -> Any:  # noqa: ANN401 - ``openvino.Model``, of an optional package
    """Return the ``openvino.Model`` that gives a model's features.

    Its inputs are ``resized`` images, float32 ``(B, 3, H, W)``, and ``grid_tables``.
    """
    # Not ``openvino.convert_model``, which reports its use to OpenVINO's makers.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    height, width = (side * model.tower.projection.patch for side in _GRID)
    tables = [torch.from_numpy(table) for table in grid_tables(model, height, width)]
    example = (torch.zeros(2, 3, height, width), *tables)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # About sizes, which stay free all the same.
        traced = torch.jit.trace(FeatureGraph(model).eval(), example, check_trace=False)
    decoder = TorchScriptPythonDecoder(traced)  # The graph reads it until it is converted.
    frontend = FrontEndManager().load_by_framework('pytorch')
    graph = frontend.convert(frontend.load(decoder))
    # The table of positions first, and any others of pairs of tokens.
    first = [-1, tables[0].shape[1]]
    shapes = [[-1, 3, -1, -1], first, *([-1, -1] for _ in tables[1:])]
    graph.reshape(dict(enumerate(shapes)))
    return graph
