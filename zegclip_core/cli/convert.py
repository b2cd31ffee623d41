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
"""``zegclip convert``: turn a checkpoint of ZegCLIP's authors into one of ours."""

from __future__ import annotations

import argparse
from dataclasses import replace
import sys
from typing import Any

IMAGE_TOWER = 'open_clip:ViT-B-16/openai'
"""What the published checkpoints were trained on."""

_DESCRIPTION = """\
Turn a published ZegCLIP checkpoint (.pth) into a safetensors file of this project. The file names
the frozen CLIP towers, which are loaded by name when it is used; with --include-towers it holds
them, and needs nothing else.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'convert',
        help="take over a checkpoint of ZegCLIP's authors",
        description=_DESCRIPTION,
    )
    parser.add_argument('source', metavar='PTH', help="the authors' checkpoint")
    parser.add_argument('target', metavar='OUT', help='file to write, NAME.safetensors')
    parser.add_argument(
        '--seen',
        default='',
        metavar='WORDS',
        help='classes that its training saw, whose scores are lowered a little when labels are '
        'chosen: "aeroplane, bicycle" or a file with one a line (default: none)',
    )
    parser.add_argument(
        '--templates', default='', help='prompt templates (default: by the number of prompts)'
    )
    towers = parser.add_mutually_exclusive_group()
    towers.add_argument(
        '--tower', default=IMAGE_TOWER, help='the frozen CLIP, by reference (default: %(default)s)'
    )
    towers.add_argument(
        '--include-towers', action='store_true', help='write the frozen towers into the file'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert; returns 0."""
    from zegclip_core.errors import CheckpointError
    from zegclip_core.files import user_path
    from zegclip_core.loading import build_network, build_text_tower
    from zegclip_core.text.templates import resolve_templates
    from zegclip_core.text.vocabulary import Vocabulary
    from zegclip_core.weights.checkpoint import save_checkpoint, with_settings
    from zegclip_core.weights.names import SUFFIX
    from zegclip_core.weights.published import load_published

    source, target = user_path(args.source), user_path(args.target)
    if target.suffix != SUFFIX:
        raise CheckpointError(f'Expected a target NAME{SUFFIX}, but got {args.target!r}.')
    published = load_published(source)
    # Building the model and its text tower checks every key before anything is written.
    network = build_network(published, where=args.source)
    build_text_tower(published, where=args.source)
    checkpoint = published
    if args.templates:
        resolve_templates(args.templates)
        checkpoint = with_settings(checkpoint, templates=args.templates)
    if args.seen:
        is_file = user_path(args.seen).is_file()
        seen = Vocabulary.from_file(args.seen) if is_file else Vocabulary.parse(args.seen)
        checkpoint = with_settings(checkpoint, seen_classes=seen.names)
    if not args.include_towers:
        checkpoint = with_settings(checkpoint, image_tower=args.tower, text_tower=args.tower)
        kept = {key: checkpoint.state_dict[key] for key in network.trained_names()}
        checkpoint = replace(checkpoint, state_dict=kept)
    save_checkpoint(checkpoint, target)
    sys.stdout.write(f'Wrote {target}\n')
    return 0
