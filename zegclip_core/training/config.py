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
"""Training configurations: what can be set, what is allowed, and what it is if it is not set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator, PositiveFloat
from zegclip_core.data.datasets import FOLDER
from zegclip_core.data.views import ViewConfig
from zegclip_core.errors import ConfigError
from zegclip_core.files import user_path
from zegclip_core.settings import Count, Factor, PathText, Positive, read_settings, Settings
from zegclip_core.text.templates import check_templates

_PACKAGE = Path(__file__).resolve().parents[1]
_SHARED = Path('share') / 'zegclip_ros' / 'config'
TRAIN, ALIGN = 'train', 'align'
"""Kinds of configurations: those of ``zegclip train``, and of ``zegclip align`` and ``adapt``."""


def _is_one_name(value: str) -> str:
    if not value.strip(' .') or '/' in value:
        raise ValueError('a name without /, such as mine')
    return value


def _each_once(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) < len(value):
        raise ValueError('layers, each once')
    return value


Layers = Annotated[tuple[int, ...], AfterValidator(_each_once)]
"""Blocks of an image tower, from 0."""
RunName = Annotated[str, AfterValidator(_is_one_name)]
"""What a run is called, as are a folder and the files in it."""


class TowersConfig(Settings):
    """The frozen towers, by reference, and the templates of the text side."""

    image: str
    text: str
    templates: str = 'single'


class ModelConfig(Settings):
    """The trained parts; the fields are those of ``ZegCLIPConfig`` and ``VisionConfig``."""

    dim: Positive = 256
    decoder_layers: Positive = 3
    decoder_heads: Positive = 8
    decoder_mlp_dim: Positive = 2048
    decoder_dropout: float = Field(default=0.1, ge=0, lt=1)
    detail_width: int = Field(default=0, ge=0, multiple_of=8)
    feature_layers: Layers = ()
    relationship_descriptor: bool = True
    average_pooling: bool = False
    """Whether the descriptor's image embedding is the mean of the projected patch tokens, and not
    what the image tower pools: of most, the class token."""
    prompt_tokens: Count = 0
    tower: Literal['frozen', 'finetuned'] = 'frozen'
    """Whether the image tower's own weights are trained as well; prompts are either way."""
    projections: bool = True
    projection_dropout: float = Field(default=0.0, ge=0, lt=1)
    text_hidden: Count = 0
    image_blocks: Count = 0
    logit_scale: bool = True
    alignment: PathText = ''
    """File of aligned towers (``zegclip align``) to start from; empty for none. Width and shape
    of the projections, ``feature_layers`` and the tower's updates are the file's then."""
    alignment_rate: Factor = 1.0
    """Factor of the learning rate for the projections of an alignment; 0 keeps them as they
    are."""
    published: bool = False
    """Train a CLIP tower exactly as ZegCLIP's release does: class embedding twice, with prompts a
    trained norm before ``ln_post``, ImageNet's mean and std, bilinear positions, decoder layers
    that start alike."""


class DatasetConfig(Settings):
    """A part of a dataset."""

    root: PathText
    split: str
    """Which part of the dataset."""
    dataset: str = FOLDER
    """What lies there: ``folder`` (``images/``, ``labels/`` and ``classes.txt``) or a dataset of
    ``zegclip_core.data.datasets``, by name or file."""


class SourceConfig(DatasetConfig):
    """One dataset to train on."""

    words: PathText = ''
    """YAML file of further phrases and overlaps for each class; empty for none."""
    wording: Literal['varied', 'name'] = 'varied'
    """Whether a class goes by its ``name`` in all templates, averaged (published), or is
    ``varied``: half the time by one of its phrases in one template."""
    further_templates: tuple[str, ...] = ()
    """Templates that ``varied`` words are put into beside those of the towers, such as ``an old
    {}``, so that a word with something said of it stays the same thing."""
    views: Positive = 8
    """Views of each image when features are kept on disk."""
    share: PositiveFloat = 1.0
    """Share of the batches that come from this dataset."""
    unlabelled: Literal['none_of_these', 'unknown'] = 'none_of_these'
    """Whether an unlabelled pixel is ``none_of_these`` classes (published) or ``unknown``."""
    absent_words: int = -1
    """How many own classes that are not in the batch are asked for beside those that are; -1 for
    all."""
    foreign_words: int = 0
    """How many classes of the other datasets are asked for beside."""
    balance: Factor = 0.0
    """Exponent that evens out rare and frequent classes; 0 for none, 1 for all."""
    repeat_below: float = Field(default=0.0, ge=0, le=1)
    """Images are drawn more often for classes that fewer than this share of the images show, as
    in LVIS (repeat factor sampling, https://arxiv.org/abs/1908.03195); 0 draws all alike."""
    hold_out: Count = 0
    """Every n-th image is left out; 0 leaves none out."""

    @field_validator('further_templates')
    @classmethod
    def _has_places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return check_templates(value) if value else value
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode='after')
    def _varies_words(self) -> 'SourceConfig':
        if self.further_templates and self.wording == 'name':
            raise ValueError(
                'Expected further_templates with wording varied alone, as with name nothing is '
                f'put into them, but got {list(self.further_templates)}.'
            )
        return self

    @field_validator('hold_out')
    @classmethod
    def _leaves_something(cls, value: int) -> int:
        if value == 1:
            raise ValueError('0 or at least 2 (1 holds out all)')
        return value


