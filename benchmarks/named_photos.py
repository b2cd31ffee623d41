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
"""How often a model finds words where sentences name them, in photos that nobody drew masks of.

Run it with ``python -m benchmarks.named_photos MODEL ... --without runs/photo-regions``. All words
are asked for at once in photos that regions were not taken from. A photo counts as found if the
word gets a hundredth of its pixels. Sentences tell of what is remarkable alone, so a word that is
found without being named may be there all the same.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import random
import sys

from benchmarks.reports import report
import numpy as np
import numpy.typing as npt
from tabulate import tabulate
from tqdm import tqdm
from zegclip_core.cli._model import positive
from zegclip_core.data.captions import CaptionedImages, open_captions, without
from zegclip_core.options import wait_without_spinning
from zegclip_core.regions.making import named_words, read_sought
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

BESIDE = ('person', 'dog', 'tree', 'building', 'sky', 'road')
"""Words that are asked for as well."""
LEAST_SHARE = 0.01


def chosen(named: npt.NDArray[np.bool_], per_word: int) -> list[int]:
    """Return photos: of each word, ``named`` being bool ``(photos, K)``, at most so many."""
    draw = random.Random(0)
    found: set[int] = set()
    for column in named.T:
        rows = np.flatnonzero(column).tolist()
        found.update(draw.sample(rows, min(per_word, len(rows))))
    return sorted(found)


def painted(
    model: str, photos: CaptionedImages, indices: Sequence[int], words: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Return which words get pixels enough in each photo, bool ``(photos, K)``."""
    segmenter = Segmenter.load(model)
    encoded = segmenter.encode(Vocabulary.from_names([*words, *BESIDE]))
    rows = []
    for index in tqdm(indices, model):
        labels = segmenter.segment(photos.image(index), encoded, scores=False).labels
        counts = np.bincount(labels.ravel(), minlength=len(words))[: len(words)]
        rows.append(counts >= LEAST_SHARE * labels.size)
    return np.stack(rows)


def _share(found: npt.NDArray[np.bool_]) -> float:
    """Return the share of photos that are found, NaN without photos."""
    return float(found.mean()) if found.size else float('nan')


def table(options: argparse.Namespace) -> str:
    """Return the shares of each word by each model.

    Raises:
        ZegCLIPError: If photos, words or a model cannot be read.
    """
    words = read_sought(Path(options.words))
    used = [file.stem for root in options.without for file in Path(root).glob('images/*/*')]
    photos = without(open_captions(options.photos), used)
    named = named_words(photos.sentences, words).numpy()
    indices = chosen(named, options.per_word)
    truth, names = named[indices], [entry.name for entry in words]
    rows = {name: [str(int(column.sum()))] for name, column in zip(names, truth.T, strict=True)}
    means = []
    for model in options.models:
        found = painted(model, photos, indices, names)
        pairs = [
            (_share(own[there]), _share(own[~there]))
            for own, there in zip(found.T, truth.T, strict=True)
        ]
        for name, pair in zip(names, pairs, strict=True):
            rows[name] += [f'{share:.2f}' for share in pair]
        means += [f'{share:.2f}' for share in np.nanmean(pairs, axis=0)]
    head = [
        'word',
        'photos',
        *(f'{m}: {w}' for m in options.models for w in ('named', 'not named')),
    ]
    cells = [[name, *row] for name, row in rows.items()] + [['mean', str(len(indices)), *means]]
    return tabulate(cells, headers=head, tablefmt='github', disable_numparse=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 2 for what the user has to mend."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.named_photos', description=__doc__)
    add = parser.add_argument
    add('models', nargs='+', metavar='MODEL', help='names or files')
    add('--photos', default='data/captions', help='photos and sentences (default: %(default)s)')
    add('--words', default='config/words/photos.yaml', help='the words (default: %(default)s)')
    add(
        '--without',
        action='append',
        default=[],
        metavar='DIR',
        help='a dataset of photos to leave out',
    )
    add('--per-word', type=positive, default=15, help='photos of each (default: %(default)s)')
    options = parser.parse_args(arguments)
    return report('named_photos', lambda: table(options))


if __name__ == '__main__':
    wait_without_spinning()
    sys.exit(main())
