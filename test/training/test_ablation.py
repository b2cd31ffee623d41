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
"""The ablation: figures over seeds, what is skipped and what goes on, and what the page gets."""

from collections.abc import Sequence
import json
from pathlib import Path
import shlex
import signal
import statistics
import subprocess
import sys
from typing import Any

from benchmarks import ablation, ablation_runs
from benchmarks.ablation_matrix import Job, Matrix, STEPS
from benchmarks.ablation_report import aggregate, draw, Figure, table_of
from benchmarks.ablation_runs import execute, finish, is_finished, RunError
import numpy as np
from PIL import Image
import pytest
from zegclip_core.errors import ConfigError, DataError

CONFIG = """
name: camvid
towers: {{image: none, text: none}}
views: {{size: [32, 32]}}
setting: inductive
unseen: [car, fence, zebra]
train: [{{root: {data}, split: train}}]
validate: [{{root: {data}, split: val, hold_out: 2}}]
schedule: {{steps: 8, keep: [4]}}
"""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    data, folder = tmp_path / 'streets', tmp_path / 'configs'
    for part in ('images/val', 'labels/val'):
        (data / part).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(data / part / 'a.png')
    (data / 'classes.txt').write_text('road\nfence\ncar\n', encoding='utf-8')
    folder.mkdir()
    for row in (*STEPS, 'transductive'):
        (folder / f'camvid-{row}.yaml').write_text(CONFIG.format(data=data), encoding='utf-8')
    return folder


class Program:
    """Stands for ``zegclip``: writes what train and evaluate write, and fails where told.

    Args:
        fails: Parts of commands that fail.

    """

    def __init__(self, *fails: str) -> None:
        self.fails = fails
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str], log: Path) -> None:
        self.commands.append(list(command))
        text = shlex.join(command)
        if any(part in text for part in self.fails):
            raise RunError('the disk is full')
        {'train': self._train, 'evaluate': self._evaluate}[command[1]](list(command[2:]))

    @staticmethod
    def _train(arguments: list[str]) -> None:
        settings = dict(entry.split('=', 1) for entry in arguments if '=' in entry)
        folder = Path(settings['output']) / settings['name']
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'step=4.ckpt').touch()
        (folder / f'{settings["name"]}.safetensors').touch()

    @staticmethod
    def _evaluate(arguments: list[str]) -> None:
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        name = Path(options['--model']).stem  # camvid-STEP-seedN-DIGEST
        seed = int(name.split('-seed')[1].split('-')[0])
        unseen = 0.3 + 0.1 * seed
        seen = 0.6 + 0.1 * float(options['--seen-bias'])
        figures = {
            **{'pixel_accuracy': 0.8, 'miou': 0.5, 'miou_seen': seen, 'miou_unseen': unseen},
            **{'hiou': None, 'iou': {'road': seen}, 'images': 1, 'seconds': 0.1},
        }
        Path(options['--json']).write_text(json.dumps(figures), encoding='utf-8')

    def trained(self) -> list[str]:
        """Return the configurations that were trained, in order."""
        return [Path(command[3]).stem for command in self.commands if command[1] == 'train']


def start(configs: Path, program: Program, *options: str) -> int:
    """Run the benchmark with a stand-in for ``zegclip``."""
    out = str(configs.parent / 'out')
    return ablation.main(['--configs', str(configs), '--out', out, *options], program)


def results(configs: Path) -> dict[str, Any]:
    text = (configs.parent / 'out' / 'camvid.json').read_text(encoding='utf-8')
    found: dict[str, Any] = json.loads(text)
    return found


def job(configs: Path, row: str = '1', *overrides: str) -> Job:
    return Matrix('camvid', (row,), (0,), configs.parent / 'out', overrides, configs).jobs()[-1]


def test_mean_and_spread_are_those_of_the_textbook() -> None:
    figure = Figure((0.2, 0.4, 0.9))
    assert figure.mean == pytest.approx(0.5)
    # Deviations -0.3, -0.1, 0.4: squares sum to 0.26, over n - 1 = 2.
    assert figure.spread == pytest.approx(0.13**0.5)
    assert str(figure) == '50.0 ± 36.1'
    assert str(Figure((0.25,))) == '25.0'
    assert str(Figure(())) == '-'


def test_every_run_is_scored_twice_and_all_its_figures_are_kept(configs: Path) -> None:
    program = Program()
    assert start(configs, program, '--steps-of-figure', '2,1', '--seeds', '0,3') == 0
    assert program.trained() == ['camvid-1', 'camvid-2'] * 2
    scored = [shlex.join(each) for each in program.commands if each[1] == 'evaluate']
    assert len(scored) == 8
    for text, bias in zip(scored, [0.1, 0.0] * 4, strict=True):
        assert f'--unseen fence,car --seen-bias {bias} --threshold 0 --hold-out 2' in text
    found = results(configs)
    assert [run['seed'] for run in found['runs']] == [0, 0, 3, 3]
    for run in found['runs']:
        assert run['steps'] == 8
        assert f'seed={run["seed"]}' in run['training']['command']
        assert run['training']['seconds'] >= 0
        assert [score['seen_bias'] for score in run['scores']] == [0.1, 0.0]
    row = found['rows'][0]
    assert row['seeds'] == [0, 3]
    assert row['miou_unseen']['mean'] == pytest.approx(0.45)
    assert row['miou_unseen']['spread'] == pytest.approx(statistics.stdev([0.3, 0.6]))
    assert row['hiou'] == {'mean': None, 'spread': None, 'values': []}


