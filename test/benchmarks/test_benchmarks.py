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
"""The node's benchmark: its figures are those of the events, and one small case runs."""

import json
from pathlib import Path
from typing import Any

from benchmarks import node_latency
from benchmarks.events import EventLog, picture, read_events, read_number, write_number
from benchmarks.node_case import Case, environment
from benchmarks.node_figures import changes, figures, join, STAGES
from benchmarks.node_tables import latency_table, slope, slow_table, words_table
from benchmarks.reports import replace_between
from benchmarks.stand_in import StandInSegmenter
import numpy as np
import pytest
from zegclip_core.text.vocabulary import Vocabulary

pytestmark = pytest.mark.ros

MS = 1_000_000
PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'performance.md'


def played(
    order: list[int], cost: int = 100, period: int = 33, sent: int = 20
) -> dict[str, list[dict[str, Any]]]:
    """Return the events of a node that works on frames in an order, each once it is there.

    The times in milliseconds are: 1 from stamp to writing, 1 to the node's middleware, 2 to its
    callback, 1 to take it up, 1 to make the label image, 2 to write, 3 to the receiver.
    """
    camera = [
        {'kind': 'sent', 'number': number, 'stamp': number * period * MS}
        for number in range(1, sent + 1)
    ]
    node: list[dict[str, Any]] = []
    for event in camera:
        times = {'written': 1, 'received': 2, 'time': 4, 'handed': 4}
        moments = {name: event['stamp'] + after * MS for name, after in times.items()}
        node.append({'kind': 'arrived', 'stamp': event['stamp'], **moments})
    receiver, free = [], 0
    for number in order:
        stamp = number * period * MS
        began = max(free, stamp + 4 * MS) + MS
        ended = began + cost * MS
        left = ended + MS
        free = left + 2 * MS
        node += [
            {'kind': 'segmented', 'number': number, 'began': began, 'ended': ended},
            {'kind': 'published', 'stamp': stamp, 'began': left, 'ended': free},
        ]
        moments = {'written': left + MS, 'received': left + 2 * MS, 'time': left + 3 * MS}
        label = {'kind': 'label', 'stamp': stamp, 'label': number % 256 % 5, **moments}
        receiver.append(label)
    return {'camera': camera, 'node': node, 'receiver': receiver}


