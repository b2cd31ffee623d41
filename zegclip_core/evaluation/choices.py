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
"""What a user chooses to evaluate: words for the classes, and which of the classes are seen."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from zegclip_core.data.catalog import unseen_of
from zegclip_core.errors import DataError
from zegclip_core.text.vocabulary import Vocabulary

ALL = 'all'
"""Stands for every class of a dataset."""


def parse_renames(text: str, classes: Sequence[str]) -> dict[str, str]:
    """Read other words for classes.

    Args:
        text: ``car=automobile, tree=bushes``; empty for none.
        classes: The dataset's classes.

    Raises:
        DataError: If the text has another form or names an unknown class.
    """
    renames = {}
    for part in _entries(text):
        name, equals, word = (piece.strip() for piece in part.partition('='))
        if not equals or not word or name not in classes:
            raise DataError(
                f'Expected other words as class=word with a class of {", ".join(classes)}, '
                f'but got {part!r}.'
            )
        renames[name] = word
    return renames


def chosen_words(
    classes: Sequence[str], renames: str = '', file: str | Path | None = None
) -> Vocabulary:
    """Return what to ask for, one entry for each class of a dataset.

    Args:
        classes: The dataset's classes.
        renames: As in ``parse_renames``.
        file: A vocabulary file in the order of the classes, as ``zegclip segment`` takes it.

    Raises:
        DataError: If the renames cannot be used, or the file has another number of classes.
        VocabularyError: If the file cannot be read or used, or two classes have one word.
    """
    if file is None:
        other = parse_renames(renames, classes)
        return Vocabulary.from_names([other.get(name, name) for name in classes])
    words = Vocabulary.from_file(file)
    if len(words) != len(classes):
        raise DataError(
            f'Expected {file} to have words for {len(classes)} classes, one a line in the order '
            f'{", ".join(classes[:3])}, ..., but got {len(words)} (a comma begins a new class).'
        )
    # The dataset's own names are encoded as published, as they are without a file.
    return Vocabulary(
        tuple(
            replace(entry, exact=entry.exact or entry.name == name)
            for entry, name in zip(words.classes, classes, strict=True)
        )
    )


def choose_seen(
    dataset: str,
    classes: Sequence[str],
    *,
    seen: str = '',
    unseen: str = '',
    known: Collection[str] = (),
) -> tuple[str, ...]:
    """Return the classes of a dataset that count as seen, in their order.

    Args:
        dataset: Name of the dataset, or its YAML file.
        classes: Its classes.
        seen: The seen ones: names of classes and of seen/unseen splits of the dataset, with
            commas between them, or ``all``; empty for those that are not unseen.
        unseen: The unseen ones, likewise.
        known: What decides if neither is given: the classes that the model's training saw. If
            the dataset has none of them, all of its classes count as seen.

    Raises:
        DataError: If a name is not known, or seen and unseen together are not each class once.
    """
    if not seen and not unseen:
        return tuple(name for name in classes if name in known) or tuple(classes)
    chosen = _named_unseen(dataset, classes, unseen)
    if not seen:
        return tuple(name for name in classes if name not in chosen)
    wanted = _named_seen(dataset, classes, seen)
    if unseen:
        _refuse_overlap_or_gap(classes, wanted, chosen)
    return tuple(name for name in classes if name in wanted)


def _entries(text: str) -> list[str]:
    return [part.strip() for part in text.split(',') if part.strip()]


def _named_unseen(dataset: str, classes: Sequence[str], text: str) -> set[str]:
    """Return the classes that a user's text calls unseen."""
    if text.strip() == ALL:
        return set(classes)
    unseen = unseen_of(dataset, _entries(text), classes)
    _refuse_unknown('--unseen', unseen.unknown, classes)
    return set(unseen.classes)


def _named_seen(dataset: str, classes: Sequence[str], text: str) -> set[str]:
    """Return the classes that a user's text calls seen."""
    if text.strip() == ALL:
        return set(classes)
    named: set[str] = set()
    for entry in _entries(text):
        split = unseen_of(dataset, [entry], classes)
        _refuse_unknown('--seen', split.unknown, classes)
        # A split is a list of unseen classes: the seen ones are the others.
        named |= {entry} if entry in classes else set(classes) - set(split.classes)
    return named


def _refuse_unknown(option: str, unknown: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse names that the dataset does not have."""
    if unknown:
        raise DataError(
            f'Expected {option} to name classes of {", ".join(classes)}, or a split of the '
            f'dataset, or {ALL}, but got {unknown[0]!r}.'
        )


def _refuse_overlap_or_gap(classes: Sequence[str], seen: set[str], unseen: set[str]) -> None:
    """Refuse seen and unseen classes that are not each class once."""
    both = [name for name in classes if name in seen and name in unseen]
    neither = [name for name in classes if name not in seen and name not in unseen]
    if both or neither:
        fault = f'{both[0]!r} is in both' if both else f'{neither[0]!r} is in neither'
        raise DataError(
            f'Expected --seen and --unseen to hold each of the {len(classes)} classes once, '
            f'but {fault}.'
        )
