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
from zegclip_core.speed.rows import Report
from zegclip_core.speed.tables import (
    camera_table,
    ceiling_line,
    markdown,
    rows_table,
    starts_table,
    steps_table,
    words_table,
)
from zegclip_core.threads import wait_without_spinning

DOCS = Path(__file__).resolve().parents[1] / 'docs'
PAGE = DOCS / 'performance.md'
_PICTURES = {
    'time': 'Time from frames to labels along every axis',
    'memory': 'Peak memory',
    'share': 'Reached share of the ceiling',
}


def parts(report: Report) -> dict[str, str]:
    """Return what goes between the markers of the page, by their names."""
    setting = f'({date.today()}, {report.device}, {report.software})'
    minutes = f'The run took {report.seconds / 60:.1f} minutes.'
    pictures = '\n\n'.join(
        f'![{title}](images/performance-{report.kind}-{name}.png)'
        for name, title in _PICTURES.items()
    )
    rows = markdown(rows_table(report))
    found = {
        f'speed-{report.kind}': f'{ceiling_line(report)}. {minutes}\n\n{rows}\n\n{setting}\n\n'
        f'{pictures}'
    }
    if report.camera:
        found[f'camera-{report.kind}'] = f'{markdown(camera_table(report.camera))}\n\n{setting}'
    if report.words:
        found[f'change-{report.kind}'] = f'{markdown(words_table(report.words))}\n\n{setting}'
    if report.starts:
        found[f'start-{report.kind}'] = f'{markdown(starts_table(report.starts))}\n\n{setting}'
    if report.steps:
        tables = [
            f'{steps.case}, {steps.precision}:\n\n{markdown(steps_table(steps.rows))}'
            for steps in report.steps
        ]
        found[f'steps-{report.kind}'] = '\n\n'.join([*tables, setting])
    return found


def fill_page(report: Report, page: Path = PAGE) -> None:
    """Write tables and pictures into the page.

    Raises:
        ValueError: If the page lacks a marker.
    """
    from zegclip_core.speed.plots import save_plots

    for name, content in parts(report).items():
        write_docs(name, content, page)
    images = page.parent / 'images'
    images.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=images) as folder:
        for path in save_plots(report, Path(folder)):
            path.rename(images / path.name.replace('benchmark', f'performance-{report.kind}'))


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
