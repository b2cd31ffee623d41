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
"""Exported models: read what ``zegclip export`` wrote, and run it with onnxruntime.

The graph takes images of one size. Mask logits are upsampled to the camera's size here, as in
every other engine, so that labels have its resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.devices import has_nvidia_gpu
from zegclip_core.engines.contract import (
    EngineVocabulary,
    PostprocessStep,
    Prediction,
    run_steps,
)
from zegclip_core.engines.lean.postprocess_cpu import label_logits
from zegclip_core.errors import CheckpointError, ModelError
from zegclip_core.loading import build_text_tower, with_local_towers
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.scoring import Scoring
from zegclip_core.model.training_free import TrainingFreeConfig
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.options import MAX_CLASSES
from zegclip_core.text.encoder import EncodedVocabulary, load_text_tower, TextEncoder
from zegclip_core.weights.checkpoint import (
    ExportedConfig,
    load_checkpoint,
    ModelSettings,
    read_metadata,
)
from zegclip_core.weights.names import parse_model

INPUTS = ('image', 'text', 'bias', 'thresholds')
OUTPUTS = ('labels', 'scores', 'logits')
"""What an exported model takes and gives; ``zegclip_core.export.ExportedGraph`` describes them."""
TENSORRT_CLASSES = (1, 20, 256)
"""Least, usual and greatest number of classes that a TensorRT engine is built for."""

logger = logging.getLogger(__name__)
_SAME_ASPECT = 0.1
"""How far the aspect of an image may be from the graph's, as a share, without a word."""


@dataclass(frozen=True)
class ExportedModel:
    """An exported model that is ready to use.

    Attributes:
        name: What the user called it.
        config: The shape of the model that was exported.
        settings: What the file says beside its weights.
        text_encoder: Encodes words.
        engine: Runs it.
        runs_on: Where it does: ``cpu``, ``cuda:0``, ``tensorrt``.
        scoring: How logits become scores.
    """

    name: str
    config: ExportedConfig
    settings: ModelSettings
    text_encoder: TextEncoder
    engine: 'OnnxEngine'
    runs_on: str
    scoring: Scoring


def load_exported(model: str, *, device: str = 'auto', precision: str = 'auto') -> ExportedModel:
    """Load an exported model and its text tower.

    Args:
        model: Path of the ``.onnx`` file, perhaps with where its text tower lies
            (``zegclip_core.weights.names``).
        device: ``auto`` (CUDA if onnxruntime has it), ``cpu``, ``cuda``, ``cuda:N`` or
            ``tensorrt``.
        precision: ``auto`` or ``fp32``, for TensorRT ``fp16`` as well, which ``auto`` takes there.

    Raises:
        ModelError: If onnxruntime has no such device or precision.
        CheckpointError: If the file cannot be used.
        TowerError: If its text tower cannot be found.
    """
    name = parse_model(model)
    path = name.file or Path(model)
    if not path.is_file():
        raise CheckpointError(f'Expected an exported model, but there is no file at {path}.')
    session = open_session(path, device, precision)
    try:
        header = session.get_modelmeta().custom_metadata_map
        names = [entry.name for entry in session.get_inputs()]
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f'Cannot read the exported model {path}: a name in it is no text.'
        ) from error
    config, settings = read_metadata(path, header, names)
    if name.clip is not None:
        settings = with_local_towers(settings, name.clip, where=str(path))
    most = TENSORRT_CLASSES[-1] if device == 'tensorrt' else MAX_CLASSES
    scoring = scoring_of(config)
    engine = OnnxEngine(session, path, most, scoring)
    if settings.text_tower:
        tower = load_text_tower(settings.text_tower)
    else:
        beside = path.with_name(Path(header.get('text_tower_file') or path.stem).name)
        if not beside.is_file():
            raise CheckpointError(
                f'Expected the text tower of {path} beside it in {beside.name}, as zegclip export '
                'wrote it, but it is not there.'
            )
        tower = build_text_tower(load_checkpoint(beside), where=str(beside))
    if tower.embed_dim != config.text_dim:
        raise CheckpointError(
            f'{path} expects text embeddings of width {config.text_dim}, but its text tower '
            f'{tower.name} has {tower.embed_dim}.'
        )
    settings = replace(settings, short_side=min(engine.size))
    encoder = TextEncoder(tower, settings.templates)
    return ExportedModel(model, config, settings, encoder, engine, place_of(session), scoring)


def scoring_of(config: ExportedConfig) -> Scoring:
    """Return how a model's logits become scores."""
    if isinstance(config, TrainingFreeConfig):
        return config.scoring
    return AlignedTowers.scoring if isinstance(config, AlignmentConfig) else ZegCLIP.scoring


