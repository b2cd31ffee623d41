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
"""``zegclip train``: train a model from a configuration."""

from __future__ import annotations

import argparse
import sys
from typing import Any

_DESCRIPTION = """\
Train a model. The configuration is a YAML file; any setting can be changed on the command line,
as in schedule.steps=100 or train.0.root=/data/camvid. Checkpoints, logs, sample pictures and the
exported model lie in OUTPUT/NAME, the frozen tower's features in OUTPUT/features.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser('train', help='train a model', description=_DESCRIPTION)
    parser.add_argument(
        '--config',
        required=True,
        metavar='NAME',
        help='a configuration of the package, such as folder or voc12-inductive, or a YAML file',
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint, if there is one'
    )
    parser.add_argument('settings', nargs='*', metavar='KEY=VALUE', help='settings to change')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; returns 0."""
    from zegclip_core.training.config import find_recipe, load_config

    config = load_config(find_recipe(args.config), args.settings)
    from lightning.pytorch.utilities import rank_zero_only  # takes seconds; a wrong key should not
    from zegclip_core.training.run import Run

    path = Run(config).train(resume=args.resume)
    if getattr(rank_zero_only, 'rank', 0) == 0:
        sys.stdout.write(f'Wrote {path}\n')
    return 0