class HeldOutConfig(DatasetConfig):
    """One dataset to measure on."""

    hold_out: int = 0
    """Only every n-th image is used; 0 uses all."""


class ValidationConfig(HeldOutConfig):
    """One dataset to validate on."""

    absent_words: int = -1
    """How many classes that are not in an image are asked for beside those that are; -1 asks
    for all classes."""


class CourseConfig(Settings):
    """How long and how fast to train; one step is one change of the weights."""

    steps: Positive
    stop: Count = 0
    """Steps after which to end all the same, the rates being those of a whole run; 0 for the
    whole run."""
    accumulate: Positive = 1
    """Batches whose gradients make one step. The loss is divided by what all of them hold, over
    all processes, so that 4 batches of 4 equal one of 16."""
    learning_rate: Factor = 2e-4
    """The largest one."""
    weight_decay: Factor = 0.01
    """Of all weights, norms and biases included, as published."""
    decay: Literal['one_cycle', 'poly'] = 'one_cycle'
    """``one_cycle`` is a cosine to nothing; ``poly`` the published power of 0.9."""
    min_learning_rate: float = 1e-6
    """Where ``poly`` ends."""
    warmup: Factor = 0.05
    """Below 1 a share of the steps, else a number of steps."""
    clip: Factor = 0.0
    """Largest norm of a gradient; 0 for any."""
    validate_every: Positive = 500
    """Steps between validations; a checkpoint is written as often."""
    keep: tuple[int, ...] = ()
    """Steps after which a checkpoint is kept as ``step=N.ckpt``."""
    workers: Count = 0
    """Processes that draw views; 0 draws them in the training process."""
    threads: Count = 0
    """CPU threads; 0 for torch's own choice."""
    float32_products: Literal['highest', 'high', 'medium'] = 'high'
    """Precision of float32 matrix products on a GPU: ``highest`` is float32 itself, ``high``
    TensorFloat-32, several times as fast, ``medium`` bfloat16."""

    @model_validator(mode='after')
    def _ends_in_time(self) -> 'CourseConfig':
        if self.stop > self.steps:
            raise ValueError(
                f'Expected schedule.stop to be at most schedule.steps, {self.steps}, but got '
                f'{self.stop}.'
            )
        if self.decay == 'one_cycle' and self.warmup_steps >= self.steps:
            raise ValueError(
                'Expected schedule.warmup to be shorter than the run with schedule.decay '
                f'one_cycle, of {self.steps} steps, but got {self.warmup_steps} steps.'
            )
        return self

    @property
    def end(self) -> int:
        """Number of steps that are done in the end."""
        return self.stop or self.steps

    @property
    def warmup_steps(self) -> int:
        """Number of steps of the warm-up."""
        return round(self.warmup * self.steps if self.warmup < 1 else self.warmup)


class ScheduleConfig(CourseConfig):
    """The course of a training."""

    batch_size: Positive = 16
    """Views that one process takes at once."""
    tower_rate: Factor = 1.0
    """Factor of the learning rate for a fine-tuned tower's own weights."""


