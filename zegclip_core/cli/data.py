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
"""``zegclip data``: check that a dataset is whole and lies as expected."""

from __future__ import annotations

import argparse
import sys
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from zegclip_core.data.check import CheckResult

_DESCRIPTION = """\
Read every picture and mask of a dataset and say what is wrong: counts, missing or damaged files,
mask values that stand for no class. Exit code 1 if something is wrong, 2 if the folders do not
lie as expected.
"""
_SHOWN = 10
"""Faults that are shown; the others are only counted."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser('data', help='check a dataset', description=_DESCRIPTION)
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    check = actions.add_parser('check', help='check a dataset', description=_DESCRIPTION)
    check.add_argument('folder', metavar='DIR', help='folder of the dataset')
    check.add_argument(
        '--dataset',
        '--split',
        default='folder',
        metavar='NAME',
        help='what lies there: voc12, coco_stuff164k, context59, context60, a YAML file like '
        'theirs, or folder: images/, labels/ and classes.txt (default: %(default)s)',
    )
    check.add_argument(
        '--part',
        action='append',
        default=[],
        metavar='PART',
        help='only this part, such as val; may be given again (default: all)',
    )
    check.add_argument(
        '--sheet', metavar='FILE', help='also draw pictures and masks there, as PNG'
    )
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check a dataset; returns 1 if something is wrong with it, else 0."""
    from zegclip_core.cli._outputs import check_output, write_png
    from zegclip_core.data.check import check_part, expected_parts, histogram
    from zegclip_core.data.sheet import contact_sheet

    sheet = check_output('--sheet', args.sheet, '.png')
    reports = []
    for expected in expected_parts(args.folder, args.dataset, args.part):
        report = check_part(expected)
        reports.append(report)
        sys.stdout.write(f'{expected.part}: {len(report.good)} good pictures\n')
        sys.stdout.write(f'{histogram(report)}\n{_faults(report)}\n')
    if sheet and any(report.good for report in reports):
        write_png(sheet, contact_sheet(reports))
        sys.stdout.write(f'Wrote {sheet}\n')
    elif sheet:
        sys.stdout.write('No sheet was drawn, as no picture can be used.\n')
    return 1 if any(report.faults for report in reports) else 0


def _faults(report: CheckResult) -> str:
    """Return what is wrong with a part, the first of many, or that nothing is, and the notes."""
    count, part = len(report.faults), report.expected.part
    lines = [f'{part}: {count} wrong' if count else f'{part}: nothing wrong']
    lines += report.faults[:_SHOWN]
    if count > _SHOWN:
        lines.append(f'... and {count - _SHOWN} more')
    lines += [f'{part}: note: {note}' for note in report.notes]
    return '\n'.join(lines) + '\n'
