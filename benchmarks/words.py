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

from benchmarks.reports import report, table
import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm
from zegclip_core.data.catalog import open_dataset
from zegclip_core.data.folder import Pictures
from zegclip_core.data.views import split_indices
from zegclip_core.engines.plain import label_maps, PlainEngine
from zegclip_core.errors import DataError, ModelError
from zegclip_core.evaluation.metrics import ConfusionMatrix
from zegclip_core.images.working_size import working_size
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


class _Forms:
    """Labels pictures by several vocabularies at once, as each alone would.

    Words do not act on one another before their scores are compared, so that a network looks at
    a picture once for all of them.
    """

    def __init__(self, segmenter: Segmenter, vocabularies: Sequence[Vocabulary]) -> None:
        engine = segmenter.engine
        if not isinstance(engine, PlainEngine):
            raise ModelError(f'Expected the plain path, but got {segmenter.path}.')
        self._segmenter, self._engine = segmenter, engine
        self._words = [engine.prepare(segmenter.encode(each)) for each in vocabularies]
        stacked = torch.cat([words.embeddings for words in self._words])
        self._unique, rows = torch.unique(stacked, dim=0, return_inverse=True)
        self._rows = rows.split([len(words.embeddings) for words in self._words])

    @property
    def number(self) -> int:
        """How many vocabularies there are."""
        return len(self._words)

    @torch.inference_mode()
    def labels(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
        """Return the labels of a picture by each vocabulary, ``(H, W)``."""
        height, width = image.shape[:2]
        sides = {
            'short_side': self._segmenter.short_side,
            'patch_size': self._segmenter.patch_size,
        }
        size = working_size(height, width, **sides)
        images = self._engine.normalised(torch.tensor(image)[None], size)
        network = self._engine.network
        maps = network(images, self._unique.to(self._engine.dtype))
        found = (
            label_maps(maps[:, rows], (height, width), words, scoring=network.scoring)
            for rows, words in zip(self._rows, self._words, strict=True)
        )
        return [labels[0].cpu().numpy() for labels, _ in found]


def measure(
    segmenter: Segmenter, dataset: Pictures, indices: Sequence[int]
) -> list[tuple[Row, Row]]:
    """Measure every change, with the words as they stand and as users' words are taken.

    Args:
        segmenter: With the plain path.
        dataset: CamVid, or pictures with its classes.
        indices: Which of them.

    Raises:
        DataError: If the dataset has classes whose plurals are not known.
        ModelError: If the segmenter has another path.
    """
    unknown = sorted(set(dataset.classes) - set(PLURALS))
    if unknown:
        raise DataError(f'Expected the classes of CamVid, but got {unknown[0]!r}.')
    names = [[form(name) for name in dataset.classes] for form in CHANGES.values()]
    exact = [Vocabulary.from_names(each) for each in names]
    typed = [Vocabulary.from_words(each) for each in names]
    shares, mious = _compared(_Forms(segmenter, [*exact, *typed]), dataset, indices)
    rows = [Row(*row) for row in zip([*CHANGES, *CHANGES], shares, mious, strict=True)]
    half = len(names)
    return list(zip(rows[:half], rows[half:], strict=True))


def _compared(
    forms: _Forms, dataset: Pictures, indices: Sequence[int]
) -> tuple[list[float], list[float]]:
    """Return of each vocabulary the share of labels that the first does not give, and the mIoU."""
    counts = [ConfusionMatrix(len(dataset.classes)) for _ in range(forms.number)]
    changed = np.zeros((len(indices), forms.number))
    for place, index in enumerate(tqdm(indices)):
        sample = dataset[index]
        found = forms.labels(sample.image)
        changed[place] = [np.mean(labels != found[0]) for labels in found]
        for count, labels in zip(counts, found, strict=True):
            count.update(labels, sample.labels)
    shares: list[float] = changed.mean(axis=0).tolist()
    return shares, [float(np.nanmean(count.iou())) for count in counts]


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
    """Measure; return the exit code.

    Args:
        arguments: Those of the command line; ``None`` takes those of the process.
    """
    options = build_parser().parse_args(arguments)

    def measured() -> str:
        dataset = open_dataset(options.data, 'folder', options.split)
        indices = split_indices(len(dataset), options.hold_out, held_out=True)
        rows = measure(Segmenter.load(options.model, path='plain'), dataset, indices)
        return page_text(rows, len(indices))

    return report('words', measured, PAGE, write=options.write_docs)


if __name__ == '__main__':
    sys.exit(main())
