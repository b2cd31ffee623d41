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

from collections.abc import Callable, Iterator
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import pytest
from ros_helpers import Inbox, qos, Rig, running_rig, solid
from zegclip_core.errors import DeviceMemoryError, EncodingError, ImageError
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
from zegclip_ros.diagnostics.monitor import in_one_line, LOG_INTERVAL, Monitor, RejectionLog
from zegclip_ros.diagnostics.unlabelled import ENCODING

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
        ({'unlabelled_seconds': SILENCE, 'cause': 'no words'}, WARN, 'no words to look for. Publ'),
        (
            {'unlabelled_seconds': 3.0, 'cause': 'newer frame'},
            WARN,
            'for 3 s: the model is far sl',
        ),
        (
            {'unlabelled_seconds': 3.0, 'cause': 'fault', 'reason': 'KeyError: 1'},
            WARN,
            'KeyError: 1.',
        ),
        (
            {'unlabelled_seconds': 3.0, 'cause': 'bad image', 'reason': 'A step too short.'},
            WARN,
            'each is refused: A step too short. Check the driver',
        ),
        (
            {'unlabelled_seconds': 3.0, 'cause': ENCODING, 'reason': "Got 'x9'."},
            WARN,
            "Got 'x9'. Have the driver of the camera send one of these",
        ),
        ({'unlabelled_seconds': 3.0}, WARN, 'still at work on one'),
        (
            {'unlabelled_seconds': 3.0, 'silent_seconds': 3.0},
            WARN,
            'No image on /camera/image for',
        ),
        ({'unlabelled_seconds': 1.9, 'cause': 'fault', 'reason': 'x'}, OK, 'active'),
        ({'word_warning': "cannot read 'x'"}, WARN, "Words may find nothing: cannot read 'x'"),
        ({'word_warning': 'w', 'refusal': 'twice'}, WARN, 'refused: twice'),
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


def starved(clock: Time, *, wanted: bool = True) -> Monitor:
    """Return a monitor of a camera that has been wanted for a while."""
    monitor = Monitor(lambda line: None, clock)
    monitor.statistics.wanted(wanted)
    clock.now += 10.0
    return monitor


@pytest.mark.parametrize(
    ('drop', 'cause', 'reason'),
    [
        (lambda monitor: monitor.drop_bad_images(ImageError('torn'), ''), 'bad image', 'torn'),
        (lambda monitor: monitor.drop_bad_images(EncodingError('x9'), ''), ENCODING, 'x9'),
        (lambda monitor: monitor.drop('no words', ''), 'no words', ''),
        (lambda monitor: monitor.drop('newer frame', ''), 'newer frame', ''),
        (lambda monitor: monitor.drop('fault', '', error='E: 1'), 'fault', 'E: 1'),
        (lambda monitor: None, '', ''),
    ],
)
def test_images_without_labels_are_counted_from_the_first_one_whatever_the_cause(
    drop: Callable[[Monitor], None], cause: str, reason: str
) -> None:
    clock = Time()
    monitor = starved(clock)
    for _ in range(31):
        monitor.statistics.arrived()
        drop(monitor)
        clock.now += 0.1
    health = monitor.statistics.health('/image', 13.0)
    assert health.unlabelled_seconds == pytest.approx(3.1)
    assert (health.cause, health.reason) == (cause, reason)
    monitor.statistics.labelled(dict.fromkeys(STAGES, 1.0))
    health = monitor.statistics.health('/image', 13.0)
    assert (health.unlabelled_seconds, health.cause, health.reason) == (0.0, '', '')


def test_a_slow_camera_whose_images_are_labelled_is_well() -> None:
    clock = Time()
    statistics = starved(clock).statistics
    for _ in range(5):
        clock.now += 9.0
        statistics.arrived()
        assert statistics.health('/image', 9.0).unlabelled_seconds == 0.0
        clock.now += 0.1
        statistics.labelled(dict.fromkeys(STAGES, 0.1))


def test_images_that_nobody_wants_labelled_are_no_fault_unless_they_are_refused() -> None:
    clock = Time()
    monitor = starved(clock, wanted=False)
    for _ in range(5):
        monitor.statistics.arrived()
        monitor.drop('nobody listens', '')
        clock.now += 1.0
    assert monitor.statistics.health('/image', 9.0).unlabelled_seconds == 0.0
    for _ in range(5):
        monitor.statistics.arrived()
        monitor.drop_bad_images(ImageError('torn'), '')
        clock.now += 1.0
    assert monitor.statistics.health('/image', 9.0).unlabelled_seconds == pytest.approx(5.0)


def test_an_error_before_tells_more_than_a_newer_image() -> None:
    clock = Time()
    monitor = starved(clock)
    monitor.statistics.arrived()
    monitor.drop_bad_images(ImageError('torn'), '')
    monitor.drop('newer frame', '')
    assert monitor.statistics.health('/image', 9.0).reason == 'torn'


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


def test_a_camera_whose_every_image_is_refused_is_a_warning_with_the_reason(rig: Rig) -> None:
    rig.until_state('active')
    rig.start_and_listen()
    bad = solid(1)
    bad.encoding = 'rainbow9'
    rig.send_until(
        lambda stamp: bad,
        lambda: (
            rig.heard.messages
            and rig.heard.last.status[0].level == WARN
            and "'rainbow9'" in rig.heard.last.status[0].message
        ),
    )
    message = rig.heard.last.status[0].message
    assert '/image was labelled for' in message
    assert 'Have the driver of the camera send one of these' in message
    rig.send_until(
        lambda stamp: solid(1, stamp=stamp), lambda: rig.heard.last.status[0].level == OK
    )
