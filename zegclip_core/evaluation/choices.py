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

from zegclip_core.data.datasets import unseen_of
from zegclip_core.errors import DataError
from zegclip_core.text.phrases import standard_form
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

ALL = 'all'
"""Stands for every class of a dataset."""


def chosen_words(
    classes: Sequence[str], renames: str = '', file: str | Path | None = None
) -> Vocabulary:
    """Return what to ask for, one entry for each class of a dataset.

    Args:
        classes: The dataset's classes.
        renames: Other words for some of them, ``car=automobile, tree=bushes``; empty for none.
        file: A vocabulary file in the order of the classes, as ``zegclip segment`` takes it.

    Raises:
        DataError: If the renames have another form or name an unknown class, or the file has
            another number of classes.
        VocabularyError: If the file cannot be read or used, or two classes have one word.
    """
    if file is None:
        other = {}
        for part in _entries(renames):
            name, equals, word = (piece.strip() for piece in part.partition('='))
            if not equals or not word or name not in classes:
                raise DataError(
                    f'Expected other words as class=word with a class of {", ".join(classes)}, '
                    f'but got {part!r}.'
                )
            other[name] = word
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


def chosen_distractors(
    classes: Sequence[str],
    words: Vocabulary,
    text: str | None = None,
    file: str | Path | None = None,
) -> tuple[VocabularyClass, ...]:
    """Return words that no picture shows, to be asked for beside the classes of a dataset.

    Args:
        classes: The dataset's classes.
        words: What is asked for in their place, one entry for each.
        text: The distractors as ``Vocabulary.parse`` takes them; ``None`` for none.
        file: A file with them as ``Vocabulary.from_file`` takes it, in place of ``text``.

    Raises:
        DataError: If one is a class of the dataset or a word for one, by name or by phrase; case,
            article and plural do not count.
        VocabularyError: If they cannot be read or used, or are too many beside the classes.
    """
    if text is None and file is None:
        return ()
    given = Vocabulary.parse(text or '') if file is None else Vocabulary.from_file(file)
    distractors = given.classes
    asked = (*classes, *(phrase for entry in words.classes for phrase in entry.all_phrases))
    taken = {standard_form(word): word for word in asked}
    for phrase in (phrase for entry in distractors for phrase in entry.all_phrases):
        if standard_form(phrase) in taken:
            raise DataError(
                'Expected distractors that no picture shows, but got '
                f'{phrase!r}, and {taken[standard_form(phrase)]!r} is among the classes.'
            )
    Vocabulary((*words.classes, *distractors))  # Refuses too many before a model is loaded.
    return distractors


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
        unseen: The unseen ones, in the same form.
        known: What decides if neither is given: the classes that the model's training saw. If
            the dataset has none of them, all of its classes count as seen.

    Raises:
        DataError: If a name is not known, or seen and unseen together are not each class once.
    """
    if not seen and not unseen:
        return tuple(name for name in classes if name in known) or tuple(classes)
    chosen = {
        option: _named(option, dataset, classes, text)
        for option, text in (('seen', seen), ('unseen', unseen))
        if text
    }
    if len(chosen) == 2:
        for name in classes:
            is_seen, is_unseen = name in chosen['seen'], name in chosen['unseen']
            if is_seen == is_unseen:
                raise DataError(
                    f'Expected --seen and --unseen to hold each of the {len(classes)} classes '
                    f'once, but {name!r} is in {"both" if is_seen else "neither"}.'
                )
    wanted = chosen['seen'] if seen else set(classes) - chosen['unseen']
    return tuple(name for name in classes if name in wanted)


def _entries(text: str) -> list[str]:
    return [part.strip() for part in text.split(',') if part.strip()]


def _named(option: str, dataset: str, classes: Sequence[str], text: str) -> set[str]:
    """Return the classes that a user's text calls seen or unseen."""
    if text.strip() == ALL:
        return set(classes)
    named: set[str] = set()
    for entry in _entries(text):
        split = unseen_of(dataset, [entry], classes)
        if split.unknown:
            raise DataError(
                f'Expected --{option} to name classes of {", ".join(classes)}, or a split of the '
                f'dataset, or {ALL}, but got {split.unknown[0]!r}.'
            )
        # A split is a list of unseen classes: the seen ones are the others.
        others = option == 'seen' and entry not in classes
        named |= set(classes) - set(split.classes) if others else set(split.classes)
    return named
