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
"""The figures of the latency benchmark, on events with known answers; and its smallest case."""

import json
from pathlib import Path
from typing import Any

from benchmarks import node_latency
from benchmarks.latency_figures import figures, slope, stale, tables
from benchmarks.node_latency import Case, environment
from benchmarks.stand_in import EventLog, read_events, read_number, StandInSegmenter
import numpy as np
import pytest
from zegclip_core.text.vocabulary import Vocabulary

pytestmark = pytest.mark.ros

MS = 1_000_000
Events = dict[str, list[dict[str, Any]]]


def played(order: list[int], cost: int = 100, period: int = 33, sent: int = 20) -> Events:
    """Return the events of a node that works on frames in an order, each once it is there.

    In milliseconds: 4 from the stamp to the node's callback, 1 until the model begins, 5 from its
    end to the arrival of the labels.
    """
    frames = [{'number': number, 'stamp': number * period * MS} for number in range(1, sent + 1)]
    arrived = [
        {'stamp': one['stamp'], **dict.fromkeys(('time', 'handed'), one['stamp'] + 4 * MS)}
        for one in frames
    ]
    events: Events = {'sent': frames, 'arrived': arrived, 'segmented': [], 'label': []}
    free = 0
    for number in order:
        stamp = number * period * MS
        began = max(free, stamp + 4 * MS) + MS
        free = began + cost * MS
        events['segmented'].append({'number': number, 'began': began, 'ended': free})
        label = {'stamp': stamp, 'time': free + 5 * MS, 'label': number % 256 % 5}
        events['label'].append(label)
    return {**events, 'asked': [], 'words': [], 'diagnostics': []}


def found(events: Events) -> dict[str, Any]:
    return figures('', 20.0, events)


def test_a_number_is_read_back_and_says_what_the_label_must_be() -> None:
    image = np.zeros((3, 8, 3), np.uint8)
    image[0, :4, 0] = 70_000 % 256
    image[0, :4, 1] = list((70_000).to_bytes(4, 'little'))
    assert read_number(image) == 70_000
    segmenter = StandInSegmenter(0.0)
    encoded = segmenter.encode(Vocabulary.from_names(list('abcde')))
    answer = segmenter.segment(image, encoded)
    assert answer.labels[0, 0] == 70_000 % 256 % 5
    assert (answer.labels == image[:, :, 0] % 5).all()
    with pytest.raises(ValueError, match=r'at least 0 s, but got -1\.0'):
        StandInSegmenter(-1.0)


def test_events_are_read_back_without_a_line_that_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / 'log.jsonl'
    log = EventLog(path)
    for number in (1, 2):
        log.add('sent', number=number)
    assert [event['number'] for event in read_events(path, 'sent')] == [1, 2]
    path.write_text(path.read_text(encoding='utf-8')[:-5], encoding='utf-8')
    assert [event['number'] for event in read_events(path, 'sent')] == [1]
    assert read_events(path, 'label') == read_events(tmp_path / 'none.jsonl', 'sent') == []


def test_added_latency_is_all_but_the_model() -> None:
    events = played(list(range(1, 21)), cost=10)
    events['diagnostics'] = [{'wait p50 [ms]': '0.50', 'publish p50 [ms]': '2.00'}]
    result = found(events)
    assert result['added [ms]'] == {'p50': 10.0, 'p95': 10.0, 'max': 10.0}
    assert result['model [ms]'] == {'p50': 10.0, 'p95': 10.0, 'max': 10.0}
    stages = [value for value in result['stages [ms]'].values() if value]
    assert stages == [4.0, 0.5, 2.0, 3.0]
    assert (result['sent'], result['arrived'], result['received']) == (20, 20, 20)
    assert (result['stale'], result['wrong labels']) == (0, 0)


@pytest.mark.parametrize(
    ('order', 'found_stale'),
    [([1, 5, 8], []), ([1, 2, 3], [2, 3]), ([1, 5, 4], [4]), ([1, 3, 7], [3])],
)
def test_a_queue_is_told_from_the_newest_frame(order: list[int], found_stale: list[int]) -> None:
    # After the first frame, at 138 ms, frame 4 has been there for two milliseconds.
    events = played(order)
    assert stale(events['sent'], events) == found_stale


def test_a_newer_frame_that_is_still_being_read_does_not_count() -> None:
    events = played([1, 3])
    events['arrived'][3]['handed'] = 142 * MS  # The worker was free at 138.
    assert found(events)['stale'] == 0


def test_wrong_labels_are_counted() -> None:
    events = played([1, 2, 3], cost=10)
    events['label'][1]['label'] += 1
    assert found(events)['wrong labels'] == 1


def test_frames_lost_to_a_change_of_words_are_counted() -> None:
    events = played([number for number in range(1, 21) if number not in (4, 10, 11)], cost=10)
    for turn, time in enumerate((100, 300, 600), start=1):
        events['asked'].append({'turn': turn, 'time': time * MS})
        if turn != 2:
            events['words'].append({'names': [f'thing {turn} 0']})
    cost = found(events)['changes of words']
    assert (cost['changes'], cost['lost'], cost['not taken over']) == (2, [1, 2], [2])


def test_a_case_in_which_nothing_came_has_tables_without_figures() -> None:
    for events in (played([]), {kind: [] for kind in played([])}):
        result = {'case': {**vars(Case()), 'transport': 'default'}, **found(events)}
        assert result['added [ms]'] is None
        made = tables({part: [result] for part in ('latency', 'words', 'slow', 'model')})
        assert set(made) == {'latency', 'stages', 'words', 'slow', 'model'}
        assert f'0 / {result["sent"]}' in made['latency']


def test_a_latency_that_creeps_has_a_slope() -> None:
    rows = [{'minute': float(minute), 'p50': 20.0 + 3.0 * minute} for minute in range(10)]
    line = slope(rows)
    assert line is not None
    assert line[0] == pytest.approx(3.0)
    assert slope(rows[:3]) is None


def test_large_data_is_set_for_its_transport_only_and_never_with_localhost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    default, large = (environment(name, 7) for name in ('default', 'large_data'))
    assert 'FASTDDS_BUILTIN_TRANSPORTS' not in default
    assert default['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert large['FASTDDS_BUILTIN_TRANSPORTS'] == 'LARGE_DATA'
    assert large['ROS_AUTOMATIC_DISCOVERY_RANGE'] != 'LOCALHOST'
    assert default['ROS_DOMAIN_ID'] == large['ROS_DOMAIN_ID'] == '7'


@pytest.mark.parametrize('arguments', [['--sizes', '640'], ['--sizes', '1x1'], ['--parts', 'x']])
def test_wrong_arguments_are_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        node_latency.build_parser().parse_args(arguments)


@pytest.mark.slow
def test_the_smallest_case_runs_and_its_labels_are_right(tmp_path: Path) -> None:
    out = tmp_path / 'results.json'
    small = [
        '--sizes',
        '64x48',
        '--seconds',
        '1',
        '--reliability',
        'reliable',
        '--parts',
        'latency',
    ]
    node_latency.main(['--out', str(out), *small, '--transports', 'default'])
    (result,) = json.loads(out.read_text(encoding='utf-8'))['parts']['latency']
    assert 0 < result['received'] <= result['processed'] <= result['arrived'] <= result['sent']
    # How many frames are stale is a figure of the machine as well: a thread may have to wait.
    assert result['wrong labels'] == 0
    assert min(result['stages [ms]'].values()) >= 0.0
    added = result['added [ms]']
    assert added['p50'] <= added['p95'] <= added['max']
