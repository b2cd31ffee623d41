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
"""The model that a run trains, built on a frozen tower, and its optimiser."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from zegclip_core.errors import ConfigError
from zegclip_core.loading import check_decoder, model_path
from zegclip_core.model.alignment import AlignmentConfig, cosine_scale
from zegclip_core.model.low_rank import merge, PREFIX
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD, PositionResize
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.training.checkpoints import read_run_checkpoint, RECORD, trained_weights
from zegclip_core.training.config import CourseConfig, TowersConfig, TrainConfig
from zegclip_core.weights.checkpoint import check_keys, Checkpoint, load_checkpoint, ModelConfig
from zegclip_core.weights.image_towers import ImageTower, resized_positions

_GIVEN = ('dim', 'projections', 'text_hidden', 'image_blocks')
"""What of a model's shape an alignment gives."""
_POWER = 0.9
"""Exponent of the published decay."""
_PUBLISHED_RESIZE: PositionResize = 'bilinear'
"""How the release, and of ours only a model set up as it is, brings position tables to a grid."""
_SHAPE_BEFORE = {
    'feature_layers': (),
    'decoder_heads': 8,
    'published': False,
    'average_pooling': False,
}
"""What ``_unweighted`` of a run was before its record said it."""
_FILE = '/file:'
"""In the name of a tower whose weights are a file."""
_WARMUP_START = 1e-6
"""Share of the learning rate that the published warm-up starts from."""


