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
"""Pictures with masks; a folder of them: ``images/SPLIT/``, ``labels/SPLIT/``, ``classes.txt``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import struct
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from zegclip_core.errors import DataError
from zegclip_core.images.media import IMAGE_SUFFIXES, read_image
from zegclip_core.options import UNLABELLED

IGNORED = UNLABELLED
"""Mask value of a pixel that is not labelled."""
NO_CLASS = -1
"""Entry of a label table for a mask value that must not occur."""

LabelTable = npt.NDArray[np.int16]
"""Class index, ``IGNORED`` or ``NO_CLASS`` by mask value, int16 ``(256,)``."""


@dataclass(frozen=True)
class Sample:
    """One picture with its mask.

    Attributes:
        image: RGB, uint8 ``(H, W, 3)``.
        labels: Class indices, uint8 ``(H, W)``; ``IGNORED`` where not labelled.
        name: The picture's file name without its ending.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    name: str


class Pictures(Protocol):
    """What training and evaluation need of a dataset, read from files or made on the fly."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of their indices."""
        ...

    @property
    def title(self) -> str:
        """A short name, fit for a progress bar and as part of a file name."""
        ...

    @property
    def key(self) -> str:
        """What tells the pictures and masks from those of other datasets, for caches."""
        ...

    def name(self, index: int) -> str:
        """Return the name of a picture, that of its sample, without reading it."""
        ...

    def __len__(self) -> int:
        """Return the number of pictures."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Return a picture and its mask."""
        ...


@dataclass(frozen=True)
class Pair:
    """The files of one sample.

    Attributes:
        image: The picture.
        mask: Its mask.
    """

    image: Path
    mask: Path


class MaskDataset:
    """Pictures and masks with known class names.

    Args:
        root: Folder of the dataset.
        classes: Class names, in the order of their indices.
        pairs: The files.
        table: What each mask value stands for; ``None``: class indices, and ``IGNORED``.

    Raises:
        DataError: If a picture or a mask is missing.
    """

    def __init__(
        self,
        root: Path,
        classes: Sequence[str],
        pairs: Sequence[Pair],
        table: LabelTable | None = None,
    ) -> None:
        self.root = root
        self.classes = tuple(classes)
        self.pairs = list(pairs)
        self.images = [pair.image for pair in self.pairs]
        self.table = label_table(len(self.classes)) if table is None else table
        self._refuse_missing()

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.root.resolve().name

    @property
    def key(self) -> str:
        """Where the files lie, when they changed, and how masks are read."""
        files = [_stamp(path) for pair in self.pairs for path in (pair.image, pair.mask)]
        parts = [str(self.root.resolve()), self.classes, self.table.tolist(), files]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def name(self, index: int) -> str:
        """Return the file name of a picture without its ending."""
        return self.pairs[index].image.stem

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Read a picture and its mask.

        Raises:
            DataError: If the mask cannot be read, has another size, or holds an unknown index.
        """
        return read_sample(self.pairs[index], self.table)

    def _refuse_missing(self) -> None:
        """Refuse a dataset of which files are missing."""
        absent = missing_files(pair.image for pair in self.pairs)
        if absent:
            raise DataError(
                f'Expected the picture {absent[0]}, but it is not there, '
                f'as {len(absent)} of {len(self.pairs)} are not.'
            )
        absent = missing_files(pair.mask for pair in self.pairs)
        if absent:
            raise DataError(
                f'Expected a mask {absent[0].parent}/NAME.png for every picture, '
                f'but {len(absent)} have none, the first being {absent[0].name}.'
            )


class FolderDataset(MaskDataset):
    """Pictures and index masks that lie in folders.

    Args:
        root: Folder that holds ``images/``, ``labels/`` and ``classes.txt`` (one name a line,
            index 0 first).
        split: Name of the folder below ``images/`` and ``labels/``.

    Raises:
        DataError: If a folder or file is missing, or pictures and masks do not pair up.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        folder = Path(root).expanduser()
        super().__init__(folder, read_classes(folder / 'classes.txt'), folder_pairs(folder, split))


def label_table(count: int, first: int = 0, ignored: Iterable[int] = (IGNORED,)) -> LabelTable:
    """Return what each mask value stands for.

    Args:
        count: Number of classes.
        first: Mask value of the first class; the others follow.
        ignored: Mask values of pixels that are not labelled.

    Example:
        >>> label_table(2, first=1, ignored=[0, 255])[[0, 1, 2, 3, 255]].tolist()
        [255, 0, 1, -1, 255]

    Raises:
        DataError: If 8-bit masks cannot hold as many classes, or there is none.
    """
    if not 0 < count <= IGNORED - first:
        raise DataError(f'Expected 1 to {IGNORED - first} class names, but got {count}.')
    table = np.full(256, NO_CLASS, dtype=np.int16)
    table[np.arange(first, first + count)] = np.arange(count)
    table[list(ignored)] = IGNORED
    return table


