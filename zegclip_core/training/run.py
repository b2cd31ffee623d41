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
"""A training run from its configuration to the exported model."""

from collections.abc import Sequence
from dataclasses import asdict
import logging
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from zegclip_core.data.catalog import open_dataset, unseen_of
from zegclip_core.data.folder import Pictures
from zegclip_core.data.views import split_indices
from zegclip_core.errors import ConfigError
from zegclip_core.text.encoder import load_text_tower, TextEncoder
from zegclip_core.training.batches import QueryMaker
from zegclip_core.training.config import SourceConfig, TrainConfig, ValidationConfig
from zegclip_core.training.features import FeatureStore
from zegclip_core.training.live import LiveViews
from zegclip_core.training.loaders import TrainingData
from zegclip_core.training.networks import (
    initialize_from,
    new_network,
    read_run_checkpoint,
)
from zegclip_core.training.task import SegmentationTask, trained_weights, ValidationSet
from zegclip_core.training.trainer import BEST, fit, LAST, make_trainer
from zegclip_core.training.views import Views
from zegclip_core.training.words import ClassSet, ClassWords, PhraseTable, read_words
from zegclip_core.weights.checkpoint import Checkpoint, ModelSettings, save_checkpoint
from zegclip_core.weights.image_towers import load_image_tower

logger = logging.getLogger(__name__)


