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

The graph takes pixels and words and gives labels and scores, for one size of images. What does not
depend on its inputs is computed once: keys and values of the prompt tokens and the position table
of the grid.

Reference: https://docs.pytorch.org/docs/stable/onnx_export.html, the exporter on top of
``torch.export``.
"""

import copy
from dataclasses import dataclass, replace
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any
import warnings

import torch
from torch import nn, Tensor
from zegclip_core.engines.backends import require
from zegclip_core.engines.contract import Network
from zegclip_core.engines.onnx import INPUTS, OUTPUTS
from zegclip_core.errors import ModelError
from zegclip_core.export_int8 import PRECISIONS, quantise_file
from zegclip_core.files import user_path
from zegclip_core.images.checks import working_size
from zegclip_core.loading import (
    build_network,
    build_text_tower,
    load_model,
    open_checkpoint,
)
from zegclip_core.model.blocks import Kernels, KeysAndValues, PromptedAttention
from zegclip_core.model.scoring import calibrated_scores, resize_maps
from zegclip_core.options import MAX_CLASSES
from zegclip_core.weights.checkpoint import (
    Checkpoint,
    ExportedConfig,
    model_metadata,
    ModelSettings,
    save_checkpoint,
    TEXT_PREFIX,
)
from zegclip_core.weights.names import ONNX_SUFFIX, parse_model

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


class FixedPrompts(nn.Module):
    """Attention whose prompt tokens are known: their keys and values are constants."""

    def __init__(self, attention: PromptedAttention, constants: KeysAndValues) -> None:
        """Keep both."""
        super().__init__()
        self.attention = attention
        self.key, self.value = (nn.Parameter(part.clone(), False) for part in constants)

    def forward(self, x: Tensor, prompts: None, kernels: Kernels) -> Tensor:
        """Attend from image tokens ``(1, N, D)`` to image tokens and prompts."""
        out: Tensor = self.attention(x, (self.key, self.value), kernels)
        return out


class ExportedGraph(nn.Module):
    """A model with the normalisation before it and the postprocessing behind it.

    Args:
        network: The model, float32 on the CPU; it is copied.
        size: ``(H, W)`` of image, labels and scores, in whole patches.
    """

    def __init__(self, network: Network, size: tuple[int, int]) -> None:
        """Put constants in the place of what is the same for every image of this size."""
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.size = size
        vision, visual = network.config.vision, self.network.visual
        self.mean, self.std = (
            nn.Parameter(torch.tensor(values).view(1, 3, 1, 1), False)
            for values in (vision.mean, vision.std)
        )
        grid = (size[0] // vision.patch_size, size[1] // vision.patch_size)
        with torch.no_grad():
            constants, table = visual.prompt_keys_and_values(), visual.positions(grid)
            for block, prompts in zip(visual.blocks, constants, strict=True):
                if prompts is not None:
                    block.add_module('attn', FixedPrompts(block.attn, prompts))
            visual.positional_embedding = nn.Parameter(table, False)
        visual.config = replace(visual.config, grid=grid, prompt_tokens=0)

    def forward(
        self, image: Tensor, text: Tensor, bias: Tensor, thresholds: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Label every pixel.

        Args:
            image: RGB, uint8 ``(1, H, W, 3)``.
            text: L2-normalised text embeddings of the classes, float32 ``(K, C)``.
            bias: What is subtracted from each class's score before the best is chosen, ``(K,)``.
            thresholds: Least score of a labelled pixel, ``(K,)``.

        Returns:
            Labels, int32 ``(1, H, W)``, -1 where no class reaches its threshold; the best class's
            score without its bias, float32 ``(1, H, W)``; and the mask logits before they are
            upsampled, float32 ``(1, K, h, w)``.
        """
        # A cast first: TensorRT takes bytes as an input and computes nothing else with them.
        pixels = image.float().permute(0, 3, 1, 2)
        logits = self.network((pixels - self.mean) / self.std, text)
        # (1, K, H, W) to (1, H, W)
        maps, scoring = resize_maps(logits, self.size), self.network.scoring
        best, labels = calibrated_scores(maps, bias, scoring).max(dim=1)
        flat = labels.flatten()
        scores = best + bias.index_select(0, flat).view(best.shape)
        least = thresholds.index_select(0, flat).view(best.shape)
        return torch.where(scores >= least, labels, -1).int(), scores, logits


@dataclass(frozen=True)
class Export:
    """What was written: the model and what belongs to it, for images of ``(H, W)`` pixels."""

    files: tuple[Path, ...]
    size: tuple[int, int]
    text_dim: int


@dataclass(frozen=True)
class Source:
    """A model to export.

    Attributes:
        name: A short one, for people.
        network: Float32 on the CPU.
        config: Its shape.
        settings: What is needed beside its weights.
        own_text: Its text tower as a checkpoint of its own, if it does not name one.
    """

    name: str
    network: Network
    config: ExportedConfig
    settings: ModelSettings
    own_text: Checkpoint | None = None


