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
"""The model that a run trains: built on a frozen tower, or on what another run has learnt."""

from dataclasses import replace
from pathlib import Path
import pickle
from typing import Any

import torch
from torch import Tensor
from zegclip_core.errors import CheckpointError, ConfigError
from zegclip_core.loading import model_path
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.task import trained_weights
from zegclip_core.weights.checkpoint import check_keys, load_checkpoint
from zegclip_core.weights.image_towers import ImageTower, resized_positions


def new_network(config: TrainConfig, tower: ImageTower, text_dim: int) -> ZegCLIP:
    """Build an untrained model on a frozen tower.

    Args:
        config: The run.
        tower: The frozen tower.
        text_dim: Width of the text embeddings.

    Raises:
        ConfigError: If settings do not fit the tower.
    """
    model = config.model
    _check_tower(config, tower)
    if model.published:
        tower = _published_tower(tower, config.views.size)
    vision = replace(
        tower.config, prompt_tokens=model.prompt_tokens, feature_layers=model.feature_layers
    )
    network = ZegCLIP(
        ZegCLIPConfig(
            vision=vision,
            text_dim=text_dim,
            dim=model.dim,
            decoder_layers=model.decoder_layers,
            decoder_heads=model.decoder_heads,
            decoder_mlp_dim=model.decoder_mlp_dim,
            decoder_dropout=model.decoder_dropout,
            relationship_descriptor=model.relationship_descriptor,
            projections=model.projections,
            projection_dropout=model.projection_dropout,
            detail_width=model.detail_width,
            logit_scale=model.logit_scale,
        )
    )
    fill_tower(network, tower)
    if model.published:
        _start_layers_alike(network)
    if model.tower == 'finetuned':
        network.unfreeze_tower()
    return network


def _check_tower(config: TrainConfig, tower: ImageTower) -> None:
    """Refuse settings that do not fit the tower.

    Raises:
        ConfigError: With the key at fault.
    """
    patch, layers = tower.config.patch_size, tower.config.layers
    if any(side < patch or side % patch for side in config.views.size):
        raise ConfigError(
            f'Expected views.size to be multiples of {patch}, the side of a patch of '
            f'{config.towers.image}, but got {list(config.views.size)}.'
        )
    if any(not 0 <= index < layers for index in config.model.feature_layers):
        raise ConfigError(
            f'Expected model.feature_layers to be in [0, {layers - 1}], as '
            f'{config.towers.image} has {layers} layers, but got '
            f'{list(config.model.feature_layers)}.'
        )


def _published_tower(tower: ImageTower, size: tuple[int, int]) -> ImageTower:
    """Return a CLIP tower as ZegCLIP's release sets it up for pictures of a size."""
    patch = tower.config.patch_size
    tower = resized_positions(tower, (size[0] // patch, size[1] // patch), 'bilinear')
    vision = replace(
        tower.config,
        class_embedding_twice=True,
        prompt_norm=True,
        position_resize='bilinear',
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    return replace(tower, config=vision)


def _start_layers_alike(network: ZegCLIP) -> None:
    """Give all decoder layers the first one's weights, as the release's copies have them."""
    first, *others = network.decoder.layers
    state = first.state_dict()
    for layer in others:
        layer.load_state_dict({key: state[key] for key in layer.state_dict()}, strict=True)


def fill_tower(network: ZegCLIP, tower: ImageTower) -> None:
    """Copy the frozen weights into a model, strictly: only prompts may stay as they are."""
    state = network.visual.state_dict()
    frozen = {key for key in state if 'prompt' not in key}
    weights = {**state, **{key: value.float() for key, value in tower.state_dict.items()}}
    network.visual.load_state_dict(weights, strict=True)
    if frozen != set(tower.state_dict):
        odd = sorted(frozen ^ set(tower.state_dict))
        raise ValueError(f'Expected the tower to fill {odd[0]}, but it does not.')


def initialize_from(network: ZegCLIP, model: str) -> None:
    """Start from what another model has learnt.

    Args:
        network: The model to train.
        model: Name of a bundled model, path of a ``.safetensors`` file, or path of a checkpoint
            of a run (``.ckpt``).

    Raises:
        ModelError: If there is no such model.
        CheckpointError: If its shape is another.
    """
    path, weights = _learnt_weights(model)
    state = network.state_dict()
    check_keys(path, {name: state[name] for name in network.trained_names()}, weights)
    network.load_state_dict({**state, **weights}, strict=True)


def _learnt_weights(model: str) -> tuple[Path, dict[str, Tensor]]:
    """Return the file of a model or of a run's checkpoint, and the weights in it."""
    if not model.endswith('.ckpt'):
        path = model_path(model, 'to start from')
        return path, load_checkpoint(path).state_dict
    return Path(model), trained_weights(read_run_checkpoint(Path(model)))


def read_run_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a run, with ``weights_only=True``.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f'Expected a checkpoint of a run, but there is no file at {path}.')
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f'Expected {path} to be a whole checkpoint of a run, but it cannot be read.'
        ) from error
    return checkpoint
