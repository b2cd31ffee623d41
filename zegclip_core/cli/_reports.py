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
"""The HTML report that a command leaves: where it goes, and how it was made."""

from __future__ import annotations

import argparse
from datetime import datetime
import os
from pathlib import Path
import platform
import shlex
import sys
from typing import TYPE_CHECKING

from zegclip_core.cli._outputs import check_output, replacing, warn

if TYPE_CHECKING:
    from zegclip_core.images.page import Page

FOLDER = Path('runs')
"""Where a report goes that nobody gave a place."""
NONE = 'none'


def add_report_option(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the option that says where the report goes."""
    parser.add_argument(
        '--report',
        metavar='FILE',
        help=f'where the HTML report goes (default: {FOLDER / name}.html, in place of the last '
        f'one; {NONE} writes none)',
    )


def check_report(given: str | None, name: str) -> Path | None:
    """Return where the report goes; ``None`` if it is not wanted, or has no place by itself.

    Args:
        given: What the user said.
        name: How the report is called if that is nothing.

    Raises:
        ConfigError: If a place that was given cannot be written to.
    """
    if given == NONE:
        return None
    if given is not None:
        return check_output('--report', given, '.html')
    path = FOLDER / f'{name}.html'
    beside = FOLDER if FOLDER.exists() else Path()
    if path.is_dir() or not beside.is_dir() or not os.access(beside, os.W_OK):
        warn(f'No report is written, as {path} cannot be: --report names another file.')
        return None
    return path


def write_report(path: Path, page: Page) -> None:
    """Write a page, with how it was made at its end, and say where it is."""
    import torch
    import zegclip_core
    from zegclip_core.versions import git_commit

    page.heading('How it was made')
    page.code(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    commit = git_commit()
    versions = {
        'zegclip_ros': ' '.join(filter(None, [zegclip_core.__version__, commit[:12]])),
        'Python': platform.python_version(),
        'PyTorch': torch.__version__,
        'when': datetime.now().astimezone().isoformat(sep=' ', timespec='minutes'),
    }
    page.table([{'what': name, 'which': version} for name, version in versions.items()])
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(page.html(), encoding='utf-8')
    sys.stdout.write(f'Report: {path}\n')
