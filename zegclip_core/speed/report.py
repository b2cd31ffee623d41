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
"""What is measured, in which cases, and what was found, as tables and plots."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zegclip_core.errors import ConfigError

METHODS = ('literal', 'plain', 'lean_fp32', 'lean', 'two_stage')
"""The methods in the order of the tables."""
SWEEPS: dict[str, tuple[dict[str, int], ...]] = {
    'classes': tuple({'classes': count} for count in (1, 20, 150, 1000)),
    'prompts': tuple({'prompts': count} for count in (10, 100)),
    'sizes': tuple(
        {'height': height, 'width': width}
        for height, width in ((512, 512), (480, 640), (720, 1280), (1080, 1920))
    ),
    'batch': tuple({'batch': count} for count in (1, 2, 4)),
}
"""Changes of the base case, by the name of their axis."""
MINUTES = 10.0
"""How long a run takes at most, but for the base."""
BUNDLED = ('camera', 'words', 'start')
"""What is measured with the bundled model: behind a camera, a change of the words, a start."""


@dataclass(frozen=True)
class Case:
    """One point of the sweeps; its defaults are the base, around which one axis is changed."""

    height: int = 512
    width: int = 512
    classes: int = 20
    batch: int = 1
    prompts: int = 10

    def __str__(self) -> str:
        """Say what is measured in a few words."""
        return (
            f'{self.width}x{self.height}, {self.classes} classes, batch {self.batch}, '
            f'{self.prompts} prompts'
        )


def choose_cases(sweeps: Sequence[str], base: Case = Case()) -> list[Case]:
    """Return the cases of some sweeps, each once; the base is always the first."""
    known = (*SWEEPS, *BUNDLED)
    for name in sweeps:
        if name not in known:
            raise ConfigError(f'Expected a sweep of {", ".join(known)}, but got {name!r}.')
    changes = [each for name in SWEEPS if name in sweeps for each in SWEEPS[name]]
    return list(dict.fromkeys([base, *(replace(base, **each) for each in changes)]))


def choose_methods(methods: Sequence[str]) -> list[str]:
    """Return the named methods, at least one, in the order of the tables."""
    for name in methods or ('',):
        if name not in METHODS:
            raise ConfigError(f'Expected a method of {", ".join(METHODS)}, but got {name!r}.')
    return [name for name in METHODS if name in methods]


Cells = dict[str, str | float | None]
"""A row of a table, by the titles of the columns."""


@dataclass(frozen=True, kw_only=True)
class Row(Case):
    """One method in one case; ``None`` is what was not measured.

    Attributes:
        method: Its name.
        precision: What it multiplies in: ``fp32``, ``bf16`` or ``fp16``.
        ms: Median time from images in the host's memory to their labels there, in milliseconds.
        spread_ms: Distance between the quartiles of the times; 0 of one call.
        runs: Calls that count.
        memory_mb: Weights, and the most that memory in use grew in the first call, in megabytes.
        gflop: Operations that the network needs, in 10^9.
        as_plain: Share of pixels labelled as by ``plain``.
        as_literal: Share of pixels labelled as by ``literal``.
        speed_up: Median over the rounds of the time of ``literal`` divided by this one, so that
            what slows the machine for a while slows both.
    """

    method: str
    precision: str = 'fp32'
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

    @property
    def tflops(self) -> float:
        """Rate at which it did the operations that are needed, in TFLOP/s."""
        return self.gflop / self.ms

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
            'TFLOP/s': self.tflops,
            'as plain [%]': None if self.as_plain is None else 100.0 * self.as_plain,
            'as literal [%]': None if self.as_literal is None else 100.0 * self.as_literal,
            'speed-up': None if self.speed_up is None else f'{self.speed_up:.2f}x',
        }


@dataclass
class Report:
    """All of a run.

    Attributes:
        device: What it is called; of a CPU with threads and instructions.
        kind: ``cpu`` or ``cuda``.
        model: What was measured.
        software: Versions.
        base: The case around which the others lie.
        rows: In the order in which they were measured.
        notes: What was left out, and why.
        errors: What failed, and why.
        ceilings: Highest rates of large products in TFLOP/s, by precision.
        bundled: Tables of the bundled model, by the sweep's name.
        commit: Of the sources; empty outside of git.
        date: Of the run, as ISO 8601 has it.
        lost: Whether the device no longer answered, so that the rest was left out.
        seconds: How long all took; 0 until it is over.
    """

    device: str
    kind: str
    model: str
    software: str
    base: Case
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ceilings: dict[str, float] = field(default_factory=dict)
    bundled: dict[str, list[Cells]] = field(default_factory=dict)
    commit: str = ''
    date: str = ''
    lost: bool = False
    seconds: float = 0.0

    def ceiling(self, precision: str) -> float | None:
        """Return the highest rate that was seen in a precision; ``None`` if none was measured.

        Of products alone or of a method, so that no method is above it.
        """
        if precision not in self.ceilings:
            return None
        rates = (row.tflops for row in self.rows if row.precision == precision)
        return max(self.ceilings[precision], *rates)

    def cells(self) -> list[Cells]:
        """Return the rows of the table."""
        rows = []
        for row in self.rows:
            cells, ceiling = row.cells(), self.ceiling(row.precision)
            share = None if ceiling is None else 100.0 * row.tflops / ceiling
            items = list(cells.items())
            after = 1 + list(cells).index('TFLOP/s')
            rows.append(dict([*items[:after], ('of the ceiling [%]', share), *items[after:]]))
        return rows

    def remarks(self) -> list[str]:
        """Return what stands below the table: ceilings, what was left out and what failed."""
        found = [f'{name} {self.ceiling(name):.3g} TFLOP/s' for name in self.ceilings]
        return [*([f'Ceilings: {", ".join(found)}'] if found else []), *self.notes, *self.errors]

    def setting(self) -> str:
        """Return what was measured, where and with what."""
        known = (self.model, self.device, self.software, self.commit[:12], self.date)
        return '; '.join(filter(None, known))

    def text(self) -> str:
        """Return the report for a terminal."""
        parts = [table_text(self.cells(), 'simple'), *self.remarks()]
        for name, rows in self.bundled.items():
            parts += [f'everyday-s, {name}', table_text(rows, 'simple')]
        return '\n\n'.join([*parts, f'{self.setting()}; {self.seconds / 60:.1f} minutes\n'])


def table_text(rows: list[Cells], style: str) -> str:
    """Return a table in a style of tabulate."""
    from tabulate import tabulate  # Each command imports this module for the names of its options.

    return tabulate(rows, 'keys', style, floatfmt='.2f', missingval='-', stralign='right')


def save_plots(report: Report, folder: Path) -> list[Path]:
    """Draw times and memory along every axis, as two PNG files in a folder that is there."""
    from matplotlib.figure import Figure  # Takes long.

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
