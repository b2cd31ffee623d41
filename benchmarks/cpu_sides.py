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
"""Ways to run the image part of a model on a CPU, each a ``compiler`` of the lean engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import subprocess
import tempfile
from typing import Any
import warnings

import numpy as np
import torch
from torch import Tensor
from zegclip_core.devices import pick_precision
from zegclip_core.engines.backends import require
from zegclip_core.engines.contract import Engine, Network
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.model import Features, LeanModel
from zegclip_core.engines.lean.pixels import resized
from zegclip_core.engines.openvino.cache import content_key, load_or_make
from zegclip_core.engines.openvino.conversion import converted, quantised
from zegclip_core.engines.openvino.look import OpenVinoLook
from zegclip_core.engines.openvino.record import FeatureGraph, grid_tables
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.errors import ModelError
from zegclip_core.export_int8 import quantise_file
from zegclip_core.images.checks import RgbImage, working_size
from zegclip_core.options import wait_without_spinning

CPU = torch.device('cpu')
OPSET = 17
"""Of the graph for onnxruntime: the first with layer normalisation as one operator."""
AVX2_ONLY = Path(__file__).with_name('avx2_only.c')
"""Makes a processor answer like one with AVX2 and nothing newer."""
DYNAMIC = 'dynamic-channels'
"""Kind of a file in eight bits whose ranges of tokens are found in each frame."""


@dataclass(frozen=True)
class Calibration:
    """What eight bits are calibrated with, and where what takes minutes to make is kept."""

    images: Sequence[RgbImage]
    short_side: int
    folder: Path


def is_emulated() -> bool:
    """Return whether this process was started to see AVX2 alone."""
    return os.environ.get('ONEDNN_MAX_CPU_ISA') == 'AVX2'


def emulated_avx2(folder: Path) -> dict[str, str]:
    """Return the environment of a process whose libraries see AVX2 and nothing newer.

    A small library that is compiled into ``folder`` answers in the processor's place, so that
    every library chooses the kernels that it has for such a processor. What reads the list of
    instructions in ``/proc/cpuinfo`` instead, as ``torch.compile`` does, is told by a variable.

    Raises:
        ModelError: If there is no C compiler.
    """
    library, partial = folder / 'avx2_only.so', folder / f'avx2_only.{os.getpid()}'
    command = ['cc', '-O2', '-shared', '-fPIC', '-o', str(partial), str(AVX2_ONLY)]
    try:
        subprocess.run(command, check=True, capture_output=True)
        partial.replace(library)  # Another process may have it mapped.
    except (OSError, subprocess.CalledProcessError) as error:
        raise ModelError(f'Expected a C compiler to emulate AVX2, but got: {error}') from error
    limits = {'ONEDNN_MAX_CPU_ISA': 'AVX2', 'ATEN_CPU_CAPABILITY': 'avx2'}
    preloaded = os.pathsep.join(filter(None, [str(library), os.environ.get('LD_PRELOAD')]))
    return {**os.environ, **limits, 'LD_PRELOAD': preloaded}


class OnnxLook:
    """Features by onnxruntime, of a graph with free sizes."""

    def __init__(self, model: LeanModel, path: Path) -> None:
        """Open the file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        self._model = model
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )

    def __call__(self, images: Tensor) -> Features:
        """Return features of ``resized`` images."""
        found = self._session.run(None, onnx_inputs(self._model, images))
        return tuple(torch.from_numpy(part) for part in found)


def onnx_inputs(model: LeanModel, images: Tensor) -> dict[str, Any]:
    """Return the inputs of the graph by name."""
    parts = [images.contiguous().numpy(), *grid_tables(model, *images.shape[2:])]
    return {f'input{index}': part for index, part in enumerate(parts)}


@torch.no_grad()
def export_features(model: LeanModel, path: Path) -> None:
    """Write the graph from images to features as an ONNX file."""
    patch = model.tower.projection.patch
    images = torch.zeros(1, 3, 3 * patch, 5 * patch)
    tables = [torch.from_numpy(table) for table in grid_tables(model, *images.shape[2:])]
    names = [f'input{index}' for index in range(1 + len(tables))]
    axes = {names[0]: {0: 'b', 2: 'h', 3: 'w'}, **{name: {0: 'n'} for name in names[1:]}}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            FeatureGraph(model).eval(),
            (images, *tables),
            path,
            input_names=names,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def onnx_file(model: LeanModel, kind: str, calibration: Calibration) -> Path:
    """Return the file of a kind, ``fp32``, ``DYNAMIC`` or ``qdq``, which is made if it is not."""
    place = calibration.folder / f'{content_key(model)}-{kind}.onnx'
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        partial = Path(name) / 'model.onnx'
        if kind == 'fp32':
            export_features(model, partial)
        else:
            quantise_onnx(model, onnx_file(model, 'fp32', calibration), partial, kind, calibration)
        partial.rename(place)
    return place


