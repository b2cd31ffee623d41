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
"""What more words cost: a tiny run of all ways, its chart, and the text of the pages."""

from pathlib import Path
import re

from benchmarks import words_cost
from benchmarks.words_cost import (
    CHART,
    COUNTS,
    draw,
    main,
    measure,
    PAGE,
    page_text,
    PUBLISHED,
    README,
    readme_text,
    TITLES,
)
import numpy as np
import pytest
from tiny_models import write_published
import torch
from zegclip_core.speed.inputs import load_bundle
from zegclip_core.speed.methods import Method
from zegclip_core.speed.report import Row


def row(method: str, count: int, ms: float) -> Row:
    return Row(classes=count, method=method, ms=ms, memory_mb=100.0 + count, gflop=1.0)


ROWS = [row(name, count, 10.0 + count) for name in TITLES for count in (1, 10)]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(str(write_published(tmp_path / 'tiny.pth')))
    monkeypatch.setattr(words_cost, 'seeded_bundle', lambda prompts: bundle)


@pytest.mark.usefixtures('tiny')
def test_every_way_is_measured_with_every_number_of_words() -> None:
    rows = measure((1, 7), 1, torch.device('cpu'), slow_counts=(7,))
    assert {(each.method, each.classes) for each in rows} == {
        ('two_stage', 7),
        *((name, count) for name in ('lean_fp32', 'clip', 'naclip') for count in (1, 7)),
    }
    assert all(
        each.ms > 0.0 and each.precision == 'fp32' for each in rows if each.method != 'lean'
    )


@pytest.mark.usefixtures('tiny')
def test_a_way_that_fails_ends_the_run_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Method):
        """A way that fails."""

        def label(self, inputs: object) -> None:
            raise RuntimeError('no such kernel')

        def operations(self, inputs: object) -> int:
            return 0

    monkeypatch.setattr(words_cost, 'training_free', lambda *_: Broken([]))
    with pytest.raises(RuntimeError, match=r'clip failed: RuntimeError: no such kernel'):
        measure((1,), 1, torch.device('cpu'), slow_counts=())


def test_the_chart_has_all_ways_and_marks_what_is_published() -> None:
    time, memory = draw(ROWS, 'a CPU', 'SHORT RUN').axes
    found = {line.get_label(): line.get_xydata().tolist() for line in time.lines}
    published = [name for name in found if 'published (not measured here)' in name]
    assert len(published) == 1
    assert found[published[0]] == [[float(k), v] for k, v in PUBLISHED.items()]
    assert all(found[title] == [[1.0, 11.0], [10.0, 20.0]] for title in TITLES.values())
    assert len(memory.lines) == len(TITLES)
    for axes in (time, memory):
        decades = np.log10(axes.get_ylim())
        assert decades.tolist() == np.round(decades).tolist()
        low, high = decades
        assert high > low
        assert axes.get_xscale() == axes.get_yscale() == 'log'


def test_the_texts_tell_how_time_grows() -> None:
    table = re.sub(' +', ' ', page_text(ROWS, 'a CPU', 'SHORT RUN'))
    assert '| lean_fp32 | 10 | 20 | 1.82 | 110 | 1 |' in table
    assert 'SHORT RUN' in table
    said = readme_text(ROWS, 'a CPU')
    assert 'With 10 words a frame takes 1.82 times as long' in said
    assert f']({CHART.parent.parent.name}/images/{CHART.name})' in said
    assert 'SHORT RUN' in readme_text(ROWS, 'a CPU', 'SHORT RUN')


def test_the_pages_have_their_places_and_say_the_published_figures() -> None:
    page = PAGE.read_text('utf-8')
    assert page.count('<!-- words-cost:begin -->') == 1
    assert README.read_text('utf-8').count('<!-- words-chart:begin -->') == 1
    assert all(str(ms) in page for ms in PUBLISHED.values())
    assert words_cost.SOURCE in page
    assert {1, COUNTS[-1]} <= set(words_cost.SHORT)


def test_a_device_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--device', 'cuda:9']) == 2
    assert capsys.readouterr().err.startswith('words-cost: error: ')
