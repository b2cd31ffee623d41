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
"""The methods of a case, one after the other and round after round."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
import math
import statistics
import time
from typing import Any

import numpy as np
import torch
from zegclip_core.devices import DTYPES, is_memory_error, pick_precision, reason_of
from zegclip_core.errors import DeviceMemoryError
from zegclip_core.speed.inputs import Inputs
from zegclip_core.speed.methods import Labels, Method
from zegclip_core.speed.report import Case, Report, Row
from zegclip_core.speed.timing import free_bytes, peak_growth, timed

LEAST_ROUNDS = 2
"""Rounds that are made whatever time they take, if only there is time left in all."""


@contextmanager
def kept_going(report: Report, what: str) -> Iterator[None]:
    """Turn what ends a piece of work into a line of the report.

    What does not fit into the memory is a note, anything else an error.
    """
    try:
        yield
    except Exception as error:  # Of whatever kind: the figures of the others are wanted.
        if isinstance(error, DeviceMemoryError | MemoryError) or is_memory_error(error):
            report.notes.append(f'{what} left out: {reason_of(error)}')
            return
        reason = (str(error).strip() or 'no reason given').partition('\n')[0]
        report.errors.append(f'{what} failed: {type(error).__name__}: {reason}')


class Turns:
    """Lets the methods of a case take turns.

    Args:
        methods: By name.
        case: What they are asked for.
        inputs: What they are given.
        device: Where they compute.
        report: Gets a line for each method that does not end, and no row of it.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        case: Case,
        inputs: Inputs,
        device: torch.device,
        report: Report,
    ) -> None:
        self._methods, self._case, self._inputs = methods, case, inputs
        self._device, self._report = device, report
        self._labels: dict[str, Labels] = {}
        self._first: dict[str, float] = {}
        self._memory: dict[str, int] = {}
        self._times: dict[str, list[float]] = {}

    def measure(
        self,
        names: Sequence[str],
        *,
        repeats: int,
        case_seconds: float = math.inf,
        least_until: float = math.inf,
    ) -> Iterator[Row]:
        """Call methods, and yield their rows.

        Args:
            names: Of the methods. Those called before are what these are compared with.
            repeats: Most calls of each that count; the first one does not.
            case_seconds: After so long no further round begins, unless there are too few; a
                method whose first call takes as long is not called again, and this one counts.
            least_until: When ``time.perf_counter`` will be past this, not even too few rounds
                are made up for: if there is none, the first calls count.
        """
        for name in names:
            with kept_going(self._report, f'{self._case}: {name}'):
                self._call_first(name)
        turns = deque(name for name in names if self._first.get(name, case_seconds) < case_seconds)
        began, last = time.perf_counter(), sum(self._first[name] for name in turns)
        for index in range(repeats):
            now = time.perf_counter()
            late = (
                now - began > case_seconds if index >= LEAST_ROUNDS else now > least_until - last
            )
            if late or not turns:
                break
            for name in tuple(turns):
                with kept_going(self._report, f'{self._case}: {name}'):
                    work = partial(self._methods[name].label, self._inputs)
                    self._times[name].append(timed(self._device, work)[1])
                    continue
                turns.remove(name)  # It failed.
                del self._first[name]
            turns.rotate(-1)
            last = time.perf_counter() - now
        yield from (self._row(name) for name in names if name in self._first)

    def _call_first(self, name: str) -> None:
        """Call a method, and note its labels, time and memory."""
        method = self._methods[name]
        method.release()
        needed, free = method.needed_bytes(self._inputs), free_bytes(self._device)
        if needed > free:
            raise DeviceMemoryError(
                f'needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free'
            )
        first = partial(timed, self._device, partial(method.label, self._inputs))
        (labels, seconds), self._memory[name] = peak_growth(self._device, first)
        self._labels[name], self._first[name], self._times[name] = labels, seconds, []

    def _row(self, name: str) -> Row:
        """Return what was found of a method."""
        times, literal = (
            (self._times[n] or [self._first[n]]) if n in self._first else []
            for n in (name, 'literal')
        )
        low, high = np.percentile(times, [25, 75])
        ratios = [a / b for a, b in zip(literal, times, strict=False)]
        alike: dict[str, Any] = {
            f'as_{other}': float(np.mean(self._labels[name] == self._labels[other]))
            for other in ('plain', 'literal')
            if other in self._labels
        }
        return Row(
            **vars(self._case),
            method=name,
            precision=precision_of(name, self._device),
            ms=1e3 * statistics.median(times),
            spread_ms=1e3 * float(high - low),
            runs=len(times),
            memory_mb=(self._methods[name].weight_bytes + self._memory[name]) / 1e6,
            gflop=self._methods[name].operations(self._inputs) / 1e9,
            speed_up=statistics.median(ratios) if ratios else None,
            **alike,
        )


def precision_of(method: str, device: torch.device) -> str:
    """Return the precision that a method multiplies in: all but ``lean`` in float32."""
    dtype = pick_precision('auto' if method == 'lean' else 'fp32', device)
    return next(name for name, known in DTYPES.items() if known == dtype)
