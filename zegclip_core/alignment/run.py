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
from functools import cached_property
import logging
from pathlib import Path
from typing import Any

import lightning
import torch
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.alignment.data import caption_sets, check_some, labelled_sets, taught_classes
from zegclip_core.alignment.networks import is_update, new_towers, start_from
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
from zegclip_core.data.captions import NamedImages, open_named_images
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.data.views import ViewConfig
from zegclip_core.data.word_geometry import read_word_geometry
from zegclip_core.data.wordnet import read_synsets
from zegclip_core.errors import ConfigError
from zegclip_core.loading import NEGATIVES
from zegclip_core.model.low_rank import merge
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.text.encoder import load_text_tower, TextEncoder
from zegclip_core.text.withheld import Withheld
from zegclip_core.training.batches import (
    LiveViews,
    more_of_rare,
    query_makers,
    ViewSource,
)
from zegclip_core.training.checkpoints import LAST, RECORD, RunCheckpoints, trained_weights
from zegclip_core.training.features import FeatureStore, frozen_tower, weights_hash
from zegclip_core.training.networks import read_alignment
from zegclip_core.training.resuming import begun
from zegclip_core.training.trainer import fit, make_trainer, write_image_names
from zegclip_core.weights.checkpoint import (
    check_keys,
    Checkpoint,
    ModelSettings,
    save_checkpoint,
)
from zegclip_core.weights.image_towers import load_image_tower

logger = logging.getLogger(__name__)

