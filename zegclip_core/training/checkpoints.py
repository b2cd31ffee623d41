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
"""Checkpoints of a run: what is written when, what is read of them, and where a run comes from."""

from contextlib import suppress
from importlib import metadata
import os
from pathlib import Path
import pickle
import platform
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
import torch
from torch import Tensor
from zegclip_core import __version__
from zegclip_core.errors import CheckpointError
from zegclip_core.settings import Settings
from zegclip_core.training.config import CourseConfig
from zegclip_core.versions import git_commit

LAST = 'last.ckpt'
BEST = 'best.ckpt'
NETWORK = 'network.'
"""What the names of the network's weights begin with in a checkpoint of a run."""
RECORD = 'zegclip'
"""Where such a checkpoint says how it was made."""
_PACKAGES = ('torch', 'torchvision', 'lightning', 'open_clip_torch', 'timm', 'numpy')


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

    After, not before: a resumed run does not validate again what the checkpoint has done. Where
    nothing is ``measured``, or only after the end, a checkpoint is written as often all the same.
    """

    def __init__(self, folder: Path, schedule: CourseConfig, *, measured: bool) -> None:
        validates = measured and schedule.validate_every <= schedule.end
        self._every = 0 if validates else min(schedule.validate_every, schedule.end)
        self._folder, self._keep, self._last = folder, set(schedule.keep), 0

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Write what is due after a step, once all its batches are done."""
        step = trainer.global_step
        if step in self._keep:
            self._keep.remove(step)
            trainer.save_checkpoint(self._folder / f'step={step}.ckpt')
        if self._every and step % self._every == 0:
            self.on_train_end(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Write the last checkpoint, with the figures of its own step."""
        self.on_train_end(trainer)

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Write the last checkpoint, unless it is there."""
        if trainer.global_step > self._last:
            self._last = trainer.global_step
            trainer.save_checkpoint(self._folder / LAST)


def read_run_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a run, with ``weights_only=True``."""
    if not path.is_file():
        raise CheckpointError(f'Expected a checkpoint of a run, but there is no file at {path}.')
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f'Expected {path} to be a whole checkpoint of a run, but it cannot be read.'
        ) from error
    if not isinstance(checkpoint, dict) or RECORD not in checkpoint:
        raise CheckpointError(
            f'Expected {path} to be a checkpoint of a run, but it was not written by zegclip.'
        )
    return checkpoint


def trained_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's weights in a checkpoint of a run, under their own names."""
    return {key.removeprefix(NETWORK): value for key, value in checkpoint['state_dict'].items()}


def provenance(config: Settings) -> dict[str, Any]:
    """Return where a model comes from: configuration, commit of the sources, versions."""
    return {
        'config': config.model_dump(by_alias=True),
        'git_commit': git_commit(),
        'versions': {
            'zegclip': __version__,
            'python': platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }
