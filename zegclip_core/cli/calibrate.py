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
"""``zegclip calibrate``: choose the threshold below which a pixel is left unlabelled."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from zegclip_core.cli._model import add_data_options, add_model_options, load_segmenter, positive

if TYPE_CHECKING:
    from zegclip_core.data.folder import SegmentationDataset
    from zegclip_core.evaluation.calibration import Sweep
    from zegclip_core.segmenter import Segmenter

_DESCRIPTION = """\
Sweep the threshold below which a pixel is left unlabelled, on pictures with masks that the model
was not trained on. The classes are dealt into rounds; each round withholds its classes from the
vocabulary, so that any label on them is wrong. Chosen is the threshold with the greatest F1 of
precision (share of the labelled pixels that got their class) and recall (share of the pixels of
known classes that got their class), or a smaller one that gives up at most 0.01 of it. With
negative words it sweeps with and without them.
"""
_SHOWN_EACH = 10
"""Every so many thresholds one is printed."""
_FEW = 20
"""Of fewer pictures, each one moves the figures."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'calibrate', help='choose the threshold of a model', description=_DESCRIPTION
    )
    add_data_options(parser)
    parser.add_argument(
        '--rounds',
        type=positive,
        default=4,
        metavar='N',
        help='into how many parts the classes are dealt (default: %(default)s)',
    )
    add_model_options(parser, without=('threshold',))
    parser.add_argument('--plot', metavar='FILE', help='also draw the curves there, as PNG')
    parser.add_argument('--json', metavar='FILE', help='also write the figures there')
    parser.add_argument(
        '--save',
        metavar='FILE',
        help='also write the model with the chosen threshold (and the negative words) there',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate; returns 0."""
    from zegclip_core.cli._outputs import check_output, replacing, write_json
    from zegclip_core.data.datasets import open_dataset
    from zegclip_core.evaluation.calibration import withheld_classes

    figures = check_output('--json', args.json)
    plot = check_output('--plot', args.plot, '.png')
    target = check_output('--save', args.save, '.safetensors')
    source = _checkpoint(args.model, target) if target else None
    dataset = open_dataset(args.data, args.dataset, args.split)
    withheld_classes(len(dataset.classes), args.rounds)  # Refuses rounds that do not fit.
    segmenter = load_segmenter(args)
    sweeps = _sweeps(segmenter, dataset, args)
    sys.stdout.write(_table(sweeps))
    if figures:
        write_json(figures, {name: sweep.to_dict() for name, sweep in sweeps.items()})
    if plot:
        from zegclip_core.evaluation.plots import save_calibration

        with replacing(plot) as partial:
            save_calibration(sweeps, f'{segmenter.model_name} on {dataset.title}', partial)
    if source and target:
        from zegclip_core.weights.checkpoint import change_settings

        *_, sweep = sweeps.values()
        threshold = sweep.row(sweep.chosen)['threshold']
        change_settings(source, target, threshold=threshold, negatives=segmenter.negatives)
        sys.stdout.write(f'{target}: threshold {threshold}\n')
    return 0


def _checkpoint(model: str, target: Path) -> Path:
    """Return the file of a model that can be written with other settings to another file.

    Raises:
        ModelError: If it has none.
        ConfigError: If the other file is the same.
    """
    from zegclip_core.errors import ConfigError, ModelError
    from zegclip_core.weights.names import parse_model, SUFFIX

    path = parse_model(model).checkpoint_file('to save a threshold with')
    if path.suffix != SUFFIX:
        raise ModelError(
            f'Expected a {SUFFIX} model for --save, since only these keep a threshold, '
            f'but got {model!r}: zegclip convert makes one.'
        )
    if target.exists() and target.samefile(path):
        raise ConfigError(
            f'Expected --save to be another file than the model, but got {str(target)!r}.'
        )
    return path


def _sweeps(
    segmenter: Segmenter, dataset: SegmentationDataset, args: argparse.Namespace
) -> dict[str, Sweep]:
    """Return the sweeps by what they are called; the last is with the negative words."""
    from zegclip_core.cli._outputs import warn
    from zegclip_core.data.views import split_indices
    from zegclip_core.evaluation.calibration import sweep_thresholds

    indices = split_indices(len(dataset), args.hold_out, held_out=True)
    sys.stdout.write(f'{len(indices)} picture{"s" * (len(indices) != 1)}\n')
    if len(indices) < _FEW:
        warn(f'a threshold from fewer than {_FEW} pictures is little more than a guess')
    negatives = segmenter.negatives
    choices: dict[str, tuple[str, ...]] = {'no negatives': ()}
    if negatives:
        choices[f'{len(negatives)} negatives'] = negatives
    return {
        name: sweep_thresholds(segmenter, dataset, indices, rounds=args.rounds, negatives=words)
        for name, words in choices.items()
    }


def _table(sweeps: dict[str, Sweep]) -> str:
    """Return the figures at some thresholds, the best and the chosen one as text."""
    from tabulate import tabulate

    tables = []
    for name, sweep in sweeps.items():
        rows = []
        for place in sorted({*range(0, len(sweep.f1), _SHOWN_EACH), sweep.best, sweep.chosen}):
            marks = ['best F1'] * (place == sweep.best) + ['chosen'] * (place == sweep.chosen)
            rows.append((*sweep.row(place).values(), '  '.join(marks)))
        headers = ('threshold', 'precision', 'recall', 'F1', 'unknown left unlabelled', '')
        formats = ('.2f', '.3f', '.3f', '.3f', '.3f', '')
        table = tabulate(rows, headers=headers, tablefmt='plain', floatfmt=formats)
        tables.append(f'{name}:\n{table}\n')
    return ''.join(tables)
