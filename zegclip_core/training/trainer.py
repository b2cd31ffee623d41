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
"""Lightning's trainer as runs of any kind use it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import logging
from pathlib import Path
import re
from typing import Any
import warnings

import lightning
from lightning.pytorch.callbacks import LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
import torch
from zegclip_core.errors import TrainingError, ZegCLIPError
from zegclip_core.training.checkpoints import AtomicCheckpointIO, LAST
from zegclip_core.training.config import CourseConfig

IMAGES = 'images.txt'
"""File of a run that names what it was trained on."""


def write_image_names(folder: Path, names: Mapping[str, Sequence[str]]) -> None:
    """Write the images that a run trains on to ``images.txt``, ``ROOT/NAME`` a line, sorted.

    ``names`` are the images' names by the folder of their dataset.
    """
    lines = sorted(f'{root}/{name}\n' for root, part in names.items() for name in set(part))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / IMAGES).write_text(''.join(lines), 'utf-8')


class StepBar(TQDMProgressBar):
    """A progress bar that does not speak of epochs, of which there are none."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Begin the bar."""
        super().on_train_epoch_start(trainer, *_)
        self.train_progress_bar.set_description('training')


def make_trainer(
    folder: Path,
    schedule: CourseConfig,
    callbacks: Sequence[lightning.Callback],
    *,
    precision: Any,  # noqa: ANN401 - Lightning's own literal
    devices: int = 0,
    nodes: int = 1,
    done: int = 0,
    unused: bool = False,
) -> lightning.Trainer:
    """Return the trainer of a run.

    Args:
        folder: Where checkpoints and logs go.
        schedule: How long to train.
        callbacks: Beside the bar and the learning rate's log.
        precision: Floating-point types.
        devices: Processes on each node; 0 takes all GPUs, or one process without.
        nodes: Number of machines.
        done: Steps that are done; the logs of what follows go beside theirs.
        unused: Whether a step may leave a trained weight without a gradient.
    """
    part = f'from-{done}' if done else ''
    # Its advice is not about this run.
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    gpus = torch.cuda.device_count()
    several = (devices or gpus) * nodes > 1
    return lightning.Trainer(
        max_steps=schedule.end,
        precision=precision,
        accumulate_grad_batches=schedule.accumulate,
        gradient_clip_val=schedule.clip or None,
        accelerator='auto',
        devices=devices or max(gpus, 1),
        num_nodes=nodes,
        strategy='ddp_find_unused_parameters_true' if several and unused else 'auto',
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        default_root_dir=folder,
        logger=[
            CSVLogger(folder, name='logs', version=part),
            TensorBoardLogger(folder, name='logs', version=part),
        ],
        callbacks=[StepBar(refresh_rate=10), LearningRateMonitor(), *callbacks],
        # Lightning counts batches here, not steps.
        val_check_interval=schedule.validate_every * schedule.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        log_every_n_steps=10,
    )


def fit(
    trainer: lightning.Trainer,
    task: lightning.LightningModule,
    data: lightning.LightningDataModule,
    start: Path | None,
    schedule: CourseConfig,
) -> None:
    """Train, from a checkpoint if there is one, and say in one line what ends it early."""
    try:
        with float32_products(schedule.float32_products), warnings.catch_warnings():
            # That there are files from before is no news, nor what Lightning does inside.
            warnings.filterwarnings('ignore', message='.*exists and is not empty.*')
            warnings.filterwarnings('ignore', module=r'lightning\.pytorch\.utilities\._pytree')
            trainer.fit(task, data, ckpt_path=start, weights_only=True)
    except SystemExit as error:
        # Lightning turns Ctrl+C into an exit with code 1.
        raise KeyboardInterrupt from error
    except (OSError, RuntimeError, ZegCLIPError) as error:
        died = 'DataLoader worker .*(killed by signal|exited unexpectedly)'
        if isinstance(error, ConnectionError) or re.search(died, str(error)):
            reason = 'a process that reads pictures has died (out of memory?)'
        elif isinstance(error, OSError):
            reason = f'a file cannot be used: {error}'
        elif isinstance(error, RuntimeError):
            raise
        else:
            # Of a process that reads images comes a traceback, whose last line is the error.
            *_, reason = str(error).strip().splitlines()
        last = Path(trainer.default_root_dir) / LAST
        there = last.is_file()
        left = f'{last} is whole: go on with --resume' if there else 'no checkpoint was made'
        raise TrainingError(
            f'Training ended at step {trainer.global_step}, as {reason}; {left}.'
        ) from error


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Have float32 matrix products on a GPU computed as ``schedule.float32_products`` says.

    What is measured afterwards in the same process is measured in float32 itself again.
    """
    before = torch.get_float32_matmul_precision()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
