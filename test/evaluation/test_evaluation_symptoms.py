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
"""The self-test after scoring: each symptom has its line, and a sane model has none."""

from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from tiny_models import published_state
import torch
from zegclip_core.cli.main import main
from zegclip_core.evaluation.evaluate import Evaluation, find_symptoms
from zegclip_core.model.metrics import ConfusionMatrix

NAMES = ('road', 'car', 'tree', 'sky', 'cat')
UNSEEN = 'cat'
TRUTH = np.repeat([0, 1, 2, 3, 4, 255], [400, 100, 200, 200, 100, 50]).astype(np.uint8)
"""Shares of 0.4, 0.1, 0.2, 0.2 and 0.1 of 1000 pixels, and 50 that are not labelled."""


def scored(
    predicted: np.ndarray, low_scores: float = 0.0, truth: np.ndarray = TRUTH
) -> Evaluation:
    confusion = ConfusionMatrix(len(NAMES))
    confusion.update(predicted, truth)
    metrics = confusion.compute(NAMES, seen=[name for name in NAMES if name != UNSEEN])
    return Evaluation(metrics, 1, 1.0, confusion, low_scores)


def right(share: float, otherwise: object) -> np.ndarray:
    """Return labels that are right on a share of the pixels of each class, in hundredths."""
    lucky = np.arange(TRUTH.size) % 100 < 100 * share
    return np.where(lucky, np.minimum(TRUTH, 4), otherwise).astype(np.uint8)


BY_CHANCE = np.arange(TRUTH.size) // 20 % 5
"""Each class on a fifth of the pixels of each class."""


@pytest.mark.parametrize(
    ('predicted', 'low_scores', 'expected'),
    [
        (
            right(0.02, 4),
            0.0,
            '98.2% of the pixels are labelled as unseen classes, in truth 10.0%',
        ),
        (right(0.9, 4), 0.95, 'The best score of 95.0% of the pixels is below 0.05'),
        (right(0.05, 255), 0.0, '95.0% of the pixels got no label: check --threshold'),
        (right(0.0, 1), 0.0, "100.0% of the pixels are labelled 'car', in truth 10.0% are"),
        (BY_CHANCE, 0.0, 'no better than chance (pixel accuracy 0.200, by chance 0.200)'),
    ],
)
def test_a_symptom_has_a_line_that_says_what_to_check(
    predicted: np.ndarray, low_scores: float, expected: str
) -> None:
    first, *others = find_symptoms(scored(predicted, low_scores))
    assert expected in first
    assert 'check' in first
    assert 'the weights are trained' in first
    assert '\n' not in first
    # Where all are one unseen class, that is told as well.
    assert [other for other in others if "labelled 'cat'" not in other] == []


SANE = {
    'right everywhere': right(1.0, 0),
    'right by a tenth more than chance': right(0.1, BY_CHANCE),
    'no pixel of the unseen class': np.where(right(0.6, 0) == 4, 0, right(0.6, 0)),
    'mostly unlabelled': right(0.2, 255),
    'mostly road, and never wrong elsewhere': np.where(right(0.3, 0) == 255, 0, right(0.3, 0)),
}


@pytest.mark.parametrize('labels', SANE.values(), ids=SANE.keys())
def test_a_model_that_found_something_has_no_symptom(labels: np.ndarray) -> None:
    assert find_symptoms(scored(labels, low_scores=0.8)) == []


def test_a_set_of_one_class_is_no_symptom() -> None:
    truth = np.full(1000, 4, np.uint8)
    assert find_symptoms(scored(truth, truth=truth)) == []
    # Nothing can be told from chance where there is one class only.
    assert find_symptoms(scored(np.where(BY_CHANCE[:1000] > 2, 4, 0), truth=truth)) == []


def test_masks_without_labels_are_told() -> None:
    (line,) = find_symptoms(scored(np.zeros(9, np.uint8), truth=np.full(9, 255, np.uint8)))
    assert 'nothing to score' in line


@pytest.fixture
def untrained(tmp_path: Path) -> list[str]:
    """Return arguments for a model whose trained weights were not loaded, and a folder for it."""
    state = published_state()
    for key in state:
        if 'multihead_attn.q.' in key:
            state[key] *= 0.001
    torch.save({'state_dict': state}, tmp_path / 'untrained.pth')
    (tmp_path / 'classes.txt').write_text('road\ncar\ncat\n')
    for kind, pixels in (
        ('images', np.random.default_rng(0).integers(0, 256, (32, 40, 3))),
        ('labels', np.arange(32 * 40).reshape(32, 40) // 128 % 3),
    ):
        (tmp_path / kind / 'val').mkdir(parents=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / kind / 'val/a.png')
    model = str(tmp_path / 'untrained.pth')
    return ['evaluate', '--data', str(tmp_path), '--model', model, '--device', 'cpu']


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith('zegclip: warning: ')]


def test_weights_that_were_not_loaded_are_noticed(
    untrained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    # What users of the release met: all scores are alike, and the seen ones are lowered.
    assert main([*untrained, '--unseen', 'cat']) == 0
    lines = warnings(capsys)
    assert '100.0% of the pixels are labelled as unseen classes' in lines[0]
    assert all('the weights are trained' in line for line in lines)


def test_a_threshold_that_nothing_reaches_is_noticed(
    untrained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*untrained, '--threshold', '0.9']) == 0
    (line,) = warnings(capsys)
    assert '100.0% of the pixels got no label: check --threshold' in line
