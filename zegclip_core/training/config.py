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

from collections.abc import Sequence
from dataclasses import dataclass, field
import math
from pathlib import Path
from typing import Any, Literal

from zegclip_core.data.catalog import FOLDER
from zegclip_core.data.views import ViewConfig
from zegclip_core.errors import ConfigError
from zegclip_core.training.settings import build, override, read_values


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
    trained norm before ``ln_post``, ImageNet's mean and std, bilinear positions, decoder layers
    that start alike. ``tower`` says whether the image tower's own weights are trained as well;
    prompts are trained either way.
    """

    dim: int = 256
    decoder_layers: int = 3
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    decoder_dropout: float = 0.1
    detail_width: int = 0
    feature_layers: tuple[int, ...] = ()
    relationship_descriptor: bool = True
    prompt_tokens: int = 0
    tower: Literal['frozen', 'finetuned'] = 'frozen'
    projections: bool = True
    projection_dropout: float = 0.0
    logit_scale: bool = True
    published: bool = False


@dataclass(frozen=True)
class SourceConfig:
    """One dataset to train on.

    Attributes:
        root: Its folder.
        split: Which part of it.
        dataset: What lies there: ``folder`` (``images/``, ``labels/`` and ``classes.txt``) or a
            dataset of ``zegclip_core.data.catalog``, by name or file.
        words: YAML file of further phrases and overlaps for each class; empty for none.
        wording: Whether a class goes by its ``name`` in all templates, averaged (published), or
            is ``varied``: half the time by one of its phrases in one template.
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
    dataset: str = FOLDER
    words: str = ''
    wording: Literal['varied', 'name'] = 'varied'
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
        dataset: Likewise.
        hold_out: Only every n-th picture is used; 0 uses all.
        absent_words: How many classes that are not in a picture are asked for beside those that
            are; -1 asks for all classes.
    """

    root: str
    split: str
    dataset: str = FOLDER
    hold_out: int = 0
    absent_words: int = -1


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast to train; one step is one change of the weights.

    Attributes:
        steps: How many.
        stop: Steps after which to end all the same, the rates being those of a whole run; 0 for
            the whole run.
        batch_size: Views that one process takes at once.
        accumulate: Batches whose gradients make one step. The loss is divided by what all of
            them hold, over all processes, so that 4 batches of 4 equal one of 16.
        learning_rate: The largest one.
        tower_rate: Factor of the learning rate for a fine-tuned tower's own weights.
        weight_decay: Of all weights, norms and biases included, as published.
        decay: ``one_cycle`` is a cosine to nothing; ``poly`` the published power of 0.9.
        min_learning_rate: Where ``poly`` ends.
        warmup: Below 1 a share of the steps, else a number of steps.
        clip: Largest norm of a gradient; 0 for any.
        validate_every: Steps between validations; a checkpoint is written as often.
        keep: Steps after which a checkpoint is kept as ``step=N.ckpt``.
        workers: Processes that draw views; 0 draws them in the training process.
        threads: CPU threads; 0 for torch's own choice.
    """

    steps: int
    stop: int = 0
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 2e-4
    tower_rate: float = 1.0
    weight_decay: float = 0.01
    decay: Literal['one_cycle', 'poly'] = 'one_cycle'
    min_learning_rate: float = 1e-6
    warmup: float = 0.05
    clip: float = 0.0
    validate_every: int = 500
    keep: tuple[int, ...] = ()
    workers: int = 0
    threads: int = 0

    @property
    def end(self) -> int:
        """Number of steps that are done in the end."""
        return self.stop or self.steps

    @property
    def warmup_steps(self) -> int:
        """Number of steps of the warm-up."""
        return round(self.warmup * self.steps if self.warmup < 1 else self.warmup)


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    Attributes:
        mask_weight: Factor of the focal part.
        dice_weight: Factor of the dice part.
        cross_entropy_weight: Factor of a softmax cross-entropy over the words; 0 for none. Beside
            the other parts it is averaged over accumulated batches, as long as their numbers of
            classes are alike.
        stride: The loss looks at every n-th row and column of pixels.
        window: Rows and columns of the window of patches that masks are drawn on; empty for all.
        text_noise: Standard deviation of the noise on each channel of the text embeddings, which
            have a norm of 1; it makes one wording as good as another.
    """

    mask_weight: float = 100.0
    dice_weight: float = 1.0
    cross_entropy_weight: float = 0.0
    stride: int = 1
    window: tuple[int, ...] = ()
    text_noise: float = 0.0


@dataclass(frozen=True)
class SettingsConfig:
    """What the exported model uses by default; see ``ModelSettings``."""

    threshold: float = 0.0
    short_side: int = 512
    seen_bias: float = 0.0


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
        setting: What training knows of the unseen classes. ``inductive``: nothing, their pixels
            count as unlabelled. ``transductive``: their names, and where one of them is but not
            which. ``fully_supervised``: all; there must be no unseen classes.
        unseen: The unseen classes of all datasets: names of classes, or of splits in the files
            of the datasets.
        seed: Seed of all that is random.
        output: Folder for runs and kept features.
        precision: Floating-point types while training.
        initialize_from: A model of the same shape to start from: its name, its file, or a
            checkpoint of a run (``.ckpt``); empty for none.
        keep_features: Whether the output of a tower that does not change is computed once for
            some views of each picture and kept on disk; else views are drawn anew each time.
        devices: Processes on each node, one a GPU; 0 takes all GPUs, or one process without.
        nodes: Number of machines.
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
    setting: Literal['fully_supervised', 'inductive', 'transductive'] = 'fully_supervised'
    unseen: tuple[str, ...] = ()
    seed: int = 0
    output: str = 'runs'
    precision: Literal['32-true', 'bf16-mixed', '16-mixed'] = '32-true'
    initialize_from: str = ''
    keep_features: bool = True
    devices: int = 0
    nodes: int = 1

    @property
    def tower_changes(self) -> bool:
        """Whether training changes what the image tower puts out."""
        return self.model.prompt_tokens > 0 or self.model.tower == 'finetuned'

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError('Expected at least one dataset under train, but got none.')
        self._check_numbers()
        if self.views.pipeline == 'published' and self.keep_features and not self.tower_changes:
            raise ConfigError(
                'Expected keep_features to be false with views.pipeline published, whose pictures '
                'keep their shape, but got true.'
            )
        loss = self.loss
        if not (loss.mask_weight or loss.dice_weight or loss.cross_entropy_weight):
            raise ConfigError('Expected a factor under loss that is above 0, but all are 0.')
        if (self.setting == 'fully_supervised') == bool(self.unseen):
            raise ConfigError(
                'Expected classes under unseen with setting inductive or transductive, and none '
                f'with fully_supervised, but got {self.setting} and {list(self.unseen)}.'
            )

    def _check_numbers(self) -> None:
        """Refuse numbers that make no sense."""
        schedule, loss, model = self.schedule, self.loss, self.model
        _check_least(1, self, 'nodes')
        _check_least(0, self, 'devices')
        names: tuple[str, ...] = ('steps', 'batch_size', 'accumulate', 'validate_every')
        _check_least(1, schedule, *names, where='schedule')
        names = ('stop', 'warmup', 'learning_rate', 'tower_rate', 'weight_decay', 'clip')
        _check_least(0, schedule, *names, 'workers', 'threads', where='schedule')
        names = ('mask_weight', 'dice_weight', 'cross_entropy_weight', 'text_noise')
        _check_least(0, loss, *names, where='loss')
        _check_least(1, loss, 'stride', where='loss')
        _check_least(0, model, 'prompt_tokens', 'detail_width', where='model')
        names = ('dim', 'decoder_layers', 'decoder_heads', 'decoder_mlp_dim')
        _check_least(1, model, *names, where='model')
        _check_least(1, self.settings, 'short_side', where='settings')
        for index, source in enumerate(self.train):
            _check_least(1, source, 'views', where=f'train.{index}')
            _check_least(0, source, 'hold_out', 'balance', where=f'train.{index}')
            _check_source(source, f'train.{index}')
        self._check_ranges()

    def _check_ranges(self) -> None:
        """Refuse values that do not fit each other, or lie outside of a range."""
        model, schedule = self.model, self.schedule
        allowed = {
            # A folder and the files in it are called by it.
            'name to be a name without /, such as mine': (
                bool(self.name.strip(' .')) and '/' not in self.name
            ),
            'schedule.stop to be at most schedule.steps': schedule.stop <= schedule.steps,
            'loss.window to have two numbers of at least 1, or none': (
                not self.loss.window or (len(self.loss.window) == 2 and min(self.loss.window) > 0)
            ),
            'model.decoder_heads to divide model.dim': model.dim % model.decoder_heads == 0,
            'model.detail_width to be a multiple of 8': model.detail_width % 8 == 0,
            'model.decoder_dropout to be in [0, 1)': 0 <= model.decoder_dropout < 1,
            'model.projection_dropout to be in [0, 1)': 0 <= model.projection_dropout < 1,
            'settings.threshold to be in [0, 1]': 0 <= self.settings.threshold <= 1,
        }
        for wanted, holds in allowed.items():
            if not holds:
                raise ConfigError(f'Expected {wanted}, but got {self._given(wanted)}.')

    def _given(self, wanted: str) -> str:
        """Return the value of the key that a sentence begins with."""
        value: Any = self
        for part in wanted.split(' ', 1)[0].split('.'):
            value = getattr(value, part)
        return repr(value)


def _check_least(lowest: int, part: object, *names: str, where: str = '') -> None:
    """Refuse values below a bound, and those that are no finite numbers."""
    for name in names:
        value = getattr(part, name)
        if not lowest <= value < math.inf:
            key = f'{where}.{name}' if where else name
            raise ConfigError(f'Expected {key} to be at least {lowest}, but got {value}.')


def _check_source(source: SourceConfig, where: str) -> None:
    """Refuse a dataset of which nothing would be trained on."""
    if not 0.0 < source.share < math.inf:
        raise ConfigError(f'Expected {where}.share to be above 0, but got {source.share}.')
    if source.hold_out == 1:
        raise ConfigError(f'Expected {where}.hold_out to be 0 or at least 2, but got 1: all.')


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: YAML file; ``base`` in it names another one, relative to it, whose settings hold
            where it has none of its own.
        overrides: ``key=value`` texts, the key with dots (``schedule.steps=100``,
            ``train.0.root=/data``), the value in YAML.

    Raises:
        ConfigError: If the file cannot be read, a key is not known, or a value not allowed.
    """
    values = read_values(Path(path))
    for text in overrides:
        override(values, text)
    return build(TrainConfig, values, '')
