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
"""The benchmark of regions on a seeded model, and what its page says."""

from pathlib import Path
import re

from benchmarks.regions import main, measure, MIN_AREA, PAGE, page_text, PHOTOS, WORDS
import pytest
from tiny_models import write_published
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.parameters import BY_NAME

pytestmark = pytest.mark.ros


def test_every_photo_is_measured(tmp_path: Path) -> None:
    segmenter = Segmenter.load(str(write_published(tmp_path / 'tiny.pth')), device='cpu')
    cases = measure(segmenter, Vocabulary.from_words(WORDS), repeats=2)
    assert [case.name for case in cases] == list(PHOTOS)
    for case in cases:
        assert len(case.model) == len(case.regions) == 2
        assert min(case.regions) > 0.0
        shares = [one / model for one, model in zip(case.regions, case.model, strict=True)]
        assert min(shares) <= case.share <= max(shares)
    assert page_text(cases, 'a device').count('\n') == 1 + len(PHOTOS) + 2


def test_it_measures_twenty_words_with_the_node_s_default() -> None:
    assert len(WORDS) == 20
    assert BY_NAME['min_area'].default == MIN_AREA


def test_the_page_has_the_table_of_all_photos_and_none_above_one_percent() -> None:
    text = PAGE.read_text('utf-8').split('<!-- regions:begin -->')[1].split('<!-- regions:end')[0]
    rows = re.findall(r'^\| (\w+) .*\| ([\d.]+)% +\|$', text, re.MULTILINE)
    assert [name for name, _ in rows] == list(PHOTOS)
    assert all(float(share) <= 1.0 for _, share in rows)


def test_a_model_that_is_not_there_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--model', '/nowhere/model.safetensors']) == 2
    assert capsys.readouterr().err.startswith('regions: error: ')
