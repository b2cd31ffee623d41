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
"""``zegclip benchmark``, and its figures into docs/performance.md; ``make bench`` runs it."""

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path
import sys
from tempfile import TemporaryDirectory

from benchmarks.reports import write_docs
from zegclip_core.cli.benchmark import add_options, measured
from zegclip_core.cli.main import show_error, USER_ERROR
from zegclip_core.errors import ZegCLIPError
from zegclip_core.options import wait_without_spinning
from zegclip_core.speed.report import Report, save_plots, table_text

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'performance.md'
_PLOTS = {
    'time': 'Time from frames to labels along every axis',
    'memory': 'Memory along every axis',
}


def fill_page(report: Report, page: Path = PAGE) -> None:
    """Write tables and plots into the page.

    Raises:
        ValueError: If the page lacks a marker.
    """
    setting = f'({date.today()}, {report.device}, {report.software})'
    images = '\n\n'.join(
        f'![{title}](images/performance-{report.kind}-{name}.png)'
        for name, title in _PLOTS.items()
    )
    table = table_text(report.cells(), 'github')
    parts = (table, *report.remarks(), setting, images)
    write_docs(f'speed-{report.kind}', '\n\n'.join(parts), page)
    for name, rows in report.bundled.items():
        content = f'{table_text(rows, "github")}\n\n{setting}'
        write_docs(f'{name}-{report.kind}', content, page)
    folder = page.parent / 'images'
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=folder) as partial:
        for path in save_plots(report, Path(partial)):
            path.rename(folder / path.name.replace('benchmark', f'performance-{report.kind}'))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and fill the page if that is asked for; returns the exit code."""
    wait_without_spinning()
    parser = argparse.ArgumentParser(prog='python -m benchmarks.speed', description=__doc__)
    add_options(parser)
    parser.add_argument(
        '--write-docs', action='store_true', help=f'fill {PAGE.name} with the figures'
    )
    args = parser.parse_args(argv)
    try:
        report = measured(args)
    except ZegCLIPError as error:
        show_error(error)
        return USER_ERROR
    if args.write_docs:
        fill_page(report)
    return 0


if __name__ == '__main__':
    sys.exit(main())
