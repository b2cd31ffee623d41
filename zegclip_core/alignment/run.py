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
"""An alignment or an adaptation, from its configuration to the file, with Lightning's trainer."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
import logging
from pathlib import Path

import lightning
import torch
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.alignment.steps import AlignmentData, Pictures, PictureSource, StepStream
from zegclip_core.alignment.task import AlignmentTask, Examination, RegionSet, Teachers
from zegclip_core.alignment.teachers import (
    GeometryTeacher,
    kept_sentences,
    MaskTeacher,
    NameTeacher,
    SentenceTeacher,
    SynonymTeacher,
)
from zegclip_core.alignment.texts import TextStore
from zegclip_core.data.captions import CaptionedImages, open_captions, open_named_images, without
from zegclip_core.data.datasets import open_dataset
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.data.views import split_indices, ViewConfig
from zegclip_core.data.word_geometry import read_word_geometry
from zegclip_core.data.wordnet import read_synsets
from zegclip_core.errors import ConfigError, ModelError
from zegclip_core.loading import NEGATIVES
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.low_rank import merge, PREFIX
from zegclip_core.text.encoder import load_text_tower, TextEncoder
from zegclip_core.text.withheld import Withheld
from zegclip_core.training.batches import FeatureStore, LiveViews, more_of_rare, ViewSource
from zegclip_core.training.checkpoints import LAST, RunCheckpoints
from zegclip_core.training.config import SourceConfig, ValidationConfig
from zegclip_core.training.queries import ClassSet, PhraseTable, QueryMaker, read_words
from zegclip_core.training.trainer import fit, make_trainer, steps_done
from zegclip_core.weights.checkpoint import (
    check_keys,
    Checkpoint,
    load_checkpoint,
    ModelSettings,
    save_checkpoint,
)
from zegclip_core.weights.image_towers import ImageTower, load_image_tower

logger = logging.getLogger(__name__)


def new_towers(
    config: AlignConfig, tower: ImageTower, text_dim: int, *, updates: bool
) -> AlignedTowers:
    """Build untrained projections, and updates to adapt with, on a frozen image tower.

    Raises:
        ConfigError: If the space does not fit the towers.
    """
    space = config.space
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


def start_from(towers: AlignedTowers, path: Path) -> None:
    """Start from what another alignment has learnt; updates that it lacks start at nothing.

    Raises:
        CheckpointError: If it has another shape, or updates that are not to be trained.
    """
    weights = load_checkpoint(path).state_dict
    state = towers.state_dict()
    own = {name: state[name] for name in towers.trained_names()}
    new = {} if any(map(is_update, weights)) else {k: v for k, v in own.items() if is_update(k)}
    check_keys(path, own, {**new, **weights})
    towers.load_state_dict({**state, **new, **weights}, strict=True)


def is_update(name: str) -> bool:
    """Return whether a weight is part of a low-rank update."""
    return name.startswith(PREFIX)


@dataclass(frozen=True)
class LabelledSets:
    """Datasets with masks, opened, and the images of each that are used."""

    datasets: Sequence[SegmentationDataset]
    indices: Sequence[list[int]]


class AlignmentRun:
    """A run of ``zegclip align`` or, if it is to ``adapt`` the image tower, ``zegclip adapt``.

    Raises:
        ZegCLIPError: If a tower, a folder or a file is not there, or does not fit.
    """

    def __init__(self, config: AlignConfig, *, adapt: bool = False) -> None:
        self.config, self.adapt = config, adapt
        self.folder = Path(config.output) / config.name
        if config.schedule.threads:
            torch.set_num_threads(config.schedule.threads)
        # Wrong data are found before towers are loaded, which takes seconds.
        self._taught = _labelled(config.masks.sources if 'masks' in config.teachers else ())
        self._examined = _labelled(config.validation, held_out=True)
        self._captions = self._open_captions()
        self.withheld = Withheld(config.withheld)
        lightning.seed_everything(config.seed, verbose=False)
        tower = load_image_tower(config.towers.image)
        self._encoder = TextEncoder(load_text_tower(config.towers.text), config.towers.templates)
        start = Path(config.initialize_from) if config.initialize_from else None
        # Aligned anew, an adapted tower stays as it is.
        adapted = start is not None and any(map(is_update, load_checkpoint(start).state_dict))
        self.towers = new_towers(config, tower, self._encoder.embed_dim, updates=adapt or adapted)
        if start is not None:
            start_from(self.towers, start)
        if adapted and not adapt:
            self.towers.low_rank.requires_grad_(False)
        self._texts = TextStore(Path(config.output) / 'features', self._encoder)

    def _open_captions(self) -> CaptionedImages | None:
        """Return the captioned images without those that are held out elsewhere."""
        config = self.config.sentences
        if 'sentences' not in self.config.teachers:
            return None
        others = _labelled(config.without, held_out=True)
        stems = [
            dataset.name(index)
            for dataset, indices in zip(others.datasets, others.indices, strict=True)
            for index in indices
        ]
        return without(open_captions(config.root), stems)

    def _views(
        self, dataset: SegmentationDataset, indices: Sequence[int], views: ViewConfig, count: int
    ) -> ViewSource:
        """Return views to teach on: kept with the tower's output, unless that changes."""
        if self.adapt:
            return LiveViews(dataset, indices, views, self.config.seed)
        return self._store(views).views(dataset, indices, count=count, seed=self.config.seed)

    def _whole(
        self, dataset: SegmentationDataset, indices: Sequence[int], views: ViewConfig
    ) -> ViewSource:
        """Return whole images to measure on, as ``_views``."""
        if self.adapt:
            return LiveViews(dataset, indices, views, None)
        return self._store(views).views(dataset, indices, count=1, seed=self.config.seed)

    def _store(self, views: ViewConfig) -> FeatureStore:
        """Return what computes and keeps the frozen tower's output, in the run's precision."""
        half = {'bf16-mixed': torch.bfloat16, '16-mixed': torch.float16}
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        frozen = type(self.towers.visual)(self.towers.config.vision).eval()
        weights, name = self.towers.visual.state_dict(), self.config.towers.image
        if self.towers.config.rank:
            weights = merge(weights, self.towers.low_rank.state_dict())
            name += f' {sha256(Path(self.config.initialize_from).read_bytes()).hexdigest()}'
        frozen.load_state_dict(weights)
        frozen = frozen.to(device, half.get(self.config.precision, torch.float32))
        return FeatureStore(Path(self.config.output) / 'features', frozen, name, views)

    def _mask_teacher(self) -> tuple[MaskTeacher, list[PictureSource]]:
        """Return the teacher of regions, and its views."""
        config, sets, sources = self.config.masks, [], []
        for source, dataset in zip(config.sources, self._taught.datasets, strict=True):
            sets.append(taught_classes(source, dataset, self.withheld, self._encoder))
        for source, dataset, indices in zip(
            config.sources, self._taught.datasets, self._taught.indices, strict=True
        ):
            indices = more_of_rare(dataset, indices, source.repeat_below)
            views = self._views(dataset, indices, self.config.views, source.views)
            sources.append(PictureSource(views, config.batch_size))
        makers = []
        for number, (source, own) in enumerate(zip(config.sources, sets, strict=True)):
            count = len(own.words)
            views = sources[number].views
            counts = views.pixel_counts(count) if source.balance else torch.ones(count)
            others = [entry for k, entry in enumerate(sets) if k != number]
            makers.append(QueryMaker(source, own, others, counts))
        return MaskTeacher(makers, config.stride), sources

    def teachers(self) -> tuple[Teachers, StepStream]:
        """Return the teachers that are switched on, and the images that they look at."""
        config, on, found = self.config, self.config.teachers, Teachers()
        masks: list[PictureSource] = []
        pictures: dict[str, PictureSource] = {}
        if 'masks' in on:
            teacher, masks = self._mask_teacher()
            found = replace(found, masks=teacher)
        if self._captions is not None:
            taught, _ = self._caption_split()
            source = config.sentences
            sentences = SentenceTeacher(self._captions, taught, self._texts, self.withheld, source)
            found = replace(found, sentences=sentences)
            views = ViewConfig(size=source.size, scale=source.scale, ratio=(0.8, 1.25))
            shown = self._views(Pictures(self._captions), taught, views, 1)
            pictures['sentences'] = PictureSource(shown, source.batch_size)
        if 'names' in on:
            images = open_named_images(config.names.root)
            taught = [k for k, word in enumerate(images.words) if not self._is_withheld(word)]
            found = replace(
                found, names=NameTeacher(images, taught, self._texts, config.names.weight)
            )
            views = ViewConfig(size=config.names.size, ratio=(0.8, 1.25))
            shown = self._views(Pictures(images), taught, views, 1)
            pictures['names'] = PictureSource(shown, config.names.batch_size)
        if 'geometry' in on:
            geometry = read_word_geometry(config.geometry.root)
            found = replace(
                found,
                geometry=GeometryTeacher(geometry, self._texts, self.withheld, config.geometry),
            )
        if 'synonyms' in on:
            synonyms = SynonymTeacher(
                read_synsets(config.synonyms.root),
                self._texts,
                self.withheld,
                weight=config.synonyms.weight,
                batch_size=config.synonyms.batch_size,
            )
            found = replace(found, synonyms=synonyms)
        shares = [source.share for source in config.masks.sources] if masks else []
        return found, StepStream(masks, shares, pictures, seed=config.seed)

    def _is_withheld(self, word: str) -> bool:
        return self.withheld.is_withheld(word)

    def _caption_split(self) -> tuple[list[int], list[int]]:
        """Return the captioned images that are taught, and those that retrieval is measured on."""
        if self._captions is None:
            return [], []
        config, count = self.config.sentences, len(self._captions)
        every = max(count // config.validate_on, 2) if config.validate_on else 0
        held_out = split_indices(count, every, held_out=True) if every else []
        known = [
            index
            for index in range(count)
            if kept_sentences(self._captions, index, self.withheld, config.of_withheld)
        ]
        apart = set(held_out[: config.validate_on])
        return [k for k in known if k not in apart], [k for k in known if k in apart]

    def examination(self) -> tuple[Examination, list[PictureSource]]:
        """Return what the figures are measured on, and the images of each part."""
        config, sources, sentences = self.config, [], None
        _, held_out = self._caption_split()
        if self._captions is not None and held_out:
            first = [self._captions.sentences[index][0] for index in held_out]
            sentences = self._texts.sentences(first)
            views = ViewConfig(size=config.sentences.size)
            shown = self._whole(Pictures(self._captions), held_out, views)
            sources.append(PictureSource(shown, 1))
        words: dict[str, int] = {}
        regions = []
        for dataset, indices in zip(self._examined.datasets, self._examined.indices, strict=True):
            numbers = tuple(words.setdefault(name, len(words)) for name in dataset.classes)
            regions.append(RegionSet(dataset.title, dataset.classes, numbers))
            sources.append(PictureSource(self._whole(dataset, indices, config.views), 1))
        withheld = frozenset(k for name, k in words.items() if self._is_withheld(name))
        embeddings = self._texts.phrases(list(words)) if words else torch.zeros(0)
        return Examination(sentences, regions, embeddings, withheld), sources

    def train(self, *, resume: bool = False) -> Path:
        """Train, from the last checkpoint with ``resume``, and return the alignment's file.

        Raises:
            ConfigError: If there is a run of this name and it is not to go on.
            TrainingError: If training ends early; checkpoints that are finished stay.
        """
        config, last = self.config, self.folder / LAST
        done = steps_done(last, config.model_dump(by_alias=True), resume=resume)
        teachers, stream = self.teachers()
        examination, measured = self.examination()
        task = AlignmentTask(self.towers, config, teachers, examination)
        schedule = config.schedule
        validates = bool(measured) and schedule.validate_every <= schedule.end
        every = 0 if validates else min(schedule.validate_every, schedule.end)
        trainer = make_trainer(
            self.folder,
            schedule,
            [RunCheckpoints(self.folder, every=every, keep=schedule.keep)],
            precision=config.precision,
            done=done,
            # Not every teacher looks at all projections in every step.
            unused=True,
        )
        data = AlignmentData(stream, measured, schedule.workers)
        fit(trainer, task, data, last if done else None)
        path = self.folder / f'{config.name}.safetensors'
        if trainer.is_global_zero:
            save_checkpoint(self._checkpoint(task), path, dtype=torch.float16)
            logger.info('Wrote %s.', path)
        return path

    def _checkpoint(self, task: AlignmentTask) -> Checkpoint:
        """Return what was trained, with all that says how."""
        config, state = self.config, self.towers.state_dict()
        side = config.short_side
        settings = ModelSettings(
            image_tower=config.towers.image,
            text_tower=config.towers.text,
            templates=config.towers.templates,
            negatives=NEGATIVES,
            short_side=side,
            crop=side,
            stride=side // 2,
            training=task.record(),
        )
        kept = {name: state[name] for name in self.towers.trained_names()}
        return Checkpoint(self.towers.config, settings, kept)


def taught_classes(
    source: SourceConfig,
    dataset: SegmentationDataset,
    withheld: Withheld,
    encoder: TextEncoder,
) -> ClassSet:
    """Return a dataset's classes; those withheld are unseen, withheld phrases are left out."""
    words = tuple(
        replace(
            entry,
            phrases=tuple(text for text in entry.phrases if not withheld.is_withheld(text)),
        )
        for entry in read_words(source.words, dataset.classes)
    )
    unseen = frozenset(k for k, entry in enumerate(words) if withheld.is_withheld(entry.name))
    table = PhraseTable(words, encoder, varied=source.wording == 'varied')
    return ClassSet(words, table, unseen)


def _labelled(
    entries: Sequence[SourceConfig] | Sequence[ValidationConfig], *, held_out: bool = False
) -> LabelledSets:
    """Open datasets; of those with ``hold_out`` take the held-out images, or the others."""
    datasets = [open_dataset(entry.root, entry.dataset, entry.split) for entry in entries]
    indices = [
        split_indices(len(dataset), entry.hold_out, held_out=held_out)
        for entry, dataset in zip(entries, datasets, strict=True)
    ]
    return LabelledSets(datasets, indices)
