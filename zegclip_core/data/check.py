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
"""Check a download: every file is read, every value looked at, every class counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm
from zegclip_core.data.catalog import FOLDER, load_spec, SHAPES
from zegclip_core.data.folder import (
    check_folder,
    folder_pairs,
    IGNORED,
    label_table,
    LabelTable,
    missing_files,
    Pair,
    read_classes,
    read_sample,
)
from zegclip_core.errors import DataError, ZegCLIPError

_AT_ONCE = 8
"""Files that are read at the same time."""
_AHEAD = 256
"""Files that are handed out before the first of them is done."""


@dataclass(frozen=True)
class Expected:
    """What a part of a dataset should hold.

    Attributes:
        part: Its name.
        classes: Class names.
        pairs: Its files.
        table: What each mask value stands for.
        pictures: How many pictures there may be; empty for any number.
        alone: Masks that lie there without a picture.
    """

    part: str
    classes: tuple[str, ...]
    pairs: list[Pair]
    table: LabelTable
    pictures: tuple[int, ...] = ()
    alone: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        expected: What was looked for.
        good: The files that can be used.
        faults: One line each, every file once.
        pixels: Labelled pixels by class, and unlabelled ones at ``IGNORED``, int64 ``(256,)``.
        present: Pictures that hold a class, likewise.
    """

    expected: Expected
    good: list[Pair]
    faults: list[str]
    pixels: npt.NDArray[np.int64]
    present: npt.NDArray[np.int64]


def expected_parts(root: str | Path, name: str, parts: Sequence[str] = ()) -> list[Expected]:
    """Return what the parts of a dataset should hold.

    Args:
        root: Its folder.
        name: A name of ``dataset_names()``, ``folder`` or the path of a YAML file.
        parts: Names of the parts; empty for all.

    Raises:
        DataError: If the dataset or a part is not known, or the folders do not lie as expected.
    """
    if name == SHAPES:
        raise DataError(f'Expected a dataset of files to check, but {SHAPES} is made on the fly.')
    folder = Path(root).expanduser()
    check_folder(folder)
    if name == FOLDER:
        return list(_plain_parts(folder, parts))
    spec = load_spec(name)
    return [
        Expected(
            part, spec.classes, spec.pairs(folder, part), spec.table, spec.part(part).pictures
        )
        for part in parts or spec.parts
    ]


def _plain_parts(folder: Path, parts: Sequence[str]) -> Iterator[Expected]:
    """Yield what the parts of a plain folder should hold."""
    classes = read_classes(folder / 'classes.txt')
    images = folder / 'images'
    if not images.is_dir():
        raise DataError(f'Expected pictures in {images}/PART/, but there is no such folder.')
    found = sorted(path.name for path in images.iterdir() if path.is_dir())
    if not parts and not found:
        raise DataError(f'Expected folders such as train and val in {images}, but found none.')
    for part in parts or found:
        pairs, table = folder_pairs(folder, part), label_table(len(classes))
        masks = set((folder / 'labels' / part).glob('*.png')) - {pair.mask for pair in pairs}
        yield Expected(part, classes, pairs, table, alone=tuple(sorted(masks)))


def check_part(expected: Expected, *, bar: bool = True) -> Report:
    """Read every file of a part and count what is in it.

    Args:
        expected: What it should hold.
        bar: Whether to show how far it has come.

    Returns:
        What was found.

    Raises:
        DataError: If none of the pictures or none of the masks is there.
    """
    absent = _absent(expected.pairs)
    _refuse_empty(expected, absent)
    faults = [*_count_faults(expected), *_twice(expected.pairs)]
    faults += [f'{path} has no picture.' for path in expected.alone]
    there = [pair for pair in expected.pairs if not {pair.image, pair.mask} & absent]
    faults += [f'{path} is missing.' for path in sorted(absent)]
    good, pixels, present = [], np.zeros(256, np.int64), np.zeros(256, np.int64)
    results = _read_all(there, expected.table)
    for pair, counts in tqdm(results, expected.part, len(there), disable=not bar):
        if isinstance(counts, str):
            faults.append(counts)
        else:
            good.append(pair)
            pixels += counts
            present += counts > 0
    return Report(expected, good, faults, pixels, present)


def _refuse_empty(expected: Expected, absent: set[Path]) -> None:
    """Refuse a part of which all pictures or all masks are missing: it lies somewhere else."""
    for what in ('image', 'mask'):
        paths = [getattr(pair, what) for pair in expected.pairs]
        if paths and absent.issuperset(paths):
            folder = paths[0].parent
            found = min((path.name for path in folder.glob('*')), default='nothing')
            raise DataError(
                f'Expected {len(paths)} {what}s of {expected.part} such as {paths[0]}, but none '
                f'of them is there; in {folder} there is {found}.'
            )


def _count_faults(expected: Expected) -> Iterator[str]:
    """Yield what is wrong with the number of pictures."""
    if expected.pictures and len(expected.pairs) not in expected.pictures:
        wanted = ' or '.join(str(number) for number in expected.pictures)
        yield f'Expected {wanted} pictures in {expected.part}, but found {len(expected.pairs)}.'


def _twice(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield the masks that several pictures have, or one picture several times."""
    for mask, count in Counter(pair.mask for pair in pairs).items():
        if count > 1:
            yield f'{mask} is the mask of {count} pictures, or is listed {count} times.'


def _absent(pairs: Sequence[Pair]) -> set[Path]:
    """Return the files that are missing; each folder is listed once, several at the same time."""
    kinds = ([pair.image for pair in pairs], [pair.mask for pair in pairs])
    with ThreadPoolExecutor(len(kinds)) as pool:
        return {path for found in pool.map(missing_files, kinds) for path in found}


def _read_all(
    pairs: Sequence[Pair], table: LabelTable
) -> Iterator[tuple[Pair, npt.NDArray[np.int64] | str]]:
    """Yield each pair with its pixel counts, or with what is wrong with it."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # In pieces, as the results of a hundred thousand files would pile up.
        for start in range(0, len(pairs), _AHEAD):
            piece = list(islice(pairs, start, start + _AHEAD))
            yield from zip(piece, pool.map(lambda pair: _counts(pair, table), piece), strict=True)


def _counts(pair: Pair, table: LabelTable) -> npt.NDArray[np.int64] | str:
    """Return the pixels of each class in a mask, or what is wrong with the files."""
    try:
        sample = read_sample(pair, table)
    except ZegCLIPError as error:
        return str(error)
    return np.bincount(sample.labels.ravel(), minlength=256)


def histogram(report: Report) -> str:
    """Return the classes of a part with their pictures and pixels, as a table."""
    classes = report.expected.classes
    total = max(int(report.pixels.sum()), 1)
    width = max(len(name) for name in (*classes, 'not labelled'))
    lines = [f'{"class":{width}} {"pictures":>9} {"pixels":>14} {"share":>7}']
    for name, index in [*((name, k) for k, name in enumerate(classes)), ('not labelled', IGNORED)]:
        pixels = int(report.pixels[index])
        lines.append(
            f'{name:{width}} {int(report.present[index]):9} {pixels:14} {pixels / total:7.2%}'
        )
    return '\n'.join(lines) + '\n'