def pick_providers(
    device: str, precision: str, available: list[str], path: Path
) -> list[tuple[str, dict[str, str]]]:
    """Return onnxruntime's execution providers for a device, with their options, best first.

    Reference: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html

    Args:
        device: ``auto`` (CUDA if onnxruntime has it), ``cpu``, ``cuda``, ``cuda:N`` or
            ``tensorrt``.
        precision: ``auto`` or ``fp32``, for TensorRT ``fp16`` as well, which ``auto`` takes there.
        available: Names of the providers that this onnxruntime has.
        path: The model; a TensorRT engine is kept in a folder beside it.

    Raises:
        ModelError: If it has no such device or precision.
    """
    cpu: tuple[str, dict[str, str]] = ('CPUExecutionProvider', {})
    has_cuda = 'CUDAExecutionProvider' in available
    name, _, index = device.partition(':')
    name = ('cuda' if has_cuda else 'cpu') if name == 'auto' else name
    if name not in {'cpu', 'cuda', 'tensorrt'} or (
        index and not (name == 'cuda' and index.isdigit())
    ):
        raise ModelError(
            'Expected a device of auto, cpu, cuda, cuda:N or tensorrt for an exported model, '
            f'but got {device!r}.'
        )
    allowed = ('auto', 'fp32', 'fp16') if name == 'tensorrt' else ('auto', 'fp32')
    if precision not in allowed:
        raise ModelError(
            f'Expected a precision of {", ".join(allowed)} for an exported model on {name}, '
            f'but got {precision!r}: what its file was written in, zegclip export decides.'
        )
    if name == 'cpu':
        return [cpu]
    wanted = 'TensorrtExecutionProvider' if name == 'tensorrt' else 'CUDAExecutionProvider'
    if wanted not in available:
        raise ModelError(
            f'Expected an onnxruntime with {wanted} for the device {device!r}, but this one has '
            f'{", ".join(available)}.'
        )
    cuda = [('CUDAExecutionProvider', {'device_id': index or '0'})] if has_cuda else []
    if name == 'cuda':
        return [*cuda, cpu]
    options = {
        'trt_fp16_enable': str(precision != 'fp32'),
        # Building takes minutes; it is done once.
        'trt_engine_cache_enable': 'True',
        'trt_engine_cache_path': str(path.with_suffix('.tensorrt')),
        'trt_timing_cache_enable': 'True',
    }
    return [(wanted, options), *cuda, cpu]


def tensorrt_shapes(text_dim: int) -> dict[str, str]:
    """Return the options that let one TensorRT engine serve every number of classes."""
    return {
        f'trt_profile_{which}_shapes': f'text:{count}x{text_dim},bias:{count},thresholds:{count}'
        for which, count in zip(('min', 'opt', 'max'), TENSORRT_CLASSES, strict=True)
    }


def place_of(session: Any) -> str:  # noqa: ANN401 - onnxruntime has no annotations
    """Return where a session runs most of its graph: ``cpu``, ``cuda:0``, ``tensorrt``."""
    provider = str(session.get_providers()[0])
    name = provider.removesuffix('ExecutionProvider').lower()
    if name != 'cuda':
        return name
    return f'cuda:{session.get_provider_options()[provider].get("device_id", 0)}'


def open_session(path: Path, device: str, precision: str) -> Any:  # noqa: ANN401 - no annotations
    """Return an ``onnxruntime.InferenceSession`` on a device; arguments as of ``load_exported``.

    Raises:
        ModelError: If onnxruntime has no such device or precision.
        CheckpointError: If the file cannot be read.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    providers = pick_providers(device, precision, available, path)
    if device == 'tensorrt':
        # It wants to know the shapes before the file can be asked.
        inputs = _open(path, providers[-1:]).get_inputs()
        dims = [entry.shape[1] for entry in inputs if entry.name == 'text']
        providers[0][1].update(tensorrt_shapes(dims[0] if dims else 0))
    session = _open(path, providers)
    found, (wanted, _) = session.get_providers(), providers[0]
    if device != 'auto' and found[0] != wanted:
        raise ModelError(
            f'Expected onnxruntime to use {wanted} for the device {device!r}, but it could only '
            f'use {", ".join(found)}: a library that it needs may be missing.'
        )
    logger.info('Running %s by onnxruntime: %s.', path, ', '.join(found))
    if device == 'auto' and found[0] == 'CPUExecutionProvider' and has_nvidia_gpu():
        reason = 'onnxruntime-gpu is not installed in place of onnxruntime'
        if wanted != found[0]:
            reason = f'{wanted} could not be used: a library that it needs may be missing'
        logger.warning('%s runs on the CPU although there is a GPU: %s.', path, reason)
    return session


def _open(path: Path, providers: list[tuple[str, dict[str, str]]]) -> Any:  # noqa: ANN401
    """Open a file with execution providers, best first."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors: warnings are about how it splits the graph.
    options.intra_op_num_threads = torch.get_num_threads()
    # Idle threads should sleep, as with ``zegclip_core.options.wait_without_spinning``.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # Its errors have no base of their own.
        reason = ' '.join(str(error).split())[:300]
        raise CheckpointError(f'Cannot read the exported model {path}: {reason}') from error


