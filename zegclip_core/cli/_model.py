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
"""The options of every command that uses a model, and the model that they name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TYPE_CHECKING, TypeVar

from zegclip_core.text.templates import template_names
from zegclip_core.weights.names import DEFAULT_MODEL, MODEL_HELP

if TYPE_CHECKING:
    from zegclip_core.segmenter import Segmenter

T = TypeVar('T', int, float)


def add_model_options(
    parser: argparse.ArgumentParser, *, threshold: bool = True, candidates: bool = True
) -> None:
    """Add the options that name a model and say how it runs.

    Args:
        parser: Where to.
        threshold: Whether one can be given.
        candidates: Whether a number of them can be given.
    """
    parser.add_argument('--model', default=DEFAULT_MODEL, help=MODEL_HELP)
    parser.add_argument(
        '--device', default='auto', help='auto, cpu, cuda or cuda:N (default: %(default)s)'
    )
    parser.add_argument(
        '--precision', default='auto', help='auto, fp32, bf16 or fp16 (default: %(default)s)'
    )
    parser.add_argument(
        '--threads',
        type=positive,
        help="threads to compute with on a CPU (default: PyTorch's choice, mostly all cores)",
    )
    parser.add_argument(
        '--short-side',
        type=positive,
        metavar='PIXELS',
        help="working size: larger finds smaller things and takes longer (default: the model's)",
    )
    _add_label_options(parser, threshold=threshold)
    if candidates:
        _add_candidates(parser)
    parser.add_argument(
        '--templates',
        choices=template_names(),
        help="what words are put into; more take longer (default: the model's)",
    )
    parser.add_argument(
        '--attention',
        metavar='NAME',
        help='how CLIP without training attends: naclip, key_key, sclip, maskclip or clip '
        '(default: naclip)',
    )


def _add_label_options(parser: argparse.ArgumentParser, *, threshold: bool) -> None:
    """Add the options that say which words a pixel can get."""
    if threshold:
        parser.add_argument(
            '--threshold',
            type=fraction,
            metavar='SCORE',
            help='least score of a labelled pixel, 0 to 1, for classes without one of their own '
            "(default: the model's)",
        )
    parser.add_argument(
        '--negatives',
        type=negative_words,
        metavar='WORDS',
        help='words that compete and whose pixels stay unlabelled: "wall, floor", or none '
        "(default: the model's)",
    )


def _add_candidates(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many words are drawn."""
    parser.add_argument(
        '--candidates',
        type=natural,
        default=0,
        metavar='N',
        help='of more words than N, draw only the N best ones of each picture (default: all)',
    )


def load_segmenter(args: argparse.Namespace, **further: Any) -> Segmenter:  # noqa: ANN401
    """Load the model that the options name; takes seconds.

    Args:
        args: The parsed options of ``add_model_options``.
        **further: Further arguments of ``Segmenter.load``.

    Raises:
        ZegCLIPError: If it cannot be loaded.
    """
    from zegclip_core.segmenter import Segmenter

    return Segmenter.load(
        args.model,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        short_side=args.short_side,
        threshold=getattr(args, 'threshold', None),
        negatives=args.negatives,
        templates=args.templates,
        attention=args.attention,
        candidates=getattr(args, 'candidates', 0),
        **further,
    )


def fraction(text: str) -> float:
    """Return a number in [0, 1] given as text."""
    value = number(float, text)
    if value is None or not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f'expected a number in [0, 1], but got {text}')
    return value


def negative_words(text: str) -> tuple[str, ...]:
    """Return negative words given as text."""
    from zegclip_core.errors import VocabularyError
    from zegclip_core.text.negatives import parse_negatives

    try:
        return parse_negatives(text)
    except VocabularyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def natural(text: str) -> int:
    """Return an integer of at least 0 given as text."""
    value = number(int, text)
    if value is None or value < 0:
        raise argparse.ArgumentTypeError(f'expected an integer of at least 0, but got {text}')
    return value


def positive(text: str) -> int:
    """Return a positive integer given as text."""
    value = number(int, text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f'expected a positive integer, but got {text}')
    return value


def number(kind: Callable[[str], T], text: str) -> T | None:
    """Return what a text says, or ``None`` if it is no such number."""
    try:
        return kind(text)
    except ValueError:
        return None
