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
"""Two runs of the benchmark side by side: two machines, or two states of the sources."""

from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any

from zegclip_core.errors import ConfigError
from zegclip_core.speed.report import Case, Cells, Report, Row, table_text


def read_report(path: Path) -> Report:
    """Read a file that ``zegclip benchmark --json`` wrote, also one of a run that was cut short.

    Raises:
        ConfigError: If it cannot be read, or is no such file.
    """
    try:
        content = json.loads(path.read_text('utf-8'))
        if not isinstance(content, dict):
            raise TypeError(f'a {type(content).__name__}')
        report = Report(**{**content, 'base': Case(**content['base'])})
        report.rows = [Row(**row) for row in content['rows']]
        _check(report)
    except OSError as error:
        raise _unfit(path, error.strerror or str(error)) from error
    except KeyError as error:
        raise _unfit(path, f'a file without {error}') from error
    except (AttributeError, TypeError, ValueError) as error:
        given = str(error).partition('\n')[0].replace('Report.__init__()', 'a file that')
        raise _unfit(path, given.replace('Row.__init__()', 'a row that')) from error
    return report


def _unfit(path: Path, given: str) -> ConfigError:
    return ConfigError(
        f'Expected a file of `zegclip benchmark --json`, but {path} is none: got {given}.'
    )


def _check(report: Report) -> None:
    """Refuse figures that are no numbers above 0, and tables that are none.

    Raises:
        TypeError, ValueError: If there are some.
    """
    for text in (report.model, report.device, report.software, report.commit, report.date):
        if not isinstance(text, str):
            raise TypeError(f'{text!r} in place of a text')
    for row in report.rows:
        if not all(isinstance(value, int) for value in vars(row.case).values()):
            raise TypeError(f'{row.case} in place of a case of whole numbers')
        if not (isinstance(row.method, str) and isinstance(row.precision, str)):
            raise TypeError(f'{row.method!r} in {row.precision!r} in place of a method')
        if not (_is_number(row.ms) and row.ms > 0):
            raise ValueError(f'{row.ms!r} in place of milliseconds')
    for cells in [cells for rows in report.bundled.values() for cells in rows]:
        if not isinstance(cells, dict) or not cells:
            raise TypeError(f'{cells!r} in place of a row')


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare(first: Report, second: Report) -> str:
    """Return the times of two runs side by side, as a table for a terminal.

    A ratio is the first's time divided by the second's: above 1, the second is faster.
    """
    parts = [
        f'{name}: {report.setting()}' for name, report in zip('AB', (first, second), strict=True)
    ]
    parts.append(table_text(list(_cases(first, second)), 'simple'))
    for name in dict.fromkeys([*first.bundled, *second.bundled]):
        tables = (first.bundled.get(name, []), second.bundled.get(name, []))
        parts += [f'everyday-s, {name}', table_text(list(_bundled(*tables)), 'simple')]
    return '\n\n'.join([*parts, 'Ratio: A / B; above 1, B is faster.\n'])


def _cases(first: Report, second: Report) -> Iterator[Cells]:
    """Yield a row for each case and method of either run."""
    found = [{(row.case, row.method): row for row in each.rows} for each in (first, second)]
    for key in dict.fromkeys([*found[0], *found[1]]):
        times = [rows[key].ms if key in rows else None for rows in found]
        kinds = dict.fromkeys(rows[key].precision for rows in found if key in rows)
        case, method = key
        head: Cells = {
            'frame': f'{case.width}x{case.height}',
            'classes': str(case.classes),
            'batch': str(case.batch),
            'prompts': str(case.prompts),
            'method': method,
        }
        yield {**head, 'precision': ', '.join(kinds), **_pair('[ms]', *times)}


def _bundled(first: list[Cells], second: list[Cells]) -> Iterator[Cells]:
    """Yield the rows of a table of the bundled model, each figure beside the other run's."""
    found = [{str(next(iter(row.values()))): row for row in rows} for rows in (first, second)]
    for key in dict.fromkeys([*found[0], *found[1]]):
        rows = [each.get(key, {}) for each in found]
        title, *figures = next(row for row in rows if row)
        made: Cells = {title: key}
        for name in figures:
            made |= _pair(name, *(row.get(name) for row in rows))
        yield made


def _pair(name: str, first: Any, second: Any) -> Cells:  # noqa: ANN401 - as JSON has it
    """Return a figure of both runs, and their ratio where it is one."""
    ratio = first / second if _is_number(first) and _is_number(second) and second else None
    return {
        f'A: {name}': first,
        f'B: {name}': second,
        f'{name} A / B': None if ratio is None else f'{ratio:.2f}x',
    }
