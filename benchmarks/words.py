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
"""How much articles, case and plurals of the words change the labels.

Every class of a dataset is asked for in another form at once: as it is encoded when words are
taken as they stand, and as ``Vocabulary.parse`` takes what users type. Run it by
``python -m benchmarks.words``; ``docs/words.md`` has the figures.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
import json
from pathlib import Path
import sys

from benchmarks.reports import table, write_docs
import numpy as np
import torch
from tqdm import tqdm
from zegclip_core.data.catalog import open_dataset
from zegclip_core.data.folder import Pictures
from zegclip_core.data.views import split_indices
from zegclip_core.errors import DataError, ZegCLIPError
from zegclip_core.metrics import ConfusionMatrix
from zegclip_core.segmentation import LabelArray
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.vocabulary import Vocabulary

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'words.md'
PLURALS = {
    'sky': 'skies',
    'building': 'buildings',
    'pole': 'poles',
    'road': 'roads',
    'pavement': 'pavements',
    'tree': 'trees',
    'traffic sign': 'traffic signs',
    'fence': 'fences',
    'car': 'cars',
    'pedestrian': 'pedestrians',
    'bicyclist': 'bicyclists',
}
"""The plurals of CamVid's classes, written by hand."""
CHANGES: Mapping[str, Callable[[str], str]] = {
    'none': str,
    'article: a sky': lambda name: f'a {name}',
    'article: the sky': lambda name: f'the {name}',
    'case: Sky': str.capitalize,
    'case: SKY': str.upper,
    'plural: skies': PLURALS.__getitem__,
    'all three: The Skies': lambda name: f'The {PLURALS[name].title()}',
}


@dataclass(frozen=True)
class Row:
    """What comes of words in another form.

    Attributes:
        change: What is changed.
        changed: Share of the pixels with another label.
        miou: Mean IoU with these words.
    """

    change: str
    changed: float
    miou: float


class _Labels:
    """The labels of all pictures by each set of words, which are computed once a set."""

    def __init__(self, segmenter: Segmenter, dataset: Pictures, indices: Sequence[int]) -> None:
        self._segmenter = segmenter
        self._dataset = dataset
        self._indices = indices
        self._found: list[tuple[EncodedVocabulary, list[LabelArray]]] = []

    def of(self, vocabulary: Vocabulary) -> list[LabelArray]:
        """Return the labels; the same embeddings give the same ones."""
        words = self._segmenter.encode(vocabulary)
        for other, labels in self._found:
            if torch.equal(other.embeddings, words.embeddings) and torch.equal(
                other.bias, words.bias
            ):
                return labels
        images = tqdm(self._indices, desc=', '.join(vocabulary.names[:2]))
        labels = [
            self._segmenter.segment(self._dataset[index].image, words).labels for index in images
        ]
        self._found.append((words, labels))
        return labels

    def row(self, change: str, words: Vocabulary, base: Sequence[LabelArray]) -> Row:
        """Compare the labels of words with those of others."""
        labels = self.of(words)
        shares = [np.mean(ours != first) for ours, first in zip(labels, base, strict=True)]
        counts = ConfusionMatrix(len(words))
        for index, ours in zip(self._indices, labels, strict=True):
            counts.update(ours, self._dataset[index].labels)
        return Row(change, float(np.mean(shares)), float(np.nanmean(counts.iou())))


def measure(
    segmenter: Segmenter, dataset: Pictures, indices: Sequence[int]
) -> list[tuple[Row, Row]]:
    """Measure every change, with the words as they stand and as users' words are taken.

    Raises:
        DataError: If the dataset has classes whose plurals are not known.
    """
    unknown = sorted(set(dataset.classes) - set(PLURALS))
    if unknown:
        raise DataError(f'Expected the classes of CamVid, but got {unknown[0]!r}.')
    labels = _Labels(segmenter, dataset, indices)
    base = labels.of(Vocabulary.from_names(dataset.classes))
    rows = []
    for change, form in CHANGES.items():
        names = [form(name) for name in dataset.classes]
        exact = labels.row(change, Vocabulary.from_names(names), base)
        rows.append((exact, labels.row(change, Vocabulary.parse(json.dumps(names)), base)))
    return rows


def page_text(rows: Sequence[tuple[Row, Row]], pictures: int) -> str:
    """Return the table of the page."""
    head = (
        'change of all words',
        'pixels that change, as it stands',
        'mIoU',
        'pixels that change, as typed',
        'mIoU',
    )
    lines = [
        (exact.change, *(cell for row in (exact, typed) for cell in _cells(row)))
        for exact, typed in rows
    ]
    return f'{table(head, lines)}\n\n({pictures} pictures, {date.today()})'


def _cells(row: Row) -> tuple[str, str]:
    return f'{row.changed:.2%}', f'{row.miou:.3f}'


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.words', description=__doc__)
    add = parser.add_argument
    add('--data', type=Path, default=Path('data/camvid'), help='folder (default: %(default)s)')
    add('--split', default='val', help='part of it (default: %(default)s)')
    add('--model', default='everyday-s', help='name or file (default: %(default)s)')
    add('--hold-out', type=int, default=0, metavar='N', help='only every N-th picture')
    add('--write-docs', action='store_true', help=f'put the table into {PAGE.name}')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0 if it was finished.

    Args:
        arguments: Those of the command line; ``None`` takes those of the process.
    """
    options = build_parser().parse_args(arguments)
    try:
        dataset = open_dataset(options.data, 'folder', options.split)
        indices = split_indices(len(dataset), options.hold_out, held_out=True)
        rows = measure(Segmenter.load(options.model), dataset, indices)
    except ZegCLIPError as error:
        print(f'words: error: {error}', file=sys.stderr)
        return 2
    text = page_text(rows, len(indices))
    print(text)
    if options.write_docs:
        write_docs('words', text, PAGE)
    return 0


if __name__ == '__main__':
    sys.exit(main())
