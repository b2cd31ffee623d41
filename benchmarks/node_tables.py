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
"""The tables of the node's benchmark, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.node_case import target, TRANSPORTS
from benchmarks.node_figures import STAGES
from benchmarks.reports import table
from benchmarks.soak_figures import Curve, Picture
from scipy import stats

Result = Mapping[str, Any]
NOTHING = '-'
NAMES = ('p50', 'p95', 'max')
_HEADS = {'default': 'default', 'large_data': 'LARGE_DATA + malloc'}


def number(value: float | None, digits: int = 1) -> str:
    """Return a figure, or a dash if there is none."""
    return NOTHING if value is None else f'{value:.{digits}f}'


def _figure(spread: Mapping[str, float] | None, name: str) -> str:
    return number(None if spread is None else spread[name])


def _size(result: Result) -> str:
    return f'{result["case"]["width"]}x{result["case"]["height"]}'


def _camera(result: Result) -> str:
    return str(result['case']['reliability']).replace('_', ' ')


def _counts(result: Result) -> str:
    return f'{result["received"]} / {result["sent"]}'


def _stale(results: Iterable[Result]) -> str:
    """Return how many frames were worked on although a newer one had arrived."""
    stale = [result['stale'] for result in results]
    return f'{sum(entry["count"] for entry in stale)} of {sum(entry["of"] for entry in stale)}'


def _problems(results: Iterable[Result]) -> str:
    lines = [f'- {result["name"]}: {result["problem"]}' for result in results if result['problem']]
    return '\n'.join(['', '', 'Troubles:', '', *lines]) if lines else ''


def latency_table(results: Sequence[Result]) -> str:
    """Return the added latency of each size and camera, both transports side by side."""
    head = ['frames', 'camera']
    for transport in TRANSPORTS:
        title = _HEADS[transport]
        head += [f'{title}: received / sent', 'p50 [ms]', 'p95 [ms]', 'max [ms]']
    head += ['target p50 [ms]', 'stale']
    keys = list(dict.fromkeys((_size(result), _camera(result)) for result in results))
    rows = [_latency_row(key, results) for key in keys]
    return table(head, rows) + _problems(results)


def _latency_row(key: tuple[str, str], results: Sequence[Result]) -> list[str]:
    found = [result for result in results if (_size(result), _camera(result)) == key]
    by = {result['case']['transport']: result for result in found}
    row = list(key)
    for transport in TRANSPORTS:
        result = by.get(transport)
        if result is None:
            row += [NOTHING] * 4
            continue
        added = result['added [ms]']
        row += [_counts(result), *(_figure(added, name) for name in ('p50', 'p95', 'max'))]
    goals = [goal for result in found if (goal := target(result['case'])) is not None]
    return [*row, number(goals[0] if goals else None, 0), _stale(found)]


def stages_table(results: Sequence[Result]) -> str:
    """Return what the added latency consists of, medians."""
    names = [
        f'{_size(result)} {_HEADS[result["case"]["transport"]]}, {_camera(result)}'
        for result in results
    ]
    rows = [
        [stage, *(_figure(result['stages [ms]'].get(stage), 'p50') for result in results)]
        for stage in STAGES
    ]
    rows.append(
        ['**all**', *(f'**{_figure(result["added [ms]"], "p50")}**' for result in results)]
    )
    rows.append(
        ['(model, not counted)', *(_figure(result['model [ms]'], 'p50') for result in results)]
    )
    return table(['median of each stage [ms]', *names], rows)


def words_table(results: Sequence[Result]) -> str:
    """Return what changes of the words cost."""
    head = [
        *('frames', 'changes', 'most frames lost to one', 'lost to all', 'not taken over'),
        *('between two labels: p50 [ms]', 'max [ms]', 'added p50 [ms]', 'received / sent'),
    ]
    return table(head, map(_words_row, results)) + _problems(results)


def _words_row(result: Result) -> list[object]:
    cost = result['changes of words']
    ends = [_figure(result['added [ms]'], 'p50'), _counts(result)]
    if cost is None:
        return [_size(result), *[NOTHING] * 6, *ends]
    # A model slower than the camera drops frames anyway: there the pause says what was lost.
    slow = result['case']['model']
    lost = [NOTHING, NOTHING] if slow else [cost['most'], sum(cost['lost'])]
    gaps = [_figure(cost['gap [ms]'], name) for name in ('p50', 'max')]
    name = f'{_size(result)} {slow}'.strip()
    return [name, cost['changes'], *lost, len(cost['not taken over']), *gaps, *ends]


def model_table(results: Sequence[Result]) -> str:
    """Return the added latency with a real model."""
    head = [
        *('frames', 'model', 'model p50 [ms]', 'added p50 [ms]', 'p95 [ms]', 'max [ms]'),
        *('of it waiting for the worker, p50 [ms]', 'processed / sent', 'stale'),
    ]
    rows = [
        [
            *(_size(result), result['case']['model'], _figure(result['model [ms]'], 'p50')),
            *(_figure(result['added [ms]'], name) for name in ('p50', 'p95', 'max')),
            _figure(result['stages [ms]'].get('node: wait for the worker'), 'p50'),
            f'{result["processed"]} / {result["sent"]}',
            _stale([result]),
        ]
        for result in results
    ]
    return table(head, rows) + _problems(results)


def slope(rows: Sequence[Mapping[str, float]]) -> tuple[float, float] | None:
    """Return how the medians grow, in ms a minute, and the half width of its 95 % interval.

    Returns:
        ``None`` if there are fewer than four.
    """
    if len(rows) < 4:
        return None
    fit = stats.linregress([row['seconds'] / 60.0 for row in rows], [row['p50'] for row in rows])
    return float(fit.slope), float(stats.t.ppf(0.975, len(rows) - 2) * fit.stderr)


def slow_table(result: Result) -> str:
    """Return the added latency with a model that is slower than the camera, by the minute."""
    over_time = result['over time [ms]']
    rows = [
        [f'{row["seconds"] / 60.0:.2f}', row['frames'], *(number(row[name]) for name in NAMES)]
        for row in over_time
    ]
    text = table(['minute', 'frames', 'p50 [ms]', 'p95 [ms]', 'max [ms]'], rows)
    line = slope(over_time)
    if line is not None:
        text += f'\n\nThe medians change by {line[0]:+.2f} ± {line[1]:.2f} ms a minute (95 %).'
    return (
        f'{text}\n\nFrames worked on although a newer one had arrived: {_stale([result])}. '
        f'Received / sent: {_counts(result)}.{_problems([result])}'
    )


def slow_picture(result: Result, path: Path) -> None:
    """Write a picture of the added latency over time."""
    rows = result['over time [ms]']
    if len(rows) < 2:
        return
    minutes = [row['seconds'] / 60.0 for row in rows]
    highest = 1.2 * max(row['p95'] for row in rows)
    cost = f'{1000 * result["case"]["cost"]:.0f} ms'
    title = f'Added latency, model of {cost} at {result["case"]["rate"]:.0f} Hz'
    picture = Picture(title, (0.0, minutes[-1] + minutes[0]), (0.0, highest), 'ms')
    picture.axes()
    for name, color in (('p50', (31, 119, 180)), ('p95', (255, 127, 14))):
        picture.curve(Curve(name, minutes, [row[name] for row in rows], color))
    picture.save(path)
