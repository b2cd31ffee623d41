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
"""The script that measures blending: its shares are what the option gives, its bias acts."""

from pathlib import Path

from benchmarks.blending import main, measure, PAGE, SHARES
import numpy as np
import pytest
from tiny_datasets import write_voc
from tiny_models import write_published
from zegclip_core.data.datasets import load_spec, open_dataset
from zegclip_core.model.metrics import ConfusionMatrix
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary


@pytest.fixture(scope='module')
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voc(tmp_path_factory.mktemp('voc'))


def test_figures_of_a_share_are_those_of_the_option(voc: Path, tmp_path: Path) -> None:
    model = str(write_published(tmp_path / 'tiny.pth', seed=5))
    dataset = open_dataset(voc, 'voc12', 'val')
    seen = [name for name in dataset.classes if name not in load_spec('voc12').unseen['zegclip']]
    found = measure(model, dataset, 1, seen, 0.0)
    assert len(found) == len(SHARES)
    share = SHARES.index(0.5)
    options = {'threshold': 0.0, 'negatives': ()}
    segmenter = Segmenter.load(model, device='cpu', blend=0.5, **options)
    matrix = ConfusionMatrix(len(dataset.classes))
    for index in range(len(dataset)):
        labels = segmenter.segment(
            dataset[index].image, Vocabulary.from_names(dataset.classes)
        ).labels
        matrix.update(labels, dataset[index].labels)
    expected = matrix.compute(dataset.classes, seen=seen)
    names = ('miou_seen', 'miou_unseen')
    for name in names:
        assert getattr(found[share], name) == pytest.approx(getattr(expected, name), abs=1e-3)
    lowered = measure(model, dataset, 1, seen, 1.0)[0]
    assert np.nan_to_num(lowered.miou_seen) == 0


def test_the_table_has_a_line_for_each_share(
    voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [str(write_published(tmp_path / f'{seed}.pth', seed=seed)) for seed in (5, 6)]
    assert main([*models, '--data', str(voc), '--every', '2']) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split('|')[1].strip() for line in lines[2:]] == [f'{s:g}' for s in SHARES]
    assert lines[2].split('|')[-2].split() == ['+0.0', '+0.0']
    assert main(['nothing.safetensors', '--data', str(voc)]) == 2
    assert PAGE.read_text('utf-8').count('<!-- blend:begin -->') == 1
