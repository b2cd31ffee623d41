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
"""What the commands that train have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import sys
from typing import Any


def add_run_parser(
    subparsers: argparse._SubParsersAction[Any],
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    what: str,
    text: str,
    example: str,
) -> None:
    """Add a command that runs a configuration to the parser of ``zegclip``.

    Args:
        subparsers: Where it is added.
        name: What it is called.
        run: Does it, and returns the exit code.
        what: Its line in the list of commands.
        text: Its description.
        example: Names of configurations.
    """
    parser = subparsers.add_parser(name, help=what, description=text)
    parser.add_argument(
        '--config',
        required=True,
        metavar='NAME',
        help=f'a configuration of the package, such as {example}, or a YAML file',
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint, if there is one'
    )
    parser.add_argument('settings', nargs='*', metavar='KEY=VALUE', help='settings to change')
    parser.set_defaults(run=run)


def say_written(path: Path) -> None:
    """Say which file a run has written; of several processes one does."""
    if is_main_process():
        sys.stdout.write(f'Wrote {path}\n')


def is_main_process() -> bool:
    """Return whether this is the one of a run's processes that writes."""
    from lightning.pytorch.utilities import rank_zero_only  # takes seconds

    return getattr(rank_zero_only, 'rank', 0) == 0
