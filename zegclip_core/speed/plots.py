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
"""Pictures of a report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from zegclip_core.speed.cases import Case, sweep_cases
from zegclip_core.speed.rows import Report, Row

_STYLES = {
    'literal': ('#D55E00', 's', 'literal (published)'),
    'plain': ('#E69F00', '^', 'plain'),
    'lean_fp32': ('#56B4E9', 'v', 'lean fp32'),
    'lean': ('#0072B2', 'o', 'lean'),
    'lean_candidates': ('#009E73', '*', 'lean, few candidates'),
    'two_stage': ('#CC79A7', 'D', 'two stages'),
    'two_stage_half': ('#999999', 'd', 'two stages, half'),
}
"""Colour (of Okabe and Ito), marker and name of each side."""
_AXES: dict[str, tuple[str, Callable[[Case], str]]] = {
    'classes': ('classes', lambda case: str(case.classes)),
    'sizes': ('frame', lambda case: f'{case.width}x{case.height}'),
    'batch': ('frames at once', lambda case: str(case.batch)),
    'prompts': ('prompt tokens a layer', lambda case: str(case.prompts)),
}
_DPI = 110


def save_plots(report: Report, folder: Path) -> list[Path]:
    """Draw times, memory and reached shares.

    Args:
        report: What to draw.
        folder: Where to; it must be there.

    Returns:
        The PNG files, ``benchmark-time.png``, ``-memory.png`` and ``-share.png``.

    """
    drawn = {'time': _times(report), 'memory': _memory(report), 'share': _shares(report)}
    paths = []
    for name, figure in drawn.items():
        path = folder / f'benchmark-{name}.png'
        figure.savefig(path, format='png', bbox_inches='tight', pad_inches=0.15)
        paths.append(path)
    return paths


def _figure(width: float, height: float, title: str) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    return figure


def _sides(rows: Sequence[Row]) -> list[str]:
    """Return the sides that were measured anywhere, in the order of the styles."""
    measured = {row.side for row in rows if not row.skipped}
    return [side for side in _STYLES if side in measured]


def _sweep(report: Report, name: str) -> list[Case]:
    """Return the cases of a sweep that were measured; none if there is but one."""
    measured = {row.case for row in report.rows if not row.skipped}
    cases = [case for case in sweep_cases(name, report.base) if case in measured]
    return cases if len(cases) > 1 else []


def _times(report: Report) -> Figure:
    """Draw the time from frame to labels along every axis, and that of the model alone."""
    figure = _figure(10.0, 7.0, f'From frames to labels: {report.model} on {report.device}')
    grid = figure.subplots(2, 2)
    for axes, name in zip(grid.flat, _AXES, strict=True):
        _curves(axes, report, name, lambda row: row.total_ms)
        _curves(axes, report, name, lambda row: row.model_ms, dotted=True)
        axes.set_ylabel('time [ms]')
        if axes.lines:
            axes.set_yscale('log')
            for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                which(FuncFormatter(_tick))
    _legend(figure, report, [('frames to labels', '-'), ('model alone', ':')])
    return figure


def _tick(value: float, position: int | None = None) -> str:
    """Write out 1, 2 and 5 of every decade."""
    del position
    return f'{value:g}' if f'{value:.0e}'[0] in '125' else ''


def _curves(
    axes: Axes,
    report: Report,
    sweep: str,
    value: Callable[[Row], float | None],
    *,
    dotted: bool = False,
) -> None:
    """Draw one line a side along a sweep."""
    title, label = _AXES[sweep]
    cases = _sweep(report, sweep)
    if not cases:
        axes.set_axis_off()
        axes.text(0.5, 0.5, f'{title}: not measured', transform=axes.transAxes, ha='center')
        return
    rows = {(row.side, row.case): row for row in report.rows if not row.skipped}
    for side in _sides(report.rows):
        color, marker, _ = _STYLES[side]
        found = [(k, rows[side, case]) for k, case in enumerate(cases) if (side, case) in rows]
        points = [(k, y) for k, row in found if (y := value(row)) is not None]
        xs, ys = [k for k, _ in points], [y for _, y in points]
        axes.plot(
            xs,
            ys,
            color=color,
            marker=None if dotted else marker,
            linestyle=':' if dotted else '-',
            linewidth=1.2 if dotted else 1.6,
            markersize=5,
        )
    axes.set_xticks(range(len(cases)), labels=[label(case) for case in cases])
    axes.set_xlabel(title)
    axes.set_xlim(-0.3, max(len(cases) - 0.7, 0.3))
    axes.grid(axis='y', alpha=0.3)


def _legend(
    figure: Figure, report: Report, further: Sequence[tuple[str, Literal['-', ':']]] = ()
) -> None:
    """Name the sides below the pictures."""
    handles = [
        Line2D([], [], color=_STYLES[side][0], marker=_STYLES[side][1], label=_STYLES[side][2])
        for side in _sides(report.rows)
    ]
    handles += [
        Line2D([], [], color='black', linestyle=line, label=text) for text, line in further
    ]
    figure.legend(handles=handles, loc='outside lower center', ncols=4, fontsize=9, frameon=False)


def _memory(report: Report) -> Figure:
    """Draw the peak memory along the classes and along the sizes."""
    title = f'Peak memory, weights and a frame: {report.model} on {report.device}'
    figure = _figure(10.0, 3.8, title)
    for axes, name in zip(figure.subplots(1, 2), ('classes', 'sizes'), strict=True):
        _curves(axes, report, name, lambda row: row.peak_mb)
        axes.set_ylabel('peak memory [MB]')
        axes.set_ylim(bottom=0)
        axes.yaxis.set_minor_formatter(NullFormatter())
    _legend(figure, report)
    return figure


def _shares(report: Report) -> Figure:
    """Draw each side's rate of operations beside the device's own."""
    rows = [row for row in report.rows if not row.skipped and row.case == report.base]
    figure = _figure(8.0, 0.7 + 0.42 * (len(rows) + len(report.ceiling.tflops)), _title(report))
    axes = figure.subplots()
    bars = [
        (_STYLES[row.side][2], row.flops / (1e9 * (row.model_ms or 1.0)), _STYLES[row.side][0])
        for row in rows
    ]
    bars += [(f'ceiling, {name}', rate, '#BBBBBB') for name, rate in report.ceiling.tflops.items()]
    for index, (_, rate, color) in enumerate(bars):
        axes.barh(index, rate, color=color, height=0.7)
        share = rate / report.ceiling.peak_tflops
        axes.text(rate, index, f' {rate:.3g} ({100 * share:.0f} %)', va='center', fontsize=9)
    axes.set_yticks(range(len(bars)), labels=[name for name, _, _ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max(rate for _, rate, _ in bars))
    axes.set_xlabel('operations that the model needs, a second [TFLOP/s]')
    return figure


def _title(report: Report) -> str:
    return f'Reached share of {report.device}: {report.model}, {report.base}'
