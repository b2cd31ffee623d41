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
"""``benchmarks.ablation``: which runs, from what they go on, and what is told of them."""

from collections.abc import Sequence
import json
from pathlib import Path
import shlex

from benchmarks import ablation, ablation_report
from benchmarks.ablation import StepError
from benchmarks.ablation_report import mean_and_spread
from benchmarks.seen_bias import Bias, BIASES, NONE, PUBLISHED, Sweep
import numpy as np
from PIL import Image
import pytest
from zegclip_core.data.datasets import load_spec
from zegclip_core.errors import DataError
from zegclip_core.settings import validated
from zegclip_core.training.config import SourceConfig

CLASSES = load_spec('voc12').classes
UNSEEN = load_spec('voc12').unseen['zegclip']


class Program:
    """Stands for ``zegclip train`` and for labelling images; fails where it is told to."""

    def __init__(self) -> None:
        self.fails: tuple[str, ...] = ()
        self.commands: list[str] = []
        self.swept: list[tuple[str, tuple[str, ...], tuple[str, ...], int]] = []

    def call(self, command: Sequence[str]) -> None:
        text = ' '.join(command)
        self.commands.append(text)
        if any(part in text for part in self.fails):
            raise StepError('the disk is full')
        settings = dict(entry.split('=', 1) for entry in command if '=' in entry)
        folder = Path(settings['output']) / settings['name']
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'{settings["name"]}.safetensors').touch()

    def sweep(
        self,
        model: Path,
        dataset: object,
        indices: Sequence[int],
        classes: Sequence[str],
        seen: Sequence[str],
    ) -> Sweep:
        self.swept.append((model.parent.name, tuple(classes), tuple(seen), len(indices)))
        count = len(classes)
        counts = np.zeros((4, len(BIASES), count, count + 1), np.int32)
        counts[..., range(count), range(count)] = 10
        # Unseen pixels are taken for the first class below a bias of 2 on the logits.
        for place, bias in enumerate(BIASES):
            if bias.on == 'scores' or bias.amount < 2:
                for row in (k for k, name in enumerate(classes) if name not in seen):
                    counts[:, place, row, row], counts[:, place, row, 0] = 2, 8
        return Sweep(tuple(classes), tuple(seen), counts)

    def trained(self) -> list[str]:
        """Return towers, step and seed of the models that were trained, in order."""
        return [text.split('name=')[1].split()[0].rsplit('-', 1)[0] for text in self.commands]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    made = Program()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablation, 'call', made.call)
    monkeypatch.setattr(ablation, 'sweep', made.sweep)
    monkeypatch.setattr(ablation, 'open_dataset', lambda *_: range(40))
    return made


def start(*options: str) -> int:
    return ablation.main(['--out', 'out', *options])


def test_mean_and_spread_are_those_of_the_textbook() -> None:
    # Deviations -30, -10, 40: squares sum to 2600, over n - 1 = 2.
    assert mean_and_spread([20, 40, 90]) == '50.0 ± 36.1'
    assert mean_and_spread([25]) == '25.0'
    assert mean_and_spread([]) == '-'


def test_every_seed_and_then_the_choices_and_nothing_twice(program: Program) -> None:
    assert start('--steps-of-figure', '2,1', '--seeds', '0,3') == 0
    names = [f'adapted-{step}-seed{seed}' for seed in (0, 3) for step in (1, 2)]
    assert program.trained() == [*names, 'adapted-1-choice', 'adapted-2-choice']
    program.commands.clear()
    program.swept.clear()
    assert start('--steps-of-figure', '1,2', '--seeds', '0') == 0
    assert program.commands == program.swept == []
    told = json.loads(Path('out/adapted.json').read_text())
    assert [(one['run']['step'], one['run']['choice']) for one in told] == [
        *(('1', False), ('2', False)),
        *(('1', True), ('2', True)),
    ]


def test_no_bias_is_chosen_where_none_is_asked_for(program: Program) -> None:
    assert start('--steps-of-figure', '1', '--seeds', '0', '--no-choose-bias') == 0
    assert program.trained() == ['adapted-1-seed0']


