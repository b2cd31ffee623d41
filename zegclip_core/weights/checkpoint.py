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
"""Checkpoints: what was trained and what is needed to use it, in one safetensors file.

The frozen towers are named by reference (``weights.names``) or lie in the file as well.
Reading is strict: a file that does not fit its model to the last key is refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
import json
import os
from pathlib import Path
from typing import Any

from safetensors import safe_open, SafetensorError
from safetensors.torch import save
import torch
from torch import Tensor
from zegclip_core import __version__
from zegclip_core.errors import CheckpointError, ModelError
from zegclip_core.model.alignment import AlignmentConfig
from zegclip_core.model.training_free import TrainingFreeConfig
from zegclip_core.model.vit import VisionConfig
from zegclip_core.model.zegclip import ZegCLIPConfig

FORMAT = 'zegclip'
FORMAT_VERSION = 1
TEXT_PREFIX = 'text_encoder.'
"""Where a text tower's parameters lie in a self-contained file."""

ModelConfig = ZegCLIPConfig | AlignmentConfig
"""Shape of a model of which there are files."""
ExportedConfig = ModelConfig | TrainingFreeConfig
"""Shape of a model that may be exported."""
_KINDS: dict[str, type[ExportedConfig]] = {
    'zegclip': ZegCLIPConfig,
    'alignment': AlignmentConfig,
    'training_free': TrainingFreeConfig,
}
"""What a file's header says under ``kind``; files from before there were several say nothing."""


@dataclass(frozen=True)
class ModelSettings:
    """What is needed beside the weights to use a model.

    Attributes:
        image_tower: Reference of the frozen image tower; empty if it lies in the file.
        text_tower: Reference of the text tower; empty if it lies in the file.
        templates: Name of a template set of ``zegclip_core.text.templates``.
        seen_classes: Names of the classes that training saw.
        seen_bias: What is subtracted from the score of a seen class before the best is chosen.
        threshold: Least score of a labelled pixel, in [0, 1]; 0 labels every pixel.
        negatives: Words that compete with a user's; a pixel that one of them wins is unlabelled.
        short_side: Short side that images are brought to, in pixels.
        crop: Side of a sliding window, in pixels.
        stride: Step of the sliding windows, in pixels.
        training: What the training recorded: data, steps, figures.

    """

    image_tower: str = ''
    text_tower: str = ''
    templates: str = 'single'
    seen_classes: tuple[str, ...] = ()
    seen_bias: float = 0.0
    threshold: float = 0.0
    negatives: tuple[str, ...] = ()
    short_side: int = 512
    crop: int = 512
    stride: int = 426
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A model's shape, settings and weights.

    Attributes:
        config: The shape.
        settings: What is needed beside the weights.
        state_dict: Parameters of ``ZegCLIP`` or ``AlignedTowers``, float32: what was trained and,
            in a self-contained file, also the frozen rest (``visual.*``) and a text tower
            (``text_encoder.*``). Low-rank updates of the image tower may be among them
            (``low_rank.*``).

    """

    config: ModelConfig
    settings: ModelSettings
    state_dict: dict[str, Tensor]


def save_checkpoint(
    checkpoint: Checkpoint, path: str | Path, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint, its weights as ``dtype``; the file appears whole or not at all.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    tensors = {
        key: value.detach().to('cpu', dtype).contiguous()
        for key, value in checkpoint.state_dict.items()
    }
    _write(Path(path), tensors, checkpoint_metadata(checkpoint))


def change_settings(
    source: str | Path,
    target: str | Path,
    **changes: Any,  # noqa: ANN401 - as in a dataclass's ``replace``
) -> None:
    """Write a checkpoint with other settings; its weights stay as they are, to the bit.

    Source and target may be one file.

    Raises:
        CheckpointError: If the source cannot be used, or the target cannot be written.
    """
    source = Path(source)
    with _opened(source) as file:
        metadata = dict(file.metadata() or {})
        _, settings = read_metadata(source, metadata, list(file.keys()))
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    metadata['settings'] = json.dumps(asdict(replace(settings, **changes)))
    _write(Path(target), tensors, metadata)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and header to a file that appears whole or not at all."""
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(save(tensors, metadata=metadata))
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):  # what stopped the write may stop this as well
            partial.unlink()
        raise CheckpointError(f'Cannot write the checkpoint {path}: {error}.') from error


