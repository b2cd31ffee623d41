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
"""The benchmark of words in other forms, on seeded pictures and a seeded model."""

from pathlib import Path

from benchmarks.words import CHANGES, main, measure, PAGE, page_text, PLURALS
import numpy as np
import pytest
from tiny_models import write_published
from zegclip_core.data.folder import Sample
from zegclip_core.errors import DataError
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.phrases import standard_form
from zegclip_core.text.vocabulary import Vocabulary


class Noise:
    """Seeded pictures with seeded masks."""

    title = 'noise'
    key = 'noise'

    def __init__(self, *classes: str) -> None:
        self.classes = classes

    def name(self, index: int) -> str:
        return str(index)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng(index)
        image = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        labels = random.integers(0, len(self.classes), (40, 60), dtype=np.uint8)
        return Sample(image, labels, self.name(index))


def test_words_that_stand_as_they_are_change_labels_and_typed_ones_do_not(tmp_path: Path) -> None:
    path = write_published(tmp_path / 'tiny.pth')
    segmenter = Segmenter.load(str(path), device='cpu', precision='fp32', engine='plain')
    noise = Noise(*PLURALS)
    rows = measure(segmenter, noise, [0, 1])
    assert [exact.change for exact, _ in rows] == list(CHANGES)
    changed = {exact.change: exact.changed for exact, _ in rows}
    assert changed.pop('none') == 0.0
    for change, share in changed.items():
        assert (share == 0.0) == change.startswith('case'), change
    assert {typed.changed for _, typed in rows} == {0.0}
    assert len({typed.miou for _, typed in rows}) == 1
    plurals = Vocabulary.from_names(PLURALS.values())
    pairs = [
        [segmenter.segment(noise[index].image, words).labels for index in (0, 1)]
        for words in (Vocabulary.from_names(PLURALS), plurals)
    ]
    alone = np.mean(np.array(pairs[0]) != np.array(pairs[1]))
    assert changed['plural: skies'] == pytest.approx(alone)
    assert page_text(rows, 2).count('\n|') == len(CHANGES) + 1


def test_the_plurals_are_those_of_camvid() -> None:
    assert [standard_form(plural) for plural in PLURALS.values()] == list(PLURALS)


def test_other_classes_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter = Segmenter.load(str(write_published(tmp_path / 'tiny.pth')), device='cpu')
    with pytest.raises(DataError, match="CamVid, but got 'cat'"):
        measure(segmenter, Noise('sky', 'cat'), [0])
    assert main(['--data', str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith('words: error: ')


def test_the_page_has_the_table() -> None:
    page = PAGE.read_text('utf-8')
    table = page.partition('<!-- words:begin -->')[2].partition('<!-- words:end -->')[0]
    assert [change for change in CHANGES if f'| {change} |' not in table] == []
