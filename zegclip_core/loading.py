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

from collections.abc import Sequence
from dataclasses import dataclass, replace
import logging
from os import fspath, PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from zegclip_core.errors import CheckpointError, ModelError, TowerError
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.low_rank import merge, PREFIX
from zegclip_core.model.training_free import (
    TrainingFreeCLIP,
    TrainingFreeConfig,
    usual_attention,
)
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.options import Attention, OPTIONS
from zegclip_core.text.encoder import load_text_tower, TextEncoder, TextTower
from zegclip_core.text.templates import resolve_templates
from zegclip_core.text.towers import check_text_tower, clip_text_tower, OpenCLIPTextTower
from zegclip_core.weights.checkpoint import (
    check_keys,
    Checkpoint,
    load_checkpoint,
    ModelSettings,
    TEXT_PREFIX,
)
from zegclip_core.weights.clip import (
    load_clip_weights,
    MissingWeightsError,
    sigmoid_logits,
    temperature_of,
)
from zegclip_core.weights.families import load_parameters, unfilled
from zegclip_core.weights.image_towers import (
    check_image_tower,
    clip_image_tower,
    load_image_tower,
    resized_positions,
)
from zegclip_core.weights.names import (
    DEFAULT_MODEL,
    ModelName,
    parse_model,
    parse_reference,
    SUFFIX,
    SUFFIXES,
    TowerReference,
)
from zegclip_core.weights.published import load_published

__all__ = [
    'DEFAULT_MODEL',
    'NEGATIVES',
    'LoadedModel',
    'build_network',
    'build_text_tower',
    'check_decoder',
    'load_model',
    'model_path',
    'open_checkpoint',
    'with_local_towers',
]

logger = logging.getLogger(__name__)

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
    'prompt_dropout',
}
"""What of an image tower's configuration is the checkpoint's to say, not the frozen weights'."""
_TOWERS = ('image_tower', 'text_tower')
_VISUAL = 'visual.'
_ACTIVATION = '-quickgelu'
"""End of the names of models that differ from others by their activation alone."""

SHORT_SIDE = 336
"""Of images that CLIP looks at without training, in pixels, as in NACLIP's release."""
TEMPLATES = 'everyday'
"""What it puts words into: few, as each word costs a pass of the text tower with each of them."""
NEGATIVES = (
    'wall',
    'floor',
    'ceiling',
    'sky',
    'cloud',
    'building',
    'road',
    'ground',
    'grass',
    'tree',
    'mountain',
    'water',
)
"""What fills most of a picture's background: after the words for it in the releases of SCLIP
(https://github.com/wangf3014/SCLIP) and NACLIP (https://github.com/sinahmr/NACLIP)."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to use.

    The network is float32 on the CPU, in evaluation mode; the settings are what the checkpoint
    says beside its weights.
    """

    name: str
    network: ZegCLIP | TrainingFreeCLIP | AlignedTowers
    text_encoder: TextEncoder
    settings: ModelSettings

    @property
    def config(self) -> ZegCLIPConfig | TrainingFreeConfig | AlignmentConfig:
        """The network's shape."""
        return self.network.config


def load_model(
    model: str | PathLike[str] = DEFAULT_MODEL,
    *,
    attention: Attention | None = None,
    templates: str | Sequence[str] | None = None,
) -> LoadedModel:
    """Load a model with its frozen towers.

    Args:
        model: Its name (``zegclip_core.weights.names``), or the path of its file.
        attention: How the last block of CLIP without training attends; ``None`` for what its
            family's papers do.
        templates: What words are put into, by name or as texts; ``None`` for the model's own.

    Raises:
        ModelError: If there is no such model, or it has no such attention.
        CheckpointError: If its file cannot be read or does not match its towers.
        TowerError: If a frozen tower cannot be found.
        ConfigError: If there are no such templates.
    """
    model = fspath(model)
    name = parse_model(model)
    clip = name.without_training
    # Before what may take minutes.
    if clip is not None:
        OPTIONS['attention'].check(attention)
    elif attention is not None:
        raise ModelError(
            f'Expected no attention for {name.text!r}, a trained model, but got {attention!r}.'
        )
    chosen = None if templates is None else resolve_templates(templates)
    try:
        loaded = _load_trained(name) if clip is None else _load_clip(name, clip, attention)
    except MissingWeightsError as error:
        start = f'{model}+' if clip is None else ''
        raise TowerError(
            f'{error} At any other place, it is used as {start}{error.local_name}.'
        ) from error
    logger.info('Loaded the model %s.', model)
    if chosen is None:
        return loaded
    return replace(loaded, text_encoder=TextEncoder(loaded.text_encoder.tower, chosen))


