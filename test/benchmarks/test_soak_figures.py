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
"""The fits and limits of the soak test, on samples and figures with known answers."""

from pathlib import Path
from typing import Any

from benchmarks.ablation import TOWERS
from benchmarks.reports import replace_between
from benchmarks.soak import differences, draw, faults_of, in_markdown, MEMORY, Trend, trend
import cv2
import numpy as np
import pytest

MEGABYTE = 1e6


def samples(slope: float, seed: int = 0, noise: float = 0.5e6) -> list[dict[str, float]]:
    """Return 15 minutes of memory that grows by a slope per hour, with slow noise."""
    drift = np.random.default_rng(seed).normal(0, noise, 900)
    for place in range(1, len(drift)):
        drift[place] += 0.9 * drift[place - 1]
    sizes = 2e8 + slope * np.arange(900) / 3600 + drift
    return [
        {'seconds': float(at), 'rss': float(size), 'pss': size / 2, 'uss': size / 3}
        for at, size in enumerate(sizes)
    ]


def test_the_slope_of_a_line_is_found() -> None:
    found = trend(samples(7e6, noise=0.0), 'rss', 60.0)
    assert (found.slope, found.low, found.start) == pytest.approx((7e6, 7e6, 2e8))
    assert found.points == 15


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    fits = (trend(samples(4e6, seed), 'rss', 60.0) for seed in range(100))
    assert 88 <= sum(found.low <= 4e6 <= found.high for found in fits) <= 100


def test_a_leak_is_found_and_what_is_allocated_for_a_moment_is_not() -> None:
    assert trend(samples(60 * MEGABYTE, 1), 'rss', 60.0).low > 10 * MEGABYTE
    spikes = samples(0, 2)
    for row in spikes[-200::10]:
        row['rss'] += 300 * MEGABYTE
    assert abs(trend(spikes, 'rss', 60.0).slope) < 10 * MEGABYTE


def test_too_few_samples_are_refused() -> None:
    for few in ([], samples(0)[:200]):
        with pytest.raises(ValueError, match='at least 4 windows'):
            trend(few, 'rss', 60.0)


def figures(**changes: object) -> dict[str, Any]:
    counts = {'threads': 9, 'descriptors': 30, 'publishers': ['/a', '/b'], 'services': ['/s']}
    return {
        'setting': 'here',
        'minutes': 15.0,
        'warm-up': 300.0,
        'window': 60.0,
        'rate': 30.0,
        'patience': 15.0,
        'transport': 'large_data',
        'trends': {kind: trend(samples(0), kind, 60.0) for kind in MEMORY},
        'start': counts,
        'end': counts,
        'events': {'words': 1200, 'camera restarts': 60},
        'longest gap': {'labels': 1.0, 'diagnostics': 1.1},
        'failures': [],
        'faults in the log': [],
        'exit code': 0,
        'samples': samples(0, noise=0.0),
        **changes,
    }


def test_good_figures_break_no_limit_and_become_tables() -> None:
    assert faults_of(figures()) == []
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in in_markdown(figures()).splitlines()
    ]
    assert ['resident', '200.0 MB', '200.0 MB'] in [row[:3] for row in rows]
    assert ['publishers', '2', '2'] in rows
    assert ['words', '1200'] in rows


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'failures': ['no labels for 15 s']}, 'no labels'),
        ({'faults in the log': ['Traceback (most recent call last):']}, 'Traceback'),
        ({'exit code': -11}, '-11'),
        ({'exit code': None}, 'None'),
        ({'trends': {}}, 'too few samples'),
        ({'trends': {'rss': Trend(1.1e7, 0.0, 2e7, 1e8, 15)}}, '11.0 MB per hour'),
        (
            {'minutes': 60.0, 'trends': {'rss': Trend(3e6, 2e6, 4e6, 1e8, 50)}},
            'grows by 3.0 MB per hour, more than 2.0',
        ),
        (
            {'minutes': 60.0, 'trends': {'rss': Trend(1e6, -4e6, 6e6, 1e8, 50)}},
            'may grow by 6.0 MB per hour, more than 5.0',
        ),
        ({'end': {'threads': 10, 'publishers': ['/a', '/b'], 'services': ['/s']}}, 'threads: 9'),
        ({'end': {'threads': 9, 'publishers': ['/a'], 'services': ['/s']}}, "gone ['/b']"),
        ({'end': {}}, 'threads: 9 became None'),
    ],
)
def test_each_limit_is_held(changes: dict[str, object], said: str) -> None:
    faults = faults_of(figures(**changes))
    assert any(said in fault for fault in faults), faults


def test_a_short_run_may_show_a_steeper_line_than_a_long_one() -> None:
    line = {'trends': {'rss': Trend(3e6, -4e6, 9e6, 1e8, 15)}}
    assert faults_of(figures(**line)) == []
    gentle = {'trends': {'rss': Trend(1e6, -1e6, 3e6, 1e8, 50)}}
    assert faults_of(figures(minutes=60.0, **gentle)) == []


def test_two_ends_of_one_topic_are_a_difference() -> None:
    assert differences({'publishers': ['/a']}, {'publishers': ['/a', '/a']}) != []


def test_the_plot_is_written(tmp_path: Path) -> None:
    rows = samples(slope=50 * MEGABYTE)
    draw(tmp_path / 'soak.png', rows, trend(rows, 'rss', 60.0), 300.0)
    picture = cv2.imread(str(tmp_path / 'soak.png'))
    # The line through the resident memory is red.
    assert (np.abs(picture.astype(int) - (0, 0, 255)).sum(axis=2) < 30).sum() > 200


def test_a_page_takes_new_figures_between_its_markers_only() -> None:
    page = 'head\n<!-- soak:begin -->\nold\n<!-- soak:end -->\ntail\n'
    assert replace_between(page, 'soak', 'new') == page.replace('old', 'new')
    with pytest.raises(ValueError, match='Expected one <!-- fuzz:begin -->'):
        replace_between(page, 'fuzz', 'new')


@pytest.mark.parametrize(
    ('page', 'names'),
    [
        ('reliability', ('fuzz', 'soak')),
        ('performance', ('latency', 'stages', 'words', 'slow', 'model')),
        ('results', tuple(TOWERS)),
        ('alignment', ('probe',)),
    ],
)
def test_the_pages_have_a_place_for_every_table(page: str, names: tuple[str, ...]) -> None:
    text = (Path(__file__).resolve().parents[2] / 'docs' / f'{page}.md').read_text('utf-8')
    for name in names:
        assert f'\nnew {name}\n' in replace_between(text, name, f'new {name}')
