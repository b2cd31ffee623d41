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
"""What was measured, as tables and plots."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure
from tabulate import tabulate
from zegclip_core.speed.cases import Case, METHODS, SWEEPS

Cells = dict[str, str | float | None]
"""A row of a table, by the titles of the columns."""


@dataclass(frozen=True, kw_only=True)
class Row(Case):
    """One method in one case.

    Attributes:
        method: Its name.
        ms: Median time from images in the host's memory to their labels there, in milliseconds.
        spread_ms: Distance between the quartiles of the times; 0 of one call.
        runs: Calls that count.
        memory_mb: Weights, and the most that memory in use grew in the first call, in megabytes.
        gflop: Operations that the network needs, in 10^9.
        as_plain: Share of pixels labelled as by ``plain``; ``None`` if that was not measured.
        as_literal: Share of pixels labelled as by ``literal``; ``None`` if that was not measured.
        speed_up: Median over the rounds of the time of ``literal`` divided by this one, so that
            what slows the machine for a while slows both; ``None`` if that was not measured.
    """

    method: str
    ms: float
    spread_ms: float = 0.0
    runs: int = 1
    memory_mb: float
    gflop: float
    as_plain: float | None = None
    as_literal: float | None = None
    speed_up: float | None = None

    @property
    def case(self) -> Case:
        """What was asked of the method."""
        return Case(self.height, self.width, self.classes, self.batch, self.prompts)

    def cells(self) -> Cells:
        """Return what the table shows."""
        return {
            'frame': f'{self.width}x{self.height}',
            'classes': str(self.classes),
            'batch': str(self.batch),
            'prompts': str(self.prompts),
            'method': self.method,
            'frame to labels [ms]': self.ms,
            'spread [ms]': self.spread_ms,
            'runs': str(self.runs),
            'memory [MB]': f'{self.memory_mb:.0f}',
            'TFLOP/s': self.gflop / self.ms,
            'as plain [%]': None if self.as_plain is None else 100.0 * self.as_plain,
            'as literal [%]': None if self.as_literal is None else 100.0 * self.as_literal,
            'speed-up': None if self.speed_up is None else f'{self.speed_up:.2f}x',
        }


@dataclass
class Report:
    """All of a run.

    Attributes:
        device: Its name.
        kind: ``cpu`` or ``cuda``.
        model: What was measured.
        software: Versions of Python and PyTorch.
        base: The case around which the sweeps go.
        rows: In the order of the sweeps, the methods of a case together.
        notes: What was left out, and why.
        bundled: Tables of the bundled model, by the sweep's name.
        seconds: How long all of it took.
    """

    device: str
    kind: str
    model: str
    software: str
    base: Case
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bundled: dict[str, list[Cells]] = field(default_factory=dict)
    seconds: float = 0.0

    def text(self) -> str:
        """Return the report for a terminal."""
        parts = [table_text([row.cells() for row in self.rows], 'simple'), *self.notes]
        for name, rows in self.bundled.items():
            parts += [f'everyday-s, {name}', table_text(rows, 'simple')]
        took = f'{self.seconds / 60:.1f} minutes'
        return '\n\n'.join([*parts, f'{self.model}; {self.device}; {self.software}; {took}\n'])


def table_text(rows: list[Cells], style: str) -> str:
    """Return a table in a style of tabulate."""
    return tabulate(rows, 'keys', style, floatfmt='.2f', missingval='-', stralign='right')


def save_plots(report: Report, folder: Path) -> list[Path]:
    """Draw times and memory along every axis.

    Args:
        report: What to draw.
        folder: Where to; it must be there.

    Returns:
        The PNG files, ``benchmark-time.png`` and ``benchmark-memory.png``.
    """
    found = {(row.method, row.case): row for row in report.rows}
    paths = []
    for name, key, title in (
        ('time', 'ms', 'from frame to labels [ms]'),
        ('memory', 'memory_mb', 'memory, weights included [MB]'),
    ):
        figure = Figure(figsize=(10.0, 7.0), layout='constrained')
        figure.suptitle(f'{report.model} on {report.device}', fontsize=11)
        for axes, (sweep, changes) in zip(figure.subplots(2, 2).flat, SWEEPS.items(), strict=True):
            ticks = ['x'.join(map(str, reversed(each.values()))) for each in changes]
            cases = [replace(report.base, **each) for each in changes]
            for index, method in enumerate(METHODS):
                places = [n for n, case in enumerate(cases) if (method, case) in found]
                values = [getattr(found[method, cases[n]], key) for n in places]
                if places:
                    axes.plot(places, values, color=f'C{index}', marker='o', label=method)
            axes.set_xticks(range(len(cases)), labels=ticks)
            axes.set(xlabel=sweep, ylabel=title, yscale='log')
            axes.grid(axis='y', which='both', alpha=0.3)
            if axes.lines:
                axes.legend(fontsize=8)
        paths.append(folder / f'benchmark-{name}.png')
        figure.savefig(paths[-1], dpi=110)
    return paths