def open_source(model: str) -> Source:
    """Return a model that was not exported yet, its text tower found.

    Raises:
        ModelError: If there is no such model, or it was exported.
        CheckpointError: If its file cannot be used.
        TowerError: If one of its towers cannot be found.
    """
    clip = parse_model(model).without_training
    if clip is not None:
        loaded = load_model(model)
        return Source(clip.name, loaded.network, loaded.config, loaded.settings)
    path, checkpoint = open_checkpoint(model)
    network = build_network(checkpoint, where=str(path))
    build_text_tower(checkpoint, where=str(path))  # Without it the file would be of no use.
    own_text = None
    if not checkpoint.settings.text_tower:
        state = checkpoint.state_dict
        tower = {key: state[key] for key in state if key.startswith(TEXT_PREFIX)}
        own_text = replace(checkpoint, state_dict=tower)
    name = Path(model).stem
    return Source(name, network, checkpoint.config, checkpoint.settings, own_text)


def export_onnx(
    model: str,
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    opset: int = OPSET,
    precision: str = 'fp32',
) -> Export:
    """Write a model as an ONNX file; it appears whole or not at all.

    Args:
        model: Name of a model that was not exported (``zegclip_core.weights.names``).
        path: Where to, ``NAME.onnx``.
        size: ``(H, W)`` of the image, in whole patches; ``None`` takes the working size of an
            image of a 4:3 camera.
        opset: Operator set of ONNX, in [``OPSET``, ``NEWEST_OPSET``].
        precision: Of the linear layers, one of ``PRECISIONS``.

    Raises:
        ModelError: If the model, an option or the path cannot be used.
        CheckpointError: If the model's file cannot be used.
        TowerError: If one of its towers cannot be found.
    """
    path = user_path(path)
    if path.suffix != ONNX_SUFFIX:
        raise ModelError(f'Expected a file NAME{ONNX_SUFFIX} to write to, but got {str(path)!r}.')
    if not OPSET <= opset <= NEWEST_OPSET:
        raise ModelError(
            f'Expected an operator set in [{OPSET}, {NEWEST_OPSET}], but got {opset}.'
        )
    if precision not in PRECISIONS:
        raise ModelError(
            f'Expected a precision of {" or ".join(PRECISIONS)}, but got {precision!r}.'
        )
    for package in ('onnxscript', *(('onnx', 'onnxruntime') if precision == 'int8' else ())):
        require(package, 'to export a model')
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < LEAST_TORCH:
        raise ModelError(
            f'Expected PyTorch {".".join(map(str, LEAST_TORCH))} or newer to export a model, '
            f'but got {torch.__version__}.'
        )
    source = open_source(model)
    size = _size(size, source)
    program = _translate(ExportedGraph(source.network, size), source.config.text_dim, opset)
    text_tower, text_dim = source.settings.text_tower, source.config.text_dim
    program.model.metadata_props.update(
        {
            **model_metadata(source.config, source.settings),
            'model': source.name,
            'size': f'{size[0]}x{size[1]}',
            'text_dim': str(text_dim),
            'text_tower': text_tower,
            'text_tower_file': '' if text_tower else path.stem + TEXT_SUFFIX,
        }
    )
    return Export(_write(program, source.own_text, path, precision), size, text_dim)


def _size(size: tuple[int, int] | None, source: Source) -> tuple[int, int]:
    """Return the size to export at."""
    patch = source.config.vision.patch_size
    if size is None:
        short_side = source.settings.short_side
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


def _translate(graph: ExportedGraph, text_dim: int, opset: int) -> Any:  # noqa: ANN401
    """Return the graph as an ``ONNXProgram`` with any number of classes."""
    classes = torch.export.Dim('classes', min=1, max=MAX_CLASSES)
    example = (
        torch.zeros((1, *graph.size, 3), dtype=torch.uint8),
        torch.zeros(_TRACED_CLASSES, text_dim),
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
    # The exporter does not say when it made something else than it was asked for.
    model = program.model
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
    return program


def _write(
    program: Any,  # noqa: ANN401
    own_text: Checkpoint | None,
    path: Path,
    precision: str,
) -> tuple[Path, ...]:
    """Write the files into a folder beside the target, then move them there, the model last."""
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
    folder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
        _save(program, folder / path.name, precision, external=weights > LARGEST_FILE)
        if own_text is not None:
            save_checkpoint(own_text, folder / (path.stem + TEXT_SUFFIX))
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


def _save(program: Any, path: Path, precision: str, *, external: bool) -> None:  # noqa: ANN401
    """Write the graph, with its weights in a file beside it if these are too many for one."""
    if precision == 'fp32':
        program.save(path, external_data=external)
        return
    with tempfile.TemporaryDirectory(prefix='.', dir=path.parent) as name:
        whole = Path(name) / path.name
        program.save(whole, external_data=external)
        quantise_file(whole, path, external=external)
