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
"""The report as text for a terminal and as Markdown for a page."""

from collections.abc import Callable, Iterable, Sequence
import statistics

from zegclip_core.speed.cases import PLAIN
from zegclip_core.speed.rows import (
    CameraRow,
    NOTHING_LEFT_OUT,
    Report,
    Row,
    Start,
    START_PARTS,
    WordChanges,
)

NOTHING = '-'
_HEAD = (
    *('frame', 'classes', 'batch', 'prompts', 'side', 'model [ms]', 'frame to labels [ms]'),
    *('spread [ms]', 'runs', 'peak [MB]', 'as plain', 'as literal', 'of peak', 'speed-up'),
)
_CAMERA_HEAD = (
    *('short side', 'precision', 'model [ms]', 'segment() [ms]', 'frames a second'),
    *('labels as plain fp32', 'as at the default size'),
)
_STEPS_HEAD = (
    *('left out', 'model [ms]', 'frame to labels [ms]', 'spread [ms]', 'peak [MB]'),
    *('what the step gives', 'labels as plain fp32'),
)

Table = tuple[Sequence[str], list[list[str]]]


def number(value: float | None) -> str:
    """Return three or more digits, as many as tell something.

    Example:
        >>> number(1234.5), number(12.345), number(0.12345), number(None)
        ('1234', '12.3', '0.123', '-')

    """
    if value is None:
        return NOTHING
    digits = next((d for limit, d in ((100, 0), (10, 1), (1, 2)) if abs(value) >= limit), 3)
    return f'{value:.{digits}f}'


def percent(value: float | None) -> str:
    """Return a share in percent; 100 only for all.

    Example:
        >>> percent(0.9999), percent(0.99999), percent(1.0), percent(None)
        ('99.99', '99.99', '100', '-')

    """
    if value is None:
        return NOTHING
    return '100' if value == 1.0 else f'{int(1e4 * value) / 100:.2f}'


def rows_table(report: Report) -> Table:
    """Return what was measured, with the times against the literal pipeline's."""
    literal = {row.case: row.total_ms for row in report.rows if row.side == 'literal'}
    return _HEAD, [_cells(row, report, literal.get(row.case)) for row in report.rows]


def _cells(row: Row, report: Report, literal: float | None) -> list[str]:
    case = row.case
    frame = f'{case.width}x{case.height}'
    start = [frame, str(case.classes), str(case.batch), str(case.prompts), row.side]
    if row.skipped:
        return [*start, f'skipped: {row.skipped}', *[NOTHING] * (len(_HEAD) - len(start) - 1)]
    faster = literal / row.total_ms if literal and row.total_ms else None
    return [
        *start,
        *(number(value) for value in (row.model_ms, row.total_ms, row.spread_ms)),
        str(len(row.times)),
        number(row.peak_mb),
        *(percent(value) for value in (row.agreement, row.agreement_literal)),
        percent(row.share_of_peak(report.ceiling)),
        NOTHING if faster is None else f'{faster:.2f}x',
    ]


def camera_table(rows: Iterable[CameraRow]) -> Table:
    """Return the figures of the bundled model."""
    lines = [
        [
            f'{row.short_side}{" (default)" if row.is_default else ""}',
            row.precision,
            number(row.model_ms),
            number(row.total_ms),
            f'{row.rate:.1f}',
            percent(row.agreement),
            percent(row.agreement_default),
        ]
        for row in rows
    ]
    return _CAMERA_HEAD, lines


def steps_table(rows: Sequence[Row]) -> Table:
    """Return what the lean path takes with each step left out, and what the step gives."""
    whole = next(row for row in rows if row.side == NOTHING_LEFT_OUT)
    lines = []
    for row in rows:
        gain = None if row is whole else row.times_as_long(whole)
        name = 'all, and float32: the plain path' if row.side == PLAIN else row.side
        times = (row.model_ms, row.total_ms, row.spread_ms, row.peak_mb)
        values = [number(value) for value in times]
        shown = NOTHING if gain is None else f'{gain:.2f}x'
        lines.append([name, *values, shown, percent(row.agreement)])
    return _STEPS_HEAD, lines


def words_table(words: WordChanges) -> Table:
    """Return what a change of the vocabulary costs."""
    head = (
        f'{words.words} words',
        'until they are ready [ms]',
        'between two labels at rest [ms]',
        'longest beside a change [ms]',
    )
    rest, longest = number(words.interval_ms), number(words.longest_ms)
    return head, [
        ['new, beside frames', number(words.new_ms), rest, longest],
        ['new, no frames', number(words.alone_ms), NOTHING, NOTHING],
        ['known, no frames', number(words.known_ms), NOTHING, NOTHING],
    ]


def starts_table(starts: Sequence[Start]) -> Table:
    """Return the parts of a start, the medians of several."""
    head = ('from the start of the process to the first label', 'seconds')
    parts = zip(*(start.parts for start in starts), strict=True)
    rows = [
        [name, f'{statistics.median(times):.2f}']
        for name, times in zip(START_PARTS, parts, strict=True)
    ]
    total = statistics.median(start.total for start in starts)
    frame = statistics.median(start.frame for start in starts)
    return head, [*rows, ['**all**', f'**{total:.2f}**'], ['(the next frame)', f'{frame:.2f}']]


def ceiling_line(report: Report) -> str:
    """Return what the device can do."""
    rates = ', '.join(f'{name} {number(rate)}' for name, rate in report.ceiling.tflops.items())
    return (
        f'{report.device}: products of matrices [TFLOP/s] {rates}; '
        f'copying {number(report.ceiling.copy_gbps)} GB/s; best precision {report.best}'
    )


def plain_text(report: Report) -> str:
    """Return the report for a terminal."""
    parts = [ceiling_line(report), _aligned(*rows_table(report))]
    if report.camera:
        parts += ['everyday-s, 640x480 camera', _aligned(*camera_table(report.camera))]
    if report.words:
        parts += ['everyday-s, other words', _aligned(*words_table(report.words))]
    if report.starts:
        parts += ['everyday-s, start', _aligned(*starts_table(report.starts))]
    for steps in report.steps:
        title = f'lean {steps.precision} without each of its steps, {steps.case}'
        parts += [title, _aligned(*steps_table(steps.rows))]
    minutes = report.seconds / 60
    parts.append(f'{report.model}; {report.software}; {minutes:.1f} minutes')
    return '\n\n'.join(parts) + '\n'


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns of equal width; a reason may be longer than its column."""
    shown = [head, *rows]
    short = [[cell for cell in column if ' ' not in cell] for column in zip(*rows, strict=True)]
    widths = [max(map(len, (title, *cells))) for title, cells in zip(head, short, strict=True)]
    return '\n'.join(_line(cells, widths) for cells in shown)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    skipped = next((i for i, cell in enumerate(cells) if cell.startswith('skipped')), None)
    if skipped is not None:
        cells = cells[: skipped + 1]
    aligned = zip(cells, widths[: len(cells)], strict=True)
    return '  '.join(cell.rjust(width) for cell, width in aligned).rstrip()


def markdown(table: Table, keep: Callable[[Sequence[str]], bool] = lambda row: True) -> str:
    """Return a table in Markdown, of some of its rows."""
    head, rows = table
    lines = [head, ['---'] * len(head), *filter(keep, rows)]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
