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
"""The towers that a run aligns, built on a frozen image tower."""

from dataclasses import fields, replace
from typing import Any

from zegclip_core.alignment.config import AlignConfig
from zegclip_core.errors import ConfigError, ModelError
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.low_rank import PREFIX
from zegclip_core.weights.checkpoint import check_keys, Checkpoint, ModelConfig
from zegclip_core.weights.image_towers import ImageTower

_SHAPE = ('dim', 'projections', 'text_hidden', 'image_blocks', 'rank', 'adapted_blocks')


def new_towers(
    config: AlignConfig, tower: ImageTower, text_dim: int, *, updates: bool
) -> AlignedTowers:
    """Build untrained projections, and updates to adapt with, on a frozen image tower.

    Raises:
        ConfigError: If the space, or the size of views, does not fit the towers.
    """
    space = config.space
    _check_sizes(config, tower.config.patch_size)
    vision = replace(tower.config, feature_layers=space.feature_layers)
    if any(not 0 <= index < vision.layers for index in space.feature_layers):
        raise ConfigError(
            f'Expected space.feature_layers to be in [0, {vision.layers - 1}], as '
            f'{config.towers.image} has {vision.layers} layers, but got '
            f'{list(space.feature_layers)}.'
        )
    known = {field.name for field in fields(AlignmentConfig)} - {'rank'}
    values = space.model_dump(include=known)
    try:
        shape = AlignmentConfig(
            vision=vision, text_dim=text_dim, rank=space.rank if updates else 0, **values
        )
    except ModelError as error:
        raise ConfigError(f'Cannot use the configuration: {error}') from error
    towers = AlignedTowers(shape)
    weights = {key: value.float() for key, value in tower.state_dict.items()}
    towers.visual.load_state_dict(weights, strict=True)
    return towers


def _check_sizes(config: AlignConfig, patch: int) -> None:
    """Refuse views whose patches would not lie on their masks, and those without a patch."""
    if any(side % patch for side in config.views.size):
        raise ConfigError(
            f'Expected views.size to be multiples of {patch}, the side of a patch of '
            f'{config.towers.image}, but got {list(config.views.size)}.'
        )
    for name in {'sentences', 'names'}.intersection(config.teachers):
        size = getattr(config, name).size
        if min(size) < patch:
            raise ConfigError(
                f'Expected {name}.size to be at least {patch}, the side of a patch of '
                f'{config.towers.image}, but got {list(size)}.'
            )


def start_from(towers: AlignedTowers, start: Checkpoint, path: str) -> None:
    """Start from the weights of another alignment; updates that it lacks start at nothing.

    Raises:
        ConfigError: If the space of the other one has another shape.
        CheckpointError: If it lacks weights, or has updates that are not to be trained.
    """
    _check_shape(towers.config, start.config, path)
    state, weights = towers.state_dict(), start.state_dict
    own = {name: state[name] for name in towers.trained_names()}
    new = {} if any(map(is_update, weights)) else {k: v for k, v in own.items() if is_update(k)}
    check_keys(path, own, {**new, **weights})
    towers.load_state_dict({**state, **new, **weights}, strict=True)


def _check_shape(config: ModelConfig, other: ModelConfig, path: str) -> None:
    """Refuse a space of another shape than a file's, also where its weights would fit."""
    own, theirs = _space(config), _space(other)
    # Updates may be new, whatever their shape.
    names = own if own['rank'] and theirs['rank'] else own.keys() - {'rank', 'adapted_blocks'}
    wrong = [name for name in own if name in names and own[name] != theirs[name]]
    if wrong:
        name = wrong[0]
        raise ConfigError(
            f'Expected space.{name} to be that of {path}, {theirs[name]}, but got {own[name]}.'
        )


def _space(config: ModelConfig) -> dict[str, Any]:
    """Return what of a shape stands under ``space``."""
    return {
        **{name: getattr(config, name) for name in _SHAPE},
        'feature_layers': list(config.vision.feature_layers),
    }


def is_update(name: str) -> bool:
    """Return whether a weight is part of a low-rank update."""
    return name.startswith(PREFIX)
