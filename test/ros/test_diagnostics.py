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
"""Statistics, diagnostics and the log: closed forms, what deserves a warning, and messages."""

from collections.abc import Iterator
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import pytest
from ros_helpers import Inbox, qos, Rig, running_rig, solid
from zegclip_core.errors import DeviceMemoryError
from zegclip_ros.diagnostics.health import (
    CameraHealth,
    DROPS,
    entries,
    Health,
    judge,
    MEMORY_ALARM,
    RATE_WINDOW,
    SILENCE,
    STAGES,
    Statistics,
)
from zegclip_ros.diagnostics.monitor import in_one_line, LOG_INTERVAL, RejectionLog

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_are_counted_over_the_last_seconds() -> None:
    clock = Time()
    statistics = Statistics(clock)
    for _ in range(100):
        clock.now += 0.1
        statistics.arrived()
    assert statistics.snapshot().input_rate == pytest.approx(10.0, abs=0.3)
    clock.now += RATE_WINDOW / 2
    assert statistics.snapshot().input_rate == pytest.approx(5.0, abs=0.3)
    clock.now += RATE_WINDOW
    figures = statistics.snapshot()
    assert (figures.input_rate, figures.frames_in) == (0.0, 100)


def test_a_rate_is_not_halved_because_it_has_just_begun() -> None:
    clock = Time()
    statistics = Statistics(clock)
    for _ in range(20):
        clock.now += 0.1
        statistics.arrived()
    assert statistics.snapshot().input_rate == pytest.approx(10.0)


def test_latencies_are_percentiles_by_stage_of_the_newest_frames() -> None:
    statistics = Statistics(Time())
    assert statistics.snapshot().latencies == {}
    for _ in range(1000):  # Forgotten by the ones that follow.
        statistics.labelled(dict.fromkeys(STAGES, 9.0))
    for value in range(256):
        statistics.labelled({stage: place + value for place, stage in enumerate(STAGES)})
    found = statistics.snapshot().latencies
    assert list(found) == list(STAGES)
    for place, stage in enumerate(STAGES):
        assert found[stage] == pytest.approx((place + 127.5, place + 0.95 * 255))


def test_totals_outlive_a_restart_and_windows_do_not() -> None:
    statistics = Statistics(Time())
    statistics.arrived()
    statistics.dropped('fault')
    statistics.labelled(dict.fromkeys(STAGES, 1.0))
    statistics.restart()
    figures = statistics.snapshot()
    assert (figures.frames_in, figures.frames_out, figures.dropped['fault']) == (1, 1, 1)
    assert (figures.input_rate, figures.output_rate, figures.latencies) == (0.0, 0.0, {})


@pytest.fixture
def health() -> Health:
    return Health(
        state='active',
        enabled=True,
        model='everyday-s',
        device='cpu',
        version=3,
        classes=2,
        figures=Statistics(Time()).snapshot(),
        cameras={'': CameraHealth(Statistics(Time()).snapshot(), 0.1, '/camera/image', 60.0)},
        min_rate=0.0,
        refusal=None,
        fault=None,
        memory_fault_seconds=None,
        memory_bytes=None,
        last_error='',
    )


@pytest.mark.parametrize(
    ('change', 'level', 'said'),
    [
        ({}, OK, 'The node is active.'),
        ({'silent_seconds': None}, OK, 'active'),
        ({'silent_seconds': SILENCE}, WARN, 'No image on /camera/image for 2 s.'),
        ({'min_rate': 5.0}, WARN, '0.0 Hz is under the min_rate of 5.0 Hz'),
        ({'min_rate': 5.0, 'working_seconds': 1.0}, OK, 'active'),
        ({'refusal': 'twice'}, WARN, 'The last words were refused: twice'),
        ({'memory_fault_seconds': 1.0}, ERROR, 'out of memory'),
        ({'memory_fault_seconds': MEMORY_ALARM}, OK, 'active'),
        ({'fault': 'Cannot configure: x'}, ERROR, 'Cannot configure: x'),
        ({'fault': 'x', 'silent_seconds': 9.0, 'refusal': 'y'}, ERROR, 'x'),
    ],
)
def test_levels_mean_something(health: Health, change: dict, level: bytes, said: str) -> None:
    of_camera = CameraHealth.__annotations__.keys() & change.keys()
    camera = replace(health.cameras[''], **{name: change[name] for name in of_camera})
    changed = replace(health, **{name: change[name] for name in change.keys() - of_camera})
    found, message = judge(replace(changed, cameras={'': camera}))
    assert found == level
    assert said in message


def test_memory_is_told_only_where_there_is_some(health: Health) -> None:
    assert 'memory [MB]' not in entries(health)
    assert entries(replace(health, memory_bytes=3 * 2**20))['memory [MB]'] == '3'