class LossConfig(Settings):
    """What is minimised."""

    mask_weight: Factor = 100.0
    """Factor of the focal part."""
    dice_weight: Factor = 1.0
    """Factor of the dice part."""
    cross_entropy_weight: Factor = 0.0
    """Factor of a softmax cross-entropy over the words; 0 for none. Beside the other parts it is
    averaged over accumulated batches, as long as their numbers of classes are alike."""
    stride: Positive = 1
    """The loss looks at every n-th row and column of pixels."""
    window: tuple[int, ...] = ()
    """Rows and columns of the window of patches that masks are drawn on; empty for all."""
    text_noise: Factor = 0.0
    """Standard deviation of the noise on each channel of the text embeddings, which have a norm
    of 1; it makes one wording as good as another."""

    @field_validator('window')
    @classmethod
    def _has_two_sides(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value and (len(value) != 2 or min(value) < 1):
            raise ValueError('two numbers of at least 1, or none')
        return value


class SettingsConfig(Settings):
    """What the exported model uses by default."""

    threshold: float = Field(default=0.0, ge=0, le=1)
    """Least score of a labelled pixel; 0 labels every pixel."""
    short_side: Positive = 512
    """Short side that images are brought to [px]."""
    seen_bias: float = 0.0
    """What is subtracted from the score of a seen class before the best is chosen."""


class TrainConfig(Settings):
    """A whole training run."""

    name: RunName
    """What the run and its model are called, as are a folder and the files in it."""
    towers: TowersConfig
    views: ViewConfig
    train: tuple[SourceConfig, ...] = Field(min_length=1)
    schedule: ScheduleConfig
    validation: tuple[ValidationConfig, ...] = Field(default=(), alias='validate')
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    settings: SettingsConfig = SettingsConfig()
    setting: Literal['fully_supervised', 'inductive', 'transductive'] = 'fully_supervised'
    """What training knows of the unseen classes. ``inductive``: nothing, their pixels count as
    unlabelled. ``transductive``: their names, and where one of them is but not which.
    ``fully_supervised``: all; there must be no unseen classes."""
    unseen: tuple[str, ...] = ()
    """The unseen classes of all datasets: names of classes, or of splits in the files of the
    datasets."""
    seed: int = 0
    """Seed of all that is random."""
    output: PathText = 'runs'
    """Folder for runs and kept features."""
    precision: Literal['32-true', 'bf16-mixed', '16-mixed'] = '32-true'
    """Floating-point types while training."""
    initialize_from: PathText = ''
    """A model of the same shape to start from: its name, its file, or a checkpoint of a run
    (``.ckpt``); empty for none."""
    start_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the weights of ``initialize_from`` in those that are exported, as in WiSE-FT
    (https://arxiv.org/abs/2109.01903): some of what was learnt before comes back, for little of
    what is new. Figures of the run are without it."""
    keep_features: bool = True
    """Whether the output of a tower that does not change is computed once for some views of each
    image and kept on disk; else views are drawn anew each time."""
    devices: Count = 0
    """Processes on each node, one a GPU; 0 takes all GPUs, or one process without."""
    nodes: Positive = 1
    """Number of machines."""

    @property
    def tower_changes(self) -> bool:
        """Whether training changes what the image tower puts out."""
        return self.model.prompt_tokens > 0 or self.model.tower == 'finetuned'

    @model_validator(mode='after')
    def _fits_together(self) -> 'TrainConfig':
        model, loss = self.model, self.loss
        # Of a model on aligned towers, the width is that of their file.
        if not model.alignment and model.dim % model.decoder_heads:
            raise ValueError(
                f'Expected model.decoder_heads to divide model.dim, {model.dim}, but got '
                f'{model.decoder_heads}.'
            )
        if self.views.pipeline == 'published' and self.keep_features and not self.tower_changes:
            raise ValueError(
                'Expected keep_features to be false with views.pipeline published, whose pictures '
                'keep their shape, but got true.'
            )
        if not (loss.mask_weight or loss.dice_weight or loss.cross_entropy_weight):
            raise ValueError('Expected a factor under loss that is above 0, but all are 0.')
        if self.start_share and not self.initialize_from:
            raise ValueError('Expected initialize_from with a start_share, but got none.')
        if (self.setting == 'fully_supervised') == bool(self.unseen):
            raise ValueError(
                'Expected classes under unseen with setting inductive or transductive, and none '
                f'with fully_supervised, but got {self.setting} and {list(self.unseen)}.'
            )
        return self


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration, and change it, as ``read_settings`` does."""
    return read_settings(TrainConfig, path, overrides)


def recipe_folder(kind: str = TRAIN) -> Path:
    """Return the folder of the configurations of a kind, ``train`` or ``align``.

    In a source checkout, also one that is installed in place, it lies beside the package;
    otherwise in ``share`` of a folder above it, where pip and colcon put it.
    """
    beside = _PACKAGE.parent / 'config' / kind
    for folder in (beside, *(parent / _SHARED / kind for parent in _PACKAGE.parents)):
        if folder.is_dir():
            return folder
    raise ConfigError(
        f'Expected configurations in {beside}, or as {_SHARED / kind} above it, '
        f'but there are none: is the package installed as a whole?'
    )


def recipe_names(kind: str = TRAIN) -> tuple[str, ...]:
    """Return the names of the configurations of a kind, such as ``voc12-inductive``."""
    folder = recipe_folder(kind)
    paths = sorted(folder.rglob('*.yaml'))
    return tuple(path.relative_to(folder).with_suffix('').as_posix() for path in paths)


def find_recipe(name: str, kind: str = TRAIN) -> Path:
    """Return the file of a configuration that comes with the package, or a YAML file.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name.endswith(('.yaml', '.yml')):
        return user_path(name)
    known = recipe_names(kind)
    if name not in known:
        raise ConfigError(
            f'Expected a configuration of {", ".join(known)}, or a YAML file, but got {name!r}.'
        )
    return recipe_folder(kind) / f'{name}.yaml'
