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
import signal
import subprocess
import sys

import pytest
from safetensors.torch import load_file
import torch
from torch import Tensor
from training_helpers import run_arguments, write_clip, write_squares
from zegclip_core.checkpoint import load_checkpoint
from zegclip_core.cli.main import INTERRUPTED, main, USER_ERROR
from zegclip_core.errors import CheckpointError
from zegclip_core.training.live import LiveViews
from zegclip_core.training.networks import read_run_checkpoint
from zegclip_core.training.task import SegmentationTask, trained_weights
from zegclip_core.training.views import Batch

LIVE = (
    'keep_features=false',
    'loss.cross_entropy_weight=0',
    'loss.window=[]',
    'loss.stride=1',
    'model.decoder_dropout=0',
    'train.0.unlabelled=none_of_these',
    'train.0.wording=name',
    'validate=[]',
)
"""What makes a step depend on its views alone, however they are shared out."""


@pytest.fixture(scope='module')
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp('squares'))


@pytest.fixture(scope='module')
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Collect the gradients that the optimiser gets, by step."""
    found: list[dict[str, Tensor]] = []
    divide = SegmentationTask.on_before_optimizer_step

    def collect(task: SegmentationTask, optimizer: torch.optim.Optimizer) -> None:
        divide(task, optimizer)
        named = task.network.named_parameters()
        found.append({n: p.grad.clone() for n, p in named if p.grad is not None})

    monkeypatch.setattr(SegmentationTask, 'on_before_optimizer_step', collect)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    'loss', [(), ('loss.mask_weight=0', 'loss.dice_weight=0', 'loss.cross_entropy_weight=1')]
)
def test_four_batches_of_four_are_one_of_sixteen(
    squares: Path,
    clip: str,
    tmp_path: Path,
    gradients: list[dict[str, Tensor]],
    loss: tuple[str, ...],
) -> None:
    # Views of half a picture often hold one class only, so batches hold different numbers.
    common = (*LIVE, *loss, 'schedule.steps=1', 'views.scale=[0.05, 0.1]')
    for size, count in ((16, 1), (4, 4)):
        settings = (f'schedule.batch_size={size}', f'schedule.accumulate={count}')
        assert main(run_arguments(squares, clip, tmp_path, *common, *settings)) == 0
    whole, parts = gradients
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_the_number_of_reading_processes_changes_nothing(
    squares: Path, clip: str, tmp_path: Path
) -> None:
    for workers in (0, 2):
        settings = (*LIVE, 'schedule.steps=4', f'schedule.workers={workers}', f'name=w{workers}')
        assert main(run_arguments(squares, clip, tmp_path, *settings)) == 0
    none, two = (load_file(tmp_path / n / f'{n}.safetensors') for n in ('w0', 'w2'))
    for key, value in none.items():
        assert torch.equal(value, two[key]), key


SCRIPT = """
import open_clip, os, sys
open_clip.add_model_config(os.environ['TINY_CLIP'])
from zegclip_core.cli.main import main
sys.exit(main())
"""


def _command(tmp_path: Path, arguments: list[str]) -> list[str]:
    """Return a command that trains in a process of its own."""
    script = tmp_path / 'run.py'
    script.write_text(SCRIPT)
    return [sys.executable, str(script), *arguments]


@pytest.mark.slow
@pytest.mark.parametrize('launcher', ['own', 'torchrun'])
def test_two_processes_train_as_one_does(
    squares: Path, clip: str, tmp_path: Path, launcher: str
) -> None:
    common = (*LIVE, 'schedule.steps=3')
    one = run_arguments(squares, clip, tmp_path, *common, 'name=one', 'schedule.batch_size=4')
    assert main(one) == 0
    settings = ('name=two', 'schedule.batch_size=2', 'devices=2')
    two = _command(tmp_path, run_arguments(squares, clip, tmp_path, *common, *settings))
    if launcher == 'torchrun':
        two = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2', *two[1:]]
    known = str(Path(clip.partition('file:')[2]).with_name('tiny-clip.json'))
    environment = {**os.environ, 'TINY_CLIP': known}
    done = subprocess.run(
        two, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    single, double = (load_file(tmp_path / n / f'{n}.safetensors') for n in ('one', 'two'))
    # Adam turns rounding errors of gradients near 0 into steps, so a few weights may differ.
    close = [
        torch.isclose(double[key].float(), value.float(), rtol=0, atol=1e-3)
        for key, value in single.items()
    ]
    assert torch.cat([part.flatten() for part in close]).float().mean() > 0.999


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
