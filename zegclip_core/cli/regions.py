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
"""``zegclip regions``: find words in photos with sentences, as masks to train with."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from zegclip_core.cli._model import positive

if TYPE_CHECKING:
    from zegclip_core.data.captions import CaptionedImages

_DESCRIPTION = """\
Find regions of words in photos that have sentences and no masks, and write them as a dataset to
train with. From the patches of an image tower one linear layer learns which photos a word is named
in; a region is where it says so. Pixels of a class that the model knows, and all that is unsure,
are left unlabelled. The words go to no text tower, so they may be new to the model.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'regions', help='find words in photos with sentences', description=_DESCRIPTION
    )
    add = parser.add_argument
    add(
        '--photos',
        required=True,
        metavar='DIR',
        help='folder of the photos, images/, and their sentences, captions.tsv',
    )
    add(
        '--words',
        required=True,
        metavar='FILE',
        help='YAML file of the words, each with phrases and overlaps, as of a training set',
    )
    add('--out', required=True, metavar='DIR', help='the new folder of the dataset')
    add(
        '--model',
        default='everyday-s',
        metavar='MODEL',
        help='whose image tower looks, and whose classes are left out (default: %(default)s)',
    )
    add(
        '--without',
        action='append',
        default=[],
        metavar='DIR',
        help='a folder with images/train/ whose held-out photos are left out (--hold-out); may be '
        'given again',
    )
    add(
        '--hold-out',
        type=positive,
        default=5,
        metavar='N',
        help='every N-th photo of those is held out (default: %(default)s)',
    )
    add(
        '--per-word',
        type=positive,
        default=90,
        metavar='N',
        help='most photos that a word is learnt from (default: %(default)s)',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Find the regions; returns 0."""
    from zegclip_core.files import user_path

    out = _new_folder(user_path(args.out))
    from tabulate import tabulate
    from zegclip_core.regions.making import make_regions, read_sought

    words = read_sought(user_path(args.words))
    photos = _photos(args)

    counts = make_regions(args.model, photos, words, out, per_word=args.per_word)
    sys.stdout.write(tabulate(counts.items(), headers=('word', 'photos')) + '\n')
    sys.stdout.write(f'Wrote {out}\n')
    return 0


def _new_folder(out: Path) -> Path:
    """Refuse a folder that cannot be made, before minutes have gone into what it is to hold."""
    from zegclip_core.errors import ConfigError

    out = Path(os.path.abspath(out))
    if os.path.lexists(out):
        raise ConfigError(f'Expected --out to be a new folder, but {str(out)!r} is there.')
    parent = next(folder for folder in out.parents if os.path.lexists(folder))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConfigError(f'Expected --out in a folder that can be written to, not {parent}.')
    return out


def _photos(args: argparse.Namespace) -> CaptionedImages:
    """Open the photos, less those that are held out elsewhere, and tell how many these are.

    Raises:
        DataError: If they do not lie as expected, or none is left.
    """
    from zegclip_core.alignment.data import labelled_sets
    from zegclip_core.data.captions import open_captions, without
    from zegclip_core.errors import DataError
    from zegclip_core.training.config import HeldOutConfig

    others = [
        HeldOutConfig(root=root, split='train', hold_out=args.hold_out) for root in args.without
    ]
    sets = labelled_sets(others, held_out=True)
    every = open_captions(args.photos)
    photos = without(every, (name for entry in sets for name in entry.names))
    if args.without:
        left_out = len(every) - len(photos)
        sys.stdout.write(f'{len(photos)} photos; {left_out} are held out, and left out here\n')
    if not len(photos):
        raise DataError(f'Expected photos in {args.photos} that are not held out, but all are.')
    return photos