_COMMAND = 'command'
"""Key of the command, in a run's record."""
_RATIO = (0.8, 1.25)
"""Width by height of what a view of a whole photo shows."""


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
        on = config.teachers
        self.withheld = Withheld(config.withheld)
        self._taught = labelled_sets(config.masks.sources if 'masks' in on else ())
        self._examined = labelled_sets(config.validation, held_out=True)
        self._captions = (
            caption_sets(config.sentences, self.withheld) if 'sentences' in on else None
        )
        lightning.seed_everything(config.seed, verbose=False)
        path = config.initialize_from
        start = read_alignment(path, config.towers, 'initialize_from') if path else None
        tower = load_image_tower(config.towers.image)
        self._encoder = TextEncoder(load_text_tower(config.towers.text), config.towers.templates)
        # Aligned anew, an adapted tower stays as it is.
        adapted = start is not None and any(map(is_update, start.state_dict))
        self.towers = new_towers(config, tower, self._encoder.embed_dim, updates=adapt or adapted)
        if start is not None:
            start_from(self.towers, start, path)
        if adapted and not adapt:
            self.towers.low_rank.requires_grad_(False)
        self._features = Path(config.output) / 'features'
        self._texts = TextStore(self._features, self._encoder)

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
        name = self.config.towers.image
        if self.towers.config.rank:
            name += weights_hash(self.towers.low_rank.state_dict())
        return FeatureStore(self._features, self._frozen, name, views)

    @cached_property
    def _frozen(self) -> VisionTransformer:
        """The frozen tower, its updates merged: one copy for all datasets."""
        weights = self.towers.visual.state_dict()
        if self.towers.config.rank:
            weights = merge(weights, self.towers.low_rank.state_dict())
        return frozen_tower(self.towers.visual, weights, self.config.precision)

    @cached_property
    def _named(self) -> tuple[NamedImages, list[int]]:
        """The named photos, and which of them are taught."""
        root = self.config.names.root
        images = open_named_images(root)
        taught = [k for k, word in enumerate(images.words) if not self.withheld.is_withheld(word)]
        check_some(taught, f'a picture of {root}')
        return images, taught

    def image_names(self) -> dict[str, list[str]]:
        """Return the names of the images that are trained on, by their dataset's folder."""
        config, names = self.config, dict[str, list[str]]()
        if self._taught:
            for source, entry in zip(config.masks.sources, self._taught, strict=True):
                names.setdefault(source.root, []).extend(entry.names)
        if self._captions is not None:
            captions = self._captions.captions
            taught = (captions.names[k] for k in self._captions.taught)
            names.setdefault(config.sentences.root, []).extend(taught)
        if 'names' in config.teachers:
            images, named = self._named
            names.setdefault(config.names.root, []).extend(images.names[k] for k in named)
        return names

    def teachers(self) -> tuple[Teachers, StepStream]:
        """Return the teachers that are switched on, and the images that they look at.

        Raises:
            ZegCLIPError: If a folder or a file is not there, or not as expected.
        """
        config = self.config
        masks, regions = self._mask_teacher()
        sentences, names = self._sentence_teacher(), self._name_teacher()
        teachers = Teachers(
            masks=masks,
            sentences=sentences[0] if sentences else None,
            names=names[0] if names else None,
            geometry=self._geometry_teacher(),
            synonyms=self._synonym_teacher(),
        )
        found = {'sentences': sentences, 'names': names}
        pictures = {name: pair[1] for name, pair in found.items() if pair}
        shares = [source.share for source in config.masks.sources]
        return teachers, StepStream(regions, shares, pictures, seed=config.seed)

    def _mask_teacher(self) -> tuple[MaskTeacher | None, list[PictureSource]]:
        """Return the teacher of regions, and the views of its datasets."""
        config = self.config.masks
        if not self._taught:
            return None, []
        pairs = list(zip(config.sources, self._taught, strict=True))
        classes = [
            taught_classes(source, entry.dataset, self.withheld, self._encoder)
            for source, entry in pairs
        ]
        sources = []
        for source, entry in pairs:
            indices = more_of_rare(entry.dataset, entry.indices, source.repeat_below)
            views = self._views(entry.dataset, indices, self.config.views, source.views)
            sources.append(PictureSource(views, config.batch_size))
        makers = query_makers(config.sources, classes, [entry.views for entry in sources])
        return MaskTeacher(makers, config.stride), sources

    def _sentence_teacher(self) -> tuple[SentenceTeacher, PictureSource] | None:
        """Return the teacher of sentences, and its images."""
        config = self.config.sentences
        if self._captions is None:
            return None
        captions, taught = self._captions.captions, self._captions.taught
        teacher = SentenceTeacher(captions, taught, self._texts, self.withheld, config)
        views = ViewConfig(size=config.size, scale=config.scale, ratio=_RATIO)
        shown = self._views(Pictures(captions), taught, views, 1)
        return teacher, PictureSource(shown, config.batch_size)

    def _name_teacher(self) -> tuple[NameTeacher, PictureSource] | None:
        """Return the teacher of names, and its photos."""
        config = self.config.names
        if 'names' not in self.config.teachers:
            return None
        images, taught = self._named
        teacher = NameTeacher(images, taught, self._texts, config.weight)
        views = ViewConfig(size=config.size, ratio=_RATIO)
        shown = self._views(Pictures(images), taught, views, 1)
        return teacher, PictureSource(shown, config.batch_size)

    def _geometry_teacher(self) -> GeometryTeacher | None:
        config = self.config.geometry
        if 'geometry' not in self.config.teachers:
            return None
        geometry = read_word_geometry(config.root)
        teacher = GeometryTeacher(geometry, self._texts, self.withheld, config)
        check_some(teacher.texts, f'a word of {config.root}')
        return teacher

    def _synonym_teacher(self) -> SynonymTeacher | None:
        config = self.config.synonyms
        if 'synonyms' not in self.config.teachers:
            return None
        synsets = read_synsets(config.root)
        teacher = SynonymTeacher(
            synsets,
            self._texts,
            self.withheld,
            weight=config.weight,
            batch_size=config.batch_size,
        )
        check_some(teacher.texts, f'a word with synonyms of {config.root}')
        return teacher

    def examination(self) -> tuple[Examination, list[PictureSource]]:
        """Return what the figures are measured on, and the images of each part."""
        config, sources, sentences = self.config, [], None
        if self._captions is not None and self._captions.held_out:
            captions, held_out = self._captions.captions, self._captions.held_out
            of_withheld = config.sentences.of_withheld
            first = [kept_sentences(captions, k, self.withheld, of_withheld)[0] for k in held_out]
            sentences = self._texts.sentences(first)
            views = ViewConfig(size=config.sentences.size)
            sources.append(PictureSource(self._whole(Pictures(captions), held_out, views), 1))
        words: dict[str, int] = {}
        regions = []
        for entry in self._examined:
            names = entry.dataset.classes
            numbers = tuple(words.setdefault(name, len(words)) for name in names)
            regions.append(RegionSet(entry.dataset.title, names, numbers))
            whole = self._whole(entry.dataset, entry.indices, config.views)
            sources.append(PictureSource(whole, 1))
        withheld = frozenset(k for word, k in words.items() if self.withheld.is_withheld(word))
        embeddings = self._texts.phrases(list(words))
        return Examination(sentences, regions, embeddings, withheld), sources

    def train(self, *, resume: bool = False) -> Path:
        """Train, from the last checkpoint with ``resume``, and return the alignment's file.

        Raises:
            ConfigError: If there is a run of this name and it is not to go on.
            TrainingError: If training ends early; checkpoints that are finished stay.
        """
        config, last = self.config, self.folder / LAST
        checkpoint = begun(last, config, resume=resume)
        if checkpoint is not None:
            self._go_on(checkpoint, last)
        teachers, stream = self.teachers()
        examination, measured = self.examination()
        write_image_names(self.folder, self.image_names())
        task = AlignmentTask(self.towers, config, teachers, examination)
        task.provenance[_COMMAND] = self.command
        trainer = make_trainer(
            self.folder,
            config.schedule,
            [RunCheckpoints(self.folder, config.schedule, measured=bool(measured))],
            precision=config.precision,
            devices=config.devices,
            nodes=config.nodes,
            done=checkpoint['global_step'] if checkpoint else 0,
            # Not every teacher looks at all projections in every step.
            unused=True,
        )
        data = AlignmentData(stream, measured, config.schedule.workers)
        fit(trainer, task, data, last if checkpoint else None, config.schedule)
        path = self.folder / f'{config.name}.safetensors'
        if trainer.is_global_zero:
            save_checkpoint(self._checkpoint(task), path, dtype=torch.float16)
            logger.info('Wrote %s.', path)
        return path

    @property
    def command(self) -> str:
        """Which of the two commands this is."""
        return 'adapt' if self.adapt else 'align'

    def _go_on(self, checkpoint: dict[str, Any], last: Path) -> None:
        """Take over what was trained, before features are computed with its updates.

        What ``initialize_from`` holds by now has no effect then.
        """
        command = checkpoint[RECORD].get(_COMMAND, self.command)
        if command != self.command:
            raise ConfigError(
                f'Expected zegclip {command}, which {last} is of, but got zegclip {self.command}.'
            )
        state, weights = self.towers.state_dict(), trained_weights(checkpoint)
        check_keys(last, {name: state[name] for name in self.towers.trained_names()}, weights)
        self.towers.load_state_dict({**state, **weights})

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