def test_a_bias_is_chosen_without_the_unseen_classes(program: Program) -> None:
    assert start('--steps-of-figure', '5', '--seeds', '0') == 0
    (_, classes, seen, images), (_, asked, taught, held_out) = program.swept
    assert (classes, images) == (CLASSES, 40)
    assert set(classes) - set(seen) == set(UNSEEN)
    assert set(asked) == set(seen)
    assert set(asked) - set(taught) == set(ablation.HELD_OUT) == {'boat', 'chair', 'motorbike'}
    assert held_out == 4  # Every tenth, which that run is not shown.
    settings = shlex.split(program.commands[1])
    assert f'unseen=[zegclip,{",".join(ablation.HELD_OUT)}]' in settings
    assert 'train.0.hold_out=10' in settings


@pytest.mark.parametrize('change', ['setting', 'towers', 'model'])
def test_another_setting_is_another_run(program: Program, change: str) -> None:
    options = ['--steps-of-figure', '1', '--seeds', '0']
    start(*options)
    program.commands.clear()
    program.swept.clear()
    if change == 'setting':
        options.append('schedule.batch_size=9')
    elif change == 'towers':
        options += ['--towers', 'frozen']
    else:
        next(Path('out').glob('*seed0*/*.safetensors')).unlink()
    assert start(*options) == 0
    # Counts of an earlier model do not count.
    assert len(program.commands) == len(program.swept) == (1 if change == 'model' else 2)


