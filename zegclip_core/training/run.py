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
from dataclasses import asdict, replace
import logging
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
import torch
from torch.utils.data import DataLoader
from zegclip_core.checkpoint import (
    check_keys,
    Checkpoint,
    load_checkpoint,
    ModelSettings,
    save_checkpoint,
)
from zegclip_core.data.folder import FolderDataset
from zegclip_core.data.views import split_indices
from zegclip_core.loading import model_path
from zegclip_core.model import ZegCLIP, ZegCLIPConfig
from zegclip_core.text import load_text_tower, TextEncoder
from zegclip_core.towers import ImageTower, load_image_tower
from zegclip_core.training.batches import QueryMaker
from zegclip_core.training.config import SourceConfig, TrainConfig, ValidationConfig
from zegclip_core.training.features import FeatureStore
from zegclip_core.training.live import LiveViews
from zegclip_core.training.pictures import ValidationPictures
from zegclip_core.training.task import BatchStream, SegmentationTask, ValidationSet
from zegclip_core.training.views import Views
from zegclip_core.training.words import ClassWords, PhraseTable, read_words
from zegclip_core.vit import IMAGENET_MEAN, IMAGENET_STD, VisionConfig

logger = logging.getLogger(__name__)

LAST = 'last.ckpt'


def new_network(config: TrainConfig, tower: ImageTower, text_dim: int) -> ZegCLIP:
    """Build an untrained model on a frozen tower.

    Args:
        config: The run.
        tower: The frozen tower.
        text_dim: Width of the text embeddings.

    """
    model = config.model
    vision = replace(
        tower.config, prompt_tokens=model.prompt_tokens, feature_layers=model.feature_layers
    )
    if model.published:
        vision = _published_vision(vision)
    network = ZegCLIP(
        ZegCLIPConfig(
            vision=vision,
            text_dim=text_dim,
            dim=model.dim,
            decoder_layers=model.decoder_layers,
            decoder_heads=model.decoder_heads,
            decoder_mlp_dim=model.decoder_mlp_dim,
            decoder_dropout=model.decoder_dropout,
            projections=model.projections,
            projection_dropout=model.projection_dropout,
            detail_width=model.detail_width,
            logit_scale=model.logit_scale,
        )
    )
    fill_tower(network, tower)
    return network


