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
"""The report of a training run: its logs, also of a resumed run, and its newest sheets."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from training_helpers import Runs
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.sheets import Comparison, comparison_sheet
from zegclip_core.options import UNLABELLED
from zegclip_core.training import pictures
from zegclip_core.training.config import find_recipe, load_config
from zegclip_core.training.report import last_pictures, read_curves, training_page


def write_logs(folder: Path) -> None:
    """Write what Lightning logs of a run that was resumed at step 20."""
    (folder / 'from-20').mkdir(parents=True)
    head = 'epoch,lr-AdamW,step,train/focal,val/photos/miou\n'
    (folder / 'metrics.csv').write_text(f'{head}0,,10,0.5,\n0,,20,0.4,\n0,,20,,0.2\n0,,30,9.0,\n')
    (folder / 'from-20' / 'metrics.csv').write_text(f'{head}0,0.1,30,0.3,\n0,,40,,0.1\n')


def test_curves_go_on_where_a_run_was_resumed(tmp_path: Path) -> None:
    write_logs(tmp_path / 'logs')
    assert read_curves(tmp_path / 'logs') == {
        'train/focal': {10: 0.5, 20: 0.4, 30: 0.3},
        'val/photos/miou': {20: 0.2, 40: 0.1},
    }
    assert read_curves(tmp_path / 'nowhere') == {}


def test_of_each_set_the_newest_sheet_is_shown(tmp_path: Path) -> None:
    for name in ('a-000010', 'a-000020', 'b-c-000010', 'other'):
        Image.new('RGB', (2, 2)).save(tmp_path / f'{name}.png')
    found = {title: path.name for title, path in last_pictures(tmp_path).items()}
    assert found == {'a': 'a-000020.png', 'b-c': 'b-c-000010.png'}


def test_the_page_has_scores_curves_sheets_and_settings(tmp_path: Path) -> None:
    config = load_config(find_recipe('shapes'), [])
    bare = training_page(tmp_path, config).html()
    assert '<img' not in bare
    write_logs(tmp_path / 'logs')
    (tmp_path / 'pictures').mkdir()
    for end in ('-000040', '.worst', '.best', '.confusion'):
        Image.new('RGB', (2, 2)).save(tmp_path / 'pictures' / f'photos{end}.png')
    page = training_page(tmp_path, config).html()
    assert page.count('src="data:image/png') == 5
    assert page.index('Confusion') < page.index('Worst images') < page.index('Best images')
    assert 'val/photos/miou' in page
    assert all(text in page for text in ('--share: 10.0%', '--share: 20.0%', 'name: shapes'))


def mean_iou(row: Comparison) -> float:
    """Return the mean IoU over the classes that a mask holds, by its definition."""
    known = row.truth != UNLABELLED
    found, truth = row.predicted[known], row.truth[known]
    ious = []
    for one in np.unique(truth):
        both, either = (found == one) & (truth == one), (found == one) | (truth == one)
        ious.append(both.sum() / either.sum())
    return float(np.mean(ious))


@pytest.mark.slow
def test_the_worst_and_best_pictures_of_the_last_validation_are_shown(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[Comparison]] = []

    def kept(rows: list[Comparison], classes: Sequence[str]) -> RgbImage:
        drawn.append(rows)
        return comparison_sheet(rows, classes)

    monkeypatch.setattr(pictures, 'comparison_sheet', kept)
    monkeypatch.setattr(pictures, 'ROWS', 2)
    assert runs.train('schedule.steps=8', 'schedule.validate_every=4') == 0
    _, worst, best = drawn[-3:]
    assert [row.name for row in drawn[-3]] == ['view 0', 'view 1']
    whole = {row.name: mean_iou(row) for row in [*worst, *best]}
    assert len(whole) == 3
    ranked = sorted(whole, key=whole.__getitem__)
    assert [row.name for row in worst] == ranked[:2]
    assert [row.name for row in best] == ranked[:0:-1]
    assert all(row.figures == f'mIoU {whole[row.name]:.3f}' for row in worst)
    names = {path.name for path in (runs.out / 'squares' / 'pictures').iterdir()}
    (title,) = {name.rpartition('-')[0] for name in names if '-' in name}
    assert {f'{title}.{kind}.png' for kind in ('worst', 'best', 'confusion')} < names
    report = (runs.out / 'squares' / 'report.html').read_text(encoding='utf-8')
    assert report.count('src="data:image/png') == 5