def test_finished_runs_are_not_run_again(configs: Path) -> None:
    start(configs, Program(), '--steps-of-figure', '1', '--seeds', '0')
    program = Program()
    assert start(configs, program, '--steps-of-figure', '1,4', '--seeds', '0') == 0
    assert program.trained() == ['camvid-4']
    assert len(results(configs)['runs']) == 2


@pytest.mark.parametrize('change', ['override', 'file', 'base', 'model'])
def test_another_configuration_is_another_run(configs: Path, change: str) -> None:
    path, settings = configs / 'camvid-1.yaml', []
    if change == 'base':
        path.rename(configs / 'base.yaml')
        path.write_text('base: base.yaml\n', encoding='utf-8')
        path = configs / 'base.yaml'
    start(configs, Program(), '--steps-of-figure', '1', '--seeds', '0')
    if change == 'override':
        settings = ['schedule.steps=9']
    elif change != 'model':
        text = path.read_text(encoding='utf-8')
        path.write_text(text.replace('steps: 8', 'steps: 9'), encoding='utf-8')
    else:
        job(configs).model.unlink()
    program = Program()
    assert start(configs, program, '--steps-of-figure', '1', '--seeds', '0', *settings) == 0
    assert program.trained() == ['camvid-1']
    assert len(program.commands) == 3
    path.write_text('# a comment\n' + path.read_text(encoding='utf-8'), encoding='utf-8')
    program = Program()
    start(configs, program, '--steps-of-figure', '1', '--seeds', '0', *settings)
    assert program.commands == []


def test_a_run_whose_scoring_was_stopped_is_not_trained_again(configs: Path) -> None:
    with pytest.raises(RunError):
        finish(job(configs), Program('--seen-bias 0.0'))
    program = Program()
    finish(job(configs), program)
    assert [command[1] for command in program.commands] == ['evaluate']
    assert is_finished(job(configs))


def test_time_of_a_stopped_training_counts_and_it_goes_on(configs: Path) -> None:
    class Stopped(Program):
        """Is interrupted at once."""

        def __call__(self, command: Sequence[str], log: Path) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(job(configs), Stopped())
    path = job(configs).folder / 'run.json'
    run = json.loads(path.read_text(encoding='utf-8'))
    assert not is_finished(job(configs))
    run['training']['seconds'] = 1000.0
    path.write_text(json.dumps(run), encoding='utf-8')
    program = Program()
    assert finish(job(configs), program)['training']['seconds'] >= 1000.0
    assert '--resume' in program.commands[0]


