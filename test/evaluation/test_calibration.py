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
"""``zegclip calibrate``: which threshold, where some of what is seen is on no list."""

import json
from pathlib import Path
import re
import shlex

import numpy as np
from PIL import Image
import pytest
from tiny_models import write_published
from zegclip_core.cli.main import build_parser, main
from zegclip_core.data.folder import Sample
from zegclip_core.errors import DataError
from zegclip_core.evaluation.calibration import (
    Sweep,
    sweep_thresholds,
    THRESHOLDS,
    withheld_classes,
)
from zegclip_core.loading import load_model
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.training.config import find_recipe, load_config
from zegclip_core.weights.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / 'zegclip_core' / 'models' / 'everyday-s.safetensors'
PAGE = (ROOT / 'docs' / 'unknown.md').read_text(encoding='utf-8')
CARD = (ROOT / 'zegclip_core' / 'models' / 'everyday-s.md').read_text(encoding='utf-8')
CLASSES = ('road', 'car', 'tree', 'sky')
IGNORED = 255


class Noise:
    """Two noisy pictures with random blocks of labels, some of them unlabelled."""

    classes = CLASSES
    title = key = 'noise'

    def __len__(self) -> int:
        return 2

    def name(self, index: int) -> str:
        return f'picture {index}'

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        blocks = rng.choice([*range(4), IGNORED], (4, 7)).astype(np.uint8)
        labels = np.kron(blocks, np.ones((10, 10), np.uint8))
        image = rng.integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
        return Sample(image, labels, self.name(index))


@pytest.fixture(scope='module')
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp('model')
    published, ours = folder / 'tiny.pth', folder / 'tiny.safetensors'
    write_published(published)
    assert main(['convert', str(published), str(ours), '--include-towers']) == 0
    return str(ours)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data')
    (root / 'classes.txt').write_text('\n'.join(CLASSES) + '\n')
    for kind in ('images', 'labels'):
        (root / kind / 'val').mkdir(parents=True)
    for index, sample in enumerate(Noise()[place] for place in range(2)):
        Image.fromarray(sample.image).save(root / f'images/val/{index}.png')
        Image.fromarray(sample.labels).save(root / f'labels/val/{index}.png')
    return root


def _counted(segmenter: Segmenter, threshold: float) -> dict[str, int]:
    """Count pixels from what the segmenter says at this threshold in each round."""
    counts = dict.fromkeys(('right', 'labelled', 'unknown_labelled', 'known', 'unknown'), 0)
    for withheld in ((0, 2), (1, 3)):
        asked = [place for place in range(4) if place not in withheld]
        vocabulary = Vocabulary.from_names([CLASSES[place] for place in asked])
        words = segmenter.encode(vocabulary, threshold=threshold)
        for sample in (Noise()[0], Noise()[1]):
            found = segmenter.segment(sample.image, words)
            said = np.array([*asked, *[IGNORED] * 254])[found.labels]
            counted, unknown = sample.labels != IGNORED, np.isin(sample.labels, withheld)
            counts['right'] += int((counted & (said == sample.labels)).sum())
            counts['labelled'] += int((counted & (said != IGNORED)).sum())
            counts['unknown_labelled'] += int((unknown & (said != IGNORED)).sum())
            counts['known'] += int((counted & ~unknown).sum())
            counts['unknown'] += int(unknown.sum())
    return counts


@pytest.mark.parametrize('negatives', [(), ('car', 'wall')])
def test_a_sweep_counts_what_the_segmenter_says_at_each_threshold(
    path: str, negatives: tuple[str, ...]
) -> None:
    options = SegmenterOptions(device='cpu', precision='fp32', negatives=negatives)
    segmenter = Segmenter(load_model(path), options)
    sweep = sweep_thresholds(segmenter, Noise(), range(2), rounds=2)
    scores = segmenter.segment(Noise()[0].image, Vocabulary.from_names(CLASSES)).scores
    places = {0, *(int(100 * share) for share in np.quantile(scores, (0.1, 0.5, 0.9)))}
    assert len(places) > 2
    for place in places:
        expected = _counted(segmenter, float(THRESHOLDS[place]))
        got = {
            name: int(getattr(sweep, name)[place])
            for name in ('right', 'labelled', 'unknown_labelled')
        }
        assert {**got, 'known': sweep.known, 'unknown': sweep.unknown} == expected


def test_a_score_that_equals_a_threshold_reaches_it(path: str) -> None:
    segmenter = Segmenter(load_model(path), SegmenterOptions(device='cpu', precision='fp32'))
    words = Vocabulary.from_names(['car'])
    score = float(segmenter.segment(Noise()[0].image, words).scores[0, 0])
    words = segmenter.encode(words, threshold=score)
    assert segmenter.segment(Noise()[0].image, words).labels[0, 0] == 0
    assert np.searchsorted(np.float32([score]), np.float32(score), side='right') == 1


def _sweep(right: list[int], labelled: list[int], unknown_labelled: list[int]) -> Sweep:
    """Return a sweep whose further thresholds leave nothing labelled."""
    rest = [0] * (len(THRESHOLDS) - len(right))
    parts = (np.array([*part, *rest]) for part in (right, labelled, unknown_labelled))
    return Sweep(*parts, known=100, unknown=50)


