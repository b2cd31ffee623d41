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
"""Writing a model as an ONNX file that says what it is, so that it can be used without this code.

Reference: https://docs.pytorch.org/docs/stable/onnx_export.html, the exporter on top of
``torch.export``.
"""

from dataclasses import dataclass
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any
import warnings

import torch
from zegclip_core.engines.choice import require
from zegclip_core.engines.onnx import INPUTS, OUTPUTS
from zegclip_core.errors import ModelError
from zegclip_core.export.graph import ExportedGraph
from zegclip_core.images.working_size import working_size
from zegclip_core.loading import build_network, build_text_tower, open_checkpoint
from zegclip_core.model.zegclip import ZegCLIPConfig
from zegclip_core.options import MAX_CLASSES
from zegclip_core.weights.checkpoint import (
    Checkpoint,
    checkpoint_metadata,
    save_checkpoint,
    TEXT_PREFIX,
)
from zegclip_core.weights.names import ONNX_SUFFIX

TEXT_SUFFIX = '.text.safetensors'
"""Of the file beside it that holds the text tower of a model that names none."""
OPSET = 18
"""Least operator set that the exporter writes, which the most engines can read."""
NEWEST_OPSET = 23
LARGEST_FILE = 2**31 - 2**24
"""Bytes of weights in one file; above, they lie in a file beside it, as protobuf ends at 2 GiB."""
LEAST_TORCH = (2, 9)
"""The first whose exporter by default is the one that is used here."""
CAMERA = (480, 640)
"""``(H, W)`` of the image whose working size is exported by default."""
MAX_SIDE = 4096
"""Longest side of an image that can be exported for, in pixels."""
_TRACED_CLASSES = 3  # Any number that no other size of a model could be mistaken for.


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        files: The model first, then what belongs to it.
        size: ``(H, W)`` of the image that it takes, in pixels.
        text_dim: Length of a text embedding.
    """

    files: tuple[Path, ...]
    size: tuple[int, int]
    text_dim: int


def export_onnx(
    model: str, path: str | Path, *, size: tuple[int, int] | None = None, opset: int = OPSET
) -> Export:
    """Write a model as an ONNX file; it appears whole or not at all.

    Args:
        model: Name of a trained model (``zegclip_core.weights.names``).
        path: Where to, ``NAME.onnx``.
        size: ``(H, W)`` of the image, in whole patches; ``None`` takes the working size of an
            image of a 4:3 camera.
        opset: Operator set of ONNX, in [``OPSET``, ``NEWEST_OPSET``].

    Raises:
        ModelError: If the model, the size, the operator set or the path cannot be used.
        CheckpointError: If the model's file cannot be used.
        TowerError: If one of its towers cannot be found.
    """
    path = Path(path)
    _check(path, opset)
    source, checkpoint = open_checkpoint(model, 'to export')
    size = _size(size, checkpoint)
    network = build_network(checkpoint, where=str(source))
    build_text_tower(checkpoint, where=str(source))  # Without it the file would be of no use.
    program = _translate(ExportedGraph(network, size), checkpoint.config, opset)
    program.model.metadata_props.update(_metadata(checkpoint, model, path, size))
    return Export(_write(program, checkpoint, path), size, checkpoint.config.text_dim)


def _check(path: Path, opset: int) -> None:
    """Refuse what can be refused before anything is loaded."""
    if path.suffix != ONNX_SUFFIX:
        raise ModelError(f'Expected a file NAME{ONNX_SUFFIX} to write to, but got {str(path)!r}.')
    if not OPSET <= opset <= NEWEST_OPSET:
        raise ModelError(
            f'Expected an operator set in [{OPSET}, {NEWEST_OPSET}], but got {opset}.'
        )
    require('onnxscript', 'to export a model')
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < LEAST_TORCH:
        raise ModelError(
            f'Expected PyTorch {".".join(map(str, LEAST_TORCH))} or newer to export a model, '
            f'but got {torch.__version__}.'
        )


def _size(size: tuple[int, int] | None, checkpoint: Checkpoint) -> tuple[int, int]:
    """Return the size to export at."""
    patch = checkpoint.config.vision.patch_size
    if size is None:
        short_side = checkpoint.settings.short_side
        return working_size(*CAMERA, short_side=short_side, patch_size=patch)
    if max(size) > MAX_SIDE:
        raise ModelError(
            f'Expected a size HxW of at most {MAX_SIDE} pixels a side, '
            f'but got {size[0]}x{size[1]}.'
        )
    if min(size) < patch or size[0] % patch or size[1] % patch:
        near = 'x'.join(str(max(1, round(side / patch)) * patch) for side in size)
        raise ModelError(
            f'Expected a size HxW in multiples of {patch} pixels, the side of a patch, such as '
            f'{near}, but got {size[0]}x{size[1]}.'
        )
    return size


def _translate(graph: ExportedGraph, config: ZegCLIPConfig, opset: int) -> Any:  # noqa: ANN401
    """Return the graph as an ``ONNXProgram`` with any number of classes.

    Raises:
        ModelError: If the exporter cannot write this operator set.
    """
    classes = torch.export.Dim('classes', min=1, max=MAX_CLASSES)
    example = (
        torch.zeros((1, *graph.size, 3), dtype=torch.uint8),
        torch.zeros(_TRACED_CLASSES, config.text_dim),
        torch.zeros(_TRACED_CLASSES),
        torch.zeros(_TRACED_CLASSES),
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # PyTorch's own, about its own parts.
        program: Any = torch.onnx.export(
            graph.eval(),
            example,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=(None, {0: classes}, {0: classes}, {0: classes}),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    _check_program(program.model, opset)
    return program


def _check_program(model: Any, opset: int) -> None:  # noqa: ANN401 - onnx_ir.Model
    """Refuse what the exporter made if it is not what it was asked for, which it does not say."""
    if model.opset_imports[''] != opset:
        raise ModelError(
            f'Expected PyTorch {torch.__version__} to write operator set {opset}, but it wrote '
            f'{model.opset_imports[""]}.'
        )
    fixed = [value.name for value in model.graph.inputs[1:] if isinstance(value.shape[0], int)]
    if fixed:
        raise ModelError(
            f'Expected PyTorch {torch.__version__} to leave the number of classes open, but it '
            f'fixed that of {fixed[0]}.'
        )


def _metadata(
    checkpoint: Checkpoint, model: str, path: Path, size: tuple[int, int]
) -> dict[str, str]:
    """Return what the file says about itself: the header of a checkpoint, and what is fixed."""
    has_tower = bool(checkpoint.settings.text_tower)
    return {
        **checkpoint_metadata(checkpoint),
        'model': Path(model).stem,
        'size': f'{size[0]}x{size[1]}',
        'text_dim': str(checkpoint.config.text_dim),
        'text_tower': checkpoint.settings.text_tower,
        'text_tower_file': '' if has_tower else path.stem + TEXT_SUFFIX,
    }


def _write(program: Any, checkpoint: Checkpoint, path: Path) -> tuple[Path, ...]:  # noqa: ANN401
    """Write the files into a folder beside the target, then move them there, the model last."""
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
    folder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
        program.save(folder / path.name, external_data=weights > LARGEST_FILE)
        if not checkpoint.settings.text_tower:
            _save_text_tower(checkpoint, folder / (path.stem + TEXT_SUFFIX))
        names = sorted(
            (part.name for part in folder.iterdir()), key=lambda name: name == path.name
        )
        for name in names:
            os.replace(folder / name, path.parent / name)
    except OSError as error:
        raise ModelError(f'Cannot write {path}: {error.strerror or error}.') from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return tuple(path.parent / name for name in reversed(names))


def _save_text_tower(checkpoint: Checkpoint, path: Path) -> None:
    """Write the text tower that lies in a checkpoint."""
    tower = {k: v for k, v in checkpoint.state_dict.items() if k.startswith(TEXT_PREFIX)}
    save_checkpoint(Checkpoint(checkpoint.config, checkpoint.settings, tower), path)
