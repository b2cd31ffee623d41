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
"""Where reports of commands go, and what stands in one of an evaluation and of a benchmark."""

from pathlib import Path
import sys

import pytest
from zegclip_core.cli._reports import check_report, write_report
from zegclip_core.errors import ConfigError
from zegclip_core.images.page import Page
from zegclip_core.speed.page import benchmark_page
from zegclip_core.speed.report import Case, Report, Row


def test_a_report_goes_to_a_folder_of_its_own_or_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_report('none', 'x') is None
    assert list(tmp_path.iterdir()) == []
    assert check_report(None, 'x') == Path('runs/x.html')
    assert list(tmp_path.iterdir()) == []  # Until there is something to be written.
    write_report(Path('runs/x.html'), Page('a'))
    assert check_report(None, 'x') == Path('runs/x.html')
    assert check_report('a.html', 'x') == Path('a.html')
    with pytest.raises(ConfigError, match=r"a file that ends in .html, but got 'a'"):
        check_report('a', 'x')


def test_without_a_place_there_is_a_warning_and_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'runs').write_text('a file')
    assert check_report(None, 'x') is None
    assert capsys.readouterr().err.startswith('zegclip: warning: No report is written')
    (tmp_path / 'runs').unlink()
    (tmp_path / 'runs' / 'x.html').mkdir(parents=True)
    assert check_report(None, 'x') is None
    assert 'cannot be' in capsys.readouterr().err


def test_a_report_says_how_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/zegclip', 'evaluate', '--data', 'my photos'])
    write_report(tmp_path / 'a.html', Page('a'))
    text = (tmp_path / 'a.html').read_text('utf-8')
    assert 'zegclip evaluate --data &#x27;my photos&#x27;' in text
    assert 'PyTorch' in text
    assert capsys.readouterr().out == f'Report: {tmp_path / "a.html"}\n'


def test_a_benchmark_has_its_tables_remarks_and_plots() -> None:
    rows = [
        Row(classes=count, method='lean', ms=10.0 + count, memory_mb=100.0, gflop=5.0)
        for count in (1, 20)
    ]
    one = Report('a CPU', 'cpu', 'a model', 'Python', Case(), rows[:1], notes=['x left out'])
    one.bundled['camera'] = [{'camera': 'VGA', 'frames a second': 9.5}]
    page = benchmark_page(one).html()
    assert all(text in page for text in ('x left out', 'a CPU; Python', 'VGA', '9.5', '512x512'))
    assert '<img' not in page
    one.rows = rows
    assert benchmark_page(one).html().count('src="data:image/png') == 2