def checkpoint_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Return a checkpoint's shape and settings as the strings of a file's header."""
    return model_metadata(checkpoint.config, checkpoint.settings)


def model_metadata(config: ExportedConfig, settings: ModelSettings) -> dict[str, str]:
    """Return a model's shape and settings as the strings of a file's header."""
    kind = next(name for name, each in _KINDS.items() if isinstance(config, each))
    return {
        'format': FORMAT,
        'kind': kind,
        'format_version': str(FORMAT_VERSION),
        'zegclip_version': __version__,
        'config': json.dumps(asdict(config)),
        'settings': json.dumps(asdict(settings)),
    }


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of this project.

    Raises:
        CheckpointError: If the file is missing, damaged, foreign or of a later version.
    """
    path = Path(path)
    with _opened(path) as file:
        config, settings = read_metadata(path, file.metadata() or {}, list(file.keys()))
        if isinstance(config, TrainingFreeConfig):
            raise CheckpointError(
                f'Expected {path} to hold a trained model, but its header says that it is one '
                'without training, of which only exported files exist.'
            )
        # Copies: a user may write to the file while the model is in use, which would change a
        # tensor that lies in the mapped file.
        tensors = {
            key: file.get_tensor(key).to(torch.float32, copy=True)
            for key in file.keys()  # noqa: SIM118
        }
    return Checkpoint(config, settings, tensors)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file to read it; raises CheckpointError if it is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f'Expected a checkpoint, but there is no file at {path}.')
    try:
        with safe_open(str(path), framework='pt') as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f'Cannot read the checkpoint {path}: expected a whole safetensors file, but: {error}.'
        ) from error


def read_metadata(
    path: Path, metadata: Mapping[str, str], keys: list[str]
) -> tuple[ExportedConfig, ModelSettings]:
    """Return shape and settings out of a file's header; ``keys`` name what else it holds.

    Raises:
        CheckpointError: If the file is foreign, of another version or kind, or damaged.
    """
    if metadata.get('format') != FORMAT:
        raise CheckpointError(
            f'Expected {path} to be a checkpoint of this project, but its metadata does not say '
            f'so; its first keys are: {", ".join(sorted(keys)[:3]) or "none"}.'
        )
    version = metadata.get('format_version', '')
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f'Expected {path} to have format version {FORMAT_VERSION}, but it has {version!r} '
            f'(written by version {metadata.get("zegclip_version")}).'
        )
    kind = metadata.get('kind', 'zegclip')
    if kind not in _KINDS:
        raise CheckpointError(
            f'Expected {path} to hold a model of the kind {" or ".join(_KINDS)}, but got {kind!r}.'
        )
    try:
        config: ExportedConfig = _from_json(_KINDS[kind], json.loads(metadata['config']))
        settings = _from_json(ModelSettings, json.loads(metadata['settings']))
    except (KeyError, TypeError, ValueError, ModelError) as error:
        raise CheckpointError(f'The metadata of {path} is damaged: {error}.') from error
    return config, settings


def _from_json(kind: type[Any], values: object) -> Any:  # noqa: ANN401 - ``kind``
    """Build a dataclass from JSON: lists become tuples, ``vision`` a ``VisionConfig``."""
    if not isinstance(values, dict):
        raise TypeError(f'expected an object, but got {values!r}')
    known = {entry.name for entry in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f'unknown key {unknown[0]!r}')
    converted = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    if 'vision' in converted:
        converted['vision'] = _from_json(VisionConfig, values['vision'])
    return kind(**converted)


def check_keys(
    where: str | Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Refuse weights that do not fit a model to the last key and shape.

    Raises:
        CheckpointError: With the first keys at fault, if any are.
    """
    missing = sorted(set(expected) - set(found))
    unexpected = sorted(set(found) - set(expected))
    if missing or unexpected:
        raise CheckpointError(
            f'{where} does not match its model: missing keys: {_first(missing)}; '
            f'unexpected keys: {_first(unexpected)}.'
        )
    for key, value in expected.items():
        if value.shape != found[key].shape:
            raise CheckpointError(
                f'{where} does not match its model: expected {key} with shape '
                f'{tuple(value.shape)}, but got {tuple(found[key].shape)}.'
            )


def _first(keys: list[str]) -> str:
    """Return the first few of some keys, for a message."""
    more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
    return (', '.join(keys[:3]) or 'none') + more


def with_settings(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:  # noqa: ANN401
    """Return the checkpoint with some settings changed."""
    return replace(checkpoint, settings=replace(checkpoint.settings, **changes))
