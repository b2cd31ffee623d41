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
"""What a soak test found, in words, tables and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reports import megabytes, table
from benchmarks.soak_figures import Curve, Picture, Trend, trend
import numpy as np

LIMIT = 10e6
"""Bytes that resident memory may grow an hour."""
MEMORY = {'rss': 'resident', 'pss': 'resident, shared parts divided', 'anonymous': 'anonymous'}


def same(start: dict[str, Any], end: dict[str, Any]) -> bool:
    """Return whether everything but the descriptors is as it was."""
    return all(start.get(key) == end.get(key) for key in {*start, *end} - {'descriptors'})


def differences(start: dict[str, Any], end: dict[str, Any]) -> list[str]:
    """Return what is not as it was, in words."""
    found = []
    for key in sorted({*start, *end} - {'descriptors'}):
        before, after = start.get(key), end.get(key)
        if isinstance(before, list) and isinstance(after, list):
            new = sorted(set(after) - set(before))
            gone = sorted(set(before) - set(after))
            if before != after:
                found.append(f'{key}: {len(before)} became {len(after)}, new {new}, gone {gone}')
        elif before != after:
            found.append(f'{key}: {before} became {after}')
    return found


def trends(samples: Sequence[dict[str, float]], warm_up: float, window: float) -> dict[str, Trend]:
    """Return how each kind of memory grows after the warm-up.

    Raises:
        ValueError: If there are too few samples.
    """
    rows = [row for row in samples if row['seconds'] >= warm_up]
    seconds = np.array([row['seconds'] for row in rows])
    return {kind: trend(seconds, np.array([row[kind] for row in rows]), window) for kind in MEMORY}


def draw(path: Path, samples: Sequence[dict[str, float]], line: Trend, warm_up: float) -> None:
    """Draw the curves of memory and the line through them."""
    minutes = [row['seconds'] / 60 for row in samples]
    curves = {kind: [row[kind] / 1e6 for row in samples] for kind in MEMORY}
    values = [value for curve in curves.values() for value in curve]
    room = 0.15 * (max(values) - min(values)) + 1
    picture = Picture(
        'Memory of the node in the soak test',
        (0.0, minutes[-1]),
        (max(min(values) - 3 * room, 0.0), max(values) + room),
        'MB',
    )
    picture.shade(0.0, min(warm_up / 60, minutes[-1]), 'warm-up')
    picture.axes()
    colors = [(31, 119, 180), (44, 160, 44), (148, 103, 189)]
    for kind, color in zip(MEMORY, colors, strict=True):
        picture.curve(Curve(MEMORY[kind], minutes, curves[kind], color))
    ends = [warm_up / 60, minutes[-1]]
    heights = [(line.start + line.slope * minute / 60) / 1e6 for minute in ends]
    picture.curve(Curve(f'{line.slope / 1e6:+.1f} MB an hour', ends, heights, (214, 39, 40)))
    picture.save(path)


def interval(line: Trend) -> str:
    """Return a slope with its confidence interval."""
    return f'{line.slope / 1e6:+.2f} MB/h ({line.low / 1e6:+.2f} to {line.high / 1e6:+.2f})'


def in_markdown(figures: dict[str, Any]) -> str:
    """Return the figures as tables."""
    lines = {kind: Trend(**values) for kind, values in figures['trends'].items()}
    start, end = figures['start'], figures['end']
    memory = [
        [
            MEMORY[kind],
            *(megabytes(figures['memory'][kind][at]) for at in range(2)),
            interval(line),
        ]
        for kind, line in lines.items()
    ]
    counts = [
        [
            kind,
            *(one[kind] if isinstance(one[kind], int) else len(one[kind]) for one in (start, end)),
        ]
        for kind in start
    ]
    events = sorted(figures['events'].items())
    gaps = figures['longest wait']
    points = next(iter(lines.values())).points
    parts = [
        f'{figures["setting"]}, {figures["minutes"]:g} minutes, transport {figures["transport"]}. '
        f'Answers awaited: {figures["awaited"]}; wrong or missing: {len(figures["failures"])}; '
        f'tracebacks in the log: {len(figures["faults in the log"])}; exit code: '
        f'{figures["exit code"]}. Longest time without labels though a camera, the node and a '
        f'listener were there: {gaps["labels"]:.1f} s; without diagnostics: '
        f'{gaps["diagnostics"]:.1f} s.',
        table(['memory', 'after the warm-up', 'at the end', 'growth (95 % interval)'], memory),
        f'The line is fitted to the {points} medians of {figures["window"]:g} s after the first '
        f'{figures["warm-up"] / 60:g} minutes.',
        table(['', 'at the start', 'at the end'], counts),
        table(['what happened', 'times'], events),
    ]
    return '\n\n'.join(parts)


def faults_of(figures: dict[str, Any]) -> list[str]:
    """Return which limits are broken, in words."""
    found = list(figures['failures'])
    found += [f'log: {line}' for line in figures['faults in the log']]
    found += differences(figures['start'], figures['end'])
    slope = figures['trends'].get('rss', {}).get('slope')
    if slope is None:
        found.append('too few samples for a line through the memory')
    elif slope > LIMIT:
        found.append(f'memory grows by {megabytes(slope)} an hour, more than {megabytes(LIMIT)}')
    if figures['exit code'] != 0:
        found.append(f'the node ended with the exit code {figures["exit code"]}')
    return found


def ends_of(samples: Sequence[dict[str, float]], warm_up: float) -> dict[str, list[float]]:
    """Return the median of the first and the last ten samples after the warm-up."""
    rows = [row for row in samples if row['seconds'] >= warm_up]
    return {
        kind: [float(np.median([row[kind] for row in part])) for part in (rows[:10], rows[-10:])]
        for kind in MEMORY
        if rows
    }
