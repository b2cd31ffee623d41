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
"""Log lines about rejected messages: every reason, none of them again and again."""

from zegclip_ros.runtime.rejections import INTERVAL, RejectionLog, shortened


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_log() -> tuple[RejectionLog, list[str], Clock]:
    lines: list[str] = []
    clock = Clock()
    return RejectionLog(lines.append, clock), lines, clock


def test_the_same_reason_is_logged_once_an_interval_with_a_count() -> None:
    log, lines, clock = make_log()
    for _ in range(5):
        log.report('image', ValueError('too short'))
    assert lines == ['Rejected the image: too short']
    clock.now += INTERVAL
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
    clock.now += INTERVAL
    log.report('image', ValueError('new fault'))
    assert lines[-1] == 'Rejected the image: new fault'


def test_texts_are_shown_in_one_line_and_short() -> None:
    assert shortened('a\n b\t c') == 'a b c'
    assert shortened('x' * 1_000_000, 10) == 'xxxxxxxxxx...'
    assert shortened(' ' * 100 + 'x' * 5, 10).endswith('...')
