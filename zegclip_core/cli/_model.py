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
"""The options that several commands have: of models, words and datasets."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TYPE_CHECKING, TypeVar

from zegclip_core.options import Option, OPTIONS
from zegclip_core.weights.names import DEFAULT_MODEL, MODEL_HELP

if TYPE_CHECKING:
    from zegclip_core.segmenter import Segmenter
    from zegclip_core.text.vocabulary import Vocabulary

T = TypeVar('T', int, float)
_AT_ONCE = 32
"""Classes between two steps of the progress bar."""
_QUIET = 1.0
"""How long encoding may take without a progress bar, in seconds."""


def add_model_options(
    parser: argparse.ArgumentParser, *, without: Sequence[str] = (), further: Sequence[str] = ()
) -> None:
    """Add the options that name a model and say how it runs.

    Args:
        parser: Where to.
        without: Names of options of a segmenter that this command does not have.
        further: Names of those that only this command has.
    """
    parser.add_argument('--model', default=DEFAULT_MODEL, help=MODEL_HELP)
    for name, option in OPTIONS.items():
        if name in further or (option.flag and name not in without):
            add_option(parser, option)


def add_option(
    parser: argparse.ArgumentParser,
    option: Option,
    default: Any = None,  # noqa: ANN401 - of any option
) -> None:
    """Add a flag for an option of a segmenter; ``None`` takes the option's own default."""
    default = option.default if default is None else default
    notes = [f'default: {option.unset or "%(default)s"}']
    read: Callable[[str], Any] = negative_words if option.words else str
    if option.bounds is not None:
        low, high = option.bounds
        notes.insert(0, f'{low:g} to {high:g}')
        # Too great an integer is refused with the model.
        read = at_least(low) if isinstance(low, int) else between(low, high)
    parser.add_argument(
        f'--{option.name.replace("_", "-")}',
        type=read,
        choices=option.choices or None,
        metavar=option.metavar,
        default=default,
        help=f'{option.description} ({"; ".join(notes)})',
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a dataset and a part of it."""
    parser.add_argument('--data', required=True, metavar='DIR', help='folder of the dataset')
    parser.add_argument('--split', default='val', help='part of it (default: %(default)s)')
    parser.add_argument(
        '--dataset',
        default='folder',
        metavar='NAME',
        help='what lies there: voc12, coco_stuff164k, context59, context60, a YAML file like '
        'theirs, or folder: images/, labels/ and classes.txt (default: %(default)s); shapes is '
        'made on the fly',
    )
    parser.add_argument(
        '--hold-out',
        type=positive,
        default=0,
        metavar='N',
        help='only every N-th image (default: all)',
    )


def load_segmenter(args: argparse.Namespace, **changes: Any) -> Segmenter:  # noqa: ANN401
    """Load the model that the options of ``add_model_options`` name; takes seconds.

    Args:
        args: The parsed options.
        **changes: Options of a segmenter that the user does not choose, by name.

    Raises:
        ZegCLIPError: If it cannot be loaded.
    """
    from zegclip_core.segmenter import Segmenter

    chosen = {name: getattr(args, name) for name in OPTIONS if hasattr(args, name)}
    return Segmenter.load(args.model, **chosen, **changes)


def negative_words(text: str) -> tuple[str, ...]:
    """Return negative words given as text."""
    from zegclip_core.errors import VocabularyError
    from zegclip_core.text.negatives import parse_negatives

    try:
        return parse_negatives(text)
    except VocabularyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def number(kind: Callable[[str], T], text: str) -> T | None:
    """Return what a text says, or ``None`` if it is no such number."""
    try:
        return kind(text)
    except ValueError:
        return None


def between(low: float, high: float) -> Callable[[str], float]:
    """Return what reads a number in [low, high]."""

    def read(text: str) -> float:
        value = number(float, text)
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f'expected a number in [{low:g}, {high:g}], but got {text}'
            )
        return value

    return read


def at_least(low: int) -> Callable[[str], int]:
    """Return what reads an integer of at least ``low``."""
    wanted = 'a positive integer' if low == 1 else f'an integer of at least {low}'

    def read(text: str) -> int:
        value = number(int, text)
        if value is None or value < low:
            raise argparse.ArgumentTypeError(f'expected {wanted}, but got {text}')
        return value

    return read


fraction, natural, positive = between(0.0, 1.0), at_least(0), at_least(1)


def add_word_options(parser: argparse.ArgumentParser) -> None:
    """Add the two options of which one says what to look for."""
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument(
        '--classes', metavar='WORDS', help='what to look for: "person, cat", or JSON'
    )
    words.add_argument(
        '--classes-file', metavar='FILE', help='a file with the same, or one a line'
    )


def read_words(args: argparse.Namespace) -> Vocabulary:
    """Return the words that the user gave.

    Raises:
        VocabularyError: If they cannot be used.
    """
    from zegclip_core.text.vocabulary import Vocabulary

    if args.classes_file is not None:
        return Vocabulary.from_file(args.classes_file)
    return Vocabulary.parse(args.classes)


def encode_words(segmenter: Segmenter, vocabulary: Vocabulary) -> None:
    """Have a segmenter know the words, behind a progress bar: a thousand take a minute.

    Raises:
        VocabularyError: If the words cannot be encoded.
    """
    from tqdm import tqdm

    classes = vocabulary.encoded_phrases(segmenter.settings.seen_classes)
    with tqdm(total=len(classes), unit='word', delay=_QUIET, leave=False, disable=None) as bar:
        for start in range(0, len(classes), _AT_ONCE):
            part = classes[start:][:_AT_ONCE]
            segmenter.text_encoder.encode_classes(part)
            bar.update(len(part))