def read_sample(pair: Pair, table: LabelTable) -> Sample:
    """Read a picture and its mask.

    Raises:
        ImageError: If the picture cannot be read.
        DataError: If the mask cannot be read, has another size, or holds an unknown value.
    """
    image = read_image(pair.image)
    values = read_mask(pair.mask)
    if values.shape != image.shape[:2]:
        raise DataError(
            f'Expected the mask {pair.mask} to have the size of its picture, '
            f'{image.shape[:2]}, but got {values.shape}.'
        )
    _check_values(pair.mask, values, table)
    return Sample(image, table[values].astype(np.uint8), pair.image.stem)


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Return the values of a mask, uint8 ``(H, W)``; of one with a palette, its indices.

    Raises:
        DataError: If it cannot be read or has another type.
    """
    try:
        with Image.open(path) as opened:
            mode, values = opened.mode, np.array(opened)
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, struct.error) as error:
        raise DataError(
            f'Expected {path} to be an 8-bit mask of one channel, but it cannot be read.'
        ) from error
    if mode not in ('L', 'P'):
        raise DataError(
            f'Expected {path} to be an 8-bit mask of one channel, but its pixels are {mode}.'
        )
    return values


def _check_values(path: Path, values: npt.NDArray[np.uint8], table: LabelTable) -> None:
    """Refuse values that stand for no class."""
    counts = np.bincount(values.ravel(), minlength=256)
    odd = np.flatnonzero((counts > 0) & (table == NO_CLASS))
    if odd.size:
        count = int((np.unique(table[table != NO_CLASS]) != IGNORED).sum())
        known = np.flatnonzero((table != NO_CLASS) & (table != IGNORED))
        ignored = ' or '.join(str(value) for value in np.flatnonzero(table == IGNORED))
        raise DataError(
            f'Expected {path} to hold {int(known[0])} to {int(known[-1])} (its {count} classes) '
            f'or {ignored}, but got {int(odd[0])}.'
        )


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that are not there; each folder is listed once, not each file asked for."""
    listed: dict[Path, set[str]] = {}
    absent = []
    for path in paths:
        if path.parent not in listed:
            listed[path.parent] = set(os.listdir(path.parent)) if path.parent.is_dir() else set()
        if path.name not in listed[path.parent]:
            absent.append(path)
    return absent


def folder_pairs(root: Path, split: str) -> list[Pair]:
    """Return the pictures of a part of a folder, sorted by name, with where their masks lie.

    Raises:
        DataError: If there is no such part or it holds no picture.
    """
    labels = root / 'labels' / split
    return [Pair(path, labels / f'{path.stem}.png') for path in _pictures(root / 'images' / split)]


def _stamp(path: Path) -> tuple[str, int, int]:
    """Return what changes when a file does."""
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of a dataset.

    Raises:
        DataError: If there is no such file, a name stands there twice, or a line between names is
            empty, as all names after it would get wrong indices.
    """
    check_folder(path.parent)
    if not path.is_file():
        raise DataError(f'Expected the class names, one a line, in {path}, but there is no file.')
    lines = [line.strip() for line in _text(path).rstrip().splitlines()]
    if '' in lines:
        raise DataError(
            f'Expected a name in each line of {path}, index 0 first, but line '
            f'{lines.index("") + 1} is empty.'
        )
    twice = [name for index, name in enumerate(lines) if name in lines[:index]]
    if twice:
        raise DataError(f'Expected each name once in {path}, but {twice[0]!r} is there twice.')
    return tuple(lines)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty.

    Raises:
        DataError: If it is not text.
    """
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    """Return what a text file holds."""
    try:
        return path.read_text('utf-8')
    except UnicodeDecodeError as error:
        raise DataError(f'Expected {path} to be text in UTF-8, but it is not.') from error


def check_folder(folder: Path) -> None:
    """Refuse a dataset that is not there.

    Raises:
        DataError: If there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f'Expected a folder with a dataset, but {folder} is none.')


def _folders(folder: Path) -> str:
    """Return the names of the folders in a folder, for a message."""
    found = sorted(path.name for path in folder.glob('*') if path.is_dir())
    return ', '.join(found[:10]) or 'none'


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, sorted by name."""
    if not folder.is_dir():
        raise DataError(
            f'Expected the folder {folder} with pictures, but there is none; '
            f'in {folder.parent} there is {_folders(folder.parent)}.'
        )
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f'Expected pictures in {folder}, but found none.')
    return found