def open_checkpoint(model: str, purpose: str = '') -> tuple[Path, Checkpoint]:
    """Return the file of a trained model and what it holds, without the towers that it names.

    ``purpose`` is what a decoder is needed for, such as ``to export``; without one, aligned towers
    will do.

    Raises:
        ModelError: If there is no such model, or it is none that was trained, or has no decoder
            though there is a purpose.
        CheckpointError: If its file cannot be read, or names no such towers as the model's name.
    """
    name = parse_model(model)
    path = name.checkpoint_file(purpose)
    checkpoint = load_checkpoint(path) if path.suffix == SUFFIX else load_published(path)
    if purpose:
        check_decoder(checkpoint, model, purpose)
    if name.clip is not None:
        settings = with_local_towers(checkpoint.settings, name.clip, where=str(path))
        checkpoint = replace(checkpoint, settings=settings)
    return path, checkpoint


def check_decoder(checkpoint: Checkpoint, model: str, purpose: str) -> None:
    """Refuse a model without a decoder; ``purpose`` is what it is needed for.

    Raises:
        ModelError: If the model of that name has none.
    """
    if not isinstance(checkpoint.config, ZegCLIPConfig):
        raise ModelError(
            f'Expected a model with a decoder {purpose}, but got {model!r}, aligned towers.'
        )


def model_path(model: str, purpose: str = '') -> Path:
    """Return the file of a trained model whose towers are not told apart from it.

    ``purpose`` is what it is needed for, such as ``to train from``.

    Raises:
        ModelError: If there is no such model, or it is of another kind.
    """
    name = parse_model(model)
    path = name.checkpoint_file(purpose)
    if name.clip is not None:
        raise ModelError(
            f'Expected the name of a checkpoint alone, such as {path}, but got {model!r}.'
        )
    return path


def with_local_towers(
    settings: ModelSettings, clip: TowerReference, *, where: str
) -> ModelSettings:
    """Return settings with a local file in place of the towers of that name.

    Raises:
        CheckpointError: If it names no such tower.
    """
    named = {key: getattr(settings, key) for key in _TOWERS}
    towers = {key: parse_reference(text) for key, text in named.items() if text}
    changes: dict[str, Any] = {
        key: str(replace(tower, name=clip.name, tag=None, path=clip.path))
        for key, tower in towers.items()
        if tower.kind != 'package'
        and tower.name.removesuffix(_ACTIVATION) == clip.name.removesuffix(_ACTIVATION)
    }
    if not changes:
        found = ' and '.join(sorted(set(filter(None, named.values())))) or 'none, as it holds them'
        raise CheckpointError(
            f'Expected {where} to name a tower {clip.name}, to take it from {clip.path}, but it '
            f'names {found}.'
        )
    return replace(settings, **changes)


def _load_trained(name: ModelName) -> LoadedModel:
    """Load a trained model."""
    path, checkpoint = open_checkpoint(name.text)
    network = build_network(checkpoint, where=str(path))
    tower = build_text_tower(checkpoint, where=str(path))
    if tower.embed_dim != checkpoint.config.text_dim:
        raise CheckpointError(
            f'{path} expects text embeddings of width {checkpoint.config.text_dim}, '
            f'but its text tower {tower.name} has {tower.embed_dim}.'
        )
    encoder = TextEncoder(tower, checkpoint.settings.templates)
    return LoadedModel(name.text, network, encoder, checkpoint.settings)