def test_silence_counts_from_the_subscription_or_the_last_image() -> None:
    clock = Time()
    camera = Statistics(clock)
    assert camera.health('/image', None).silent_seconds is None
    assert camera.health('/image', 7.0).silent_seconds == 7.0
    camera.arrived()
    clock.now += 3.0
    assert camera.health('/image', 7.0).silent_seconds == 3.0
    assert camera.health('/image', 1.0).silent_seconds == 1.0


@pytest.fixture
def rig() -> Iterator[Rig]:
    options = ('-r', '__ns:=/robot', '-p', 'class_names:=["a", "b"]')
    with running_rig(*options, namespace='robot') as made:
        made.heard = Inbox(made.probe, DiagnosticArray, '/diagnostics', qos())
        yield made


def told(rig: Rig) -> dict[str, str]:
    return {pair.key: pair.value for pair in rig.heard.last.status[0].values}


def test_the_message_tells_the_figures_once_a_second_in_every_state(rig: Rig) -> None:
    rig.until_state('active')
    rig.until(lambda: rig.heard.messages)
    status = rig.heard.last.status[0]
    assert (status.level, status.name) == (OK, 'robot/zegclip: segmentation')
    assert rig.heard.last.header.stamp.sec > 0
    labels = rig.start_and_listen()
    bad = solid(1)
    bad.step = 1
    rig.send_until(
        lambda stamp: solid(1, stamp=stamp) if stamp % 2 else bad,
        lambda: told(rig)['frames out'] != '0' and told(rig)['dropped: bad image'] != '0',
    )
    assert labels.messages
    values = told(rig)
    assert values['state'] == 'active'
    assert values['model'] == 'everyday-s'
    assert values['device'] == rig.heard.last.status[0].hardware_id == 'fake'
    assert (values['vocabulary version'], values['classes']) == ('1', '2')
    assert float(values['input rate [Hz]']) >= float(values['output rate [Hz]']) > 0.0
    assert values['memory [MB]'] == '7'
    assert 'step of at least' in values['last error']
    for stage in STAGES:
        assert float(values[f'{stage} p95 [ms]']) >= float(values[f'{stage} p50 [ms]']) >= 0.0
    assert {f'dropped: {reason}' for reason in DROPS} <= set(values)


def until_level(rig: Rig, level: bytes, said: str) -> None:
    rig.until(
        lambda: (
            rig.heard.messages
            and rig.heard.last.status[0].level == level
            and said in rig.heard.last.status[0].message
        ),
        f'the level {level!r} with {said!r}',
    )


def test_what_goes_wrong_shows_and_passes(rig: Rig) -> None:
    rig.until_state('active')
    rig.say('a, a')
    until_level(rig, WARN, 'The last words were refused')
    rig.say('a, b')
    until_level(rig, OK, 'active')
    rig.listen('zegclip/label_image')
    until_level(rig, WARN, 'No image on /robot/image')
    rig.start_camera()
    rig.segmenter.fault = DeviceMemoryError('gone')
    rig.send_until(lambda stamp: solid(1, stamp=stamp), lambda: len(rig.log) > 1)
    until_level(rig, ERROR, 'out of memory')


def make_log() -> tuple[RejectionLog, list[str], Time]:
    lines: list[str] = []
    clock = Time()
    return RejectionLog(lines.append, clock), lines, clock


def test_the_same_reason_is_logged_once_an_interval_with_a_count() -> None:
    log, lines, clock = make_log()
    for _ in range(5):
        log.report('image', ValueError('too short'))
    assert lines == ['Rejected the image: too short']
    clock.now += LOG_INTERVAL
    log.report('image', ValueError('too short'))
    assert lines[1:] == ['Rejected the image: too short (4 more since the last such line)']


def test_another_reason_is_not_hidden_by_the_first() -> None:
    log, lines, _ = make_log()
    log.report('image', ValueError('too short'))
    log.report('image', ValueError('too wide'))
    log.report('vocabulary', ValueError('too short'))
    assert len(lines) == 3


def test_a_flood_of_different_reasons_ends() -> None:
    log, lines, clock = make_log()
    for number in range(10_000):
        log.report('image', ValueError(f'fault {number}'))
    assert 50 < len(lines) < 150
    clock.now += LOG_INTERVAL
    log.report('image', ValueError('new fault'))
    assert lines[-1] == 'Rejected the image: new fault'


def test_texts_are_shown_in_one_line_and_short() -> None:
    assert in_one_line('a\n b\t c') == 'a b c'
    assert in_one_line('x' * 1_000_000) == f'{"x" * 397}...'
    assert in_one_line(f'{" " * 1000}x') == 'x'
