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
"""The benchmark of points measures beside the model, and its page has the table."""

from pathlib import Path

from benchmarks.points import main, measure, PAGE, page_text
import pytest
from tiny_models import write_published
from zegclip_core.segmenter import Segmenter

pytestmark = pytest.mark.ros


def test_every_case_is_measured(tmp_path: Path) -> None:
    path = write_published(tmp_path / 'tiny.pth')
    times = measure(Segmenter.load(path, device='cpu', precision='fp32'), repeats=2)
    assert len(times) == 6
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in times.values())
    assert page_text(times).count('\n| points') == 3


def test_shares_are_of_the_model() -> None:
    text = page_text({'model': [0.4, 0.1, 0.2], 'points': [0.01, 0.005, 0.02]})
    assert '5.0%' in text
    assert '100.0%' in text


def test_the_page_has_a_place_and_a_missing_model_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert PAGE.read_text('utf-8').count('<!-- points:begin -->') == 1
    assert main(['--model', 'nowhere.pth']) == 2
    assert capsys.readouterr().err.startswith('points: error: ')
