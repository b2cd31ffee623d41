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
"""``zegclip evaluate``: score a model on pictures with masks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from zegclip_core.cli._model import add_model_options, load_segmenter

if TYPE_CHECKING:
    from zegclip_core.evaluation import Evaluation

_DESCRIPTION = """\
Score a model on a folder of pictures and masks (images/SPLIT/, labels/SPLIT/*.png, classes.txt).
Scored are the labels that `zegclip segment` writes: a pixel that the model leaves unlabelled
counts as wrong; one that is unlabelled in the mask does not count.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser('evaluate', help='score a model', description=_DESCRIPTION)
    parser.add_argument('--data', required=True, metavar='DIR', help='folder of the dataset')
    parser.add_argument('--split', default='val', help='part of it (default: %(default)s)')
    parser.add_argument(
        '--hold-out', type=int, default=0, metavar='N', help='only every N-th picture'
    )
    parser.add_argument(
        '--rename', default='', metavar='WORDS', help='other words: "car=automobile, ..."'
    )
    parser.add_argument(
        '--absent',
        type=int,
        default=-1,
        metavar='N',
        help='ask for the classes in a picture and N others (default: for all)',
    )
    parser.add_argument('--mode', default='whole', choices=('whole', 'slide'))
    add_model_options(parser)
    parser.add_argument('--json', metavar='FILE', help='also write the figures there')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate; returns 0."""
    from zegclip_core.data.folder import FolderDataset
    from zegclip_core.data.views import split_indices
    from zegclip_core.evaluation import evaluate, parse_renames

    dataset = FolderDataset(args.data, args.split)
    renames = parse_renames(args.rename, dataset.classes)
    segmenter = load_segmenter(args, mode=args.mode)
    indices = split_indices(len(dataset), args.hold_out, held_out=True)
    result = evaluate(segmenter, dataset, indices, renames=renames, absent=args.absent)
    if args.json:
        Path(args.json).write_text(json.dumps(result.to_dict(), indent=2) + '\n', 'utf-8')
    sys.stdout.write(_table(result))
    return 0


def _table(result: Evaluation) -> str:
    """Return the figures as text."""
    metrics = result.metrics
    lines = [f'{name:24} {value:6.3f}' for name, value in metrics.iou.items()]
    lines += [
        f'{"mIoU":24} {metrics.miou:6.3f}',
        f'{"pixel accuracy":24} {metrics.pixel_accuracy:6.3f}',
        f'{result.images} pictures, {result.seconds / max(result.images, 1):.3f} s each',
    ]
    return '\n'.join(lines) + '\n'
