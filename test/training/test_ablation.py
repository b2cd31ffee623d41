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
"""The ablation runs what is missing, resumes, and reports the mean and spread over seeds."""

from collections.abc import Sequence
import json
from pathlib import Path
import shutil

from benchmarks import ablation
from benchmarks.ablation import mean_and_spread, StepError
from PIL import Image
import pytest


class Program:
    """Stands for ``zegclip``: writes what train and evaluate write, and fails where told."""

    def __init__(self) -> None:
        self.fails: tuple[str, ...] = ()
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str]) -> None:
        text = ' '.join(command)
        self.commands.append(text)
        if any(part in text for part in self.fails):
            raise StepError('the disk is full')
        if command[1] == 'train':
            settings = dict(entry.split('=', 1) for entry in command if '=' in entry)
            folder = Path(settings['output']) / settings['name']
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f'{settings["name"]}.safetensors').touch()
            return
        options = dict(zip(command[2::2], command[3::2], strict=True))
        seed = int(options['--model'].split('-seed')[1][0])
        figures = {'miou_seen': 0.6 + 0.1 * float(options['--seen-bias']), 'hiou': None}
        figures |= {'miou_unseen': 0.3 + 0.1 * seed, 'pixel_accuracy': 0.8}
        Path(options['--json']).write_text(json.dumps(figures), encoding='utf-8')

    def trained(self) -> list[str]:
        """Return set, step and seed of the models that were trained, in order."""
        names = [text.split('name=')[1] for text in self.commands if ' train ' in text]
        return [name.rsplit('-', 1)[0] for name in names]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    made = Program()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ablation.CONFIGS, tmp_path / 'configs')
    monkeypatch.setattr(ablation, 'CONFIGS', tmp_path / 'configs')
    monkeypatch.setattr(ablation, 'call', made)
    return made


def start(*options: str) -> int:
    return ablation.main(['--out', 'out', *options])


def test_mean_and_spread_are_those_of_the_textbook() -> None:
    # Deviations -30, -10, 40: squares sum to 2600, over n - 1 = 2.
    assert mean_and_spread([20, 40, 90]) == '50.0 ± 36.1'
    assert mean_and_spread([25]) == '25.0'
    assert mean_and_spread([]) == '-'


def test_every_model_is_scored_with_both_biases_and_finished_ones_are_not_run_again(
    program: Program,
) -> None:
    assert start('--steps-of-figure', '2,1', '--seeds', '0,3') == 0
    assert program.trained() == [f'camvid-{step}-seed{seed}' for seed in (0, 3) for step in (1, 2)]
    scored = [text for text in program.commands if ' evaluate ' in text]
    for text, bias in zip(scored, [0.1, 0.0] * 4, strict=True):
        assert f'--unseen pavement,fence,car --seen-bias {bias} --threshold 0' in text
    program.commands.clear()
    assert start('--steps-of-figure', '1,2', '--seeds', '0') == 0
    assert program.commands == []
    assert [run['step'] for run in json.loads(Path('out/camvid.json').read_text())] == ['1', '2']


@pytest.mark.parametrize('change', ['setting', 'base', 'model', 'comment'])
def test_another_configuration_is_another_run(program: Program, change: str) -> None:
    options = ['--set', 'joint', '--steps-of-figure', '1', '--seeds', '0']
    start(*options)
    program.commands.clear()
    base = ablation.CONFIGS / 'camvid.yaml'
    if change == 'setting':
        options.append('schedule.batch_size=9')
    elif change == 'base':
        base.write_text(base.read_text().replace('dim: 256', 'dim: 128'))
    elif change == 'comment':
        base.write_text(base.read_text() + '# a comment\n')
    else:
        next(Path('out').glob('*/*.safetensors')).unlink()
    assert start(*options) == 0
    # Scored on two datasets, each twice; another model's scores do not count.
    assert len(program.commands) == (0 if change == 'comment' else 5)


def test_a_failed_run_is_told_and_the_others_go_on(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.fails = ('name=camvid-2', '--seen-bias 0.0 --threshold 0 --json out/camvid-3')
    assert start('--steps-of-figure', '1,2,3,4', '--seeds', '0') == 1
    assert '(2) fine-tuned tower, seed 0: the disk is full' in capsys.readouterr().err
    assert [run['step'] for run in json.loads(Path('out/camvid.json').read_text())] == ['1', '4']
    program.fails = ()
    program.commands.clear()
    assert start('--steps-of-figure', '1,2,3,4', '--seeds', '0') == 0
    assert program.trained() == ['camvid-2-seed0']
    assert len(program.commands) == 4  # What was scored of (3) before is kept.


def test_the_transductive_run_starts_from_the_inductive_one_of_its_seed(program: Program) -> None:
    assert start('--steps-of-figure', '1', '--also', 'transductive', 'schedule.steps=50') == 0
    names = ['camvid-1', 'camvid-5', 'camvid-transductive']
    assert program.trained() == [f'{name}-seed{seed}' for seed in range(3) for name in names]
    trained = [text for text in program.commands if ' train ' in text]
    for inductive, transductive in zip(trained[1::3], trained[2::3], strict=True):
        name = inductive.split('name=')[1].split()[0]
        assert 'schedule.keep=[25]' in inductive
        assert f'initialize_from=out/{name}/step=25.ckpt' in transductive
        assert transductive.index('schedule.steps=25') > transductive.index('schedule.steps=50')


def test_wrong_steps_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        start('--steps-of-figure', '6')
    assert 'expected steps among 1, 2, 3, 4, 5' in capsys.readouterr().err


def test_only_what_is_between_the_markers_changes(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / 'docs' / 'results.md'
    page.parent.mkdir()
    rest = '\n\n<!-- joint:begin -->\nB\n<!-- joint:end -->\nC\n'
    page.write_text(f'# A\n<!-- camvid:begin -->\nold\n<!-- camvid:end -->{rest}')
    monkeypatch.setattr(ablation, 'PAGE', page)
    start('--steps-of-figure', '1,5', '--seeds', '0,1', '--write-docs')
    head, written = page.read_text(encoding='utf-8').split('<!-- camvid:begin -->\n')
    table, tail = written.split('\n<!-- camvid:end -->')
    assert (head, tail) == ('# A\n', rest)
    (row,) = [line for line in table.splitlines() if '(1) frozen tower' in line]
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    assert cells[1:6] == ['0, 1', '61.0 ± 0.0', '35.0 ± 7.1', '-', '80.0 ± 0.0']
    assert '(images/results-camvid.png)' in table
    with Image.open(page.parent / 'images' / 'results-camvid.png') as chart:
        assert chart.width > 500


def test_a_command_that_fails_or_is_interrupted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StepError, match=r'^exit code 2 of: zegclip train --config nowhere\.yaml$'):
        ablation.call(['zegclip', 'train', '--config', 'nowhere.yaml'])

    def interrupted(command: Sequence[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, 'call', interrupted)
    assert start() == ablation.INTERRUPTED