def found(events: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return figures(join(**events), events['receiver'])


def newest_first(cost: int, period: int = 33, sent: int = 20) -> list[int]:
    """Return the frames that a node takes which always takes the newest."""
    order, free = [], 0
    while True:
        there = [number for number in range(1, sent + 1) if number * period + 4 <= free]
        later = [number for number in range(1, sent + 1) if number > (order[-1] if order else 0)]
        if not later:
            return order
        number = max(there[-1], later[0]) if there else later[0]
        order.append(number)
        free = max(free, number * period + 4) + 1 + cost + 1 + 2


def test_a_number_is_read_back_and_says_what_the_label_must_be() -> None:
    image = picture(8, 3)
    flat = bytearray(image.tobytes())
    for number in (1, 255, 256, 70_000, 2**31):
        write_number(flat, number)
        rgb = np.frombuffer(flat, np.uint8).reshape(image.shape)
        assert read_number(rgb) == number
        answer = StandInSegmenter(0.0).segment(rgb, Vocabulary.from_names(list('abcde')))
        assert answer.labels[0, 0] == number % 256 % 5
        assert (answer.labels == rgb[:, :, 0] % 5).all()


def test_the_stand_in_takes_its_time_and_tells_how_long() -> None:
    seen: list[int] = []
    segmenter = StandInSegmenter(0.02, lambda image, began, ended: seen.append(ended - began))
    segmenter.segment(picture(8, 3), segmenter.encode(Vocabulary.from_names(['a'])))
    assert seen[0] >= 20 * MS
    with pytest.raises(ValueError, match=r'at least 0 s, but got -1\.0'):
        StandInSegmenter(-1.0)


def test_events_are_read_back_without_a_line_that_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / 'log.jsonl'
    with EventLog(path) as log:
        log.add('sent', number=1)
        log.add('sent', number=2)
    assert [event['number'] for event in read_events(path)] == [1, 2]
    path.write_text(path.read_text(encoding='utf-8')[:-5], encoding='utf-8')
    assert [event['number'] for event in read_events(path)] == [1]
    assert read_events(tmp_path / 'none.jsonl') == []


def test_added_latency_is_all_but_the_model_and_its_stages_add_up() -> None:
    result = found(played(list(range(1, 21)), cost=10))
    assert result['added [ms]'] == {'p50': 9.0, 'p95': 9.0, 'max': 9.0}
    assert result['model [ms]'] == {'p50': 10.0, 'p95': 10.0, 'max': 10.0}
    stages = [result['stages [ms]'][name]['p50'] for name in STAGES]
    assert stages == [1.0, 1.0, 2.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert (result['sent'], result['arrived'], result['received']) == (20, 20, 20)


def test_taking_the_newest_frame_is_in_order_and_shows_the_wait() -> None:
    order = newest_first(cost=100)
    result = found(played(order))
    assert len(order) < 10
    assert result['stale'] == {'count': 0, 'of': len(order), 'first': []}
    assert result['processed'] == result['received'] == len(order)
    assert result['stages [ms]']['node: wait for the worker']['max'] > 10.0


@pytest.mark.parametrize(
    ('order', 'stale'), [([1, 2, 3], [2, 3]), ([1, 5, 4], [4]), ([1, 3, 7], [3])]
)
def test_a_queue_is_told_from_the_newest_frame(order: list[int], stale: list[int]) -> None:
    # After the first frame, at 141 ms, frame 4 has been there for five milliseconds.
    assert found(played(order))['stale']['first'] == stale


def test_a_newer_frame_in_the_middleware_is_counted_apart() -> None:
    events = played([1, 3])
    (fourth,) = [event for event in events['node'] if event.get('stamp') == 4 * 33 * MS]
    fourth['handed'] = 142 * MS  # The worker was free at 141.
    result = found(events)
    assert result['stale']['count'] == 0
    assert result['newer one not read yet'] == 1


def test_wrong_labels_are_counted() -> None:
    events = played([1, 2, 3], cost=10)
    events['receiver'][1]['label'] += 1
    assert found(events)['wrong labels'] == 1


def test_frames_lost_to_a_change_of_words_are_counted() -> None:
    order = [number for number in range(1, 21) if number not in (4, 10, 11)]
    events = played(order, cost=10)
    for turn, time in enumerate((100, 300, 600), start=1):
        events['receiver'].append({'kind': 'asked', 'turn': turn, 'time': time * MS})
        if turn != 2:
            events['receiver'].append({'kind': 'words', 'first': f'thing {turn} 0'})
    cost = changes(join(**events), events['receiver'])
    assert cost is not None
    assert (cost['changes'], cost['lost'], cost['most']) == (2, [1, 2], 2)
    assert cost['not taken over'] == [2]


def test_a_case_in_which_nothing_came_has_tables_without_figures() -> None:
    events = played([])
    for result in (found(events), found({'camera': [], 'node': [], 'receiver': []})):
        assert result['added [ms]'] is None
        row = {
            'case': {**vars(Case()), 'transport': 'default'},
            'name': 'a',
            'problem': 'nothing was received',
            'over time [ms]': [],
            **result,
        }
        assert '- a: nothing was received' in latency_table([row])
        assert f'| 0 / {result["sent"]} | - | - | - |' in latency_table([row])
        assert '- a: nothing was received' in words_table([row])
        assert '- a: nothing was received' in slow_table(row)


def test_a_latency_that_creeps_has_a_slope() -> None:
    rows = [{'seconds': 60.0 * minute, 'p50': 20.0 + 3.0 * minute} for minute in range(10)]
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


def test_the_page_has_a_place_for_every_table() -> None:
    text = PAGE.read_text(encoding='utf-8')
    for name in ('latency', 'stages', 'words', 'slow', 'model'):
        assert f'\nnew {name}\n' in replace_between(text, name, f'new {name}')


@pytest.mark.slow
def test_the_smallest_case_runs_and_its_labels_are_right(tmp_path: Path) -> None:
    out = tmp_path / 'results.json'
    small = ['--sizes', '64x48', '--seconds', '1', '--reliability', 'reliable']
    code = node_latency.main(['--out', str(out), *small, '--transports', 'default', '--parts'])
    assert code == 0
    assert json.loads(out.read_text(encoding='utf-8'))['parts'] == {}
    parts = ['--transports', 'default', '--parts', 'latency']
    assert node_latency.main(['--out', str(out), *small, *parts]) == 0
    (result,) = json.loads(out.read_text(encoding='utf-8'))['parts']['latency']
    assert result['problem'] is None
    assert 0 < result['received'] <= result['processed'] <= result['arrived'] <= result['sent']
    # How many frames are stale is a figure of the machine as well: a thread may have to wait.
    assert result['wrong labels'] == 0
    assert result['stale']['of'] == result['processed']
    assert list(result['stages [ms]']) == list(STAGES)
    assert (
        result['added [ms]']['p50'] <= result['added [ms]']['p95'] <= result['added [ms]']['max']
    )
