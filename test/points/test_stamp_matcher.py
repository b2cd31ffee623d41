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
"""The message that fits a frame best is found, late or early, and memory is bounded."""

import gc
import weakref

import pytest
from zegclip_ros.frames.stamp_matcher import StampMatcher


class Item:
    """Something that a weak reference can follow."""


def test_the_nearest_item_is_taken_once() -> None:
    matcher: StampMatcher[str] = StampMatcher(tolerance=20, memory=8)
    for stamp in (0, 33, 66):
        matcher.add(stamp, f'at {stamp}')
    matcher.expect(40)
    assert matcher.distance(40) == 7
    assert matcher.take(40) == 'at 33'
    assert matcher.take(40) is None


@pytest.mark.parametrize(('stamp', 'found'), [(120, 'one'), (121, None), (80, 'one'), (79, None)])
def test_items_further_than_the_tolerance_do_not_fit(stamp: int, found: str | None) -> None:
    matcher: StampMatcher[str] = StampMatcher(tolerance=20, memory=8)
    matcher.add(100, 'one')
    matcher.expect(stamp)
    assert matcher.take(stamp) == found


def test_an_item_that_comes_later_is_found() -> None:
    matcher: StampMatcher[str] = StampMatcher(tolerance=20, memory=8)
    matcher.expect(100)
    assert matcher.distance(100) is None
    assert not matcher.settled(100)
    matcher.add(90, 'near')
    assert not matcher.settled(100)
    matcher.add(102, 'nearer')
    assert matcher.settled(100)
    matcher.add(130, 'far')
    assert matcher.take(100) == 'nearer'


def test_an_exact_fit_is_waited_for_no_longer() -> None:
    matcher: StampMatcher[str] = StampMatcher(tolerance=20, memory=8)
    matcher.expect(100)
    matcher.add(100, 'exact')
    assert matcher.settled(100)


def test_a_slow_frame_keeps_its_item_while_many_newer_ones_come() -> None:
    matcher: StampMatcher[int] = StampMatcher(tolerance=20, memory=4)
    matcher.add(1000, 1)
    matcher.expect(1000)
    for number in range(2, 200):
        matcher.add(1000 * number, number)
    assert matcher.take(1000) == 1


def test_memory_is_bounded() -> None:
    matcher: StampMatcher[Item] = StampMatcher(tolerance=20, memory=4)
    alive: list[weakref.ref[Item]] = []
    for number in range(100):
        item = Item()
        alive.append(weakref.ref(item))
        matcher.add(10 * number, item)
        matcher.expect(10 * number)
        del item
    gc.collect()
    assert sum(one() is not None for one in alive) <= 8
    matcher.clear()
    gc.collect()
    assert all(one() is None for one in alive)


def test_of_two_items_of_one_stamp_the_newer_counts() -> None:
    matcher: StampMatcher[str] = StampMatcher(tolerance=0, memory=8)
    matcher.add(5, 'old')
    matcher.add(5, 'new')
    matcher.expect(5)
    assert matcher.take(5) == 'new'
    matcher.expect(6)
    matcher.add(6, 'old')
    matcher.add(6, 'new')
    assert matcher.take(6) == 'new'


def test_a_clock_that_is_set_back_is_followed() -> None:
    matcher: StampMatcher[str] = StampMatcher(tolerance=20, memory=3)
    for stamp in (900, 930, 960):
        matcher.add(stamp, 'before')
    matcher.expect(30)
    assert not matcher.settled(30) or matcher.take(30) is None
    matcher.expect(31)
    matcher.add(30, 'after')
    assert matcher.take(31) == 'after'
