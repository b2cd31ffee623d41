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
    from zegclip_core.weights.about import TimmEntry
    from zegclip_core.weights.catalogue import CLIPEntry

_DESCRIPTION = """\
List the models that need no file of yours: those that come with the package, the CLIPs in the
cache of this machine, and those that are downloaded into it when they are used first. All CLIPs
are used without training, and so is TIPSv2. Behind each: its size, the side of a patch and of the
images that it was made for in pixels, the licence of its weights, and the languages of its words.
"""
_ADVICE = """\
CLIP weights in a file of yours are used as NAME@FILE, and a trained model by its path. As far as
is known nothing asks for an account; --json tells what is downloaded, and to which folder.
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
    from zegclip_core.weights.about import TIMM_ENTRIES
    from zegclip_core.weights.catalogue import cache_root, clip_entries, tips_entries
    from zegclip_core.weights.names import bundled_models

    entries = [*clip_entries(), *tips_entries()]
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
    lines += [_clip_line(entry) for entry in local] or ['  none']
    lines.append('CLIPs that are downloaded there when they are used first (sizes are about):')
    lines += [_clip_line(entry) for entry in shown]
    if len(others) > len(shown):
        lines.append(f'  and {len(others) - len(shown)} further tags of these: --all')
    lines.append('Image towers without words, for training, downloaded in the same way:')
    lines += [_line(f'timm:{entry.name}', entry.size) + _facts(entry) for entry in TIMM_ENTRIES]
    sys.stdout.write('\n'.join(line.rstrip() for line in lines) + '\n' + _ADVICE)
    return 0


def _as_json(local: list[CLIPEntry], others: list[CLIPEntry]) -> str:
    """Return the models that come with the package, and other CLIPs, as JSON."""
    from zegclip_core.weights.about import TIMM_ENTRIES
    from zegclip_core.weights.catalogue import cache_folder, cache_root, hub_url, TIMM_FILES
    from zegclip_core.weights.names import bundled_models

    rows = {
        entry: {
            **_shared_row(entry),
            'languages': entry.languages,
            'url': entry.urls[0],
            'urls': list(entry.urls),
            'folder': str(entry.folder),
        }
        for entry in (*local, *others)
    }
    towers = [
        {
            **_shared_row(entry),
            'name': f'timm:{entry.name}',
            'url': hub_url(entry.repository, TIMM_FILES[0]),
            'folder': str(cache_folder(entry.repository)),
        }
        for entry in TIMM_ENTRIES
    ]
    content = {
        'bundled': [
            {'name': name, 'bytes': path.stat().st_size, 'path': str(path)}
            for name, path in bundled_models().items()
        ],
        'local': [{**rows[entry], 'path': str(entry.path)} for entry in local],
        'downloadable': [rows[entry] for entry in others],
        'image_towers': towers,
        'cache': str(cache_root()),
    }
    return json.dumps(content, indent=2) + '\n'


def _shared_row(entry: CLIPEntry | TimmEntry) -> dict[str, str | int | bool]:
    """Return as JSON what is known of every published tower."""
    return {
        'name': entry.name,
        'family': entry.family,
        'bytes': entry.size,
        'parameters': entry.parameters,
        'patch_size': entry.patch_size,
        'image_size': entry.image_size,
        'licence': entry.licence,
        'gated': entry.gated,
    }


def _clip_line(entry: CLIPEntry) -> str:
    """Return a CLIP's name with what is known of it."""
    return f'{_line(entry.name, entry.size)}{_facts(entry)}  {entry.languages}'


def _facts(entry: CLIPEntry | TimmEntry) -> str:
    """Return patch, image size and licence as they follow a size."""
    return f'  {entry.patch_size}/{entry.image_size:<4}  {entry.licence or "see its page":12}'


def _line(name: str, size: int) -> str:
    """Return a name with its size in bytes."""
    amount = f'{size / 1e9:.1f} GB' if size >= 1e9 else f'{size / 1e6:.0f} MB'
    return f'  {name:44}{amount:>8}'