def _load_clip(name: ModelName, clip: TowerReference, attention: Attention | None) -> LoadedModel:
    """Load CLIP, or TIPSv2, without training; its sizes are NACLIP's."""
    try:
        check_image_tower(clip)
        check_text_tower(clip)
    except TowerError as error:
        raise TowerError(
            f'Cannot use {name.text!r} as CLIP without training: {error} zegclip models lists the '
            f'names; if it is a path, it must end in {", ".join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.'
        ) from error
    weights = load_clip_weights(clip)
    tower = clip_image_tower(weights)
    temperature = temperature_of(weights)
    unprojected = temperature is not None
    config = TrainingFreeConfig(
        tower.config,
        attention=attention or usual_attention(tower.config, unprojected=unprojected),
        unprojected=unprojected,
    )
    if temperature is not None:
        config = replace(config, scale=1.0 / temperature)
    logits = sigmoid_logits(weights)
    if logits is not None:
        scale, offset = logits
        config = replace(config, scale=scale, offset=offset, scoring='sigmoid')
    with unfilled():
        network = TrainingFreeCLIP(config)
    load_parameters(network.visual, tower.state_dict, weights.source)
    patch = tower.config.patch_size
    window = min(tower.config.grid[0], SHORT_SIDE // patch) * patch
    settings = ModelSettings(
        image_tower=str(clip),
        text_tower=str(clip),
        templates=TEMPLATES,
        negatives=NEGATIVES,
        short_side=SHORT_SIDE,
        crop=window,
        stride=window // 2,
    )
    encoder = TextEncoder(clip_text_tower(weights), settings.templates)
    return LoadedModel(name.text, network.eval(), encoder, settings)


def build_network(checkpoint: Checkpoint, *, where: str) -> ZegCLIP | AlignedTowers:
    """Build a model and fill in its weights strictly; frozen ones are loaded by reference.

    Low-rank updates become part of the image tower's weights. The network takes the checkpoint's
    tensors themselves, which nothing may change in place.

    Raises:
        CheckpointError: If a weight is missing, unexpected or of another shape.
        TowerError: If the image tower cannot be found.
    """
    weights = {k: v for k, v in checkpoint.state_dict.items() if not k.startswith(TEXT_PREFIX)}
    if checkpoint.settings.image_tower:
        weights = {**_frozen_weights(checkpoint, where), **weights}
    network: ZegCLIP | AlignedTowers
    with unfilled():
        if isinstance(checkpoint.config, AlignmentConfig):
            check_keys(where, AlignedTowers(checkpoint.config).state_dict(), weights)
            network = AlignedTowers(replace(checkpoint.config, rank=0))
        else:
            network = ZegCLIP(checkpoint.config)
    weights = _merged(weights, where)
    check_keys(where, network.state_dict(), weights)
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval()


def _frozen_weights(checkpoint: Checkpoint, where: str) -> dict[str, Tensor]:
    """Return the weights of the image tower that a checkpoint names, as a model names them."""
    name, wanted = checkpoint.settings.image_tower, checkpoint.config.vision
    tower = load_image_tower(name)
    for key, value in vars(wanted).items():
        found = getattr(tower.config, key)
        if key not in _SET_BY_CHECKPOINT and value != found:
            raise TowerError(
                f'{where} expects an image tower with {key} {value!r}, but {name} has {found!r}.'
            )
    tower = resized_positions(tower, wanted.grid, wanted.position_resize)
    # Copies of what may lie in a mapped file of a user's, as of a checkpoint; a package's are.
    copy = parse_reference(name).kind != 'package'
    weights = {key: value.to(torch.float32, copy=copy) for key, value in tower.state_dict.items()}
    return {f'{_VISUAL}{key}': value for key, value in weights.items()}


def _merged(weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return a model's weights with low-rank updates merged into those of its image tower.

    Raises:
        CheckpointError: If they do not fit.
    """
    tower, updates = (
        {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
        for start in (_VISUAL, PREFIX)
    )
    try:
        merged = {f'{_VISUAL}{key}': value for key, value in merge(tower, updates).items()}
    except ValueError as error:
        raise CheckpointError(f'{where} does not match its model: {error}.') from error
    return {k: v for k, v in weights.items() if not k.startswith(PREFIX)} | merged


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
