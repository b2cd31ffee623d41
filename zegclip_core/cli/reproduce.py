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
"""``zegclip reproduce``: run a row of a published table, and print it beside the figures."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, TYPE_CHECKING

from zegclip_core.cli._model import add_option
from zegclip_core.options import OPTIONS

if TYPE_CHECKING:
    from zegclip_core.evaluation.evaluate import Evaluation
    from zegclip_core.evaluation.reproduction import PublishedRow

_DESCRIPTION = """\
Run a row of a published table, or a step of the paper's Figure 1, end to end: check the data,
train by the configuration of the same name (a transductive row first trains the inductive one; a
step changes some settings of voc12-inductive), score by the published protocol, and print the
figures beside the published ones. With --checkpoint nothing is trained. A training that was
stopped goes on when the command is given again.
"""
_FIGURES = ('pixel_accuracy', 'miou_seen', 'miou_unseen', 'hiou')


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'reproduce', help='run a row of a published table', description=_DESCRIPTION
    )
    parser.add_argument(
        'row',
        metavar='ROW',
        help='voc12-, coco- or context-, and inductive, transductive or (not context) fully; or '
        'voc12-step1 to voc12-step4 of Figure 1, whose step (5) is voc12-inductive',
    )
    parser.add_argument(
        'settings', nargs='*', default=[], metavar='KEY=VALUE', help='settings of training'
    )
    parser.add_argument('--data', required=True, metavar='DIR', help='folder of the dataset')
    parser.add_argument(
        '--checkpoint', metavar='MODEL', help='score this trained model instead of training one'
    )
    add_option(parser, OPTIONS['device'])
    add_option(parser, OPTIONS['precision'], 'fp32')
    parser.add_argument('--json', metavar='FILE', help='also write the figures there')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reproduce a row; returns 0."""
    from zegclip_core.cli._outputs import check_output, warn, write_json
    from zegclip_core.errors import ConfigError
    from zegclip_core.evaluation import reproduction
    from zegclip_core.loading import open_checkpoint

    row = reproduction.load_row(args.row)
    out = check_output('--json', args.json)
    if args.checkpoint and args.settings:
        raise ConfigError('Expected no settings of training with --checkpoint, but got some.')
    if args.checkpoint:
        open_checkpoint(args.checkpoint, 'to reproduce a row')
    dataset = reproduction.open_checked(args.data, row.dataset, row.part, warn)
    model = args.checkpoint
    if not model:
        configs = reproduction.row_configs(args.row, args.data, args.settings)
        for source in configs[-1].train:
            reproduction.open_checked(source.root, source.dataset, source.split, warn)
        model = reproduction.train_row(configs)
        if model is None:
            return 0
    segmenter = reproduction.row_segmenter(
        row, str(model), device=args.device, precision=args.precision
    )
    result = reproduction.score_row(row, segmenter, dataset)
    sys.stdout.write(_table(row, result))
    from zegclip_core.evaluation.evaluate import find_symptoms

    for line in find_symptoms(result):
        warn(line)
    if out:
        known = {key: round(value / 100.0, 4) for key, value in row.published.items()}
        published = {key: known.get(key) for key in _FIGURES}
        write_json(out, {'row': args.row, 'published': published, **result.to_dict()})
    return 0


def _table(row: PublishedRow, result: Evaluation) -> str:
    """Return the figures beside the published ones, in percent."""
    from tabulate import tabulate
    from zegclip_core.cli._outputs import FIGURES

    lines = []
    for key, title in FIGURES:
        if key not in _FIGURES:
            continue
        published = row.published.get(key)
        ours = 100.0 * getattr(result.metrics, key)
        own = '-' if math.isnan(ours) else f'{ours:.1f}'
        known = published is not None and not math.isnan(ours)
        difference = f'{ours - published:+.1f}' if known else '-'
        lines.append((title, 'not verified' if published is None else published, own, difference))
    table = tabulate(
        lines,
        headers=('', 'published', 'ours', 'difference'),
        tablefmt='plain',
        colalign=('left', 'right', 'right', 'right'),
        disable_numparse=True,
    )
    source = f'published: {row.source}\n' if row.source else ''
    return f'{row.title}, {result.images} pictures\n{table}\n{source}'
