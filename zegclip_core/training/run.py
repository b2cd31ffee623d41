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
"""A training run from its configuration to the exported model, with Lightning's trainer."""

from collections.abc import Mapping, Sequence
import logging
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
import torch
from torch import Tensor
from zegclip_core.data.datasets import open_dataset, unseen_of
from zegclip_core.data.folder import check_taught, SegmentationDataset
from zegclip_core.data.views import split_indices
from zegclip_core.errors import ConfigError
from zegclip_core.text.encoder import load_text_tower, TextEncoder
from zegclip_core.training.batches import (
    LiveViews,
    more_of_rare,
    query_makers,
    TrainingData,
    ValidationSet,
    ViewSource,
)
from zegclip_core.training.checkpoints import (
    BEST,
    LAST,
    read_run_checkpoint,
    RECORD,
    RunCheckpoints,
    trained_weights,
)
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.features import FeatureStore, frozen_tower, weights_hash
from zegclip_core.training.networks import (
    initialize_from,
    load_alignment,
    new_network,
    start_aligned,
    with_shape_of,
)
from zegclip_core.training.pictures import ValidationPictures
from zegclip_core.training.queries import (
    ClassSet,
    ClassWords,
    phrase_table,
    PhraseTable,
    QueryMaker,
    read_words,
)
from zegclip_core.training.resuming import begun
from zegclip_core.training.task import SCORE, SegmentationTask
from zegclip_core.training.trainer import fit, make_trainer, write_image_names
from zegclip_core.weights.checkpoint import Checkpoint, ModelSettings, save_checkpoint
from zegclip_core.weights.image_towers import load_image_tower

logger = logging.getLogger(__name__)

_UPDATES = 'updates'
"""Key of what tells the image tower's updates from others, in a run's record."""


