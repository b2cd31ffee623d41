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
"""The benchmarks of starts and of the node's rate: their tables, and whose code they run."""

import json
from pathlib import Path

from benchmarks import node_rate, start
import pytest
import torch

pytestmark = pytest.mark.ros
BASES, TOTALS = (2.0, 4.0, 2.0), (3.0, 9.0, 3.6)
"""Seconds of three rounds, in the second of which the machine was half as fast."""


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split('|')[1:-1]]


def _found() -> dict[str, list[start.Figures]]:
    """Return three rounds in which a frame takes half a second, and a second of processors."""
    frame = {'frame': 0.5, 'frame processor': 1.0}
    stages = {'imports': 1.0, 'model': 1.5, 'words': 1.75, 'peak': 900.0, 'processor': 6.0}
    alone = {'processor': 2.0, 'peak': 600.0}
    return {
        start.BASE: [{**alone, 'total': seconds - 0.5} for seconds in BASES],
        start.LIBRARY: [{**stages, **frame, 'total': seconds} for seconds in TOTALS],
    }


def test_ratios_are_those_of_each_round() -> None:
    _, _, goal, alone, last = start.table(_found()).splitlines()
    assert _cells(goal)[1:] == ['2.00', '1.00', '3.00', '1.00', '', '']
    assert _cells(alone)[1:] == ['1.50', '0.75', '2.00', '0.67', '600', '1.00']
    # 3 / 2, 9 / 4 and 3.6 / 2.
    assert _cells(last)[1:] == ['3.60', '1.80', '6.00', '2.00', '900', '1.50']


def test_stages_are_times_between_two_ends() -> None:
    _, _, *rows = start.stages(_found()).splitlines()
    assert [_cells(row)[1] for row in rows] == ['1.00', '0.50', '0.25', '1.85']


def test_a_process_that_fails_is_told_by_its_last_line() -> None:
    with pytest.raises(RuntimeError, match='ValueError: no such thing'):
        start.run_python(start.ROOT, "raise ValueError('no such thing')")


def test_code_of_another_checkout_comes_first(tmp_path: Path) -> None:
    (tmp_path / 'zegclip_core').mkdir()
    (tmp_path / 'zegclip_core' / '__init__.py').write_text('answer = 42\n', encoding='utf-8')
    found = start.run_python(tmp_path, "import zegclip_core; found['it'] = zegclip_core.answer")
    assert found['it'] == 42
    assert found['peak'] > 1.0


def test_rates_are_compared_with_the_first_round_by_round() -> None:
    found = {'before': [2.0, 1.0, 4.0], 'after': [3.0, 2.0, 4.0]}
    *_, first, last = node_rate.table(found).splitlines()
    assert _cells(first) == ['before', '2.00', '1.00', '4.00', '1.00']
    assert _cells(last) == ['after', '3.00', '2.00', '4.00', '1.50']


def test_the_rate_is_that_of_label_images_that_come_meanwhile(tmp_path: Path) -> None:
    def write(*seconds: float) -> None:
        with (tmp_path / 'receiver.jsonl').open('a', encoding='utf-8') as log:
            for one in seconds:
                log.write(json.dumps({'kind': 'label', 'time': int(one * 1e9)}) + '\n')

    write(0.0, 9.0, 10.0)
    # Four frames in the 2 s since the last one before.
    assert node_rate.label_rate(tmp_path, lambda: write(10.5, 11.0, 11.75, 12.0)) == 2.0
    with pytest.raises(RuntimeError, match='no two label images'):
        node_rate.label_rate(tmp_path, lambda: None)


@pytest.mark.skipif(torch.version.cuda is None, reason='PyTorch alone is smaller without CUDA')
def test_loading_takes_little_more_memory_than_pytorch() -> None:
    alone = start.run_python(start.ROOT, start.IMPORT)['peak']
    # 1.32 to 1.43 on two cores, by how much of the mapped files the system has at hand; more than
    # 1.48 when files and weights were held several times.
    assert start.run_python(start.ROOT, start.SEGMENTER)['loading peak'] < 1.46 * alone
