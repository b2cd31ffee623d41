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
"""``zegclip align`` and ``zegclip adapt``."""

from __future__ import annotations

import argparse
from functools import partial
import sys
from typing import Any

_ALIGN = """\
Bring an image tower and a text tower that were not trained together into one space. Both stay as
they are; what is trained projects their output. Teachers are masks, sentences with images, named
photos, and how near words are to each other. The result is a small file that is a model by
itself, and what a training can start from (model.alignment).
"""
_ADAPT = """\
Go on with an alignment and adapt the image tower with it: low-rank updates of its last blocks are
trained beside the projections. They lie in the same file and cost nothing in use.
"""
_MORE = """\
The configuration is a YAML file; any setting can be changed on the command line, as in
schedule.steps=100. Checkpoints, logs and the file lie in OUTPUT/NAME, kept features in
OUTPUT/features.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add these commands to the parser of ``zegclip``."""
    for name, what, text in (
        ('align', 'bring two towers into one space', _ALIGN),
        ('adapt', 'adapt an image tower to words', _ADAPT),
    ):
        parser = subparsers.add_parser(name, help=what, description=text + _MORE)
        parser.add_argument(
            '--config',
            required=True,
            metavar='NAME',
            help='a configuration of the package, such as everyday-s, or a YAML file',
        )
        parser.add_argument(
            '--resume', action='store_true', help='go on from the last checkpoint, if there is one'
        )
        parser.add_argument('settings', nargs='*', metavar='KEY=VALUE', help='settings to change')
        parser.set_defaults(run=partial(run, adapt=name == 'adapt'))


def run(args: argparse.Namespace, *, adapt: bool) -> int:
    """Align or adapt; returns 0."""
    from zegclip_core.alignment.config import AlignConfig
    from zegclip_core.settings import read_settings
    from zegclip_core.training.config import ALIGN, find_recipe

    config = read_settings(AlignConfig, find_recipe(args.config, ALIGN), args.settings)
    from lightning.pytorch.utilities import rank_zero_only  # takes seconds; a wrong key should not
    from zegclip_core.alignment.run import AlignmentRun

    path = AlignmentRun(config, adapt=adapt).train(resume=args.resume)
    if getattr(rank_zero_only, 'rank', 0) == 0:
        sys.stdout.write(f'Wrote {path}\n')
    return 0