def test_the_figures_are_those_of_the_counts() -> None:
    sweep = _sweep([80, 75, 40], [140, 100, 41], [50, 15, 0])
    assert sweep.precision[:4] == pytest.approx([80 / 140, 0.75, 40 / 41, 1.0])
    assert sweep.recall[:4] == pytest.approx([0.8, 0.75, 0.4, 0.0])
    harmonic = [2 / (1 / p + 1 / r) for p, r in ((80 / 140, 0.8), (0.75, 0.75), (40 / 41, 0.4))]
    assert sweep.f1[:4] == pytest.approx([*harmonic, 0.0])
    assert sweep.left_unlabelled[:4] == pytest.approx([0.0, 0.7, 1.0, 1.0])
    assert sweep.best == 1
    assert sweep.row(1) == {
        'threshold': 0.01,
        'precision': 0.75,
        'recall': 0.75,
        'f1': 0.75,
        'unknown_left_unlabelled': 0.7,
    }
    assert sweep.to_dict()['best_f1'] == sweep.row(1)


def test_chosen_is_the_least_threshold_that_gives_up_a_hundredth_of_f1() -> None:
    # With 100 known pixels and 100 labelled, F1 is the share of the right ones.
    sweep = _sweep([70, 79, 80, 79], [100] * 4, [0] * 4)
    assert (sweep.chosen, sweep.best) == (1, 2)
    assert _sweep([70, 78, 80, 79], [100] * 4, [0] * 4).chosen == 2
    assert sweep.to_dict()['chosen'] == sweep.row(1)


def test_every_class_is_withheld_in_one_round() -> None:
    for number, rounds in ((11, 4), (2, 2), (7, 7)):
        parts = withheld_classes(number, rounds)
        assert len(parts) == rounds
        assert sorted(place for part in parts for place in part) == list(range(number))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(('number', 'rounds'), [(11, 1), (4, 5), (1, 2)])
def test_rounds_that_leave_no_word_or_withhold_none_are_refused(number: int, rounds: int) -> None:
    with pytest.raises(DataError, match=f'2 to {number} rounds'):
        withheld_classes(number, rounds)


def test_the_command_draws_the_curves_and_saves_the_threshold(
    path: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / f'a.{name}' for name in ('json', 'png', 'safetensors')}
    options = ['--json', str(files['json']), '--plot', str(files['png'])]
    options += ['--save', str(files['safetensors']), '--negatives', 'wall', '--rounds', '2']
    command = ['calibrate', '--data', str(folder), '--model', path, '--precision', 'fp32']
    assert main([*command, *options]) == 0
    figures = json.loads(files['json'].read_text())
    assert list(figures) == ['no negatives', '1 negatives']
    options = SegmenterOptions(device='cpu', precision='fp32', negatives=('wall',))
    segmenter = Segmenter(load_model(path), options)
    sweep = sweep_thresholds(segmenter, Noise(), range(2), rounds=2)
    assert figures['1 negatives'] == sweep.to_dict()
    chosen = float(THRESHOLDS[sweep.chosen])
    kept = load_checkpoint(files['safetensors']).settings
    assert kept.threshold == pytest.approx(chosen)
    assert kept.negatives == ('wall',)
    with Image.open(files['png']) as picture:
        assert picture.width > 600
    out, err = capsys.readouterr()
    assert out.startswith('2 pictures\n')
    assert f'threshold {kept.threshold}' in out
    assert 'fewer than 20 pictures' in err


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--rounds', '9'], '2 to 4 rounds'),
        (['--rounds', '1'], '2 to 4 rounds'),
        (['--plot', 'a.jpg'], 'ends in .png'),
        (['--save', 'a.pth'], 'ends in .safetensors'),
        (['--save', str(BUNDLED)], 'another file than the model'),
        (['--save', 'a.safetensors', '--model', 'a.pth'], 'a .safetensors model for --save'),
    ],
)
def test_what_cannot_be_done_is_said_before_the_model_is_loaded(
    folder: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('zegclip_core.cli.calibrate.load_segmenter', lambda args: 1 / 0)
    assert main(['calibrate', '--data', str(folder), *options]) == 2
    assert message in capsys.readouterr().err


def test_page_card_and_recipe_have_the_threshold_of_the_bundled_model() -> None:
    threshold = load_checkpoint(BUNDLED).settings.threshold
    assert f"the model's own: {threshold} for `everyday-s`" in PAGE
    assert f'| threshold | {threshold}, ' in CARD
    row = rf'^\| \*\*{threshold:.2f}\*\* \|'
    assert re.search(row, CARD, re.MULTILINE)
    assert load_config(find_recipe('everyday-s-finer')).settings.threshold == threshold


def test_the_commands_of_page_and_card_are_known() -> None:
    blocks = re.findall(r'^```(?:sh)?\n(.*?)^```', PAGE + CARD, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    split = [shlex.split(line) for line in lines]
    commands = [words[1:] for words in split if words[0].endswith('zegclip')]
    assert len(commands) > 15
    assert sum(command[0] == 'calibrate' for command in commands) == 5
    for command in commands:
        build_parser().parse_args(command)


def test_every_option_and_figure_of_the_command_is_described() -> None:
    names = set(vars(build_parser().parse_args(['calibrate', '--data', 'x'])))
    own = names - set(vars(build_parser().parse_args(['evaluate', '--data', 'x']))) | {'json'}
    assert own >= {'plot', 'rounds', 'save'}
    assert [name for name in own if f'--{name}' not in PAGE] == []
    for figure in set(_sweep([1], [1], [0]).row(0)) - {'threshold'}:
        assert f'`{figure}`' in PAGE


def test_every_link_leads_somewhere() -> None:
    for text, folder in ((PAGE, ROOT / 'docs'), (CARD, ROOT / 'zegclip_core' / 'models')):
        for link in re.findall(r'\]\(([^)#\s]+)', text):
            assert link.startswith('http') or (folder / link).exists(), link
