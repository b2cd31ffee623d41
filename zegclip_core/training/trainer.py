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
"""Lightning's trainer as runs use it: checkpoints, logs, pictures, and how a run may end."""

from collections.abc import Sequence
from contextlib import suppress
import logging
import os
from pathlib import Path
import re
from typing import Any
import warnings

import lightning
from lightning.pytorch.callbacks import (
    Checkpoint,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
import torch
from zegclip_core.errors import TrainingError, ZegCLIPError
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.loaders import TrainingData
from zegclip_core.training.pictures import ValidationPictures
from zegclip_core.training.task import SCORE, SegmentationTask, ValidationSet

LAST = 'last.ckpt'
BEST = 'best.ckpt'


class StepBar(TQDMProgressBar):
    """A progress bar that does not speak of epochs, of which there are none."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Begin the bar."""
        super().on_train_epoch_start(trainer, *_)
        self.train_progress_bar.set_description('training')


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints that appear whole or not at all, whatever file system they lie on.

    Lightning's own writes elsewhere and moves, which between file systems is a copy over the
    checkpoint that was there.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: object = None,
    ) -> None:
        """Write a checkpoint beside its place, then put it there."""
        target = Path(path)
        partial = target.with_name(f'.{target.name}.partial')
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open('wb') as file:
                torch.save(checkpoint, file)
            os.replace(partial, target)
        except BaseException:
            with suppress(OSError):  # what stopped the write may stop this as well
                partial.unlink()
            raise


class RunCheckpoints(Checkpoint):
    """Writes ``last.ckpt`` after each validation and at the end, and keeps those of some steps.

    After, not before: a resumed run does not validate again what the checkpoint has done.

    Args:
        folder: Where to.
        every: Steps between checkpoints where there is no validation.
        validates: Whether there is.
        keep: Steps whose checkpoints are kept as ``step=N.ckpt``.

    """

    def __init__(self, folder: Path, *, every: int, validates: bool, keep: Sequence[int]) -> None:
        self._folder = folder
        self._every = every
        self._validates = validates
        self._keep = set(keep)
        self._kept: set[int] = set()
        self._last = 0

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Write what is due after a step, once all its batches are done."""
        step = trainer.global_step
        if step in self._keep - self._kept:
            self._kept.add(step)
            trainer.save_checkpoint(self._folder / f'step={step}.ckpt')
        if not self._validates and step % self._every == 0:
            self._save_last(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Write the checkpoint with the figures of its own step."""
        self._save_last(trainer)

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Write the checkpoint of the last step."""
        self._save_last(trainer)

    def _save_last(self, trainer: lightning.Trainer) -> None:
        """Write the last checkpoint, unless it is there."""
        if trainer.global_step > self._last:
            self._last = trainer.global_step
            trainer.save_checkpoint(self._folder / LAST)


def make_trainer(
    config: TrainConfig, folder: Path, validation: Sequence[ValidationSet], *, done: int
) -> lightning.Trainer:
    """Return the trainer of a run.

    Args:
        config: The run.
        folder: Where all that it writes lies.
        validation: What to validate on.
        done: Steps that a resumed run has done; its logs go beside the first ones.
    """
    part = f'from-{done}' if done else ''
    # Its advice is not about this run.
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    schedule = config.schedule
    gpus = torch.cuda.device_count()
    several = (config.devices or gpus) * config.nodes > 1
    # Without the descriptor the image embedding is not used, and its projection gets no gradient.
    unused = several and not config.model.relationship_descriptor
    return lightning.Trainer(
        max_steps=schedule.end,
        precision=config.precision,
        accumulate_grad_batches=schedule.accumulate,
        gradient_clip_val=schedule.clip or None,
        accelerator='auto',
        devices=config.devices or max(gpus, 1),
        num_nodes=config.nodes,
        strategy='ddp_find_unused_parameters_true' if unused else 'auto',
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        default_root_dir=folder,
        logger=[
            CSVLogger(folder, name='logs', version=part),
            TensorBoardLogger(folder, name='logs', version=part),
        ],
        callbacks=_callbacks(config, folder, validation),
        # Lightning counts batches here, not steps.
        val_check_interval=schedule.validate_every * schedule.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        log_every_n_steps=10,
    )


def _callbacks(
    config: TrainConfig, folder: Path, validation: Sequence[ValidationSet]
) -> list[lightning.Callback]:
    every = min(config.schedule.validate_every, config.schedule.end)
    callbacks: list[lightning.Callback] = [
        StepBar(refresh_rate=10),
        LearningRateMonitor(),
        ValidationPictures(folder / 'pictures', validation),
    ]
    if validation:
        callbacks.append(best_checkpoint(folder))
    validates = bool(validation) and config.schedule.validate_every <= config.schedule.end
    keep = config.schedule.keep
    # Behind the best one, whose score the last checkpoint is to know.
    callbacks.append(RunCheckpoints(folder, every=every, validates=validates, keep=keep))
    return callbacks


def best_checkpoint(folder: Path) -> ModelCheckpoint:
    """Return what keeps the checkpoint of the best validation."""
    return ModelCheckpoint(
        dirpath=folder,
        filename=Path(BEST).stem,
        monitor=SCORE,
        mode='max',
        enable_version_counter=False,
    )


def fit(
    trainer: lightning.Trainer, task: SegmentationTask, data: TrainingData, start: Path | None
) -> None:
    """Train.

    Args:
        trainer: How.
        task: What.
        data: On what.
        start: Checkpoint to go on from.

    Raises:
        TrainingError: If a file cannot be written, or a process that reads pictures dies.
        KeyboardInterrupt: If the user stops it.
    """
    try:
        with warnings.catch_warnings():
            # That there are files from before is no news, nor what Lightning does inside.
            warnings.filterwarnings('ignore', message='.*exists and is not empty.*')
            warnings.filterwarnings('ignore', module=r'lightning\.pytorch\.utilities\._pytree')
            trainer.fit(task, data, ckpt_path=start, weights_only=True)
    except SystemExit as error:
        # Lightning turns Ctrl+C into an exit with code 1.
        raise KeyboardInterrupt from error
    except OSError as error:
        raise TrainingError(_ending(trainer, f'a file cannot be used: {error}')) from error
    except RuntimeError as error:
        if not re.search('DataLoader worker .*(killed by signal|exited unexpectedly)', str(error)):
            raise
        reason = 'a process that reads pictures has died (out of memory?)'
        raise TrainingError(_ending(trainer, reason)) from error
    except ZegCLIPError as error:
        # Of a process that reads pictures comes a traceback, whose last line is the error.
        *_, line = str(error).strip().splitlines()
        raise TrainingError(_ending(trainer, line)) from error


def _ending(trainer: lightning.Trainer, reason: str) -> str:
    """Say why a run has ended and what is left of it."""
    last = Path(trainer.default_root_dir) / LAST
    left = f'{last} is whole: go on with --resume' if last.is_file() else 'no checkpoint was made'
    return f'Training ended at step {trainer.global_step}, as {reason}; {left}.'