def new_network(config: TrainConfig, tower: ImageTower, text_dim: int) -> ZegCLIP:
    """Build an untrained model on a frozen tower, for text embeddings of some width."""
    model = config.model
    patch, layers = tower.config.patch_size, tower.config.layers
    if any(side < patch or side % patch for side in config.views.size):
        raise ConfigError(
            f'Expected views.size to be multiples of {patch}, the side of a patch of '
            f'{config.towers.image}, but got {list(config.views.size)}.'
        )
    if any(not 0 <= index < layers for index in model.feature_layers):
        raise ConfigError(
            f'Expected model.feature_layers to be in [0, {layers - 1}], as '
            f'{config.towers.image} has {layers} layers, but got {list(model.feature_layers)}.'
        )
    if model.published:
        grid = (config.views.size[0] // patch, config.views.size[1] // patch)
        tower = _as_published(tower, grid, prompted=model.prompt_tokens > 0)
    vision = replace(
        tower.config, prompt_tokens=model.prompt_tokens, feature_layers=model.feature_layers
    )
    network = ZegCLIP(
        ZegCLIPConfig(
            vision=vision,
            text_dim=text_dim,
            **model.model_dump(include={field.name for field in fields(ZegCLIPConfig)}),
        )
    )
    weights = {key: value.float() for key, value in tower.state_dict.items()}
    missing, unexpected = network.visual.load_state_dict(weights, strict=False)
    odd = [*unexpected, *(key for key in missing if 'prompt' not in key)]
    if odd:
        raise ValueError(f'Expected the tower to fill all weights but prompts, but not {odd[0]}.')
    if model.published:
        # The release copies one decoder layer.
        state = network.decoder.layers[0].state_dict()
        for layer in network.decoder.layers[1:]:
            layer.load_state_dict({key: state[key] for key in layer.state_dict()}, strict=True)
    if model.tower == 'finetuned':
        network.train_tower(True)
    return network


def _as_published(tower: ImageTower, grid: tuple[int, int], *, prompted: bool) -> ImageTower:
    """Return a tower as ZegCLIP's release sets it up for images of a patch grid.

    What the release changes of CLIP's own inputs, a class embedding that enters twice and
    ImageNet's pixels, other families are spared: they were frozen with theirs.
    """
    tower = resized_positions(tower, grid, _PUBLISHED_RESIZE)
    changed = replace(
        tower.config,
        # The release's tower without prompts has none, and what is frozen must not change.
        prompt_norm=prompted,
        position_resize=_PUBLISHED_RESIZE,
    )
    if tower.config.pre_norm and tower.config.pooling == 'token':
        changed = replace(
            changed, class_embedding_twice=True, mean=IMAGENET_MEAN, std=IMAGENET_STD
        )
    return replace(tower, config=changed)


def read_alignment(path: str, towers: TowersConfig, key: str) -> Checkpoint:
    """Return aligned towers from a file; ``key`` is the setting that names it, for messages.

    Raises:
        ConfigError: If the file holds something else, or other towers than those given.
        CheckpointError: If it cannot be read.
    """
    found = load_checkpoint(Path(path))
    if not isinstance(found.config, AlignmentConfig):
        raise ConfigError(
            f'Expected {key} to be a file of zegclip align or adapt, but {path} holds a model '
            'with a decoder.'
        )
    for kind in ('image', 'text'):
        wanted, has = getattr(towers, kind), getattr(found.settings, f'{kind}_tower')
        if wanted != has:
            raise ConfigError(
                f'Expected towers.{kind} to be that of {path}, {has}, but got {wanted}.'
            )
    return found


def load_alignment(config: TrainConfig) -> Checkpoint | None:
    """Return the aligned towers that a run starts from, if any.

    Raises:
        ConfigError: As ``read_alignment``, or if the heads of the decoder do not divide the width.
        CheckpointError: If the file cannot be read.
    """
    if not config.model.alignment:
        return None
    found = read_alignment(config.model.alignment, config.towers, 'model.alignment')
    if found.config.dim % config.model.decoder_heads:
        raise ConfigError(
            f'Expected model.decoder_heads to divide the width of {config.model.alignment}, '
            f'{found.config.dim}, but got {config.model.decoder_heads}.'
        )
    return found


def with_shape_of(config: TrainConfig, alignment: Checkpoint | None) -> TrainConfig:
    """Return the configuration with the shape that aligned towers give a model."""
    if alignment is None:
        return config
    shape = alignment.config
    known = {field: getattr(shape, field) for field in _GIVEN}
    known['feature_layers'] = shape.vision.feature_layers
    return config.model_copy(update={'model': config.model.model_copy(update=known)})


def start_aligned(network: ZegCLIP, alignment: Checkpoint, rate: float) -> dict[str, Tensor]:
    """Start from aligned towers: their projections, and the image tower with its updates.

    With a ``rate`` of 0 the projections are not trained. A model with average pooling has no use
    for the one of the image embedding.

    Returns:
        The updates, under their own names, which the image tower has in it now.
    """
    weights = dict(alignment.state_dict)
    scale = float(cosine_scale(weights.pop('log_scale').float()))
    updates = {name: weights.pop(name) for name in list(weights) if name.startswith(PREFIX)}
    if network.config.average_pooling:
        weights = {k: v for k, v in weights.items() if not k.startswith('global_projection.')}
    _merge_updates(network, updates)
    network.load_state_dict({**network.state_dict(), **weights}, strict=True)
    network.start_aligned(scale)
    for name, parameter in network.named_parameters():
        if name in weights and not rate:
            parameter.requires_grad_(False)
    return updates


def _merge_updates(network: ZegCLIP, updates: Mapping[str, Tensor]) -> None:
    """Add updates, under their own names, to the image tower."""
    own = {name.removeprefix(PREFIX): value for name, value in updates.items()}
    state = network.visual.state_dict()
    tower = {name: value for name, value in state.items() if 'prompt' not in name}
    network.visual.load_state_dict({**state, **merge(tower, own)})


def initialize_from(
    network: ZegCLIP, model: str, updates: Mapping[str, Tensor], towers: TowersConfig
) -> Mapping[str, Tensor]:
    """Start from what another model has learnt, which must have the same shape.

    Args:
        network: The new model.
        model: The name of a bundled model, or the path of a ``.safetensors`` file or of a
            checkpoint of a run (``.ckpt``), which holds no updates.
        updates: Those that the image tower has by now, from ``start_aligned``.
        towers: The towers of the new model.

    Returns:
        The updates that it has then: where there were none, those of the other model.

    Raises:
        ConfigError: If the tower has other updates than the other model's, or the other model has
            other towers, or another shape that its weights do not show.
        CheckpointError: If its weights have another shape.
    """
    if model.endswith('.ckpt'):
        path = Path(model)
        run = read_run_checkpoint(path)
        record = run[RECORD]['config']
        # What a setting that there was not yet at that time does is its default.
        weights, shape = trained_weights(run), {**_SHAPE_BEFORE, **record['model']}
        theirs = record.get('towers', {})
    else:
        path = model_path(model, 'to start from')
        checkpoint = load_checkpoint(path)
        check_decoder(checkpoint, model, 'to start from')
        weights, shape = checkpoint.state_dict, _unweighted(checkpoint.config)
        settings = checkpoint.settings
        theirs = {'image': settings.image_tower, 'text': settings.text_tower}
    _check_towers(towers, theirs, path)
    _check_unweighted(network, shape, path)
    found = {name: weights.pop(name) for name in list(weights) if name.startswith(PREFIX)}
    state = network.state_dict()
    check_keys(path, {name: state[name] for name in network.trained_names()}, weights)
    network.load_state_dict({**state, **weights}, strict=True)
    if not found:
        return updates
    if not updates:
        _merge_updates(network, found)
    elif found.keys() != updates.keys() or any(
        not torch.equal(value, updates[name]) for name, value in found.items()
    ):
        raise ConfigError(
            f'Expected model.alignment to be the file that the image tower of {path} was adapted '
            'by, but it is another; leave it out to take that tower over.'
        )
    return found


def _check_towers(towers: TowersConfig, theirs: Mapping[str, str], path: Path) -> None:
    """Refuse to start from what was learnt on other towers, by their names.

    Files of weights may lie anywhere, and a fine-tuned tower has no name: they are not compared.
    """
    for kind in ('image', 'text'):
        wanted, has = getattr(towers, kind), theirs.get(kind, '')
        if has and wanted != has and _FILE not in wanted and _FILE not in has:
            raise ConfigError(
                f'Expected towers.{kind} to be that of {path}, {has}, but got {wanted}.'
            )


def _unweighted(config: ModelConfig) -> dict[str, Any]:
    """Return what of a model's shape its weights do not show, as ``model`` has it."""
    return {
        'feature_layers': config.vision.feature_layers,
        'decoder_heads': getattr(config, 'decoder_heads', 0),
        'average_pooling': getattr(config, 'average_pooling', False),
        'published': config.vision.position_resize == _PUBLISHED_RESIZE,
    }


def _check_unweighted(network: ZegCLIP, theirs: Mapping[str, Any], path: Path) -> None:
    """Refuse to start from weights that would compute something else in the new model."""
    for name, value in _unweighted(network.config).items():
        if value != theirs[name]:
            shown = [list(v) if isinstance(v, tuple) else v for v in (theirs[name], value)]
            raise ConfigError(
                f'Expected model.{name} to be that of {path}, {shown[0]}, but got {shown[1]}.'
            )


def make_optimizer(network: ZegCLIP, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW over what is trained.

    All weights have one decay: in the release the rules that spare norms never act. A fine-tuned
    tower's own weights, and an alignment's projections, are groups with rates of their own.
    """
    schedule = config.schedule
    own: list[nn.Parameter] = []
    tower: list[nn.Parameter] = []
    aligned: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            in_tower = name.startswith('visual.') and 'prompt' not in name
            is_aligned = bool(config.model.alignment) and '_projection.' in name
            (tower if in_tower else aligned if is_aligned else own).append(parameter)
    rates = ((1.0, own), (schedule.tower_rate, tower), (config.model.alignment_rate, aligned))
    return adamw(rates, schedule)


def adamw(
    groups: Iterable[tuple[float, list[nn.Parameter]]], schedule: CourseConfig
) -> torch.optim.AdamW:
    """Return AdamW over groups of weights, each with its factor of the learning rate."""
    return torch.optim.AdamW(
        [{'params': part, 'lr': schedule.learning_rate * rate} for rate, part in groups if part],
        weight_decay=schedule.weight_decay,
    )


def make_scheduler(optimizer: torch.optim.Optimizer, schedule: CourseConfig) -> LRScheduler:
    """Return the course of the learning rate, one change a step.

    ``poly`` is published: a power of 0.9 of what is left, down to the smallest rate; during the
    warm-up that is multiplied by a factor which rises from 1e-6 to 1 (the hooks ``poly`` and
    ``linear`` of mmcv).
    """
    if schedule.decay == 'one_cycle':
        return OneCycleLR(
            optimizer,
            [group['lr'] for group in optimizer.param_groups],
            total_steps=schedule.steps + 1,
            pct_start=schedule.warmup_steps / schedule.steps,
        )

    def poly(base: float, step: int) -> float:
        left = float((1.0 - min(step / schedule.steps, 1.0)) ** _POWER)
        rate = (base - schedule.min_learning_rate) * left + schedule.min_learning_rate
        if step < schedule.warmup_steps:
            rate *= 1.0 - (1.0 - step / schedule.warmup_steps) * (1.0 - _WARMUP_START)
        return rate / base if base else 0.0

    return LambdaLR(optimizer, [partial(poly, group['lr']) for group in optimizer.param_groups])
