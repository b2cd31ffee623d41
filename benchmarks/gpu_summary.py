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
"""What ``benchmarks.gpu`` found, as Markdown; it needs no library but for the page."""

from collections import Counter
from collections.abc import Iterator, Sequence
import json
from pathlib import Path
import sys
from typing import Any

from zegclip_core.errors import ZegCLIPError

Line = dict[str, Any]
PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'performance.md'
TITLES = {
    'checks': 'Do all ways agree',
    'tests': 'Tests for a GPU',
    'speed': 'Speed',
    'profile': 'Kernels of one frame',
}
"""Stages by their names, and what they answer."""


def read(path: Path) -> list[Line]:
    """Return the lines of a file of results; the last may have been cut short."""
    found: list[Line] = []
    for line in path.read_text('utf-8').splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append({'check': line[:60], 'ok': False, 'reason': 'a line that was cut short'})
    return found


def summary(out: Path) -> str:
    """Return all that lies in a folder of results."""
    lines = {name: read(out / f'{name}.jsonl') for name in TITLES}
    setting = ', '.join(f'{key} {value}' for key, value in setting_of(out).items())
    parts = [f'Setting: {setting or "unknown: the first stage did not get so far"}.']
    for name, title in TITLES.items():
        parts += [f'**{title}**', *stage_text(name, lines[name])]
    reasons = [str(line.get('reason', '')) for found in lines.values() for line in found]
    if any('No module named' in reason for reason in reasons):
        parts.append('Python packages are missing: the archive of `make gpu-bundle` holds most.')
    return '\n\n'.join(parts) + '\n'


def stage_text(name: str, lines: Sequence[Line]) -> Iterator[str]:
    """Yield the paragraphs of a stage."""
    if not lines:
        yield 'Not run.'
        return
    shown = [line for line in lines if line['check'] != 'setting' or not line['ok']]
    words = {True: 'passed', False: '**failed**', None: 'skipped'}
    counts = {word: sum(line['ok'] is ok for line in shown) for ok, word in words.items()}
    yield ', '.join(f'{count} {word}' for word, count in counts.items() if count) + '.'
    if name == 'tests':  # Of those that did not fail, their number is enough.
        skipped = Counter(line.get('reason', '') for line in shown if line['ok'] is None)
        yield from (f'{count} skipped: {reason}' for reason, count in skipped.items())
        shown = [line for line in shown if line['ok'] is False]
    columns = list(dict.fromkeys(key for line in shown for key in line))
    columns = [key for key in columns if key not in ('check', 'ok', 'reason')]
    if shown:
        rows = []
        for line in shown:
            figures = [cell(line.get(key)) for key in columns]
            reason = str(line.get('reason', ''))
            rows.append([line['check'], words[line['ok']], *figures, reason])
        yield table(['what', 'result', *columns, 'reason'], rows)


def cell(value: object) -> str:
    """Return a figure as a table shows it."""
    return f'{value:.4g}' if isinstance(value, float) else '' if value is None else str(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join(
        '| ' + ' | '.join(text.replace('|', '\\|').replace('\n', ' ') for text in row) + ' |'
        for row in lines
    )


def fill_page(out: Path, text: str) -> None:
    """Put what was found on a GPU into docs/performance.md; what is of a CPU is not for the page.

    Tables of speed need tabulate and their pictures Matplotlib, which may be missing.
    """
    from benchmarks.reports import write_docs

    if 'cuda' not in setting_of(out):
        print('Not on the page, as it is not of a GPU.', file=sys.stderr)
        return
    write_docs('gpu-check', text, PAGE)
    try:
        from benchmarks import speed
        from zegclip_core.speed.compare import read_report

        speed.fill_page(read_report(out / 'speed.json'), PAGE)
    except (ImportError, ZegCLIPError) as error:  # The summary is there.
        print(f'The tables of speed are not on the page: {error}', file=sys.stderr)


def setting_of(out: Path) -> Line:
    """Return device and software; empty if the first stage did not get so far."""
    found = [line for line in read(out / 'checks.jsonl') if line['check'] == 'setting']
    own = ('check', 'ok', 'seconds', 'reason')
    return {key: value for line in found for key, value in line.items() if key not in own}