def quantise_onnx(
    model: LeanModel, source: Path, target: Path, kind: str, calibration: Calibration
) -> None:
    """Write a graph of eight bits, with ranges found in each frame or on pictures."""
    from onnxruntime import quantization as quant
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if kind == DYNAMIC:
        quantise_file(source, target)
        return
    ready = target.with_name('ready.onnx')
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    feeds = iter(onnx_inputs(model, image) for image in calibration_pixels(model, calibration))

    class Reader(quant.CalibrationDataReader):
        """Gives the pictures one by one."""

        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    quant.quantize_static(
        ready, target, Reader(), per_channel=True, op_types_to_quantize=['MatMul', 'Gemm', 'Conv']
    )


def calibration_pixels(model: LeanModel, calibration: Calibration) -> list[Tensor]:
    """Return the calibration's pictures as the model takes them."""
    patch, found = model.tower.projection.patch, []
    for image in calibration.images:
        size = working_size(*image.shape[:2], short_side=calibration.short_side, patch_size=patch)
        found.append(resized(torch.from_numpy(np.array(image))[None], size))
    return found


def inductor(model: LeanModel) -> Callable[[Tensor], Features]:
    """Return the features by ``torch.compile``."""
    compiled: Callable[[Tensor], Features] = torch.compile(model.features, dynamic=False)
    return compiled


def openvino_side(precision: str, calibration: Calibration) -> Callable[[LeanModel], OpenVinoLook]:
    """Return what makes features by OpenVINO."""

    def make(model: LeanModel) -> OpenVinoLook:
        require('openvino', 'for this row')
        graph = converted(model, 'the model')
        if precision == 'int8':
            require('nncf', 'for this row')
            place = calibration.folder / f'{content_key(model)}-int8'
            images, side, exact = calibration.images, calibration.short_side, graph
            graph = load_or_make(place, lambda: quantised(exact, model, images, side))
        return OpenVinoLook(model, graph, 'auto' if precision == 'int8' else precision)

    return make


def make_engine(side: str, network: Network, calibration: Calibration) -> Engine:
    """Return the engine of a side.

    Raises:
        ModelError: If this machine cannot run it; the message says why.
    """
    if side == 'plain fp32':
        return PlainEngine(network.eval())
    has_bf16 = pick_precision('auto', CPU) == torch.bfloat16
    if side.endswith('bf16') and (is_emulated() or not has_bf16):
        raise ModelError('no bfloat16 instructions')
    compilers: dict[str, Callable[[LeanModel], Callable[[Tensor], Features]] | None] = {
        'torch fp32': None,
        'torch bf16': None,
        'torch.compile fp32': inductor,
        'onnxruntime fp32': lambda model: OnnxLook(model, onnx_file(model, 'fp32', calibration)),
        'onnxruntime int8 dynamic': lambda model: OnnxLook(
            model, onnx_file(model, DYNAMIC, calibration)
        ),
        'onnxruntime int8 static': lambda model: OnnxLook(
            model, onnx_file(model, 'qdq', calibration)
        ),
        **{
            f'openvino {precision}': openvino_side(precision, calibration)
            for precision in ('fp32', 'bf16', 'int8')
        },
    }
    if side.startswith('onnxruntime'):
        require('onnxruntime', 'for this row')
    kind = torch.bfloat16 if side == 'torch bf16' else torch.float32
    return LeanEngine(network, dtype=kind, device=CPU, compiler=compilers[side])


SIDES = (
    'plain fp32',
    'torch fp32',
    'torch bf16',
    'torch.compile fp32',
    'onnxruntime fp32',
    'onnxruntime int8 dynamic',
    'onnxruntime int8 static',
    'openvino fp32',
    'openvino bf16',
    'openvino int8',
)
"""All sides but the literal pipeline."""

wait_without_spinning()
