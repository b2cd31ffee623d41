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
"""Statistics of frames: rates, dropped frames, latencies by stage."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
import threading
import time

import numpy as np

STAGES = ('wait', 'pre-process', 'model', 'post-process', 'publish')
"""What a frame passes, in this order; its times add up to the time that it is in the node."""
DROPS = ('newer frame', 'bad image', 'no words', 'nobody listens', 'out of memory', 'fault')
"""Reasons why a frame that arrived is not labelled."""
RATE_WINDOW = 5.0
"""Seconds over which rates are measured."""
LATENCY_WINDOW = 256
"""Number of the newest frames whose latencies are kept."""


@dataclass(frozen=True)
class Percentiles:
    """Median and 95th percentile of a time, in seconds."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Snapshot:
    """The statistics at one moment.

    Attributes:
        frames_in: Frames that arrived since the start.
        frames_out: Frames that were labelled since the start.
        input_rate: Frames that arrived per second, over the last ``RATE_WINDOW`` seconds [Hz].
        output_rate: Frames labelled per second, over the last ``RATE_WINDOW`` seconds [Hz].
        dropped: Frames that were not labelled since the start, by each of ``DROPS``.
        latencies: By each of ``STAGES``, over the last ``LATENCY_WINDOW`` frames; empty before
            the first frame.
    """

    frames_in: int
    frames_out: int
    input_rate: float
    output_rate: float
    dropped: Mapping[str, int]
    latencies: Mapping[str, Percentiles]


class _Rate:
    """Counts events, and those of the last seconds."""

    def __init__(self) -> None:
        self.total = 0
        self._times: deque[float] = deque()

    def count(self, now: float) -> None:
        self.total += 1
        self._times.append(now)
        self._forget(now)

    def per_second(self, now: float, since: float) -> float:
        """Return the rate over the window, or over the time since the start if that is less."""
        self._forget(now)
        return len(self._times) / max(min(RATE_WINDOW, now - since), 1.0)

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] < now - RATE_WINDOW:
            self._times.popleft()


class Statistics:
    """Counts and times frames since the start; thread-safe.

    Args:
        clock: Returns seconds that only grow.
        total: Statistics of all cameras, which count every frame as well.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        total: 'Statistics | None' = None,
    ) -> None:
        self._clock = clock
        self._total = total
        self._lock = threading.Lock()
        self._arrivals = _Rate()
        self._labelled = _Rate()
        self._dropped: Counter[str] = Counter()
        self._latencies: deque[tuple[float, ...]] = deque(maxlen=LATENCY_WINDOW)
        self._since = clock()

    def restart(self) -> None:
        """Forget rates and latencies; totals are kept."""
        with self._lock:
            totals = self._arrivals.total, self._labelled.total
            self._arrivals, self._labelled = _Rate(), _Rate()
            self._arrivals.total, self._labelled.total = totals
            self._latencies.clear()
            self._since = self._clock()

    def arrived(self) -> None:
        """Count a frame that arrived."""
        with self._lock:
            self._arrivals.count(self._clock())
        if self._total is not None:
            self._total.arrived()

    def dropped(self, reason: str) -> None:
        """Count a frame that is not labelled, for one of ``DROPS``."""
        with self._lock:
            self._dropped[reason] += 1
        if self._total is not None:
            self._total.dropped(reason)

    def labelled(self, times: Mapping[str, float]) -> None:
        """Count a frame that was labelled, with the seconds that each of ``STAGES`` took."""
        with self._lock:
            self._labelled.count(self._clock())
            self._latencies.append(tuple(times[stage] for stage in STAGES))
        if self._total is not None:
            self._total.labelled(times)

    def snapshot(self) -> Snapshot:
        """Return the statistics at this moment."""
        with self._lock:
            now = self._clock()
            return Snapshot(
                frames_in=self._arrivals.total,
                frames_out=self._labelled.total,
                input_rate=self._arrivals.per_second(now, self._since),
                output_rate=self._labelled.per_second(now, self._since),
                dropped={reason: self._dropped[reason] for reason in DROPS},
                latencies=self._percentiles(),
            )

    def _percentiles(self) -> Mapping[str, Percentiles]:
        if not self._latencies:
            return {}
        values = np.percentile(np.array(self._latencies), (50.0, 95.0), axis=0).T.tolist()
        return {stage: Percentiles(*pair) for stage, pair in zip(STAGES, values, strict=True)}
