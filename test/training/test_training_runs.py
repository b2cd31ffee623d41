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
"""Runs: over several batches or processes, and ended early by what happens to machines."""

from collections.abc import Iterator
import os
from pathlib import Path
import resource
import shutil
import signal

import numpy as np
from PIL import Image
import pytest
from safetensors.torch import load_file
import torch
from torch import Tensor
from training_helpers import LIVE, run_arguments
from zegclip_core.cli.main import INTERRUPTED, main, USER_ERROR
from zegclip_core.errors import CheckpointError
from zegclip_core.training.batches import Batch, LiveViews
from zegclip_core.training.checkpoints import (
    AtomicCheckpointIO,
    read_run_checkpoint,
    trained_weights,
)
from zegclip_core.training.task import SegmentationTask
from zegclip_core.weights.checkpoint import load_checkpoint


class _Stop:
    """Does something at a step of training."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def at(self, step: int, action: object) -> None:
        plain = SegmentationTask.training_step

        def stopping(task: SegmentationTask, batch: Batch, index: int) -> Tensor:
            if task.global_step == step and callable(action):
                action()
            return plain(task, batch, index)

        self._monkeypatch.setattr(SegmentationTask, 'training_step', stopping)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> _Stop:
    return _Stop(monkeypatch)


@pytest.fixture
def file_limit() -> Iterator[None]:
    """Give back the largest file size and the handling of Ctrl+C after the test."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.getsignal(signal.SIGINT)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGINT, handler)


def _last_step(folder: Path) -> int:
    """Return the step of the last checkpoint, which must be whole."""
    checkpoint = read_run_checkpoint(folder / 'last.ckpt')
    assert checkpoint['zegclip']['versions']['python']
    assert trained_weights(checkpoint)
    return int(checkpoint['global_step'])


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_whole_checkpoint(
    squares: Path,
    clip: str,
    tmp_path: Path,
    stop: _Stop,
    capsys: pytest.CaptureFixture[str],
    file_limit: None,
) -> None:
    settings = (*LIVE, 'schedule.steps=9', 'schedule.validate_every=3')
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    stop.at(4, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard)))
    assert main(run_arguments(squares, clip, tmp_path, *settings)) == USER_ERROR
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'step 6' in error
    assert 'File too large' in error
    assert '--resume' in error
    assert _last_step(tmp_path / 'squares') == 3