def test_a_failed_run_is_told_and_the_others_go_on(
    configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Program('camvid-2.yaml')
    options = ('--steps-of-figure', '1,2,3', '--seeds', '0')
    assert start(configs, program, *options) == 1
    assert program.trained() == ['camvid-1', 'camvid-2', 'camvid-3']
    assert 'camvid-2, seed 0: the disk is full' in capsys.readouterr().err
    assert [run['row'] for run in results(configs)['runs']] == ['1', '3']
    again = Program()
    assert start(configs, again, *options) == 0
    assert again.trained() == ['camvid-2']


def test_the_transductive_run_starts_from_the_inductive_one_of_its_seed(configs: Path) -> None:
    program = Program()
    options = ('--steps-of-figure', '1', '--also', 'transductive', '--seeds', '1,2')
    assert start(configs, program, *options) == 0
    assert program.trained() == ['camvid-1', 'camvid-5', 'camvid-transductive'] * 2
    trained = [command for command in program.commands if command[1] == 'train']
    for inductive, transductive in ((trained[1], trained[2]), (trained[4], trained[5])):
        settings = dict(entry.split('=', 1) for entry in inductive if '=' in entry)
        half_way = Path(settings['output']) / settings['name'] / 'step=4.ckpt'
        assert f'initialize_from={half_way}' in transductive


def test_another_length_moves_the_half_way_checkpoint(configs: Path) -> None:
    matrix = Matrix(
        'camvid', ('transductive',), (0,), Path('out'), ('schedule.steps=50',), configs
    )
    inductive, transductive = matrix.jobs()
    assert (inductive.steps, transductive.steps) == (50, 25)
    assert 'schedule.keep=[25]' in inductive.settings
    assert transductive.starts_from == inductive.folder / 'step=25.ckpt'


def test_without_the_inductive_run_the_transductive_one_fails(
    configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Program('camvid-5.yaml')
    options = ('--steps-of-figure', '5', '--also', 'transductive', '--seeds', '0')
    assert start(configs, program, *options) == 1
    assert program.trained() == ['camvid-5']
    assert 'step=4.ckpt to start from' in capsys.readouterr().err


def test_what_cannot_work_is_told_before_anything_runs(
    configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Program()
    assert start(configs, program, 'schedule.stepps=3') == 2
    assert "'stepps'" in capsys.readouterr().err
    assert program.commands == []
    with pytest.raises(ConfigError, match='value for validate in'):
        job(configs, '1', 'validate=[]')
    with pytest.raises(ConfigError, match=r'Expected schedule\.keep in .*camvid-5'):
        job(configs, 'transductive', 'schedule.keep=[]')
    with pytest.raises(DataError):
        job(configs, '1', 'validate.0.root=nowhere')
    with pytest.raises(SystemExit):
        start(configs, program, '--steps-of-figure', '6')
    assert 'expected steps among 1, 2, 3, 4, 5' in capsys.readouterr().err


def test_only_what_is_between_the_markers_changes(
    configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = configs.parent / 'docs' / 'results.md'
    page.parent.mkdir()
    text = '# A\n<!-- camvid:begin -->\nold\n<!-- camvid:end -->\n\n<!-- joint:begin -->\nB'
    page.write_text(f'{text}\n<!-- joint:end -->\nC\n', encoding='utf-8')
    monkeypatch.setattr(ablation, 'PAGE', page)
    start(configs, Program(), '--steps-of-figure', '1,5', '--seeds', '0,1', '--write-docs')
    written = page.read_text(encoding='utf-8')
    head, rest = written.split('<!-- camvid:begin -->\n')
    table, tail = rest.split('\n<!-- camvid:end -->')
    assert head == '# A\n'
    assert tail == '\n\n<!-- joint:begin -->\nB\n<!-- joint:end -->\nC\n'
    assert '| (1) frozen tower | 0, 1 | 8 | 61.0 ± 0.0 | 35.0 ± 7.1 | - | 80.0 ± 0.0 |' in table
    assert 'zegclip train --config' in table
    assert '(images/results-camvid-streets.png)' in table
    with Image.open(page.parent / 'images' / 'results-camvid-streets.png') as picture:
        assert picture.width > 500


def test_a_dataset_that_lacks_a_way_of_scoring_has_dashes(tmp_path: Path) -> None:
    score = {'data': 'streets', 'seen_bias': 0.0, 'miou_seen': 0.5, 'miou_unseen': 0.25}
    score |= {'hiou': 1 / 3, 'pixel_accuracy': 0.75}
    rows = aggregate([{'row': '4', 'seed': 7, 'steps': 3, 'scores': [score]}])
    line = '| (4) + non-exclusive loss | 7 | 3 | - | - | - | - | 50.0 | 25.0 | 33.3 | 75.0 |'
    assert table_of(rows).splitlines()[-1] == line
    draw(rows, 'one bar', tmp_path / 'chart.png')
    assert (tmp_path / 'chart.png').is_file()


def test_a_command_that_fails_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / 'logs' / 'a.log'
    with pytest.raises(RunError, match=r'^Cannot read the configuration nowhere\.yaml'):
        execute(['zegclip', 'train', '--config', 'nowhere.yaml'], log)
    assert 'nowhere.yaml' in log.read_text(encoding='utf-8')
    assert 'nowhere.yaml' in capfd.readouterr().err


def test_a_process_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / 'python'
    program.write_text('#!/bin/sh\necho on its way\nkill -9 $$\n', encoding='utf-8')
    program.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(program))
    with pytest.raises(RunError, match=r'^ended by SIGKILL$'):
        execute(['zegclip', 'train'], tmp_path / 'a.log')
    assert (tmp_path / 'a.log').read_text(encoding='utf-8') == 'on its way\n'


def test_ctrl_c_reaches_the_process_and_its_end_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / 'python'
    lines = ['#!/bin/sh', "trap 'echo saved; exit 1' INT", 'echo ready', 'while :; do sleep 0.05']
    program.write_text('\n'.join([*lines, 'done', '']), encoding='utf-8')
    program.chmod(0o755)
    forward, calls = ablation_runs._forward, []

    def interrupted(process: subprocess.Popen[bytes], log: int) -> None:
        calls.append(process)
        if len(calls) > 1:
            return forward(process, log)
        assert process.stdout is not None
        assert process.stdout.readline() == b'ready\n'
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, 'executable', str(program))
    monkeypatch.setattr(ablation_runs, '_forward', interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(['zegclip', 'train'], tmp_path / 'a.log')
    assert (tmp_path / 'a.log').read_text(encoding='utf-8') == 'saved\n'
    assert calls[0].returncode == 1


def test_started_in_the_background_it_does_not_ignore_ctrl_c(configs: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # As shells do.
    try:
        start(configs, Program(), '--steps-of-figure', '1', '--seeds', '0')
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
