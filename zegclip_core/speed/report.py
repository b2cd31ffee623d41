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
"""What was measured, as figures, tables and JSON."""

from collections import Counter
from dataclasses import dataclass, field
import statistics
from typing import Any

import numpy as np
from tabulate import tabulate
from zegclip_core.speed.cases import Case
from zegclip_core.speed.methods import Timing

NOTHING = '-'
TableRow = dict[str, str]
"""What a table shows in a row, by the title of the column."""


@dataclass
class Row:
    """One method in one case.

    Attributes:
        method: Its name.
        case: What was asked of it.
        skipped: Why it was not measured; empty if it was.
        timings: Every call that counts.
        peak_mb: Most memory in use while it worked, in megabytes; ``None`` if not known.
        agreement: Share of pixels labelled as by ``plain``; ``None`` if that was not measured.
        agreement_literal: Share of pixels labelled as by ``literal``; ``None`` if that was not
            measured.
        operations: Operations that its network needs.
    """

    method: str
    case: Case
    skipped: str = ''
    timings: list[Timing] = field(default_factory=list)
    peak_mb: float | None = None
    agreement: float | None = None
    agreement_literal: float | None = None
    operations: int = 0

    @property
    def model_ms(self) -> float | None:
        """Median time of the network alone in milliseconds."""
        return statistics.median(1e3 * t.model for t in self.timings) if self.timings else None

    @property
    def total_ms(self) -> float | None:
        """Median time from images to labels in milliseconds."""
        return statistics.median(1e3 * t.total for t in self.timings) if self.timings else None

    @property
    def spread_ms(self) -> float | None:
        """Distance between the quartiles of the total times in milliseconds; ``None`` of one."""
        if len(self.timings) < 2:
            return None
        low, high = np.percentile([1e3 * t.total for t in self.timings], [25, 75])
        return float(high - low)

    @property
    def tflops(self) -> float | None:
        """The network's rate, in 10^12 operations a second."""
        return self.operations / self.model_ms / 1e9 if self.model_ms else None

    def speed_up(self, other: 'Row') -> float | None:
        """Return how many times as fast as another this is, from images to labels.

        It is the median over the rounds, in each of which both had their turn: what slows the
        machine down for a while slows both. ``None`` if there is no such round.
        """
        rounds = zip(self.timings, other.timings, strict=False)  # One may have been given up.
        ratios = [its.total / mine.total for mine, its in rounds]
        return statistics.median(ratios) if ratios else None


@dataclass(frozen=True)
class Report:
    """All of a run.

    Attributes:
        device: Its name.
        kind: ``cpu`` or ``cuda``.
        model: What was measured.
        best: Name of the device's best precision.
        base: The case around which the sweeps go.
        tflops: Rates of a product of large matrices by precision, in 10^12 operations a second.
        copy_gbps: Bytes that a copy reads and writes, in 10^9 a second.
        rows: In the order of the sweeps, the methods of a case together.
        bundled: Rows of the tables of the bundled model, by the sweep's name.
        seconds: How long all of it took.
        software: Versions of Python and PyTorch.
    """

    device: str
    kind: str
    model: str
    best: str
    base: Case
    tflops: dict[str, float]
    copy_gbps: float
    rows: list[Row]
    bundled: dict[str, list[TableRow]]
    seconds: float
    software: str

    @property
    def peak_tflops(self) -> float:
        """The rate of the fastest precision, in 10^12 operations a second."""
        return max(self.tflops.values())

    def share_of_peak(self, row: Row) -> float | None:
        """Return a row's rate of operations as a share of the device's highest."""
        return None if row.tflops is None else row.tflops / self.peak_tflops

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON file holds; a row that was skipped says why."""
        rows = []
        for row in self.rows:
            figures = {
                'model_ms': (row.model_ms, 4),
                'total_ms': (row.total_ms, 4),
                'spread_ms': (row.spread_ms, 4),
                'peak_mb': (row.peak_mb, 1),
                'agreement': (row.agreement, 6),
                'agreement_literal': (row.agreement_literal, 6),
                'share_of_peak': (self.share_of_peak(row), 5),
            }
            rounded = {
                name: value if value is None else round(value, digits)
                for name, (value, digits) in figures.items()
            }
            reason = {'skipped': row.skipped} if row.skipped else {}
            rows.append({'side': row.method, **vars(row.case), **rounded, **reason})
        return {
            'device': self.device,
            'peak_tflops': round(self.peak_tflops, 4),
            'copy_gbps': round(self.copy_gbps, 2),
            'rows': rows,
        }

    @property
    def headline(self) -> str:
        """What the device can do at most, in a line."""
        rates = ', '.join(f'{name} {number(rate)}' for name, rate in self.tflops.items())
        return (
            f'{self.device}: products of matrices [TFLOP/s] {rates}; '
            f'copying {number(self.copy_gbps)} GB/s; best precision {self.best}'
        )

    def table(self) -> list[TableRow]:
        """Return the figures of each method in each case that was measured."""
        literal = {row.case: row for row in self.rows if row.method == 'literal'}
        rows = []
        for row in self.rows:
            if row.skipped:
                continue
            case, reference = row.case, literal.get(row.case)
            faster = None if reference is None else row.speed_up(reference)
            rows.append(
                {
                    'frame': f'{case.width}x{case.height}',
                    'classes': str(case.classes),
                    'batch': str(case.batch),
                    'prompts': str(case.prompts),
                    'method': row.method,
                    'model [ms]': number(row.model_ms),
                    'frame to labels [ms]': number(row.total_ms),
                    'spread [ms]': number(row.spread_ms),
                    'runs': str(len(row.timings)),
                    'peak [MB]': number(row.peak_mb),
                    'as plain': percent(row.agreement),
                    'as literal': percent(row.agreement_literal),
                    'of peak': percent(self.share_of_peak(row)),
                    'speed-up': NOTHING if faster is None else f'{faster:.2f}x',
                }
            )
        return rows

    @property
    def skipped(self) -> str:
        """A line for every reason for which something was not measured."""
        reasons = Counter((row.method, row.skipped) for row in self.rows if row.skipped)
        return '\n'.join(
            f'{method} skipped in {count} case{"s" if count > 1 else ""}: {reason}'
            for (method, reason), count in reasons.items()
        )


def plain_text(report: Report) -> str:
    """Return the report for a terminal."""
    parts = [report.headline, table_text(report.table(), 'simple'), report.skipped]
    for name, rows in report.bundled.items():
        parts += [f'everyday-s, {name}', table_text(rows, 'simple')]
    parts.append(f'{report.model}; {report.software}; {report.seconds / 60:.1f} minutes')
    return '\n\n'.join(filter(None, parts)) + '\n'


def table_text(rows: list[TableRow], style: str) -> str:
    """Return a table in a style of tabulate, with its figures as they are."""
    return tabulate(rows, 'keys', style, disable_numparse=True, stralign='right')


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
