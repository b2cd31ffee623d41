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
"""Training configurations: YAML files, checked key by key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, MISSING
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, Literal, TypeVar

import yaml
from zegclip_core.data.views import ViewConfig
from zegclip_core.errors import ConfigError

T = TypeVar('T')


@dataclass(frozen=True)
class TowersConfig:
    """The frozen towers, by reference, and the templates of the text side."""

    image: str
    text: str
    templates: str = 'single'


@dataclass(frozen=True)
class ModelConfig:
    """The trained parts; the fields are those of ``ZegCLIPConfig`` and ``VisionConfig``.

    ``published`` trains a CLIP tower exactly as ZegCLIP's release does: class embedding twice,
    trained norm before ``ln_post``, ImageNet's mean and std, bilinear positions.
    """

    dim: int = 256
    decoder_layers: int = 3
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    decoder_dropout: float = 0.1
    detail_width: int = 0
    feature_layers: tuple[int, ...] = ()
    prompt_tokens: int = 0
    projections: bool = True
    projection_dropout: float = 0.0
    logit_scale: bool = True
    published: bool = False


@dataclass(frozen=True)
class SourceConfig:
    """One dataset to train on.

    Attributes:
        root: Folder with ``images/``, ``labels/`` and ``classes.txt``.
        split: Which part of it.
        words: YAML file of further phrases and overlaps for each class; empty for none.
        views: Views of each picture when features are kept on disk.
        share: Share of the batches that come from this dataset.
        unlabelled: Whether an unlabelled pixel is ``none_of_these`` classes (published) or
            ``unknown``.
        absent_words: How many own classes that are not in the batch are asked for beside those
            that are; -1 for all.
        foreign_words: How many classes of the other datasets are asked for beside.
        balance: Exponent that evens out rare and frequent classes; 0 for none, 1 for all.
        hold_out: Every n-th picture is left out; 0 leaves none out.
    """

    root: str
    split: str
    words: str = ''
    views: int = 8
    share: float = 1.0
    unlabelled: Literal['none_of_these', 'unknown'] = 'none_of_these'
    absent_words: int = -1
    foreign_words: int = 0
    balance: float = 0.0
    hold_out: int = 0


@dataclass(frozen=True)
class ValidationConfig:
    """One dataset to validate on.

    Attributes:
        root: As in ``SourceConfig``.
        split: Likewise.
        hold_out: Only every n-th picture is used; 0 uses all.
        absent_words: How many classes that are not in a picture are asked for beside those that
            are; -1 asks for all classes.
    """

    root: str
    split: str
    hold_out: int = 0
    absent_words: int = -1


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast to train; one step is one batch.

    ``warmup`` is a share of the steps, ``clip`` the largest norm of a gradient (0: any),
    ``threads`` counts CPU threads (0: torch's own choice).
    """

    steps: int
    batch_size: int = 16
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 0.0
    validate_every: int = 500
    threads: int = 0


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    Attributes:
        mask_weight: Factor of the focal part.
        dice_weight: Factor of the dice part.
        cross_entropy_weight: Factor of a softmax cross-entropy over the words; 0 for none.
        window: Rows and columns of the window of patches that masks are drawn on; empty for all.
        text_noise: Standard deviation of the noise on each channel of the text embeddings, which
            have a norm of 1; it makes one wording as good as another.
    """

    mask_weight: float = 100.0
    dice_weight: float = 1.0
    cross_entropy_weight: float = 0.0
    window: tuple[int, ...] = ()
    text_noise: float = 0.0


@dataclass(frozen=True)
class SettingsConfig:
    """What the exported model uses by default; see ``ModelSettings``."""

    threshold: float = 0.0
    short_side: int = 512


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run.

    Attributes:
        name: What the run and its model are called.
        towers: The frozen towers.
        views: How views of pictures are drawn.
        train: What to train on.
        schedule: How long and how fast.
        validate: What to validate on.
        model: The trained parts.
        loss: What is minimised.
        settings: What the exported model uses by default.
        seed: Seed of all that is random.
        output: Folder for runs and kept features.
        precision: Floating-point types while training.
        initialize_from: A model of the same shape to start from, by name or file; empty for none.
    """

    name: str
    towers: TowersConfig
    views: ViewConfig
    train: tuple[SourceConfig, ...]
    schedule: ScheduleConfig
    validate: tuple[ValidationConfig, ...] = ()
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    settings: SettingsConfig = field(default_factory=SettingsConfig)
    seed: int = 0
    output: str = 'runs'
    precision: Literal['32-true', 'bf16-mixed', '16-mixed'] = '32-true'
    initialize_from: str = ''

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError('Expected at least one dataset under train, but got none.')
        if self.schedule.steps < 1 or self.schedule.batch_size < 1:
            raise ConfigError(
                'Expected schedule.steps and schedule.batch_size to be at least 1, but got '
                f'{self.schedule.steps} and {self.schedule.batch_size}.'
            )


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: YAML file.
        overrides: ``key=value`` texts, the key with dots (``schedule.steps=100``,
            ``train.0.root=/data``), the value in YAML.

    Raises:
        ConfigError: If the file cannot be read, a key is not known, or a value not allowed.
    """
    try:
        values = yaml.safe_load(Path(path).read_text('utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'Cannot read the configuration {path}: {reason}.') from error
    for text in overrides:
        _override(values, text)
    return build(TrainConfig, values, '')


def _override(values: Any, text: str) -> None:  # noqa: ANN401 - whatever YAML holds
    """Put one ``key=value`` into the values."""
    key, equals, value = text.partition('=')
    if not equals or not key:
        raise ConfigError(f'Expected a setting key=value, but got {text!r}.')
    *parents, last = key.split('.')
    for parent in parents:
        if isinstance(values, list):
            values = values[_position(values, parent, key)]
        elif isinstance(values, dict):
            values = values.setdefault(parent, {})
        else:
            raise ConfigError(f'Expected {key} to name a setting, but there is none below it.')
    if isinstance(values, list):
        values[_position(values, last, key)] = yaml.safe_load(value)
    else:
        values[last] = yaml.safe_load(value)


def _position(values: list[Any], text: str, key: str) -> int:
    if not text.isdigit() or int(text) >= len(values):
        raise ConfigError(
            f'Expected a position from 0 to {len(values) - 1} in {key}, but got {text!r}.'
        )
    return int(text)


def build(kind: type[T], values: object, where: str) -> T:
    """Build a dataclass from decoded YAML.

    Args:
        kind: The dataclass.
        values: What the file holds.
        where: Key of this part, for error messages.

    Raises:
        ConfigError: If a key is unknown or missing, or a value has the wrong type.
    """
    here = where or 'the configuration'
    if not isinstance(values, Mapping):
        raise ConfigError(f'Expected {here} to be a mapping of settings, but got {values!r}.')
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ConfigError(
            f'Expected the keys {", ".join(known)} in {here}, but got {unknown[0]!r}.'
        )
    hints = get_type_hints(kind)
    arguments = {}
    for name, entry in known.items():
        key = f'{where}.{name}' if where else name
        if name in values:
            arguments[name] = _convert(hints[name], values[name], key)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ConfigError(f'Expected a value for {key}, but there is none.')
    return kind(**arguments)


def _convert(hint: Any, value: object, key: str) -> Any:  # noqa: ANN401 - any setting
    """Check a value against its annotation."""
    if is_dataclass(hint):
        return build(hint, value, key)  # type: ignore[arg-type]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in inner:
            raise ConfigError(
                f'Expected {key} to be one of {", ".join(inner)}, but got {value!r}.'
            )
        return value
    if origin is UnionType:
        if value is None and NoneType in inner:
            return None
        return _convert(next(part for part in inner if part is not NoneType), value, key)
    if origin is tuple:
        return _convert_tuple(inner, value, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f'Expected {key} to be a {hint.__name__}, but got {value!r}.')
    return value


def _convert_tuple(inner: tuple[Any, ...], value: object, key: str) -> tuple[Any, ...]:
    """Check a list against a tuple's annotation."""
    if not isinstance(value, list | tuple):
        raise ConfigError(f'Expected {key} to be a list, but got {value!r}.')
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
    if len(kinds) != len(value):
        raise ConfigError(f'Expected {key} to have {len(kinds)} entries, but got {len(value)}.')
    return tuple(
        _convert(kind, entry, f'{key}.{index}')
        for index, (kind, entry) in enumerate(zip(kinds, value, strict=True))
    )
