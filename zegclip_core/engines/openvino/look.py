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
"""Features of images by OpenVINO on a CPU: what stands in for ``LeanModel.features``."""

from typing import Any

import torch
from torch import Tensor
from zegclip_core.engines.lean.model import Features, LeanModel
from zegclip_core.engines.openvino.cache import int8_place, load
from zegclip_core.engines.openvino.conversion import converted, told_apart
from zegclip_core.engines.openvino.record import grid_tables
from zegclip_core.errors import ModelError

KEPT_SIZES = 8
"""Tables of how many sizes of images are kept."""


class OpenVinoLook:
    """Computes features of ``resized`` images as ``LeanModel.features`` does.

    Args:
        model: Gives the tables of patch grids.
        graph: The ``openvino.Model``.
        precision: ``auto`` (bf16 where the processor multiplies it, else fp32), ``fp32``,
            ``bf16`` or ``int8``; the last is decided by the graph.
    """

    def __init__(self, model: LeanModel, graph: Any, precision: str) -> None:  # noqa: ANN401
        """Compile the graph for this processor."""
        import openvino

        self._model = model
        settings: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'NUM_STREAMS': 1,
            'INFERENCE_NUM_THREADS': torch.get_num_threads(),
            'ENABLE_CPU_PINNING': False,  # Other processes may need these cores, too.
        }
        if precision in {'fp32', 'bf16'}:
            settings['INFERENCE_PRECISION_HINT'] = {'fp32': 'f32', 'bf16': 'bf16'}[precision]
        compiled = openvino.Core().compile_model(graph, 'CPU', settings)
        self._request = compiled.create_infer_request()
        self._count = len(compiled.outputs)
        self._tables: dict[tuple[int, int], list[Any]] = {}

    def __call__(self, images: Tensor) -> Features:
        """Return features of float32 ``(B, 3, H, W)``."""
        height, width = images.shape[2:]
        if (height, width) not in self._tables:
            while len(self._tables) >= KEPT_SIZES:
                self._tables.pop(next(iter(self._tables)))
            self._tables[height, width] = grid_tables(self._model, height, width)
        inputs = [images.contiguous().numpy(), *self._tables[height, width]]
        # Outputs are copied, in a thousandth of the time of a frame: OpenVINO frees the memory of
        # its own when larger images come.
        found = self._request.infer(dict(enumerate(inputs)), share_inputs=True)
        return tuple(torch.from_numpy(found[index]) for index in range(self._count))


def openvino_look(model: LeanModel, precision: str, name: str) -> OpenVinoLook:
    """Return what computes a model's features by OpenVINO.

    Args:
        model: In float32 on the CPU, with PyTorch's own kernels.
        precision: As ``OpenVinoLook`` has it.
        name: The model's name, for an error message.

    Raises:
        ModelError: If the precision is int8 and the model was not calibrated on this machine.
        BackendError: If OpenVINO cannot run it.
    """
    graph = load(int8_place(model)) if precision == 'int8' else converted(model, name)
    if graph is not None:
        with told_apart(name):
            return OpenVinoLook(model, graph, precision)
    raise ModelError(
        f'Expected {name} to be calibrated for the precision int8 on this machine, but it is not: '
        f'zegclip export --format openvino --model {name} --calibrate DIR does it, with a folder '
        'of pictures such as those it will see.'
    )
