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
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tabulate import tabulate
from tqdm import tqdm
from zegclip_core.data.datasets import FOLDER, load_spec, SHAPES
from zegclip_core.data.folder import (
    check_folder,
    folder_pairs,
    label_table,
    LabelTable,
    missing_files,
    Pair,
    read_classes,
    read_sample,
)
from zegclip_core.errors import DataError, ZegCLIPError
from zegclip_core.files import user_path, visible
from zegclip_core.options import UNLABELLED

_AT_ONCE = 8
"""Files that are read at the same time."""
_SHOWN = 5
"""Classes that a line names."""
_AHEAD = 256
"""Files that are handed out before the first of them is done."""


@dataclass(frozen=True)
class Expected:
    """What a part of a dataset should hold."""

    part: str
    classes: tuple[str, ...]
    pairs: list[Pair]
    table: LabelTable
    """What each mask value stands for."""
    pictures: tuple[int, ...] = ()
    """How many images there may be; empty for any number."""
    alone: tuple[Path, ...] = ()
    """Masks that lie there without an image."""


@dataclass(frozen=True)
class CheckResult:
    """What was found in a part of a dataset."""

    expected: Expected
    good: list[Pair]
    """The files that can be used."""
    faults: list[str]
    """One line each, every file once."""
    notes: list[str]
    """What may be meant as it is, and is a sign of wrong masks."""
    pixels: npt.NDArray[np.int64]
    """Pixels by class, and unlabelled ones at ``UNLABELLED``, ``(256,)``."""
    present: npt.NDArray[np.int64]
    """Images that hold a class, or unlabelled pixels at ``UNLABELLED``, ``(256,)``."""


def expected_parts(root: str | Path, name: str, parts: Sequence[str] = ()) -> list[Expected]:
    """Return what the parts of a dataset should hold; no names of ``parts`` stand for all."""
    if name == SHAPES:
        raise DataError(f'Expected a dataset of files to check, but {SHAPES} is made on the fly.')
    folder = user_path(root)
    check_folder(folder)
    if name != FOLDER:
        spec = load_spec(name)
        return [
            Expected(
                part, spec.classes, spec.pairs(folder, part), spec.table, spec.part(part).pictures
            )
            for part in parts or spec.parts
        ]
    classes = read_classes(folder / 'classes.txt')
    images = folder / 'images'
    if not images.is_dir():
        raise DataError(f'Expected pictures in {images}/PART/, but there is no such folder.')
    parts = parts or [path.name for path in visible(images.iterdir()) if path.is_dir()]
    if not parts:
        raise DataError(f'Expected folders such as train and val in {images}, but found none.')
    expected = []
    for part in parts:
        pairs, table = folder_pairs(folder, part), label_table(len(classes))
        masks = visible((folder / 'labels' / part).glob('*.png'))
        alone = set(masks) - {pair.mask for pair in pairs}
        expected.append(Expected(part, classes, pairs, table, alone=tuple(sorted(alone))))
    return expected


def check_part(expected: Expected) -> CheckResult:
    """Read every file of a part, with a progress bar, and count what is in it."""
    faults = []
    if expected.pictures and len(expected.pairs) not in expected.pictures:
        wanted = ' or '.join(map(str, expected.pictures))
        faults.append(
            f'Expected {wanted} pictures in {expected.part}, but found {len(expected.pairs)}.'
        )
    for mask, count in Counter(pair.mask for pair in expected.pairs).items():
        if count > 1:
            faults.append(f'{mask} is the mask of {count} pictures, or is listed {count} times.')
    absent: set[Path] = set()
    for what in ('image', 'mask'):
        paths = [getattr(pair, what) for pair in expected.pairs]
        missing = missing_files(paths)
        # Then they lie somewhere else.
        if paths and len(missing) == len(paths):
            folder = paths[0].parent
            found = next((path.name for path in visible(folder.glob('*'))), 'nothing')
            raise DataError(
                f'Expected {len(paths)} {what}s of {expected.part} such as {paths[0]}, but none '
                f'of them is there; in {folder} there is {found}.'
            )
        absent.update(missing)
    faults += [f'{path} has no picture.' for path in expected.alone]
    faults += [f'{path} is missing.' for path in sorted(absent)]
    there = [pair for pair in expected.pairs if not {pair.image, pair.mask} & absent]
    good, pixels, present = [], np.zeros(256, np.int64), np.zeros(256, np.int64)
    alike: list[Pair] = []
    results = _read_all(there, expected.table)
    for pair, counts in tqdm(results, expected.part, len(there)):
        if isinstance(counts, str):
            faults.append(counts)
        else:
            good.append(pair)
            pixels += counts
            present += counts > 0
            alike += [pair] * (np.count_nonzero(counts) == 1)
    faults += _meaning_faults(expected, pixels) if good else []
    return CheckResult(expected, good, faults, _notes(expected, pixels, alike), pixels, present)


def _meaning_faults(expected: Expected, pixels: npt.NDArray[np.int64]) -> list[str]:
    """Return what is wrong with masks whose every value is allowed."""
    labelled = np.flatnonzero(pixels[:UNLABELLED]).tolist()
    if not labelled:
        return [
            f'No mask of {expected.part} labels a pixel: all are {UNLABELLED}, not labelled, or '
            'stand for it.'
        ]
    if labelled == [0] and pixels[UNLABELLED] and len(expected.classes) > 1:
        return [
            f'The masks of {expected.part} hold {expected.classes[0]!r} and unlabelled pixels '
            f'alone: in masks of 0 and 255, 255 is no class; write the index of a class, such as '
            f'1 for {expected.classes[1]!r}.'
        ]
    return []


def _notes(expected: Expected, pixels: npt.NDArray[np.int64], alike: Sequence[Pair]) -> list[str]:
    """Return what need not be wrong: classes without a pixel, and masks of a single value."""
    notes = []
    absent = [name for index, name in enumerate(expected.classes) if not pixels[index]]
    if absent and pixels.any():
        shown = ', '.join(absent[:_SHOWN]) + (', ...' if len(absent) > _SHOWN else '')
        notes.append(f'{len(absent)} classes without a pixel: {shown}')
    if alike:
        notes.append(f'{len(alike)} masks of a single value, such as {alike[0].mask}')
    return notes


def _read_all(
    pairs: Sequence[Pair], table: LabelTable
) -> Iterator[tuple[Pair, npt.NDArray[np.int64] | str]]:
    """Yield each pair with its pixels by class, int64 ``(256,)``, or with what is wrong."""

    def counts(pair: Pair) -> npt.NDArray[np.int64] | str:
        try:
            return np.bincount(read_sample(pair, table).labels.ravel(), minlength=256)
        except ZegCLIPError as error:
            return str(error)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # In pieces, as the results of a hundred thousand files would pile up.
        for start in range(0, len(pairs), _AHEAD):
            piece = pairs[start:][:_AHEAD]
            yield from zip(piece, pool.map(counts, piece), strict=True)


def histogram(report: CheckResult) -> str:
    """Return the classes of a part with their images and pixels, as a table."""
    names = [*enumerate(report.expected.classes), (UNLABELLED, 'not labelled')]
    total = max(int(report.pixels.sum()), 1)
    rows = [
        (name, report.present[index], report.pixels[index], f'{report.pixels[index] / total:.2%}')
        for index, name in names
    ]
    return tabulate(
        rows,
        ('class', 'pictures', 'pixels', 'share'),
        tablefmt='plain',
        colalign=('left', 'right', 'right', 'right'),
        disable_numparse=True,
    )
