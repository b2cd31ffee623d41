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
"""The images, sentences and words of an alignment, opened and parted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zegclip_core.alignment.config import SentencesConfig
from zegclip_core.alignment.teachers import kept_sentences
from zegclip_core.data.captions import CaptionedImages, open_captions, without
from zegclip_core.data.datasets import open_dataset
from zegclip_core.data.folder import check_taught, SegmentationDataset
from zegclip_core.data.views import split_indices
from zegclip_core.errors import DataError
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.withheld import Withheld
from zegclip_core.training.config import HeldOutConfig, SourceConfig
from zegclip_core.training.queries import ClassSet, phrase_table, read_words


@dataclass(frozen=True)
class LabelledSet:
    """A dataset with masks, and which of its images are used."""

    dataset: SegmentationDataset
    indices: list[int]

    @property
    def names(self) -> list[str]:
        """The names of the images that are used."""
        return [self.dataset.name(index) for index in self.indices]


def labelled_sets(
    entries: Sequence[SourceConfig | HeldOutConfig], *, held_out: bool = False
) -> list[LabelledSet]:
    """Open datasets; of those with ``hold_out`` take the held-out images, or the others.

    Raises:
        DataError: If a dataset does not lie as expected, or nothing of it is left to be taught.
    """
    sets = []
    for entry in entries:
        dataset = open_dataset(entry.root, entry.dataset, entry.split)
        indices = split_indices(len(dataset), entry.hold_out, held_out=held_out)
        if not held_out:
            check_taught(dataset, indices)
        sets.append(LabelledSet(dataset, indices))
    return sets


@dataclass(frozen=True)
class CaptionSets:
    """Captioned images: those that are taught, and those that retrieval is measured on."""

    captions: CaptionedImages
    taught: list[int]
    held_out: list[int]


def caption_sets(config: SentencesConfig, withheld: Withheld) -> CaptionSets:
    """Open captioned images, less those that are held out elsewhere, and part them.

    Raises:
        DataError: If they, or the datasets whose images are left out, do not lie as expected, or
            none is left to be taught.
    """
    others = labelled_sets(config.without, held_out=True)
    stems = [name for entry in others for name in entry.names]
    captions = without(open_captions(config.root), stems)
    known = [
        index
        for index in range(len(captions))
        if kept_sentences(captions, index, withheld, config.of_withheld)
    ]
    every = max(len(known) // config.validate_on, 2) if config.validate_on else 0
    apart = set(known[::every][: config.validate_on] if every else [])
    taught = [k for k in known if k not in apart]
    check_some(taught, f'a picture of {config.root}')
    return CaptionSets(captions, taught, sorted(apart))


def check_some(left: Sequence[object], what: str) -> None:
    """Refuse a teacher that has nothing to teach.

    Raises:
        DataError: If nothing is left.
    """
    if not left:
        raise DataError(
            f'Expected {what} that is neither withheld nor held out, but there is none.'
        )


def taught_classes(
    source: SourceConfig,
    dataset: SegmentationDataset,
    withheld: Withheld,
    encoder: TextEncoder,
) -> ClassSet:
    """Return a dataset's classes; those withheld are unseen, withheld phrases are left out.

    Raises:
        ConfigError: If the words file does not fit.
        DataError: If all classes are withheld.
    """
    words = tuple(
        replace(
            entry,
            phrases=tuple(text for text in entry.phrases if not withheld.is_withheld(text)),
        )
        for entry in read_words(source.words, dataset.classes)
    )
    unseen = frozenset(k for k, entry in enumerate(words) if withheld.is_withheld(entry.name))
    check_some(range(len(unseen), len(words)), f'a class of {source.root}')
    table = phrase_table(source, words, encoder)
    return ClassSet(words, table, unseen)
