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
"""The benchmark of candidates on a seeded model, and what its page says."""

from pathlib import Path
import re

from benchmarks.candidates import (
    Case,
    COUNTS,
    draw,
    FEW,
    main,
    MANY,
    measure,
    PAGE,
    page_text,
    PHOTOS,
    SHOWN,
    word_list,
)
import numpy as np
import pytest
from tiny_models import write_published
from zegclip_core.segmentation import Segmentation
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary


def test_words_are_as_many_as_asked_for_and_distinct() -> None:
    words = word_list(MANY)
    assert len(set(words)) == MANY
    assert word_list(FEW) == words[:FEW]
    assert len(Vocabulary.from_names(words)) == MANY


def test_every_case_is_measured_and_drawn(tmp_path: Path) -> None:
    path = write_published(tmp_path / 'tiny.pth')
    segmenter = Segmenter.load(str(path), device='cpu', precision='fp32', threshold=0.0)
    cases = measure(segmenter, word_list(60), (0, 40, 2), repeats=1)
    assert [(case.words, case.candidates) for case in cases] == [
        (20, 0),
        (60, 0),
        (60, 40),
        (60, 2),
    ]
    assert all(set(case.times) == set(PHOTOS) for case in cases)
    everything, most, two = cases[1:]
    assert min(most.same(everything)) > min(two.same(everything))
    assert page_text(cases, 'a device').count('\n|') == len(cases) + 1
    rows = draw(cases, (0, 2)).subfigs
    assert [len(row.axes) for row in rows] == [len(PHOTOS)] * 2
    assert all(axes.images for row in rows for axes in row.axes)
    shares = [found.shares() for found in everything.found.values()]
    best = [f'{max(one, key=one.__getitem__)} {max(one.values()):.0%}' for one in shares]
    assert [axes.get_title().splitlines()[0] for axes in rows[0].axes] == best


def test_the_page_says_the_least_share_of_any_photo() -> None:
    vocabulary = Vocabulary.from_names(['cat', 'dog'])
    cases = [
        Case(20, 0, {'a': [0.3, 0.1], 'b': [0.3]}),
        Case(2, 0, {'a': [0.3], 'b': [0.3]}),
        Case(2, 1, {'a': [0.5, 0.1, 0.2], 'b': [0.3]}),
    ]
    for case, ones in zip(cases[1:], (0, 1), strict=True):
        for name, wrong in (('a', 0), ('b', 3 * ones)):
            labels = np.zeros((3, 4), np.uint8)
            labels[0, :wrong] = 1
            scores = np.ones((3, 4), np.float32)
            case.found[name] = Segmentation(labels, scores, vocabulary)
    text = re.sub(' +', ' ', page_text(cases, 'a device'))
    assert '| 2 | 1 | 200 | 1.00 | 75.00% |' in text
    assert '| 20 | all | 200 | 1.00 | - |' in text


def test_the_picture_shows_what_is_measured_and_the_page_has_a_place() -> None:
    assert set(SHOWN) <= set(COUNTS)
    assert PAGE.read_text('utf-8').count('<!-- candidates:begin -->') == 1


def test_a_model_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--model', 'nowhere.pth']) == 2
    assert capsys.readouterr().err.startswith('candidates: error: ')
