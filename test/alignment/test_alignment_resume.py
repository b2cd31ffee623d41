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
"""Runs of zegclip align and zegclip adapt that were stopped, and go on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import shutil

from commands import last_line
import pytest
from teacher_folders import Alignments
import torch
from torch import Tensor
from training_helpers import ALIGNED, Runs
from zegclip_core.alignment.steps import Step
from zegclip_core.alignment.task import AlignmentTask
from zegclip_core.cli.main import INTERRUPTED, USER_ERROR
from zegclip_core.weights.checkpoint import load_checkpoint, save_checkpoint

SHORT = ('schedule.steps=6', 'schedule.validate_every=3')


@pytest.mark.parametrize('command', ['align', 'adapt'])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    alignments: Alignments, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    assert alignments.run(command, *SHORT, 'name=whole') == 0
    step = AlignmentTask.training_step

    def interrupted(task: AlignmentTask, batch: Step, index: int) -> Tensor:
        if task.global_step == 4:
            raise KeyboardInterrupt
        return step(task, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(AlignmentTask, 'training_step', interrupted)
        assert alignments.run(command, *SHORT, 'name=parts') == INTERRUPTED
    assert not alignments.file('parts').exists()
    assert alignments.run(command, *SHORT, 'name=parts', '--resume') == 0
    alignments.assert_same('whole', 'parts')


def edited(path: Path, change: Callable[[str, Tensor], Tensor]) -> None:
    """Write a file of a run anew, with other weights."""
    checkpoint = load_checkpoint(path)
    weights = {name: change(name, value) for name, value in checkpoint.state_dict.items()}
    save_checkpoint(replace(checkpoint, state_dict=weights), path, dtype=torch.float16)


def copied(made: Alignments, name: str, folder: Path) -> Path:
    """Copy a file of a run, to be written anew."""
    return Path(shutil.copy(made.file(name), folder / f'{name}.safetensors'))


@pytest.mark.parametrize('command', ['align', 'adapt'])
def test_a_file_that_a_run_started_from_has_no_effect_once_it_goes_on(
    made: Alignments, alignments: Alignments, command: str
) -> None:
    start = copied(made, 'adapted', alignments.out)
    settings = (*SHORT, f'initialize_from={start}')
    assert alignments.run(command, *settings, 'name=whole') == 0
    assert alignments.run(command, *settings, 'name=parts', 'schedule.stop=3') == 0
    edited(start, lambda name, value: value + 0.1)
    assert alignments.run(command, *settings, 'name=parts', '--resume') == 0
    alignments.assert_same('whole', 'parts')


def test_updates_that_are_gone_from_the_file_are_missed(
    made: Alignments, alignments: Alignments, capsys: pytest.CaptureFixture[str]
) -> None:
    start = copied(made, 'adapted', alignments.out)
    settings = (*SHORT, f'initialize_from={start}')
    assert alignments.run('align', *settings, 'schedule.stop=3') == 0
    shutil.copy(made.file('aligned'), start)
    assert alignments.run('align', *settings, '--resume') == USER_ERROR
    assert 'last.ckpt does not match its model: missing keys: none; unexpected keys: low_rank' in (
        last_line(capsys)
    )


def test_a_run_goes_on_with_its_own_command_and_settings(
    made: Alignments, alignments: Alignments, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*SHORT, f'initialize_from={made.file("adapted")}')
    assert alignments.run('align', *settings, 'schedule.stop=3') == 0
    assert alignments.run('adapt', *settings, '--resume') == USER_ERROR
    assert 'Expected zegclip align, which' in last_line(capsys)
    assert alignments.run('align', *settings, 'space.adaptation_rate=2', '--resume') == USER_ERROR
    assert 'but got space.adaptation_rate=2.0 (it was 1.0).' in last_line(capsys)


def test_a_training_notices_that_its_tower_was_adapted_anew(
    made: Alignments, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, start = Runs(squares, made.clip, tmp_path), copied(made, 'adapted', tmp_path)
    settings = (*ALIGNED, f'model.alignment={start}', 'validate=[]')
    assert runs.train(*settings, 'schedule.stop=1') == 0
    # The projections are in the checkpoint, whatever the file says by now.
    edited(start, lambda name, value: value + (0.1 if 'projection' in name else 0))
    assert runs.train(*settings, 'schedule.stop=2', '--resume') == 0
    edited(start, lambda name, value: value + (0.1 if name.endswith('.up') else 0))
    assert runs.train(*settings, '--resume') == USER_ERROR
    assert 'written anew since' in last_line(capsys)
