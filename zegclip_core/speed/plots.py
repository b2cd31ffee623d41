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
"""Plots of a report."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from zegclip_core.speed.cases import Case, sweep_cases
from zegclip_core.speed.report import Report

_STYLES = {
    'literal': ('#D55E00', 's'),
    'plain': ('#E69F00', '^'),
    'lean_fp32': ('#56B4E9', 'v'),
    'lean': ('#0072B2', 'o'),
    'two_stage': ('#CC79A7', 'D'),
}
"""Colour (of Okabe and Ito) and marker of each method."""
_AXES: dict[str, tuple[str, Callable[[Case], str]]] = {
    'classes': ('classes', lambda case: str(case.classes)),
    'sizes': ('frame', lambda case: f'{case.width}x{case.height}'),
    'batch': ('frames at once', lambda case: str(case.batch)),
    'prompts': ('prompt tokens a layer', lambda case: str(case.prompts)),
}
"""Title of each sweep's axis, and what stands at its ticks."""


def save_plots(report: Report, folder: Path) -> list[Path]:
    """Draw times, memory and the reached share of the device's peak.

    Args:
        report: What to draw.
        folder: Where to; it must be there.

    Returns:
        The PNG files, ``benchmark-time.png``, ``-memory.png`` and ``-share.png``.
    """
    figures = {
        'time': Figure(figsize=(10.0, 7.0), layout='constrained'),
        'memory': Figure(figsize=(10.0, 3.8), layout='constrained'),
        'share': Figure(figsize=(8.0, 4.5), layout='constrained'),
    }
    for axes, sweep in zip(figures['time'].subplots(2, 2).flat, _AXES, strict=True):
        _curves(axes, report, sweep, 'total_ms')
        axes.set(yscale='log', ylabel='from frame to labels [ms]')
    for axes, sweep in zip(figures['memory'].subplots(1, 2), ('classes', 'sizes'), strict=True):
        _curves(axes, report, sweep, 'peak_mb')
        axes.set(ylim=(0, None), ylabel='peak memory, weights and a frame [MB]')
    _bars(figures['share'].subplots(), report)
    paths = []
    for name, figure in figures.items():
        figure.suptitle(f'{report.model} on {report.device}', fontsize=11)
        paths.append(folder / f'benchmark-{name}.png')
        figure.savefig(paths[-1], dpi=110)
    return paths


def _curves(axes: Axes, report: Report, sweep: str, figure: str) -> None:
    """Draw a figure of the rows along a sweep, one line a method."""
    title, tick = _AXES[sweep]
    cases = sweep_cases(sweep, report.base)
    for method, (color, marker) in _STYLES.items():
        rows = {row.case: row for row in report.rows if row.method == method and not row.skipped}
        places = [index for index, case in enumerate(cases) if case in rows]
        if places:
            values = [getattr(rows[cases[index]], figure) for index in places]
            axes.plot(places, values, color=color, marker=marker, label=method)
    axes.set_xticks(range(len(cases)), labels=[tick(case) for case in cases])
    axes.set_xlabel(title)
    axes.grid(axis='y', alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8)


def _bars(axes: Axes, report: Report) -> None:
    """Draw each method's rate of operations beside the device's own."""
    rows = [row for row in report.rows if row.tflops and row.case == report.base]
    rates = {row.method: row.tflops or 0.0 for row in rows}
    ceilings = {f'ceiling, {name}': rate for name, rate in report.tflops.items()}
    colors = [*(_STYLES[method][0] for method in rates), *('#BBBBBB' for _ in ceilings)]
    values = [*rates.values(), *ceilings.values()]
    bars = axes.barh([*rates, *ceilings], values, color=colors)
    labels = [f'{rate:.3g} ({rate / report.peak_tflops:.0%})' for rate in values]
    axes.bar_label(bars, labels, padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel(f'operations that the model needs, a second [TFLOP/s], {report.base}')
