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
"""``zegclip explain``: a sheet that shows why a picture is labelled as it is."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any, cast, TYPE_CHECKING

from zegclip_core.cli._model import (
    add_model_options,
    add_word_options,
    encode_words,
    load_segmenter,
    read_words,
)
from zegclip_core.files import user_path

if TYPE_CHECKING:
    from zegclip_core.explanation import Explanation

_DESCRIPTION = """\
Show why a picture is labelled as it is. The sheet has the photo and its labels, the score map of
each word with its threshold, and the pairs of words of which one took pixels that the other one
contests, and by how much. The same figures are printed.
"""
_NAME = 32
"""Most letters of a word in the table."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'explain', help='show why a picture is labelled as it is', description=_DESCRIPTION
    )
    parser.add_argument('photo', metavar='PHOTO', help='a picture')
    add_word_options(parser)
    parser.add_argument(
        '--out', metavar='FILE', help='where the sheet goes, a PNG (default: PHOTO_explained.png)'
    )
    add_model_options(parser, without=('candidates',))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain; returns 0.

    Raises:
        ZegCLIPError: If the photo, the words or the model cannot be used.
    """
    from zegclip_core.cli._outputs import check_output, write_png
    from zegclip_core.errors import ConfigError, ModelError
    from zegclip_core.images.media import read_image
    from zegclip_core.weights.names import parse_model

    vocabulary = read_words(args)
    photo = user_path(args.photo)
    image = read_image(photo)
    name = args.out or f'{photo.stem}_explained.png'
    out = cast(Path, check_output('--out', name, '.png'))
    if out.exists() and out.samefile(photo):
        raise ConfigError(f'Expected --out to be another file than the photo, but got {name!r}.')
    if parse_model(args.model).is_exported:
        raise ModelError(
            f'Expected a model that PyTorch runs, but got {args.model!r}, an exported one.'
        )
    segmenter = load_segmenter(args, engine='plain')
    from zegclip_core.explanation import explain, explanation_sheet

    encode_words(segmenter, vocabulary)
    explanation = explain(segmenter, image, vocabulary)
    sys.stdout.write(_table(explanation))
    write_png(out, explanation_sheet(explanation))
    sys.stdout.write(f'{out}\n')
    return 0


def _table(explanation: Explanation) -> str:
    """Return the figures of the words, and what they took from one another."""
    from tabulate import tabulate

    found, names = explanation.segmentation, explanation.names
    rows = [
        (
            names[row][:_NAME],
            f'{share:.1%}',
            explanation.scores[row].max(),
            explanation.thresholds[row],
        )
        for row, share in enumerate(found.shares().values())
    ]
    table = tabulate(
        rows,
        headers=('word', 'pixels', 'peak', 'threshold'),
        tablefmt='plain',
        floatfmt='.2f',
        disable_numparse=[0],
        colalign=('left', 'right', 'right', 'right'),
    )
    low = float(explanation.under_threshold.mean())
    lines = [
        f'{names[one.winner]} took {one.share:.1%} from {names[one.loser]}: {one.score:.2f} '
        f'against {one.rival:.2f}, by {one.margin:.2f}'
        for one in explanation.taken()
    ]
    none = f'none of these: {found.unlabelled_share:.1%}, {low:.1%} under the threshold'
    return '\n'.join([table, none, *lines]) + '\n'
