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
"""``zegclip evaluate --distractors``: what is painted by words that no picture shows."""

import json
from pathlib import Path

from commands import answer_of, refused
import numpy as np
from PIL import Image
import pytest
from tiny_models import write_published
from zegclip_core.cli.main import main

CLASSES = ('road', 'car', 'tree', 'sky')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two pictures of noise, half of their pixels unlabelled, and a random model."""
    root = tmp_path_factory.mktemp('data')
    write_published(root / 'tiny.pth')
    (root / 'classes.txt').write_text('\n'.join(CLASSES))
    rng = np.random.default_rng(0)
    for kind in ('images', 'labels'):
        (root / kind / 'val').mkdir(parents=True)
    for name in ('a.png', 'b.png'):
        image = rng.integers(0, 256, (32, 48, 3)).astype(np.uint8)
        Image.fromarray(image).save(root / 'images/val' / name)
        mask = np.where(np.arange(48) < 24, 0, 255).astype(np.uint8)
        Image.fromarray(np.tile(mask, (32, 1))).save(root / 'labels/val' / name)
    return root


def test_the_command_tells_the_shares_that_segment_tells(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ('--model', str(folder / 'tiny.pth'), '--device', 'cpu', '--threshold', '0')
    pictures, out = str(folder / 'images/val'), str(tmp_path / 'labels')
    asked = ('--classes', ', '.join(('road', 'sofa', 'pizza', 'lamp')))
    assert main(['segment', pictures, '--out', out, *asked, *model]) == 0
    labels = np.stack([np.array(Image.open(f'{out}/{name}_label.png')) for name in 'ab'])
    expected = {name: np.mean(labels == k) for k, name in enumerate(('sofa', 'pizza', 'lamp'), 1)}
    capsys.readouterr()
    absent = tmp_path / 'absent.txt'
    absent.write_text('sofa\npizza\nlamp\n', encoding='utf-8')
    words = ('--distractors-file', absent, '--absent', '0', '--seen-bias', '0')
    figures = tmp_path / 'scores.json'
    code, table, _ = answer_of(
        capsys, 'evaluate', '--data', folder, *model, *words, '--json', figures
    )
    assert code == 0
    found = json.loads(figures.read_text())['painted_by_absent_words']
    assert found['words'] == pytest.approx(expected)
    assert 0 < found['together'] == pytest.approx(sum(expected.values()))
    rows = [line.rsplit(maxsplit=1) for line in table.splitlines()]
    assert ['painted by absent words', f'{found["together"]:.3f}'] in rows
    assert ['painted by absent words: pizza', f'{expected["pizza"]:.3f}'] in rows


def test_the_command_refuses_a_class_in_one_line_before_the_model_is_loaded(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ('evaluate', '--data', folder, '--model', 'nowhere', '--distractors', 'a car')
    assert "got 'a car', and 'car' is among the classes" in refused(answer_of(capsys, *command))
