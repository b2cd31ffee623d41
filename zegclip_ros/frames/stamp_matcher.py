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
"""Finds the message whose stamp fits a frame's best, with a bounded memory."""

from collections import deque
import threading
from typing import Generic, TypeVar

Item = TypeVar('Item')


class StampMatcher(Generic[Item]):
    """Keeps the newest items, and for each stamp that is waited for the one that fits it best.

    A frame is long in work on a slow device, and its depth would be gone by then: ``expect`` keeps
    it. On a fast one, depth may come after the labels: ``settled`` tells whether to wait. Stamps
    are nanoseconds; methods may be called from any thread.

    Args:
        tolerance: Greatest distance of two stamps that belong together [ns].
        memory: How many items, and how many stamps that are waited for, are kept at most.
    """

    def __init__(self, tolerance: int, memory: int) -> None:
        self.tolerance = tolerance
        self._memory = memory
        self._lock = threading.Lock()
        self._newest: deque[tuple[int, Item]] = deque(maxlen=memory)
        self._expected: dict[int, tuple[int, Item] | None] = {}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._newest.clear()
            self._expected.clear()

    def add(self, stamp: int, item: Item) -> None:
        """Take an item; it replaces those that fit an expected stamp no better."""
        with self._lock:
            self._newest.append((stamp, item))
            for expected, kept in self._expected.items():
                if kept is None or abs(stamp - expected) <= abs(kept[0] - expected):
                    self._expected[expected] = stamp, item

    def expect(self, stamp: int) -> None:
        """Keep what fits this stamp best from now on, until ``take``."""
        with self._lock:
            if stamp in self._expected:
                return
            while len(self._expected) >= self._memory:
                del self._expected[next(iter(self._expected))]
            self._expected[stamp] = min(
                reversed(self._newest), key=lambda one: abs(one[0] - stamp), default=None
            )

    def settled(self, stamp: int) -> bool:
        """Return whether no later item can fit better: one fits exactly, or a newer one came."""
        with self._lock:
            kept = self._expected.get(stamp)
            if kept is not None and kept[0] == stamp:
                return True
            return bool(self._newest) and self._newest[-1][0] > stamp

    def distance(self, stamp: int) -> int | None:
        """Return how far the best item is from an expected stamp [ns]; ``None`` without one."""
        with self._lock:
            kept = self._expected.get(stamp)
            return None if kept is None else abs(kept[0] - stamp)

    def take(self, stamp: int) -> Item | None:
        """Return the best item for an expected stamp, and wait for it no more.

        ``None`` if none is within the tolerance.
        """
        with self._lock:
            kept = self._expected.pop(stamp, None)
        if kept is None or abs(kept[0] - stamp) > self.tolerance:
            return None
        return kept[1]