class Run:
    """A training run.

    Args:
        config: What to train.

    Raises:
        TowerError: If a frozen tower cannot be found.
        DataError: If a dataset does not lie as expected.
        ConfigError: If a words file cannot be used, or an unseen class is not known.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.folder = Path(config.output) / config.name
        if config.schedule.threads:
            torch.set_num_threads(config.schedule.threads)
        # Wrong data are found before towers are loaded, which takes seconds.
        self._datasets = [_open(entry) for entry in config.train]
        self._validated = [_open(entry) for entry in config.validate]
        self._check_unseen()
        lightning.seed_everything(config.seed, verbose=False)
        tower = load_image_tower(config.towers.image)
        self._encoder = TextEncoder(load_text_tower(config.towers.text), config.towers.templates)
        self.network = new_network(config, tower, self._encoder.embed_dim)
        if config.initialize_from:
            initialize_from(self.network, config.initialize_from)
        self._store: FeatureStore | None = None
        if config.keep_features and not config.tower_changes:
            self._store = self._feature_store()

    def _check_unseen(self) -> None:
        """Refuse an unseen class, or a split of them, that no dataset knows."""
        config = self.config
        entries: list[SourceConfig | ValidationConfig] = [*config.train, *config.validate]
        datasets = [*self._datasets, *self._validated]
        unknown = [
            set(unseen_of(entry.dataset, config.unseen, dataset.classes).unknown)
            for entry, dataset in zip(entries, datasets, strict=True)
        ]
        wrong = [wanted for wanted in config.unseen if all(wanted in part for part in unknown)]
        if wrong:
            known = dict.fromkeys(name for dataset in datasets for name in dataset.classes)
            raise ConfigError(
                'Expected unseen to hold names of classes, or of splits, of the datasets '
                f'({", ".join(list(known)[:12])}, ...), but got {wrong[0]!r}.'
            )

    def _unseen(self, entry: SourceConfig | ValidationConfig, dataset: Pictures) -> list[str]:
        """Return the unseen classes of a dataset."""
        return list(unseen_of(entry.dataset, self.config.unseen, dataset.classes).classes)

    def _feature_store(self) -> FeatureStore:
        """Return the store of the frozen tower's features, computed in the run's precision."""
        vision = self.network.config.vision
        tower = type(self.network.visual)(vision).eval()
        tower.load_state_dict(self.network.visual.state_dict())
        half = {'bf16-mixed': torch.bfloat16, '16-mixed': torch.float16}
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        tower = tower.to(device, half.get(self.config.precision, torch.float32))
        name = self.config.towers.image
        folder = Path(self.config.output) / 'features'
        return FeatureStore(folder, tower, name, self.config.views)

    def _live_views(
        self, dataset: Pictures, indices: Sequence[int], *, seed: int | None
    ) -> LiveViews:
        patch = self.network.config.vision.patch_size
        return LiveViews(dataset, indices, self.config.views, seed=seed, multiple=patch)

    def _training_views(self, source: SourceConfig, dataset: Pictures) -> Views:
        indices = split_indices(len(dataset), source.hold_out, held_out=False)
        if self._store is None:
            return self._live_views(dataset, indices, seed=self.config.seed)
        return self._store.views(dataset, indices, count=source.views, seed=self.config.seed)

    def _validation_set(self, entry: ValidationConfig, dataset: Pictures) -> ValidationSet:
        indices = split_indices(len(dataset), entry.hold_out, held_out=True)
        views: Views
        if self._store is None:
            views = self._live_views(dataset, indices, seed=None)
        else:
            views = self._store.views(dataset, indices, count=1, seed=self.config.seed)
        words = [ClassWords(name) for name in dataset.classes]
        unseen = self._unseen(entry, dataset)
        return ValidationSet(
            config=entry,
            title=dataset.title,
            views=views,
            classes=dataset.classes,
            table=PhraseTable(words, self._encoder, varied=False),
            seen=tuple(name for name in dataset.classes if name not in unseen),
        )

    def _class_set(self, source: SourceConfig, dataset: Pictures) -> ClassSet:
        """Return the words of a training set, and which of its classes are unseen."""
        words = read_words(source.words, dataset.classes)
        table = PhraseTable(words, self._encoder, varied=source.wording == 'varied')
        unseen = [dataset.classes.index(name) for name in self._unseen(source, dataset)]
        return ClassSet(words, table, frozenset(unseen))

    def _makers(self, views: Sequence[Views], classes: Sequence[ClassSet]) -> list[QueryMaker]:
        makers = []
        for index, source in enumerate(self.config.train):
            own = classes[index]
            count = len(own.words)
            # Counting reads every mask, which takes long for a large dataset.
            counts = views[index].pixel_counts(count) if source.balance else torch.ones(count)
            others = [entry for k, entry in enumerate(classes) if k != index]
            transductive = self.config.setting == 'transductive'
            makers.append(QueryMaker(source, own, others, counts, transductive=transductive))
        return makers

    def train(self, *, resume: bool = False) -> Path:
        """Train, and write the model.

        Args:
            resume: Go on from the last checkpoint, if there is one.

        Returns:
            The model's file.

        Raises:
            ConfigError: If there is a run of this name and it is not to go on.
            TrainingError: If training ends early; checkpoints that are finished stay.
        """
        config = self.config
        last = self.folder / LAST
        if last.is_file() and not resume:
            raise ConfigError(
                f'Expected a run that was not begun, but {last} is there: go on with --resume, '
                f'choose another name, or remove {self.folder}.'
            )
        pairs = list(zip(config.train, self._datasets, strict=True))
        classes = [self._class_set(source, dataset) for source, dataset in pairs]
        views = [self._training_views(source, dataset) for source, dataset in pairs]
        validation = [
            self._validation_set(entry, dataset)
            for entry, dataset in zip(config.validate, self._validated, strict=True)
        ]
        task = SegmentationTask(self.network, config, self._makers(views, classes), validation)
        start = last if last.is_file() else None
        done = 0 if start is None else _steps_done(config, start)
        trainer = make_trainer(config, self.folder, validation, done=done)
        fit(trainer, task, TrainingData(views, validation, config), start)
        path = self.folder / f'{config.name}.safetensors'
        if trainer.is_global_zero:
            self._export(path, classes, self.network.state_dict(), task.record())
            self._export_best(path, classes, trainer)
        return path

    def _export_best(
        self, path: Path, classes: Sequence[ClassSet], trainer: lightning.Trainer
    ) -> None:
        """Write the model of this run's best checkpoint, if there was a validation to tell it."""
        callback = trainer.checkpoint_callback
        best = Path(getattr(callback, 'best_model_path', ''))
        if best.name == BEST and best.is_file():
            checkpoint = read_run_checkpoint(best)
            weights = trained_weights(checkpoint)
            self._export(
                path.with_stem(f'{path.stem}-best'), classes, weights, checkpoint['zegclip']
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
        kept = {name: weights[name] for name in self.network.trained_names()}
        checkpoint = Checkpoint(self.network.config, settings, kept)
        save_checkpoint(checkpoint, path, dtype=torch.float16)
        logger.info('Wrote %s.', path)


def _open(entry: SourceConfig | ValidationConfig) -> Pictures:
    """Open the dataset that a part of the configuration names."""
    return open_dataset(entry.root, entry.dataset, entry.split)


def _steps_done(config: TrainConfig, path: Path) -> int:
    """Return the steps of a checkpoint, and say which settings differ from those it had."""
    checkpoint = read_run_checkpoint(path)
    before = checkpoint.get('zegclip', {}).get('config', {})
    now = asdict(config)
    changed = [key for key in now if now[key] != before.get(key)]
    if changed:
        logger.warning('Going on with other settings under %s.', ', '.join(changed))
    return int(checkpoint['global_step'])
