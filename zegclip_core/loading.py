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
"""Models by name or file: checkpoint, frozen towers and text encoder put together."""

from dataclasses import dataclass, replace
from importlib import resources
import logging
from pathlib import Path

from torch import Tensor
from zegclip_core.checkpoint import (
    check_keys,
    Checkpoint,
    load_checkpoint,
    ModelSettings,
    TEXT_PREFIX,
)
from zegclip_core.errors import CheckpointError, ModelError, TowerError
from zegclip_core.model import ZegCLIP, ZegCLIPConfig
from zegclip_core.published import load_published
from zegclip_core.text import load_text_tower, TextEncoder, TextTower
from zegclip_core.text_towers import OpenCLIPTextTower
from zegclip_core.towers import load_image_tower, resized_positions
from zegclip_core.vit import VisionConfig

logger = logging.getLogger(__name__)

DEFAULT_MODEL = 'everyday-s'
SUFFIX = '.safetensors'
_TRAINING_ONLY = {'prompt_dropout'}
_SET_BY_CHECKPOINT = {
    'grid',
    'position_resize',
    'mean',
    'std',
    'prompt_tokens',
    'prompt_norm',
    'class_embedding_twice',
    'feature_layers',
    'norm_eps',
} | _TRAINING_ONLY
"""What of an image tower's configuration is the checkpoint's to say, not the frozen weights'."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to use.

    Attributes:
        name: What the user called it.
        network: The model, float32 on the CPU, in evaluation mode.
        text_encoder: Encodes words.
        settings: What the checkpoint says beside its weights.

    """

    name: str
    network: ZegCLIP
    text_encoder: TextEncoder
    settings: ModelSettings

    @property
    def config(self) -> ZegCLIPConfig:
        """The network's shape."""
        return self.network.config


def bundled_models() -> dict[str, Path]:
    """Return the models that come with the package, by name."""
    folder = Path(str(resources.files('zegclip_core') / 'models'))
    return {path.stem: path for path in sorted(folder.glob(f'*{SUFFIX}'))}


def model_path(model: str) -> Path:
    """Return the file of a model.

    Args:
        model: Name of a bundled model, or path of a ``.safetensors`` or ``.pth`` file.

    Raises:
        ModelError: If it is neither.
    """
    known = bundled_models()
    if model in known:
        return known[model]
    path = Path(model).expanduser()
    if path.suffix in {SUFFIX, '.pth', '.pt'}:
        return path
    raise ModelError(
        f'Expected a model to be one of {", ".join(known) or "(none is bundled)"} or the path of '
        f'a {SUFFIX} or .pth file, but got {model!r}.'
    )


def open_checkpoint(model: str) -> tuple[Path, Checkpoint]:
    """Return the file of a model and what it holds, without the towers that it names.

    Raises:
        ModelError: If there is no such model.
        CheckpointError: If its file cannot be read.
    """
    path = model_path(model)
    return path, load_checkpoint(path) if path.suffix == SUFFIX else load_published(path)


def load_model(model: str = DEFAULT_MODEL) -> LoadedModel:
    """Load a model with its frozen towers.

    Args:
        model: Name of a bundled model, a checkpoint of this project, or a published ``.pth``.

    Raises:
        ModelError: If there is no such model.
        CheckpointError: If its file cannot be read or does not match its towers.
        TowerError: If a frozen tower cannot be found.
    """
    path, checkpoint = open_checkpoint(model)
    network = build_network(checkpoint, where=str(path))
    tower = build_text_tower(checkpoint, where=str(path))
    if tower.embed_dim != checkpoint.config.text_dim:
        raise CheckpointError(
            f'{path} expects text embeddings of width {checkpoint.config.text_dim}, '
            f'but its text tower {tower.name} has {tower.embed_dim}.'
        )
    encoder = TextEncoder(tower, checkpoint.settings.templates)
    logger.info('Loaded the model %s from %s.', model, path)
    return LoadedModel(model, network, encoder, checkpoint.settings)


def build_network(checkpoint: Checkpoint, *, where: str) -> ZegCLIP:
    """Build a model and fill in its weights, strictly.

    Args:
        checkpoint: Shape and weights; frozen weights that it lacks are loaded by reference.
        where: What the checkpoint is called in an error message.

    Raises:
        CheckpointError: If a weight is missing, unexpected or of another shape.
        TowerError: If the image tower cannot be found.
    """
    network = ZegCLIP(checkpoint.config)
    weights = {k: v for k, v in checkpoint.state_dict.items() if not k.startswith(TEXT_PREFIX)}
    if checkpoint.settings.image_tower:
        weights = {**frozen_weights(checkpoint, where), **weights}
    check_keys(where, network.state_dict(), weights)
    network.load_state_dict(weights, strict=True)
    return network.eval()


def frozen_weights(checkpoint: Checkpoint, where: str) -> dict[str, Tensor]:
    """Return the weights of the image tower that a checkpoint names, as ``visual.*``."""
    tower = load_image_tower(checkpoint.settings.image_tower)
    wanted = checkpoint.config.vision
    _check_tower(wanted, tower.config, where, checkpoint.settings.image_tower)
    tower = resized_positions(tower, wanted.grid, wanted.position_resize)
    return {f'visual.{key}': value.float() for key, value in tower.state_dict.items()}


def _check_tower(wanted: VisionConfig, found: VisionConfig, where: str, name: str) -> None:
    """Refuse an image tower of another shape than the checkpoint was trained with."""
    kept = {key: getattr(found, key) for key in _SET_BY_CHECKPOINT}
    for key, value in vars(replace(wanted, **kept)).items():
        if value != getattr(found, key):
            raise TowerError(
                f'{where} expects an image tower with {key} {value!r}, but {name} has '
                f'{getattr(found, key)!r}.'
            )


def build_text_tower(checkpoint: Checkpoint, *, where: str) -> TextTower:
    """Return the text tower that a checkpoint names or holds.

    Raises:
        TowerError: If it cannot be found.
        CheckpointError: If the checkpoint neither names nor holds one.
    """
    if checkpoint.settings.text_tower:
        return load_text_tower(checkpoint.settings.text_tower)
    if not any(key.startswith(TEXT_PREFIX) for key in checkpoint.state_dict):
        raise CheckpointError(f'Expected {where} to name or hold a text tower, but it has none.')
    return OpenCLIPTextTower.from_state_dict(
        {k: v for k, v in checkpoint.state_dict.items() if k.startswith(TEXT_PREFIX)},
        name=f'{where} (its own text tower)',
    )
