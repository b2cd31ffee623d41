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
import sys
from typing import Any, TYPE_CHECKING

from zegclip_core.cli._model import (
    add_data_options,
    add_model_options,
    fraction,
    load_segmenter,
    natural,
)
from zegclip_core.cli._reports import add_report_option, check_report, write_report

if TYPE_CHECKING:
    from zegclip_core.data.folder import SegmentationDataset
    from zegclip_core.evaluation.evaluate import Evaluation

_DESCRIPTION = """\
Score a model on pictures with masks. Scored are the labels that `zegclip segment` writes: a pixel
that the model leaves unlabelled counts as wrong; one that is unlabelled in the mask does not
count. Unless told otherwise, the classes that the model's training saw count as seen, and all if
it saw none of these.
"""
_NAME = 'evaluation'
"""How the report is called."""
_WORST = 8
"""Images on the sheet of the worst ones."""
_BEST = 4
"""Those on the sheet of the best ones."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser('evaluate', help='score a model', description=_DESCRIPTION)
    add_data_options(parser)
    parser.add_argument(
        '--absent',
        type=natural,
        default=-1,
        metavar='N',
        help='ask for the classes in a picture and N others (default: for all)',
    )
    distractors = parser.add_mutually_exclusive_group()
    distractors.add_argument(
        '--distractors',
        metavar='WORDS',
        help='also ask for these words, which no picture shows, and tell what share of all '
        'pixels they paint: "sofa, umbrella", or JSON',
    )
    distractors.add_argument(
        '--distractors-file', metavar='FILE', help='a file with the same, or one a line'
    )
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        '--rename', default='', metavar='WORDS', help='other words: "car=automobile, ..."'
    )
    words.add_argument(
        '--classes-file', metavar='FILE', help='words for all classes, in their order, one a line'
    )
    for kind in ('seen', 'unseen'):
        parser.add_argument(
            f'--{kind}',
            default='',
            metavar='CLASSES',
            help=f'the {kind} classes: "car, tree", a split of the dataset (zegclip), or all '
            "(default: by the model's training)",
        )
    parser.add_argument(
        '--seen-bias',
        type=fraction,
        metavar='X',
        help="what the scores of seen classes are lowered by (default: the model's)",
    )
    add_model_options(parser, further=('mode',))
    parser.add_argument('--json', metavar='FILE', help='also write the figures there')
    parser.add_argument(
        '--worst', metavar='FILE', help='also draw the worst pictures there, as PNG'
    )
    parser.add_argument(
        '--confusion', metavar='FILE', help='also draw the confusion matrix there, as PNG'
    )
    add_report_option(parser, _NAME)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate; returns 0."""
    from zegclip_core.cli._outputs import (
        check_output,
        replacing,
        scores_table,
        warn,
        write_json,
        write_png,
    )

    figures = check_output('--json', args.json)
    worst = check_output('--worst', args.worst, '.png')
    confusion = check_output('--confusion', args.confusion, '.png')
    report = check_report(args.report, _NAME)
    dataset = _opened(args)
    result = _evaluate(args, dataset)
    from zegclip_core.evaluation.evaluate import find_symptoms

    sys.stdout.write(scores_table(result))
    for line in find_symptoms(result):
        warn(line)
    if figures:
        write_json(figures, result.to_dict())
    if worst and result.worst:
        from zegclip_core.evaluation.plots import worst_sheet

        write_png(worst, worst_sheet(dataset, result.worst))
    if confusion:
        from zegclip_core.images.confusion import save_confusion

        with replacing(confusion) as partial:
            save_confusion(result.confusion.matrix, result.metrics.is_seen, partial)
    if report:
        from zegclip_core.evaluation.report import evaluation_page

        write_report(report, evaluation_page(result, dataset, args.model))
    return 0


def _opened(args: argparse.Namespace) -> SegmentationDataset:
    """Open the dataset; of a folder without ``classes.txt``, the words name the classes."""
    from zegclip_core.data.datasets import FOLDER, open_dataset
    from zegclip_core.data.folder import FolderDataset
    from zegclip_core.files import user_path
    from zegclip_core.text.vocabulary import Vocabulary

    unnamed = not (user_path(args.data) / 'classes.txt').is_file()
    if args.dataset == FOLDER and args.classes_file and unnamed:
        words = Vocabulary.from_file(args.classes_file)
        return FolderDataset(args.data, args.split, words.names)
    return open_dataset(args.data, args.dataset, args.split)


def _evaluate(args: argparse.Namespace, dataset: SegmentationDataset) -> Evaluation:
    """Score the model; what can be refused without it is refused before it is loaded."""
    from zegclip_core.evaluation.choices import choose_seen, chosen_distractors, chosen_words

    words = chosen_words(dataset.classes, args.rename, args.classes_file)
    distractors = chosen_distractors(
        dataset.classes, words, args.distractors, args.distractors_file
    )
    chosen = {'seen': args.seen, 'unseen': args.unseen}
    choose_seen(args.dataset, dataset.classes, **chosen)
    segmenter = load_segmenter(args)
    from zegclip_core.data.views import split_indices
    from zegclip_core.evaluation.evaluate import evaluate

    settings = segmenter.settings
    seen = choose_seen(args.dataset, dataset.classes, **chosen, known=settings.seen_classes)
    bias = None
    if any(chosen.values()) or args.seen_bias is not None:
        amount = settings.seen_bias if args.seen_bias is None else args.seen_bias
        # Distractors may be classes that the model saw in another dataset.
        further = (name for name in settings.seen_classes if name not in dataset.classes)
        bias = dict.fromkeys((*seen, *further), amount)
    return evaluate(
        segmenter,
        dataset,
        split_indices(len(dataset), args.hold_out, held_out=True),
        words=words,
        absent=args.absent,
        distractors=distractors,
        seen=seen,
        bias=bias,
        worst=_WORST,
        best=_BEST,
    )
