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
"""``zegclip doctor``: what is installed, what it runs on, whether it works; for bug reports."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from zegclip_core.weights.names import DEFAULT_MODEL, MODEL_HELP

_DESCRIPTION = """\
Say what is installed and what it runs on, label one picture, and give a verdict on each line:
ok, WARN or FAULT, with what to do. What it prints is meant for bug reports: it names no user, no
host and no folder. The exit code is 1 if there is a fault.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'doctor', help='say whether all is set up well', description=_DESCRIPTION
    )
    parser.add_argument('--model', default=DEFAULT_MODEL, help=MODEL_HELP)
    devices = 'where the picture is labelled: auto, cpu, cuda or cuda:N (default: %(default)s)'
    parser.add_argument('--device', default='auto', help=devices)
    parser.add_argument('--json', action='store_true', help='print everything as JSON instead')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine and print; returns 1 if there is a fault, else 0."""
    from zegclip_core.doctor.report import as_json, as_text, count, examine

    findings = list(examine(args.model, args.device))
    sys.stdout.write(as_json(findings) if args.json else as_text(findings))
    return 1 if count(findings, 'fault') else 0
