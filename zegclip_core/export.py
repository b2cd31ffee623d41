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
import torch.nn.functional as F
from zegclip_core.engines.backends import require
from zegclip_core.engines.onnx import INPUTS, OUTPUTS
from zegclip_core.errors import CheckpointError, ModelError
from zegclip_core.files import user_path
from zegclip_core.images.checks import working_size
from zegclip_core.loading import build_network, build_text_tower, open_checkpoint
from zegclip_core.model.blocks import Kernels, KeysAndValues, PromptedAttention
from zegclip_core.model.scoring import calibrated_scores, resize_maps
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.options import MAX_CLASSES
from zegclip_core.weights.checkpoint import (
    Checkpoint,
    checkpoint_metadata,
    save_checkpoint,
    TEXT_PREFIX,
)
from zegclip_core.weights.families import reading
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
CHECKED_CLASSES = (1, 7, 40)
"""How many words a file is checked with, in turn."""
MOST_DIFFERENCE, LEAST_ALIKE = 1e-3, 0.999
"""Of scores, and of labels as a share, between onnxruntime and PyTorch."""
_BIAS = 0.1  # About that of published models.
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

    def __init__(self, network: ZegCLIP, size: tuple[int, int]) -> None:
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
        best, labels = calibrated_scores(resize_maps(logits, self.size), bias).max(dim=1)
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
    path = user_path(path)
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
    source, checkpoint = open_checkpoint(model, 'to export')
    size = _size(size, checkpoint)
    network = build_network(checkpoint, where=str(source))
    build_text_tower(checkpoint, where=str(source))  # Without it the file would be of no use.
    graph = ExportedGraph(network, size)  # type: ignore[arg-type] # It has a decoder.
    program = _translate(graph, opset)
    text_tower, text_dim = checkpoint.settings.text_tower, checkpoint.config.text_dim
    program.model.metadata_props.update(
        {
            **checkpoint_metadata(checkpoint),
            'model': Path(model).stem,
            'size': f'{size[0]}x{size[1]}',
            'text_dim': str(text_dim),
            'text_tower': text_tower,
            'text_tower_file': '' if text_tower else path.stem + TEXT_SUFFIX,
        }
    )
    return Export(_write(program, checkpoint, path), size, text_dim)


@dataclass(frozen=True)
class ExportCheck:
    """How a file's outputs by onnxruntime compare with the model's by PyTorch.

    Attributes:
        difference: Greatest difference of two scores.
        alike: Least share of labels that are the same, over ``CHECKED_CLASSES``.
    """

    difference: float
    alike: float


def check_onnx(model: str, path: str | Path) -> ExportCheck:
    """Compare an exported file with its model, in float32 on the CPU.

    The image is noise, and the words are directions drawn at random: what the model makes of them
    has no meaning, but every part of it acts.

    Args:
        model: Name of the trained model that was exported.
        path: The file.

    Raises:
        ModelError: If they differ by more than ``MOST_DIFFERENCE`` or agree in fewer labels than
            ``LEAST_ALIKE``, or onnxruntime is not installed.
        CheckpointError: If one of the two cannot be read.
    """
    require('onnxruntime', 'to check an exported model')
    import onnxruntime

    source, checkpoint = open_checkpoint(model, 'to export')
    network = build_network(checkpoint, where=str(source))
    path = user_path(path)
    with reading(f'the exported model {path}', CheckpointError):
        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    _, height, width, _ = session.get_inputs()[0].shape
    found = ExportCheck(0.0, 1.0)
    for classes in CHECKED_CLASSES:
        feed = _made_inputs((height, width), classes, checkpoint.config.text_dim)
        inputs = {name: part.numpy() for name, part in zip(INPUTS, feed, strict=True)}
        theirs = session.run(['labels', 'scores'], inputs)
        labels, scores = _by_torch(network, *feed)  # type: ignore[arg-type] # It has a decoder.
        difference = float((torch.from_numpy(theirs[1]) - scores).abs().max())
        alike = float((torch.from_numpy(theirs[0]) == labels).float().mean())
        found = ExportCheck(max(found.difference, difference), min(found.alike, alike))
    # "not at most" in place of "above": a NaN is no agreement.
    if not (found.difference <= MOST_DIFFERENCE and found.alike >= LEAST_ALIKE):
        raise ModelError(
            f'Expected onnxruntime to give the scores of PyTorch to {MOST_DIFFERENCE:g} and '
            f'{LEAST_ALIKE:.1%} of its labels, but those of {path} differ by up to '
            f'{found.difference:.2g} and {found.alike:.1%} of the labels are the same.'
        )
    return found


def _made_inputs(
    size: tuple[int, int], classes: int, text_dim: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return made-up inputs of a graph, always the same."""
    generator = torch.Generator().manual_seed(classes)
    image = torch.randint(0, 256, (1, *size, 3), generator=generator, dtype=torch.uint8)
    text = F.normalize(torch.randn(classes, text_dim, generator=generator), dim=-1)
    return image, text, _BIAS * torch.rand(classes, generator=generator), torch.zeros(classes)


@torch.inference_mode()
def _by_torch(
    network: ZegCLIP, image: Tensor, text: Tensor, bias: Tensor, thresholds: Tensor
) -> tuple[Tensor, Tensor]:
    """Return labels and scores as the graph gives them, by the model as it is."""
    vision, size = network.config.vision, (image.shape[1], image.shape[2])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (vision.mean, vision.std))
    logits = network((image.permute(0, 3, 1, 2).float() - mean) / std, text)
    best, labels = calibrated_scores(resize_maps(logits, size), bias).max(dim=1)
    scores = best + bias[labels]
    return torch.where(scores >= thresholds[labels], labels, -1), scores


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


def _translate(graph: ExportedGraph, opset: int) -> Any:  # noqa: ANN401
    """Return the graph as an ``ONNXProgram`` with any number of classes."""
    classes = torch.export.Dim('classes', min=1, max=MAX_CLASSES)
    example = (
        torch.zeros((1, *graph.size, 3), dtype=torch.uint8),
        torch.zeros(_TRACED_CLASSES, graph.network.config.text_dim),
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


def _write(program: Any, checkpoint: Checkpoint, path: Path) -> tuple[Path, ...]:  # noqa: ANN401
    """Write the files into a folder beside the target, then move them there, the model last."""
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
    folder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
        program.save(folder / path.name, external_data=weights > LARGEST_FILE)
        if not checkpoint.settings.text_tower:
            state = checkpoint.state_dict
            tower = {key: state[key] for key in state if key.startswith(TEXT_PREFIX)}
            beside = folder / (path.stem + TEXT_SUFFIX)
            save_checkpoint(replace(checkpoint, state_dict=tower), beside)
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