class OnnxEngine:
    """Labels pixels by an exported model.

    Args:
        session: The opened file.
        path: What the file is called in an error message.
        most: Most classes that it can take.
        scoring: How its logits become scores.

    Raises:
        CheckpointError: If the file has other inputs or outputs than an exported model.
    """

    steps: Sequence[PostprocessStep] = ()

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - as above
        path: Path,
        most: int,
        scoring: Scoring = 'sigmoid',
    ) -> None:
        """Read the size off the file."""
        import onnxruntime

        inputs = {entry.name: entry.shape for entry in session.get_inputs()}
        outputs = {entry.name for entry in session.get_outputs()}
        if not set(INPUTS) <= set(inputs) or not set(OUTPUTS) <= outputs:
            raise CheckpointError(
                f'Expected {path} to take {", ".join(INPUTS)} and to give {", ".join(OUTPUTS)}, '
                f'but it takes {", ".join(inputs)} and gives {", ".join(sorted(outputs))}.'
            )
        self._session, self._most, self._scoring = session, most, scoring
        self._options = onnxruntime.RunOptions()
        # The labels at the size of the graph are for those who have no ``label_logits``.
        self._options.only_execute_path_to_fetches = True
        self._squeezed = False
        self.size: tuple[int, int] = (inputs['image'][1], inputs['image'][2])

    def prepare(self, encoded: EncodedVocabulary) -> EngineVocabulary:
        """Keep a vocabulary on the CPU, from where onnxruntime takes it.

        Raises:
            ModelError: If there are more rows than a TensorRT engine is built for.
        """
        rows = len(encoded.embeddings)
        if rows > self._most:
            raise ModelError(f'Expected at most {self._most} classes on TensorRT, but got {rows}.')
        tensors = (encoded.embeddings, encoded.bias, encoded.thresholds)
        parts = (part.to('cpu', torch.float32).contiguous() for part in tensors)
        return EngineVocabulary(encoded.vocabulary, encoded.negatives, *parts)

    @torch.inference_mode()
    def run(
        self,
        pixels: Tensor,
        size: tuple[int, int],
        vocabulary: EngineVocabulary,
        output_size: tuple[int, int],
        *,
        mask_logits: bool = False,
    ) -> Prediction:
        """Label every pixel of images of one size; for ``size`` the graph has its own."""
        images = pixels.cpu().permute(0, 3, 1, 2)  # uint8 (B, 3, H, W)
        self._say_squeezed(*output_size)
        if tuple(images.shape[2:]) != self.size:
            images = F.interpolate(images, size=self.size, mode='bilinear', antialias=True)
        words = (vocabulary.embeddings, vocabulary.bias, vocabulary.thresholds)
        found = []
        for image in images.permute(0, 2, 3, 1).contiguous().split(1):  # The graph takes one.
            parts = zip(INPUTS, (image, *words), strict=True)
            feed = {name: part.numpy() for name, part in parts}
            found += self._session.run(['logits'], feed, self._options)
        logits = torch.cat([torch.from_numpy(part) for part in found])  # (B, R, h, w)
        if self.steps:
            logits = run_steps(self.steps, logits, vocabulary, images.float())
        labels, scores = label_logits(logits, output_size, vocabulary, scoring=self._scoring)
        return Prediction(labels, scores, logits if mask_logits else None)

    def _say_squeezed(self, height: int, width: int) -> None:
        """Warn, once, that images of another shape than the graph's are squeezed into it."""
        own = self.size[1] / self.size[0]
        if self._squeezed or abs(width / height / own - 1.0) <= _SAME_ASPECT:
            return
        self._squeezed = True
        logger.warning(
            'Images of %dx%d are squeezed into the %dx%d (width x height) of the exported model, '
            'so that it sees less in them: export it for their shape (zegclip export --size).',
            *(width, height, self.size[1], self.size[0]),
        )

    def release_memory(self) -> None:
        """Do nothing: what onnxruntime holds, it needs for the next frame."""
