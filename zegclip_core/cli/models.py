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
"""``zegclip models``: which models are at hand, and which ones would be downloaded."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from zegclip_core.weights.catalogue import CLIPEntry

_DESCRIPTION = """\
List the models that need no file of yours: those that come with the package, the CLIPs in the
cache of this machine, and those that are downloaded into it when they are used first. All CLIPs
are used without training.
"""
_ADVICE = """\
CLIP weights in a file of yours are used as NAME@FILE, and a trained model by its path.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'models', help='list the models that can be used', description=_DESCRIPTION
    )
    parser.add_argument(
        '--all', action='store_true', help='list every tag, not only the first of each CLIP'
    )
    parser.add_argument('--json', action='store_true', help='print everything as JSON instead')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List; returns 0."""
    # None of these imports torch, so that the list is there at once.
    from zegclip_core.weights.catalogue import cache_root, clip_entries
    from zegclip_core.weights.names import bundled_models

    entries = list(clip_entries())
    local = [entry for entry in entries if entry.path]
    others = [entry for entry in entries if not entry.path]
    if args.json:
        sys.stdout.write(_as_json(local, others))
        return 0
    shown = others
    if not args.all:
        # The tags that open_clip names first are best known.
        first = {entry.name.rpartition('/')[0]: entry for entry in reversed(others)}
        shown = [entry for entry in others if entry in first.values()]
    lines = ['Come with the package:']
    lines += [_line(name, path.stat().st_size) for name, path in bundled_models().items()]
    lines.append(f'CLIPs on this machine, in {cache_root()}:')
    lines += [_line(entry.name, entry.size) for entry in local] or ['  none']
    lines.append('CLIPs that are downloaded there when they are used first (sizes are about):')
    lines += [_line(entry.name, entry.size) for entry in shown]
    if len(others) > len(shown):
        lines.append(f'  and {len(others) - len(shown)} further tags of these: --all')
    sys.stdout.write('\n'.join(lines) + '\n' + _ADVICE)
    return 0


def _as_json(local: list[CLIPEntry], others: list[CLIPEntry]) -> str:
    """Return the models that come with the package, and other CLIPs, as JSON."""
    from zegclip_core.weights.catalogue import cache_root
    from zegclip_core.weights.names import bundled_models

    rows = {
        entry: {
            'name': entry.name,
            'bytes': entry.size,
            'parameters': entry.parameters,
            'url': entry.url,
        }
        for entry in (*local, *others)
    }
    content = {
        'bundled': [
            {'name': name, 'bytes': path.stat().st_size, 'path': str(path)}
            for name, path in bundled_models().items()
        ],
        'local': [{**rows[entry], 'path': str(entry.path)} for entry in local],
        'downloadable': [rows[entry] for entry in others],
        'cache': str(cache_root()),
    }
    return json.dumps(content, indent=2) + '\n'


def _line(name: str, size: int) -> str:
    """Return a name with its size in bytes."""
    amount = f'{size / 1e9:.1f} GB' if size >= 1e9 else f'{size / 1e6:.0f} MB'
    return f'  {name:44}{amount:>8}'