@pytest.mark.slow
def test_a_dying_reader_leaves_the_last_whole_checkpoint(
    squares: Path,
    clip: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn = LiveViews.batch
    parent = os.getpid()
    calls = []

    def dies(views: LiveViews, source: int, indices: list[int]) -> Batch:
        calls.append(indices)
        if len(calls) > 6 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return drawn(views, source, indices)

    monkeypatch.setattr(LiveViews, 'batch', dies)
    settings = (*LIVE, 'schedule.steps=20', 'schedule.validate_every=1', 'schedule.workers=1')
    assert main(run_arguments(squares, clip, tmp_path, *settings)) == USER_ERROR
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'reads pictures has died' in error
    assert _last_step(tmp_path / 'squares') > 0


def test_a_run_is_not_lost_by_starting_it_again(
    squares: Path, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = tmp_path / 'squares' / 'last.ckpt'
    last.parent.mkdir()
    last.write_bytes(b'hours of work')
    assert main(run_arguments(squares, clip, tmp_path)) == USER_ERROR
    assert f'{last} is there: go on with --resume' in capsys.readouterr().err
    assert last.read_bytes() == b'hours of work'
    assert [path.name for path in last.parent.iterdir()] == ['last.ckpt']


@pytest.mark.slow
def test_an_interrupted_run_can_go_on(
    squares: Path,
    clip: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    file_limit: None,
) -> None:
    settings = (*LIVE, 'schedule.steps=24', 'schedule.validate_every=12')
    arguments = ['train', '--resume', *run_arguments(squares, clip, tmp_path, *settings)[1:]]
    with pytest.MonkeyPatch.context() as patch:
        _Stop(patch).at(15, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert main(arguments) == INTERRUPTED
    folder = tmp_path / 'squares'
    assert 'interrupted' in capsys.readouterr().err
    assert _last_step(folder) == 12
    assert not (folder / 'squares.safetensors').exists()
    assert main([*arguments, 'schedule.clip=5.0']) == 0
    assert 'other settings under schedule' in caplog.text
    assert _last_step(folder) == 24
    # What was logged before is still there.
    assert (folder / 'logs' / 'metrics.csv').is_file()
    assert (folder / 'logs' / 'from-12' / 'metrics.csv').is_file()


@pytest.mark.slow
def test_views_drawn_anew_are_the_same_ones_in_a_resumed_run(
    squares: Path, clip: str, tmp_path: Path, file_limit: None
) -> None:
    settings = (
        'model.prompt_tokens=2',
        'schedule.accumulate=2',
        'schedule.batch_size=2',
        'schedule.decay=poly',
        'schedule.steps=6',
        'schedule.validate_every=2',
        'schedule.workers=1',
        'views.jitter=0.4',
    )
    assert main(run_arguments(squares, clip, tmp_path, *settings, 'name=whole')) == 0
    arguments = run_arguments(squares, clip, tmp_path, *settings, 'name=parts')
    with pytest.MonkeyPatch.context() as patch:
        _Stop(patch).at(3, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert main(arguments) == INTERRUPTED
    assert _last_step(tmp_path / 'parts') == 2
    assert main([*arguments, '--resume']) == 0
    whole, parts = (load_file(tmp_path / n / f'{n}.safetensors') for n in ('whole', 'parts'))
    for key, value in whole.items():
        assert torch.equal(value, parts[key]), key
    figures = {
        name: load_checkpoint(tmp_path / 'whole' / f'{name}.safetensors').settings.training
        for name in ('whole', 'whole-best')
    }
    assert figures['whole']['steps'] == 6
    assert figures['whole-best']['steps'] in (2, 4, 6)
    scores = {name: entry['validation']['val/score'] for name, entry in figures.items()}
    assert scores['whole-best'] >= scores['whole']


@pytest.mark.slow
def test_figures_belong_to_the_checkpoint_that_carries_them(
    squares: Path, clip: str, tmp_path: Path
) -> None:
    settings = ('schedule.steps=5', 'schedule.validate_every=2', 'keep_features=false')
    assert main(run_arguments(squares, clip, tmp_path, *settings)) == 0
    folder = tmp_path / 'squares'
    assert _last_step(folder) == 5
    record = load_checkpoint(folder / 'squares.safetensors').settings.training
    assert (record['steps'], record['validation_step']) == (5, 4)
    best = load_checkpoint(folder / 'squares-best.safetensors').settings.training
    assert best['steps'] == best['validation_step']


@pytest.mark.slow
def test_a_new_run_does_not_take_the_files_of_an_earlier_one(
    squares: Path, clip: str, tmp_path: Path
) -> None:
    settings = ('schedule.steps=2', 'schedule.validate_every=2', 'schedule.keep=[1]')
    first = run_arguments(squares, clip, tmp_path, *LIVE[:-1], *settings)
    assert main(first) == 0
    # As of a run that ended before its first validation.
    (tmp_path / 'squares' / 'last.ckpt').unlink()
    assert main([*first, 'seed=7']) == 0
    kept = read_run_checkpoint(tmp_path / 'squares' / 'step=1.ckpt')
    assert kept['zegclip']['config']['seed'] == 7
    best = load_checkpoint(tmp_path / 'squares' / 'squares-best.safetensors').settings.training
    assert best['config']['seed'] == 7


def test_a_checkpoint_is_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'last.ckpt'
    AtomicCheckpointIO().save_checkpoint({'step': 1}, path)

    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(OSError, match='No space'):
        AtomicCheckpointIO().save_checkpoint({'step': 2}, path)
    assert torch.load(path)['step'] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_bad_mask_in_a_reading_process_is_one_line(
    squares: Path, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / 'bad'
    shutil.copytree(squares, root)
    for path in (root / 'labels' / 'train').iterdir():
        Image.fromarray(np.full((48, 64), 9, np.uint8)).save(path)
    settings = (*LIVE, 'schedule.workers=1', 'schedule.steps=2')
    assert main(run_arguments(root, clip, tmp_path, *settings)) == USER_ERROR
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'but got 9' in error
    assert 'Traceback' not in error


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('keep', ['true', 'false'])
def test_a_run_on_a_gpu_validates_and_draws_its_pictures(
    squares: Path, clip: str, tmp_path: Path, keep: str
) -> None:
    settings = ('schedule.steps=60', f'keep_features={keep}', 'precision=bf16-mixed')
    assert main(run_arguments(squares, clip, tmp_path, *settings)) == 0
    assert list((tmp_path / 'squares' / 'pictures').glob('*.png'))
    record = load_checkpoint(tmp_path / 'squares' / 'squares.safetensors').settings.training
    assert record['validation']['val/score'] > 0.8


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='no file'):
        read_run_checkpoint(tmp_path / 'none.ckpt')
    (tmp_path / 'cut.ckpt').write_bytes(b'PK')
    with pytest.raises(CheckpointError, match='whole checkpoint'):
        read_run_checkpoint(tmp_path / 'cut.ckpt')


@pytest.mark.slow
def test_a_checkpoint_of_another_model_is_refused(
    squares: Path, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (*LIVE, 'schedule.steps=1')
    assert main(run_arguments(squares, clip, tmp_path, *common)) == 0
    start = f'initialize_from={tmp_path / "squares" / "last.ckpt"}'
    settings = ('name=other', 'model.prompt_tokens=2', start)
    assert main(run_arguments(squares, clip, tmp_path, *common, *settings)) == USER_ERROR
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'missing keys: visual.deep_prompt_embeddings' in error
