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
from pathlib import Path
import sys

from benchmarks.reports import report
import numpy as np
from tabulate import tabulate
from tqdm import tqdm
from zegclip_core.data.datasets import open_dataset
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.data.views import split_indices
from zegclip_core.errors import DataError
from zegclip_core.model.metrics import ConfusionMatrix
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

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

    @property
    def cells(self) -> tuple[str, str]:
        """What the table shows of it."""
        return f'{self.changed:.2%}', f'{self.miou:.3f}'


def measure(
    segmenter: Segmenter, dataset: SegmentationDataset, indices: Sequence[int]
) -> list[tuple[Row, Row]]:
    """Measure every change, with the words as they stand and as users' words are taken.

    Args:
        segmenter: The model.
        dataset: CamVid, or images with its classes.
        indices: Which of them.

    Raises:
        DataError: If the dataset has classes whose plurals are not known.
    """
    unknown = sorted(set(dataset.classes) - set(PLURALS))
    if unknown:
        raise DataError(f'Expected the classes of CamVid, but got {unknown[0]!r}.')
    forms = {
        (change, kind): segmenter.encode(make([form(name) for name in dataset.classes]))
        for change, form in CHANGES.items()
        for kind, make in enumerate((Vocabulary.from_names, Vocabulary.from_words))
    }
    # Most forms are encoded alike, and need to be labelled only once.
    encoded = {
        key: (words.embeddings.numpy().tobytes(), words.bias.numpy().tobytes())
        for key, words in forms.items()
    }
    once = {encoded[key]: words for key, words in forms.items()}
    counts = {key: ConfusionMatrix(len(dataset.classes)) for key in forms}
    changed: dict[tuple[str, int], list[float]] = {key: [] for key in forms}
    for index in tqdm(indices):
        sample = dataset[index]
        labels = {
            key: segmenter.segment(sample.image, words).labels for key, words in once.items()
        }
        for key, same in encoded.items():
            counts[key].update(labels[same], sample.labels)
            changed[key].append(float(np.mean(labels[same] != labels[encoded['none', 0]])))
    rows = {
        key: Row(key[0], float(np.mean(changed[key])), float(np.nanmean(counts[key].iou())))
        for key in forms
    }
    return [(rows[change, 0], rows[change, 1]) for change in CHANGES]


def page_text(rows: Sequence[tuple[Row, Row]], images: int) -> str:
    """Return the table of the page."""
    head = (
        'change of all words',
        'pixels that change, as it stands',
        'mIoU',
        'pixels that change, as typed',
        'mIoU',
    )
    lines = [
        (exact.change, *(cell for row in (exact, typed) for cell in row.cells))
        for exact, typed in rows
    ]
    shown = tabulate(lines, head, 'github', disable_numparse=True)
    return f'{shown}\n\n({images} pictures, {date.today()})'


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
    """Measure; return the exit code.

    Args:
        arguments: Those of the command line; ``None`` takes those of the process.
    """
    options = build_parser().parse_args(arguments)

    def measured() -> str:
        dataset = open_dataset(options.data, 'folder', options.split)
        indices = split_indices(len(dataset), options.hold_out, held_out=True)
        rows = measure(Segmenter.load(options.model, engine='plain'), dataset, indices)
        return page_text(rows, len(indices))

    return report('words', measured, PAGE, write=options.write_docs)


if __name__ == '__main__':
    sys.exit(main())
