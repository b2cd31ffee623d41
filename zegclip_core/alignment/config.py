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
"""Configurations of ``zegclip align`` and ``zegclip adapt``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator, PositiveFloat
from zegclip_core.data.views import ViewConfig
from zegclip_core.settings import Count, Factor, PathText, Positive, Settings
from zegclip_core.training.config import (
    CourseConfig,
    HeldOutConfig,
    Layers,
    RunName,
    SourceConfig,
    TowersConfig,
)

Contrasted = Annotated[int, Field(ge=2)]
"""How many are told from one another in a step: one alone teaches nothing."""


class SpaceConfig(Settings):
    """The joint space and what leads to it; the fields are those of ``AlignmentConfig``."""

    dim: Positive = 256
    projections: bool = True
    text_hidden: Count = 512
    image_blocks: int = Field(default=0, ge=0, le=2)
    feature_layers: Layers = ()
    """Blocks of the image tower, from 0, whose tokens are projected; empty for the last alone."""
    rank: Positive = 8
    """Rank of the image tower's updates; ``zegclip align`` has none."""
    adapted_blocks: Positive = 8
    """How many of the last blocks ``zegclip adapt`` updates."""
    adaptation_rate: Factor = 1.0
    """Factor of the learning rate for the updates."""


class MaskSourceConfig(SourceConfig):
    """One dataset with masks."""

    unlabelled: Literal['unknown'] = 'unknown'
    """The loss looks at labelled pixels alone."""


class MasksConfig(Settings):
    """Regions against words: masks of labelled datasets."""

    weight: Factor = 1.0
    """Factor of this part of the loss; 0 leaves it out."""
    batch_size: Positive = 8
    """Views in a step, all of one dataset."""
    sources: tuple[MaskSourceConfig, ...] = ()
    stride: Positive = 2
    """The loss looks at every n-th row and column of pixels."""


class SentencesConfig(Settings):
    """Sentences against images, and the nouns in them."""

    weight: Factor = 1.0
    """Factor of the contrast of sentences and images."""
    noun_weight: Factor = 0.5
    """Factor of the contrast of nouns and noun phrases with images."""
    nouns: Positive = 2
    """Nouns that are drawn for each image."""
    least_often: Positive = 5
    """How often a noun must occur in all sentences to be used."""
    batch_size: Contrasted = 64
    root: PathText = ''
    """Folder with ``captions.tsv`` and ``images/``; empty for none."""
    size: tuple[Positive, Positive] = (196, 196)
    """``(H, W)`` that images are brought to [px]."""
    scale: tuple[float, float] = (0.6, 1.0)
    """Smallest and largest share of the image's area that a view shows, where views are drawn
    anew; kept features are of whole images."""
    validate_on: Count = 500
    """How many images, spread evenly, are held out to measure retrieval on."""
    without: tuple[HeldOutConfig, ...] = ()
    """Datasets whose images are left out, by file names; of those with ``hold_out`` only the
    images that are held out."""
    of_withheld: Literal['keep', 'remove'] = 'keep'
    """What becomes of sentences that mention a withheld word: with ``keep`` they teach it as a
    part of them, and only ``remove`` makes it a word that training has not seen."""

    @field_validator('scale')
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError('two rising numbers above 0, at most 1')
        return value


class NamesConfig(Settings):
    """Photos with a name each."""

    weight: Factor = 0.5
    batch_size: Contrasted = 32
    root: PathText = ''
    """Folder with ``images/``, the name in the file's name; empty for none."""
    size: tuple[Positive, Positive] = (196, 196)


class GeometryConfig(Settings):
    """How near words are to each other in a space that has seen images."""

    weight: Factor = 1.0
    batch_size: Contrasted = 512
    root: PathText = ''
    """Folder with text embeddings and their names; empty for none."""
    temperature: PositiveFloat = 0.1
    """Of the softmax over the other words."""


class SynonymsConfig(Settings):
    """Words that mean the same, and what they mean."""

    weight: Factor = 0.5
    batch_size: Contrasted = 256
    root: PathText = ''
    """WordNet's folder, with ``data.noun``; empty for none."""


_ELSEWHERE = {
    'batch_size': 'a batch_size of each teacher',
    'tower_rate': 'space.adaptation_rate',
}
"""What a training has under ``schedule``, and what stands here in its place."""


class AlignConfig(Settings):
    """A whole alignment, or an adaptation."""

    name: RunName
    """What the run and its file are called."""
    towers: TowersConfig
    views: ViewConfig
    """Views of images with masks."""
    schedule: CourseConfig
    space: SpaceConfig = SpaceConfig()
    masks: MasksConfig = MasksConfig()
    sentences: SentencesConfig = SentencesConfig()
    names: NamesConfig = NamesConfig()
    geometry: GeometryConfig = GeometryConfig()
    synonyms: SynonymsConfig = SynonymsConfig()
    validation: tuple[HeldOutConfig, ...] = Field(default=(), alias='validate')
    """Datasets whose regions are named."""
    withheld: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Words, each with its synonyms, that no mask, noun, name, geometry or synonym teaches; of
    sentences that mention one, ``sentences.of_withheld`` decides."""
    initialize_from: PathText = ''
    """An alignment's file to start from; empty for none."""
    seed: int = 0
    output: PathText = 'runs'
    """Folder for runs and kept features."""
    precision: Literal['32-true', 'bf16-mixed', '16-mixed'] = '32-true'
    short_side: Positive = 336
    """Short side that images are brought to where the result is used by itself [px]."""
    devices: Count = 0
    """Processes on each node, one a GPU; 0 takes all GPUs, or one process without. Each has
    batches of its own, of the sizes above, and contrasts what is in them."""
    nodes: Positive = 1
    """Number of machines."""

    @field_validator('withheld')
    @classmethod
    def _has_letters(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for word in (word for name, others in value.items() for word in (name, *others)):
            if not any(char.isalpha() for char in word):
                raise ValueError(
                    f'Expected withheld to hold words, with letters, but got {word!r}.'
                )
        return value

    @field_validator('schedule', mode='before')
    @classmethod
    def _is_of_an_alignment(cls, value: object) -> object:
        given = value if isinstance(value, dict) else {}
        for key, instead in _ELSEWHERE.items():
            if key in given:
                raise ValueError(
                    f'Expected {instead} in place of schedule.{key}, but got {given[key]!r}.'
                )
        return value

    @model_validator(mode='after')
    def _fits_together(self) -> 'AlignConfig':
        if self.schedule.accumulate > 1:
            raise ValueError(
                'Expected schedule.accumulate to be 1, as each part of a step is compared with '
                f'all others, but got {self.schedule.accumulate}.'
            )
        if self.views.pipeline == 'published':
            raise ValueError(
                'Expected views.pipeline to be resized_crop, whose views have one size, but got '
                'published.'
            )
        if not self.teachers:
            raise ValueError(
                'Expected a teacher: masks.sources, or a root under sentences, names, geometry or '
                'synonyms, with a weight above 0, but there is none.'
            )
        return self

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names of the teachers that are switched on."""
        sentences = self.sentences
        active = {
            'masks': self.masks.weight and self.masks.sources,
            'sentences': sentences.root and (sentences.weight or sentences.noun_weight),
            'names': self.names.weight and self.names.root,
            'geometry': self.geometry.weight and self.geometry.root,
            'synonyms': self.synonyms.weight and self.synonyms.root,
        }
        return tuple(name for name, on in active.items() if on)
