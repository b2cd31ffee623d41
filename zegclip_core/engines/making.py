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
"""Which engine runs a model, as a user's options have it."""

from functools import partial

import torch
from zegclip_core.engines.contract import Engine
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.onnx import ExportedModel
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.loading import LoadedModel
from zegclip_core.model.scoring import Windows
from zegclip_core.options import SegmenterOptions


def make_engine(
    loaded: LoadedModel | ExportedModel,
    options: SegmenterOptions,
    dtype: torch.dtype,
    device: torch.device,
) -> Engine:
    """Return what labels the pixels.

    Args:
        loaded: The model; an exported one brings its own engine.
        options: How it runs; the backend is ``openvino``, or anything else for PyTorch.
        dtype: Floating-point type of the image tower.
        device: Where it runs.

    Raises:
        ModelError: If an option does not fit the model.
        BackendError: If OpenVINO cannot run it.
    """
    if isinstance(loaded, ExportedModel):
        return loaded.engine
    windows = None
    if options.mode == 'slide':
        windows = Windows(loaded.settings.crop, loaded.settings.stride)
    if options.engine == 'plain':
        return PlainEngine(loaded.network.to(device, dtype).eval(), windows=windows)
    compiler = None
    if options.backend == 'openvino':
        # It reads pictures to calibrate with, by libraries that PyTorch alone does not need.
        from zegclip_core.engines.openvino.look import openvino_look

        compiler = partial(openvino_look, precision=options.precision, name=loaded.name)
    return LeanEngine(
        loaded.network,
        dtype=dtype if compiler is None else torch.float32,
        device=device,
        windows=windows,
        candidates=options.candidates,
        compiler=compiler,
    )
