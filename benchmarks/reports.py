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
"""Tables of figures, and where they stand in the documentation."""

import argparse
from collections.abc import Callable
from datetime import date
import json
import os
from pathlib import Path
import platform
import sys
from typing import Any, TypeVar

from zegclip_core.errors import ZegCLIPError

Found = TypeVar('Found')
RELIABILITY_PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'reliability.md'

FAULTS = (
    'Traceback (most recent call last)',
    'terminate called',
    'Fatal Python error',
    'Rejected the frame',  # As the node says of an error that no input explains.
)


def replace_between(text: str, name: str, content: str) -> str:
    """Return a text with new content between its markers ``<!-- name:begin/end -->``.

    Raises:
        ValueError: If it has not one pair of them.
    """
    begin, end = f'<!-- {name}:begin -->', f'<!-- {name}:end -->'
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f'Expected one {begin} and after it one {end}.')
    head, tail = text.split(begin)[0], text.split(end)[1]
    return f'{head}{begin}\n{content.strip()}\n{end}{tail}'


def write_docs(name: str, content: str, page: Path = RELIABILITY_PAGE) -> None:
    """Replace a part of a page.

    Raises:
        ValueError: If the page has no such part.
    """
    page.write_text(replace_between(page.read_text('utf-8'), name, content), encoding='utf-8')


def report(
    name: str,
    measured: Callable[[], str],
    page: Path = RELIABILITY_PAGE,
    *,
    write: bool = False,
) -> int:
    """Print what a benchmark measures, and put it on its page if that is wanted.

    Args:
        name: Of the place on the page.
        measured: Returns the text.
        page: The page.
        write: Whether the text is put there.

    Returns:
        Exit code: 2 for what the user has to mend.
    """
    try:
        text = measured()
    except ZegCLIPError as error:
        print(f'{name}: error: {error}', file=sys.stderr)
        return 2
    print(text)
    if write:
        write_docs(name, text, page)
    return 0


def report_of_processes(
    name: str,
    measured: Callable[[], Found],
    text: Callable[[Found], str],
    *,
    out: Path,
    page: Path,
    place: str | None,
) -> int:
    """Print what a benchmark measures of processes that it starts, and keep the figures.

    Args:
        name: Of the benchmark.
        measured: Returns the figures, as JSON knows them.
        text: Returns them as text.
        out: Their file.
        page: A page.
        place: Of the text on the page; ``None`` for none.

    Returns:
        Exit code: 1 if a process failed, 130 after an interruption.
    """
    from zegclip_ros.runtime.child_processes import interruptible  # Others do without ROS.

    try:
        with interruptible():
            found = measured()
    except (KeyboardInterrupt, RuntimeError) as error:
        print(f'{name}: {error or "interrupted"}', file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    write_json(out, {'setting': setting(), 'found': found})
    shown = f'{text(found)}\n\n({setting()})'
    print(shown)
    if place is not None:
        write_docs(place, shown, page)
    return 0


def parser_of(
    name: str, description: str | None, page: Path, repeats: int
) -> argparse.ArgumentParser:
    """Return the parser of a benchmark of a model on photos, which are labelled so many times."""
    parser = argparse.ArgumentParser(prog=f'python -m benchmarks.{name}', description=description)
    add = parser.add_argument
    add('--model', default='everyday-s', help='name or file (default: %(default)s)')
    of_each = 'frames of each photo (default: %(default)s)'
    add('--repeats', type=int, default=repeats, metavar='N', help=of_each)
    add('--write-docs', action='store_true', help=f'put the table into {page.name}')
    return parser


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401
    """Write a file of figures and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def setting() -> str:
    """Return on what machine, with what software and when figures were taken."""
    python = platform.python_version()
    ros = 'Fast DDS' if 'fast' in os.environ.get('RMW_IMPLEMENTATION', 'fast') else 'another RMW'
    cores = len(os.sched_getaffinity(0))
    return f'{date.today()}, {cores} CPU cores, Python {python}, {ros}'


def peak_of(pid: int) -> float:
    """Return the most memory that a process has held, in MB; not what its parent held before.

    ``getrusage`` counts that: ``ru_maxrss`` outlives ``exec``.
    """
    lines = Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines()
    (line,) = (line for line in lines if line.startswith('VmHWM'))
    return int(line.split()[1]) / 1024


def faults_in(log: Path) -> list[str]:
    """Return the lines of a node's log that tell of a crash or of an error that nobody foresaw."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    return [line for line in lines if any(fault in line for fault in FAULTS)]
