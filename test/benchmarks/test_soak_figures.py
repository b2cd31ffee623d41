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
"""The figures of the soak test: slopes, intervals, broken limits, the picture, the page."""

import os
from pathlib import Path

from benchmarks.node_process import footprint, NodeProcess
from benchmarks.reports import replace_between, table
from benchmarks.soak_figures import ticks, Trend, trend
from benchmarks.soak_report import differences, draw, faults_of, in_markdown, trends
from benchmarks.tasks import pause, Task, Tasks, Wait
import cv2
import numpy as np
import pytest

SECONDS = np.arange(900.0)
MEGABYTE = 1e6


def memory(slope: float, seed: int) -> np.ndarray:
    """Return 15 minutes of memory that grows by a slope an hour, with noise that lasts seconds."""
    noise = np.random.default_rng(seed).normal(0, 0.5 * MEGABYTE, len(SECONDS))
    for place in range(1, len(noise)):
        noise[place] += 0.9 * noise[place - 1]
    return 2e8 + slope * SECONDS / 3600 + noise


def test_the_slope_of_a_line_is_found() -> None:
    found = trend(SECONDS, 1e8 + 7e6 * SECONDS / 3600)
    assert found.slope == pytest.approx(7e6)
    assert found.low == pytest.approx(7e6)
    assert found.start == pytest.approx(1e8)
    assert found.points == 15


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    truth = 4 * MEGABYTE
    held = sum(
        found.low <= truth <= found.high
        for found in (trend(SECONDS, memory(truth, seed)) for seed in range(200))
    )
    assert 180 <= held <= 200


def test_a_leak_is_found_and_what_is_allocated_for_a_moment_is_not() -> None:
    assert trend(SECONDS, memory(60 * MEGABYTE, 1)).low > 10 * MEGABYTE
    spikes = memory(0, 2)
    spikes[-200::10] += 300 * MEGABYTE
    assert abs(trend(SECONDS, spikes).slope) < 10 * MEGABYTE


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match='at least 4 windows'):
        trend(SECONDS[:200], memory(0, 3)[:200])


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [(0, 20, [0, 5, 10, 15, 20]), (180, 245, [180, 190, 200, 210, 220, 230, 240]), (0, 0.8, None)],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float] | None) -> None:
    found = ticks(low, high)
    assert low <= found[0]
    assert found[-1] <= high
    assert 3 <= len(found) <= 10
    assert expected is None or found == expected


def samples(slope: float = 0.0) -> list[dict[str, float]]:
    rows = zip(np.arange(1200.0), np.resize(memory(slope, 4), 1200), strict=True)
    return [
        {'seconds': float(at), 'rss': float(size), 'pss': size / 2, 'anonymous': size / 3}
        for at, size in rows
    ]


def figures(**changes: object) -> dict[str, object]:
    counts = {'threads': 9, 'descriptors': 30, 'publishers': ['/a', '/b'], 'services': ['/s']}
    lines = {kind: vars(line) for kind, line in trends(samples(), 300.0, 60.0).items()}
    return {
        'setting': 'here',
        'minutes': 20.0,
        'warm-up': 300.0,
        'window': 60.0,
        'transport': 'large_data',
        'trends': lines,
        'memory': {kind: [2e8, 2.1e8] for kind in lines},
        'start': counts,
        'end': counts,
        'events': {'words': 1200, 'camera restarts': 60},
        'awaited': 1500,
        'longest wait': {'labels': 1.0, 'diagnostics': 1.1},
        'failures': [],
        'faults in the log': [],
        'exit code': 0,
        **changes,
    }


def test_good_figures_break_no_limit_and_become_tables() -> None:
    assert faults_of(figures()) == []
    text = in_markdown(figures())
    assert '| resident | 200.0 MB | 210.0 MB |' in text
    assert '| publishers | 2 | 2 |' in text
    assert '| words | 1200 |' in text


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'failures': ['no labels for 15 s']}, 'no labels'),
        ({'faults in the log': ['Traceback (most recent call last):']}, 'Traceback'),
        ({'exit code': -11}, '-11'),
        ({'exit code': None}, 'None'),
        ({'trends': {}}, 'too few samples'),
        ({'trends': {'rss': vars(Trend(1.1e7, 0.0, 2e7, 1e8, 15))}}, '11.0 MB an hour'),
        ({'end': {'threads': 10, 'publishers': ['/a', '/b'], 'services': ['/s']}}, 'threads: 9'),
        ({'end': {'threads': 9, 'publishers': ['/a'], 'services': ['/s']}}, "gone ['/b']"),
        ({'end': {}}, 'threads: 9 became None'),
    ],
)
def test_each_limit_is_held(changes: dict[str, object], said: str) -> None:
    faults = faults_of(figures(**changes))
    assert any(said in fault for fault in faults), faults


def test_two_ends_of_one_topic_are_a_difference() -> None:
    assert differences({'publishers': ['/a']}, {'publishers': ['/a', '/a']}) != []


def test_the_picture_is_written(tmp_path: Path) -> None:
    rows = samples(slope=50 * MEGABYTE)
    draw(tmp_path / 'soak.png', rows, trends(rows, 300.0, 60.0)['rss'], 300.0)
    picture = cv2.imread(str(tmp_path / 'soak.png'))
    assert picture.shape[0] > 300
    # The curve of resident memory is blue: BGR (180, 119, 31).
    assert (np.abs(picture.astype(int) - (180, 119, 31)).sum(axis=2) < 30).sum() > 200


def test_a_page_takes_new_figures_between_its_markers_only() -> None:
    page = 'head\n<!-- soak:begin -->\nold\n<!-- soak:end -->\ntail\n'
    text = table(['a', 'b'], [[1, 2]])
    assert text == '| a | b |\n| --- | --- |\n| 1 | 2 |'
    changed = replace_between(page, 'soak', text)
    assert changed == page.replace('old', text)
    assert replace_between(changed, 'soak', 'old') == page
    with pytest.raises(ValueError, match='Expected one <!-- fuzz:begin -->'):
        replace_between(page, 'fuzz', text)


def test_the_page_has_the_markers() -> None:
    page = (Path(__file__).resolve().parents[2] / 'docs' / 'reliability.md').read_text('utf-8')
    for name in ('fuzz', 'soak'):
        replace_between(page, name, '')


def test_tasks_take_turns_and_say_what_did_not_come() -> None:
    failures: list[str] = []
    answers: list[bool] = []
    came: list[bool] = []

    def work() -> Task:
        yield pause(0.0)
        answers.append((yield Wait(lambda: came, 'it', 60.0)))
        answers.append((yield Wait(lambda: False, 'that', -1.0)))

    tasks = Tasks(failures.append)
    tasks.start(work())
    tasks.turn()
    tasks.turn()
    assert answers == []
    came.append(True)
    tasks.turn()
    tasks.turn()
    assert answers == [True, False]
    assert failures == ['that did not come within -1 s']
    assert tasks.awaited == 1


def test_a_process_is_seen_from_outside() -> None:
    seen = footprint(os.getpid())
    assert seen.rss >= seen.pss > seen.anonymous > 0
    assert seen.rss > 10 * MEGABYTE
    before = seen.descriptors
    with Path(os.devnull).open():
        assert footprint(os.getpid()).descriptors == before + 1


def test_a_traceback_in_the_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / 'node.log'
    log.write_text('[INFO] fine\nTraceback (most recent call last):\n')
    process = NodeProcess(log, [])
    assert process.faults() == ['Traceback (most recent call last):']
    assert not process.alive