def _published_vision(vision: VisionConfig) -> VisionConfig:
    """Return a CLIP tower's configuration as ZegCLIP's release sets it."""
    return replace(
        vision,
        class_embedding_twice=True,
        prompt_norm=True,
        position_resize='bilinear',
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def fill_tower(network: ZegCLIP, tower: ImageTower) -> None:
    """Copy the frozen weights into a model, strictly: only prompts may stay as they are."""
    state = network.visual.state_dict()
    frozen = {key for key in state if 'prompt' not in key}
    weights = {**state, **{key: value.float() for key, value in tower.state_dict.items()}}
    network.visual.load_state_dict(weights, strict=True)
    if frozen != set(tower.state_dict):
        odd = sorted(frozen ^ set(tower.state_dict))
        raise ValueError(f'Expected the tower to fill {odd[0]}, but it does not.')


def initialize_from(network: ZegCLIP, model: str) -> None:
    """Start from what another model has learnt.

    Args:
        network: The model to train.
        model: Name of a bundled model, or path of a ``.safetensors`` file.

    Raises:
        ModelError: If there is no such model.
        CheckpointError: If its shape is another.
    """
    path = model_path(model)
    checkpoint = load_checkpoint(path)
    state = network.state_dict()
    trained = {name: state[name] for name in network.trained_names()}
    check_keys(path, trained, checkpoint.state_dict)
    network.load_state_dict({**state, **checkpoint.state_dict}, strict=True)


class Run:
    """A training run.

    Args:
        config: What to train.

    Raises:
        TowerError: If a frozen tower cannot be found.
        DataError: If a dataset does not lie as expected.
        ConfigError: If a words file cannot be used.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.folder = Path(config.output) / config.name
        if config.schedule.threads:
            torch.set_num_threads(config.schedule.threads)
        lightning.seed_everything(config.seed, verbose=False)
        tower = load_image_tower(config.towers.image)
        self._encoder = TextEncoder(load_text_tower(config.towers.text), config.towers.templates)
        self.network = new_network(config, tower, self._encoder.embed_dim)
        if config.initialize_from:
            initialize_from(self.network, config.initialize_from)
        self._store: FeatureStore | None = None
        if not config.model.prompt_tokens:
            self._store = self._feature_store()

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

    def _training_views(self, source: SourceConfig, dataset: FolderDataset) -> Views:
        indices = split_indices(len(dataset), source.hold_out, held_out=False)
        if self._store is None:
            return LiveViews(dataset, indices, self.config.views, seed=self.config.seed)
        return self._store.views(dataset, indices, count=source.views, seed=self.config.seed)

    def _validation_set(self, entry: ValidationConfig) -> ValidationSet:
        dataset = FolderDataset(entry.root, entry.split)
        indices = split_indices(len(dataset), entry.hold_out, held_out=True)
        views: Views
        if self._store is None:
            views = LiveViews(dataset, indices, self.config.views, seed=None)
        else:
            views = self._store.views(dataset, indices, count=1, seed=self.config.seed)
        words = [ClassWords(name) for name in dataset.classes]
        return ValidationSet(entry, views, dataset.classes, PhraseTable(words, self._encoder))

    def _makers(
        self, views: Sequence[Views], words: Sequence[tuple[ClassWords, ...]]
    ) -> list[QueryMaker]:
        tables = [PhraseTable(entry, self._encoder) for entry in words]
        makers = []
        for index, source in enumerate(self.config.train):
            others = [(words[k], tables[k]) for k in range(len(words)) if k != index]
            counts = views[index].pixel_counts(len(words[index]))
            makers.append(QueryMaker(source, words[index], tables[index], others, counts))
        return makers

    def train(self, *, resume: bool = False) -> Path:
        """Train, and write the model.

        Args:
            resume: Go on from the last checkpoint, if there is one.

        Returns:
            The model's file.
        """
        config = self.config
        datasets = [FolderDataset(source.root, source.split) for source in config.train]
        words = [
            read_words(source.words, dataset.classes)
            for source, dataset in zip(config.train, datasets, strict=True)
        ]
        views = [
            self._training_views(source, dataset)
            for source, dataset in zip(config.train, datasets, strict=True)
        ]
        validation = [self._validation_set(entry) for entry in config.validate]
        task = SegmentationTask(self.network, config, self._makers(views, words), validation)
        last = self.folder / LAST
        trainer = self._trainer(validation)
        trainer.fit(
            task,
            DataLoader(BatchStream(views, config, lambda: task.global_step), batch_size=None),
            [_whole_pictures(entry) for entry in validation],
            ckpt_path=str(last) if resume and last.is_file() else None,
        )
        return self.export([word.name for entry in words for word in entry], trainer)

    def _trainer(self, validation: Sequence[ValidationSet]) -> lightning.Trainer:
        config = self.config
        saver = ModelCheckpoint(
            dirpath=self.folder,
            filename='{step}',
            save_last=True,
            every_n_train_steps=min(config.schedule.validate_every, config.schedule.steps),
            enable_version_counter=False,
        )
        return lightning.Trainer(
            max_steps=config.schedule.steps,
            precision=config.precision,
            gradient_clip_val=config.schedule.clip or None,
            accelerator='auto',
            devices='auto' if torch.cuda.is_available() else 1,
            default_root_dir=self.folder,
            logger=[
                CSVLogger(self.folder, name='logs', version=''),
                TensorBoardLogger(self.folder, name='logs', version=''),
            ],
            callbacks=[
                saver,
                TQDMProgressBar(refresh_rate=10),
                LearningRateMonitor(),
                ValidationPictures(self.folder / 'pictures', validation),
            ],
            val_check_interval=config.schedule.validate_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )

    def export(self, classes: Sequence[str], trainer: lightning.Trainer) -> Path:
        """Write what was trained as a model file.

        Args:
            classes: Names of the classes that training saw.
            trainer: Knows the figures.

        """
        config = self.config
        state = self.network.state_dict()
        figures = {
            key: round(float(value), 4)
            for key, value in trainer.callback_metrics.items()
            if key.startswith('val/')
        }
        settings = ModelSettings(
            image_tower=config.towers.image,
            text_tower=config.towers.text,
            templates=config.towers.templates,
            seen_classes=tuple(dict.fromkeys(classes)),
            threshold=config.settings.threshold,
            short_side=config.settings.short_side,
            crop=config.settings.short_side,
            stride=round(config.settings.short_side * 426 / 512),
            training={
                'config': asdict(config),
                'steps': trainer.global_step,
                'validation': figures,
            },
        )
        kept = {name: state[name] for name in self.network.trained_names()}
        path = self.folder / f'{config.name}.safetensors'
        checkpoint = Checkpoint(self.network.config, settings, kept)
        save_checkpoint(checkpoint, path, dtype=torch.float16)
        logger.info('Wrote %s.', path)
        return path


def _whole_pictures(entry: ValidationSet) -> DataLoader[object]:
    """Return a loader of single whole pictures."""
    batches = [entry.views.batch(0, [index]) for index in range(len(entry.views))]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