class Run:
    """A training run.

    Raises:
        ZegCLIPError: If a frozen tower, a dataset, a words file or an unseen class is not there.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.folder = Path(config.output) / config.name
        if config.schedule.threads:
            torch.set_num_threads(config.schedule.threads)
        # Wrong data are found before towers are loaded, which takes seconds.
        sets = (*config.train, *config.validation)
        datasets = [open_dataset(entry.root, entry.dataset, entry.split) for entry in sets]
        unknown = [
            unseen_of(entry.dataset, config.unseen, dataset.classes).unknown
            for entry, dataset in zip(sets, datasets, strict=True)
        ]
        wrong = [name for name in config.unseen if all(name in part for part in unknown)]
        if wrong:
            known = dict.fromkeys(name for dataset in datasets for name in dataset.classes)
            raise ConfigError(
                'Expected unseen to hold names of classes, or of splits, of the datasets '
                f'({", ".join(list(known)[:12])}, ...), but got {wrong[0]!r}.'
            )
        for source, dataset in zip(config.train, datasets, strict=False):
            check_taught(dataset, split_indices(len(dataset), source.hold_out, held_out=False))
        count = len(config.train)
        self._datasets, self._validated = datasets[:count], datasets[count:]
        lightning.seed_everything(config.seed, verbose=False)
        alignment = load_alignment(config)
        self.config = config = with_shape_of(config, alignment)
        tower = load_image_tower(config.towers.image)
        self._encoder = TextEncoder(load_text_tower(config.towers.text), config.towers.templates)
        self.network = new_network(config, tower, self._encoder.embed_dim)
        self._updates: Mapping[str, Tensor] = {}
        if alignment is not None:
            self._updates = start_aligned(self.network, alignment, config.model.alignment_rate)
        if config.initialize_from:
            start = config.initialize_from
            self._updates = initialize_from(self.network, start, self._updates, config.towers)
        self._start = self._started_with() if config.start_share else {}
        tower_name = config.towers.image + weights_hash(self._updates)
        self._store: FeatureStore | None = None
        if config.keep_features and not config.tower_changes:
            visual = self.network.visual
            frozen = frozen_tower(visual, visual.state_dict(), config.precision)
            folder = Path(config.output) / 'features'
            self._store = FeatureStore(folder, frozen, tower_name, config.views)

    def _started_with(self) -> dict[str, Tensor]:
        """Return the weights that are trained as they are before training."""
        state = self.network.state_dict()
        return {name: state[name].clone() for name in self.network.trained_names()}

    def _views(
        self,
        dataset: SegmentationDataset,
        indices: Sequence[int],
        count: int,
        *,
        whole: bool = False,
    ) -> ViewSource:
        """Return views of some images: so many of each if they are kept, or whole images only."""
        config = self.config
        if self._store is not None:
            return self._store.views(dataset, indices, count=count, seed=config.seed)
        patch = self.network.config.vision.patch_size
        seed = None if whole else config.seed
        return LiveViews(dataset, indices, config.views, seed, multiple=patch)

    def image_names(self) -> dict[str, list[str]]:
        """Return the names of the images that are trained on, by their dataset's folder."""
        names: dict[str, list[str]] = {}
        for source, dataset in zip(self.config.train, self._datasets, strict=True):
            indices = split_indices(len(dataset), source.hold_out, held_out=False)
            names.setdefault(source.root, []).extend(map(dataset.name, indices))
        return names

    def _training_sets(self) -> tuple[list[ClassSet], list[ViewSource], list[QueryMaker]]:
        """Return classes, views and what chooses the words of each training set."""
        config, classes, views = self.config, list[ClassSet](), list[ViewSource]()
        for source, dataset in zip(config.train, self._datasets, strict=True):
            words = read_words(source.words, dataset.classes)
            table = phrase_table(source, words, self._encoder)
            unseen = unseen_of(source.dataset, config.unseen, dataset.classes).classes
            classes.append(ClassSet(words, table, frozenset(map(dataset.classes.index, unseen))))
            indices = split_indices(len(dataset), source.hold_out, held_out=False)
            indices = more_of_rare(dataset, indices, source.repeat_below)
            views.append(self._views(dataset, indices, source.views))
        makers = query_makers(
            config.train, classes, views, transductive=config.setting == 'transductive'
        )
        return classes, views, makers

    def _validation_sets(self) -> list[ValidationSet]:
        sets = []
        for entry, dataset in zip(self.config.validation, self._validated, strict=True):
            indices = split_indices(len(dataset), entry.hold_out, held_out=True)
            words = [ClassWords(name) for name in dataset.classes]
            unseen = unseen_of(entry.dataset, self.config.unseen, dataset.classes).classes
            validation = ValidationSet(
                config=entry,
                title=dataset.title,
                views=self._views(dataset, indices, 1, whole=True),
                classes=dataset.classes,
                table=PhraseTable(words, self._encoder, varied=False),
                seen=tuple(name for name in dataset.classes if name not in unseen),
            )
            sets.append(validation)
        return sets

    def train(self, *, resume: bool = False) -> Path:
        """Train, from the last checkpoint with ``resume``, and return the model's file.

        Raises:
            ConfigError: If there is a run of this name and it is not to go on.
            TrainingError: If training ends early; checkpoints that are finished stay.
        """
        config, last = self.config, self.folder / LAST
        checkpoint = begun(last, config, resume=resume)
        if checkpoint is not None:
            self._check_updates(checkpoint[RECORD])
        classes, views, makers = self._training_sets()
        validation = self._validation_sets()
        write_image_names(self.folder, self.image_names())
        task = SegmentationTask(self.network, config, makers, validation)
        task.provenance[_UPDATES] = weights_hash(self._updates)
        trainer = make_trainer(
            self.folder,
            config.schedule,
            _callbacks(config, self.folder, validation),
            precision=config.precision,
            devices=config.devices,
            nodes=config.nodes,
            done=checkpoint['global_step'] if checkpoint else 0,
            # Without the descriptor the image embedding is not used, and its projection gets no
            # gradient.
            unused=not config.model.relationship_descriptor,
        )
        data = TrainingData(views, validation, config)
        fit(trainer, task, data, last if checkpoint else None, config.schedule)
        path = self.folder / f'{config.name}.safetensors'
        if trainer.is_global_zero:
            self._export(path, classes, self.network.state_dict(), task.record())
            best = Path(getattr(trainer.checkpoint_callback, 'best_model_path', ''))
            # There is none without a validation to tell it.
            if best.name == BEST and best.is_file():
                found = read_run_checkpoint(best)
                weights, record = trained_weights(found), found[RECORD]
                self._export(path.with_stem(f'{path.stem}-best'), classes, weights, record)
        return path

    def _check_updates(self, record: Mapping[str, Any]) -> None:
        """Refuse another image tower than the run began with; its checkpoints do not hold it."""
        config, own = self.config, weights_hash(self._updates)
        if record.get(_UPDATES, own) != own:
            named = config.model.alignment or config.initialize_from
            raise ConfigError(
                f'Expected {named} to hold the updates of the image tower that this run began '
                'with, but it was written anew since: put it back, or choose another name.'
            )

    def _export(
        self,
        path: Path,
        classes: Sequence[ClassSet],
        weights: dict[str, Tensor],
        training: dict[str, Any],
    ) -> None:
        """Write what was trained as a model file, with all that says how."""
        config = self.config
        seen = [entry.words[index].name for entry in classes for index in entry.seen]
        side = config.settings.short_side
        settings = ModelSettings(
            # A fine-tuned tower is in the file.
            image_tower='' if config.model.tower == 'finetuned' else config.towers.image,
            text_tower=config.towers.text,
            templates=config.towers.templates,
            seen_classes=tuple(dict.fromkeys(seen)),
            seen_bias=config.settings.seen_bias,
            threshold=config.settings.threshold,
            short_side=side,
            crop=side,
            stride=round(side * 426 / 512),
            training=training,
        )
        kept = {name: weights[name].cpu() for name in self.network.trained_names()}
        for name, start in self._start.items():
            kept[name] = torch.lerp(kept[name], start, config.start_share)
        if config.model.tower == 'frozen':
            kept |= self._updates
        checkpoint = Checkpoint(self.network.config, settings, kept)
        save_checkpoint(checkpoint, path, dtype=torch.float16)
        logger.info('Wrote %s.', path)


def _callbacks(
    config: TrainConfig, folder: Path, validation: Sequence[ValidationSet]
) -> list[lightning.Callback]:
    callbacks: list[lightning.Callback] = [
        ValidationPictures(folder / 'pictures', validation),
    ]
    if validation:
        callbacks.append(
            ModelCheckpoint(
                dirpath=folder,
                filename=Path(BEST).stem,
                monitor=SCORE,
                mode='max',
                enable_version_counter=False,
            )
        )
    # Behind the best one, whose score the last checkpoint is to know.
    return [*callbacks, RunCheckpoints(folder, config.schedule, measured=bool(validation))]