def test_a_failed_run_is_told_and_the_others_go_on(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.fails = ('name=adapted-2-seed',)
    assert start('--steps-of-figure', '1,2,3', '--seeds', '0') == 1
    assert '(2) fine-tuned tower, seed 0: the disk is full' in capsys.readouterr().err
    program.fails = ()
    program.commands.clear()
    assert start('--steps-of-figure', '1,2,3', '--seeds', '0') == 0
    assert program.trained() == ['adapted-2-seed0']


def test_the_transductive_run_starts_from_the_inductive_one_of_its_seed(program: Program) -> None:
    options = ('--steps-of-figure', '5', '--also', 'transductive', 'schedule.steps=50')
    assert start(*options) == 0
    kinds = ('seed0', 'seed1', 'seed2', 'choice')
    names = [f'adapted-{step}-{kind}' for kind in kinds for step in (5, 'transductive')]
    assert program.trained() == names
    for inductive, transductive in zip(program.commands[::2], program.commands[1::2], strict=True):
        name = inductive.split('name=')[1].split()[0]
        assert 'schedule.keep=[25]' in inductive
        assert f'initialize_from=out/{name}/step=25.ckpt' in transductive
        assert transductive.index('schedule.steps=25') > transductive.index('schedule.steps=50')


def test_regions_of_photos_are_found_once_by_step_5_of_the_seed(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[Path, list[str], Path]] = []

    def make_regions(
        model: Path, _: Path, classes: Sequence[str], unseen: dict[str, Sequence[str]], *rest: Path
    ) -> dict[str, int]:
        assert model.is_file()
        assert tuple(classes) == CLASSES
        assert 'couch' in unseen['sofa']
        found.append((model, list(unseen), rest[1]))
        rest[1].mkdir()
        return dict.fromkeys(unseen, 1)

    monkeypatch.setattr(ablation, 'make_regions', make_regions)
    options = ('--steps-of-figure', '5', '--also', 'captions', '--seeds', '1')
    assert start(*options) == 0
    inductive, taught, _, choice = program.commands
    name = inductive.split('name=')[1].split()[0]
    assert [(model.parent.name, unseen) for model, unseen, _ in found] == [
        (name, list(UNSEEN)),
        (found[1][0].parent.name, [*UNSEEN, *ablation.HELD_OUT]),
    ]
    assert f'initialize_from=out/{name}/step=100.ckpt' in taught
    usual, regions = json.loads(taught.split('train=')[1].split(' schedule.keep=')[0])
    assert usual['split'] == 'train_aug'
    assert regions['root'] == str(found[0][2]) == f'out/{name}/regions'
    assert usual['share'] + regions['share'] == 1
    [validated(SourceConfig, entry) for entry in (usual, regions)]
    # Pictures that a bias is chosen on stay out of the new list, too.
    assert choice.index('train.0.hold_out=10') > choice.index('train=[')
    (Path('out') / name / 'val.npz').unlink()
    assert start(*options) == 0
    assert len(found) == 2


def test_a_descriptor_without_a_class_token_is_step_5_and_has_a_choice_of_its_own(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start('--steps-of-figure', '5', '--also', 'pooled', '--seeds', '1') == 0
    kinds = ('seed1', 'choice')
    assert program.trained() == [
        f'adapted-{step}-{kind}' for kind in kinds for step in (5, 'pooled')
    ]
    plain, pooled = (set(shlex.split(text)) for text in program.commands[:2])
    assert {one for one in pooled - plain if not one.startswith('name=')} == {
        'model.average_pooling=true'
    }
    assert '| (5), the mean of the patch tokens in place of' in capsys.readouterr().out


@pytest.mark.parametrize(('length', 'half'), [('1', '1'), ('abc', '100')])
def test_any_length_has_a_half_or_is_left_to_the_training(
    program: Program, length: str, half: str
) -> None:
    options = ('--steps-of-figure', '5', '--also', 'transductive', '--seeds', '0')
    assert start(*options, f'schedule.steps={length}') == 0
    inductive, transductive = program.commands[:2]
    assert f'schedule.keep=[{half}]' in inductive
    assert f'schedule.steps={length}' in inductive
    assert f'/step={half}.ckpt' in transductive


def test_data_that_cannot_be_read_are_told_and_the_others_go_on(
    program: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DataError('Expected a folder data/voc2012, but there is none.')

    monkeypatch.setattr(ablation, 'open_dataset', refuse)
    assert start('--steps-of-figure', '1,4', '--seeds', '0') == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert all('Expected a folder data/voc2012' in line for line in told)
    assert len(program.commands) == 4


def test_wrong_steps_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        start('--steps-of-figure', '6')
    assert 'expected steps among 1, 2, 3, 4, 5' in capsys.readouterr().err


def test_only_what_is_between_the_markers_changes(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / 'docs' / 'results.md'
    page.parent.mkdir()
    rest = '\n\n<!-- frozen:begin -->\nB\n<!-- frozen:end -->\nC\n'
    page.write_text(f'# A\n<!-- adapted:begin -->\nold\n<!-- adapted:end -->{rest}')
    monkeypatch.setattr(ablation_report, 'PAGE', page)
    start('--steps-of-figure', '1,5', '--seeds', '0,1', '--write-docs')
    head, written = page.read_text(encoding='utf-8').split('<!-- adapted:begin -->\n')
    table, tail = written.split('\n<!-- adapted:end -->')
    assert (head, tail) == ('# A\n', rest)
    first, second = (line for line in table.splitlines() if '(1) frozen tower' in line)
    cells = [cell.strip() for cell in first.strip('|').split('|')]
    # Unseen: 2 of 10; the first of 15 seen ones has 10 of 10 + 5 * 8 pixels at first.
    seen = 100 * (14 + 10 / 50) / 15
    half = 2 * seen * 20 / (seen + 20)
    plain = f'{seen:.1f} ± 0.0 / 20.0 ± 0.0 / {half:.1f} ± 0.0'
    assert (cells[1], cells[3], cells[4], cells[5]) == ('0, 1', plain, plain, f'0: {plain}')
    assert cells[6] == '2: 100.0 ± 0.0 / 100.0 ± 0.0 / 100.0 ± 0.0'
    assert second.count('100.0 to 100.0') == 3
    assert '(images/results-adapted.png)' in table
    with Image.open(page.parent / 'images' / 'results-adapted.png') as chart:
        assert chart.width > 500


@pytest.mark.parametrize(
    ('options', 'bias'), [((), Bias('logits', 2.0)), (('--no-choose-bias',), PUBLISHED)]
)
def test_the_second_chart_has_the_chosen_bias_or_else_the_published_one(
    program: Program, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], bias: Bias
) -> None:
    drawn: list[list[Bias | None]] = []
    monkeypatch.setattr(
        ablation_report, '_bars', lambda _, steps: drawn.append([one for _, one in steps])
    )
    start('--steps-of-figure', '1', '--seeds', '0', *options)
    assert drawn == [[NONE], [bias]]


def test_a_command_that_fails_or_is_interrupted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StepError, match=r'^exit code 2 of: zegclip train --config nowhere\.yaml$'):
        ablation.call(['zegclip', 'train', '--config', 'nowhere.yaml'])

    def interrupted(command: Sequence[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, 'call', interrupted)
    assert start() == ablation.INTERRUPTED
