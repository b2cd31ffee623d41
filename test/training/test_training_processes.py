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
"""A step over several batches or processes is the same step."""

import os
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from training_helpers import LIVE, run_arguments, Runs
from zegclip_core.training.batches import TrainingData
from zegclip_core.training.task import SegmentationTask


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
    runs: Runs, gradients: list[dict[str, Tensor]], loss: tuple[str, ...]
) -> None:
    # Views of half a picture often hold one class only, so batches hold different numbers.
    common = (*LIVE, *loss, 'schedule.steps=1', 'views.scale=[0.05, 0.1]')
    for size, count in ((16, 1), (4, 4)):
        settings = (f'schedule.batch_size={size}', f'schedule.accumulate={count}')
        assert runs.train(*common, *settings, f'name=batches-of-{size}') == 0
    whole, parts = gradients
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_the_number_of_reading_processes_changes_nothing(runs: Runs) -> None:
    for workers in (0, 2):
        settings = (*LIVE, 'schedule.steps=4', f'schedule.workers={workers}', f'name=w{workers}')
        assert runs.train(*settings) == 0
    runs.assert_same('w0', 'w2')


SCRIPT = """
import open_clip, os, sys, torch
open_clip.add_model_config(os.environ['TINY_CLIP'])
from zegclip_core.cli.main import main
from zegclip_core.training.task import SegmentationTask
divide = SegmentationTask.on_before_optimizer_step
def keep(task, optimizer):
    divide(task, optimizer)
    named = task.network.named_parameters()
    found = {name: p.grad.clone() for name, p in named if p.grad is not None}
    if task.global_rank == 0 and task.global_step == 0:
        torch.save(found, os.environ['GRADIENTS'])
SegmentationTask.on_before_optimizer_step = keep
sys.exit(main())
"""


def _train(clip: str, folder: Path, launcher: str, arguments: list[str]) -> dict[str, Tensor]:
    """Train in processes of their own; return the first step's gradients."""
    script = folder / 'run.py'
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), *arguments]
    if launcher == 'torchrun':
        command[1:1] = ['-m', 'torch.distributed.run', '--nproc-per-node=2']
    gradients = folder / 'gradients.pt'
    environment = {
        **os.environ,
        'TINY_CLIP': str(Path(clip.partition('file:')[2]).with_name('training-clip.json')),
        'GRADIENTS': str(gradients),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count('Wrote') == 1
    found: dict[str, Tensor] = torch.load(gradients, weights_only=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ('launcher', 'further'),
    [('own', ()), ('torchrun', ('model.relationship_descriptor=false', 'model.prompt_tokens=0'))],
)
def test_two_processes_train_as_one_does(
    runs: Runs, gradients: list[dict[str, Tensor]], launcher: str, further: tuple[str, ...]
) -> None:
    common = [entry for entry in LIVE if entry != 'validate=[]']
    common += ['schedule.steps=2', 'schedule.validate_every=1', 'schedule.keep=[1]', *further]
    assert runs.train(*common, 'name=one', 'schedule.batch_size=4') == 0
    settings = ('name=two', 'schedule.batch_size=2', 'devices=2')
    two = run_arguments(runs.squares, runs.clip, runs.out, *common, *settings)
    found = _train(runs.clip, runs.out, launcher, two)
    expected = gradients[0]
    # Some are 0 but for rounding, such as that of a bias before a norm.
    whole = torch.stack([value.norm() for value in expected.values()]).norm()
    for name, value in expected.items():
        bound = 1e-3 * max(float(value.norm()), 1e-2 * float(whole))
        assert float((found[name] - value).norm()) < bound, name
    figures = [runs.record(name, '-best') for name in ('one', 'two')]
    # Three pictures on two processes: none is counted twice.
    (accuracy,) = (key for key in figures[0]['validation'] if key.endswith('pixel_accuracy'))
    first, second = (entry['validation'][accuracy] for entry in figures)
    assert second == pytest.approx(first, abs=0.01)


@pytest.mark.slow
def test_two_processes_with_readers_that_stop_within_a_round_go_on_as_if_they_had_not(
    runs: Runs,
) -> None:
    # Six pictures: two steps of four views end within the second round of them.
    settings = ('schedule.steps=4', 'schedule.batch_size=2', 'schedule.workers=1', 'devices=2')
    for name, further in (
        ('whole', ()),
        ('parts', ('schedule.stop=2',)),
        ('parts', ('--resume',)),
    ):
        common = (*LIVE, *settings, f'name={name}', *further)
        arguments = run_arguments(runs.squares, runs.clip, runs.out, *common)
        _train(runs.clip, runs.out, 'torchrun', arguments)
    runs.assert_same('whole', 'parts')


def test_processes_share_the_pictures_out() -> None:
    class Views:
        """Five views, of which a batch is their numbers."""

        def __len__(self) -> int:
            return 5

        def batch(self, source: int, indices: list[int]) -> list[int]:
            assert source == 0
            return indices

    config: Any = SimpleNamespace(schedule=SimpleNamespace(workers=0))
    entry: Any = SimpleNamespace(views=Views())
    data = TrainingData([], [entry], config)
    shares = []
    for rank in range(2):
        data.trainer = cast(Any, SimpleNamespace(global_rank=rank, world_size=2, global_step=0))
        (loader,) = data.val_dataloader()
        shares.append(list(loader))
    assert shares == [[[0], [2], [4]], [[1], [3]]]
