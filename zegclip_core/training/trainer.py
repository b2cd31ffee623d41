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
import logging
from pathlib import Path
from typing import Any
import warnings

import lightning
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
import torch
from zegclip_core.errors import TrainingError
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


class KeepSteps(lightning.Callback):
    """Keeps the checkpoints of some steps as ``step=N.ckpt``.

    Args:
        folder: Where to.
        steps: After which steps.

    """

    def __init__(self, folder: Path, steps: Sequence[int]) -> None:
        self._folder = folder
        self._steps = set(steps)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Keep the checkpoint of a step, once all its batches are done."""
        path = self._folder / f'step={trainer.global_step}.ckpt'
        if trainer.global_step in self._steps and not path.exists():
            trainer.save_checkpoint(path)


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
    one_process = 1 if not torch.cuda.is_available() else 'auto'
    return lightning.Trainer(
        max_steps=schedule.end,
        precision=config.precision,
        accumulate_grad_batches=schedule.accumulate,
        gradient_clip_val=schedule.clip or None,
        accelerator='auto',
        devices=config.devices or one_process,
        num_nodes=config.nodes,
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
    common: dict[str, Any] = {'dirpath': folder, 'enable_version_counter': False}
    callbacks = [
        ModelCheckpoint(filename=Path(LAST).stem, every_n_train_steps=every, **common),
        KeepSteps(folder, config.schedule.keep),
        StepBar(refresh_rate=10),
        LearningRateMonitor(),
        ValidationPictures(folder / 'pictures', validation),
    ]
    if validation:
        callbacks.append(
            ModelCheckpoint(filename=Path(BEST).stem, monitor=SCORE, mode='max', **common)
        )
    return callbacks


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
        if 'DataLoader worker' not in str(error):
            raise
        reason = 'a process that reads pictures has died (out of memory?)'
        raise TrainingError(_ending(trainer, reason)) from error


def _ending(trainer: lightning.Trainer, reason: str) -> str:
    """Say why a run has ended and what is left of it."""
    last = Path(trainer.default_root_dir) / LAST
    left = f'{last} is whole: go on with --resume' if last.is_file() else 'no checkpoint was made'
    return f'Training ended at step {trainer.global_step}, as {reason}; {left}.'
