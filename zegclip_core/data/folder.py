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
"""Images with masks; a folder of them: ``images/SPLIT/``, ``labels/SPLIT/``, ``classes.txt``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import re
import struct
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from zegclip_core.errors import DataError, VocabularyError
from zegclip_core.files import read_lines, user_path, visible
from zegclip_core.images.headers import opened, orientation_of, upright
from zegclip_core.images.media import IMAGE_SUFFIXES, read_picture
from zegclip_core.options import UNLABELLED
from zegclip_core.text.vocabulary import Vocabulary

NO_CLASS = -1
"""Entry of a label table for a mask value that must not occur."""

_LOSSY = frozenset({'AVIF', 'JPEG', 'JPEG2000', 'MPO', 'WEBP'})
"""Formats, by Pillow's names, that a mask does not survive."""
_NUMBERED = re.compile(r'(\d{1,3})\s*[\s:;.,=)-]\s*\S')
_MIRRORED = 4
"""Greatest EXIF orientation with which width and height stay as they are."""
LabelTable = npt.NDArray[np.int16]
"""Class index, ``UNLABELLED`` or ``NO_CLASS`` by mask value, int16 ``(256,)``."""


@dataclass(frozen=True)
class Sample:
    """One image with its mask."""

    image: npt.NDArray[np.uint8]
    """RGB ``(H, W, 3)``."""
    labels: npt.NDArray[np.uint8]
    """Class indices ``(H, W)``; ``UNLABELLED`` where there is none."""
    name: str
    """The image's file name without its ending."""


class SegmentationDataset(Protocol):
    """What training and evaluation need of a dataset, read from files or made on the fly."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of their indices."""

    @property
    def title(self) -> str:
        """A short name, fit for a progress bar and as part of a file name."""

    @property
    def key(self) -> str:
        """What tells the images and masks from those of other datasets, for caches."""

    def name(self, index: int) -> str:
        """Return the name of a sample without reading it."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> Sample:
        """Return an image and its mask."""


@dataclass(frozen=True)
class Pair:
    """The files of one sample."""

    image: Path
    mask: Path


class MaskDataset:
    """Images and masks with known class names, in the order of their indices.

    Without a table of what mask values stand for they are class indices and ``UNLABELLED``.

    Raises:
        DataError: If an image or a mask is missing.
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
        self.table = label_table(len(self.classes)) if table is None else table
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

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.root.resolve().name

    @property
    def key(self) -> str:
        """Where the files lie, when they changed, and how masks are read."""
        paths = [path for pair in self.pairs for path in (pair.image, pair.mask)]
        return files_key(paths, str(self.root.resolve()), self.classes, self.table.tolist())

    def name(self, index: int) -> str:
        """Return the file name of an image without its ending."""
        return self.pairs[index].image.stem

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Read an image and its mask."""
        return read_sample(self.pairs[index], self.table)


class FolderDataset(MaskDataset):
    """Images and index masks in the folders ``images/SPLIT/`` and ``labels/SPLIT/``.

    Beside them is ``classes.txt``, one name a line, index 0 first, unless ``classes`` are given.

    Raises:
        DataError: If a folder or file is missing, or images and masks do not pair up.
    """

    def __init__(self, root: str | Path, split: str, classes: Sequence[str] | None = None) -> None:
        folder = user_path(root)
        if classes is None:
            classes = read_classes(folder / 'classes.txt')
        super().__init__(folder, classes, folder_pairs(folder, split))


def label_table(
    count: int, first: int = 0, unlabelled: Iterable[int] = (UNLABELLED,)
) -> LabelTable:
    """Return what each mask value stands for: ``count`` classes from the ``first`` value on.

    Example:
        >>> label_table(2, first=1, unlabelled=[0, 255])[[0, 1, 2, 3, 255]].tolist()
        [255, 0, 1, -1, 255]

    Raises:
        DataError: If 8-bit masks cannot hold as many classes, or there is none.
    """
    if not 0 < count <= UNLABELLED - first:
        raise DataError(f'Expected 1 to {UNLABELLED - first} class names, but got {count}.')
    table = np.full(256, NO_CLASS, dtype=np.int16)
    table[np.arange(first, first + count)] = np.arange(count)
    table[list(unlabelled)] = UNLABELLED
    return table


def read_sample(pair: Pair, table: LabelTable) -> Sample:
    """Read an image and its mask.

    Raises:
        ImageError: If the image cannot be read.
        DataError: If the mask cannot be read, has another size, or holds an unknown value.
    """
    picture = read_picture(pair.image)
    image, turn = picture.pixels, picture.orientation
    values = _read_mask(pair, turn, image.shape[:2])
    if values.shape != image.shape[:2]:
        raise DataError(
            f'Expected the mask {pair.mask} to have the size of its picture, '
            f'{image.shape[:2]}, but got {values.shape}.'
        )
    present = np.bincount(values.ravel(), minlength=256) > 0
    odd = np.flatnonzero(present & (table == NO_CLASS))
    if odd.size:
        known = np.flatnonzero((table != NO_CLASS) & (table != UNLABELLED))
        unlabelled = ' or '.join(map(str, np.flatnonzero(table == UNLABELLED)))
        raise DataError(
            f'Expected {pair.mask} to hold {known[0]} to {known[-1]} (its {len(known)} classes) '
            f'or {unlabelled}, but got {odd[0]}.'
        )
    return Sample(image, table[values].astype(np.uint8), pair.image.stem)


def _read_mask(pair: Pair, turn: int, size: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the values of a mask, upright as its image is.

    Args:
        pair: The files.
        turn: The image's EXIF orientation.
        size: ``(H, W)`` of the upright image.

    Raises:
        DataError: If it is no lossless 8-bit image of one channel, or nobody can tell whether it
            is turned as the stored or as the upright image.
    """
    expected = f'Expected {pair.mask} to be an 8-bit mask of one channel'
    try:
        with opened(pair.mask) as found:
            mode, own = found.mode, orientation_of(found)
            lossy = found.format in _LOSSY or found.info.get('compression') == 'jpeg'
            values = np.array(upright(found, own))  # of a palette, its indices
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, struct.error) as error:
        raise DataError(f'{expected}, but it cannot be read.') from error
    if lossy:
        raise DataError(
            f'{expected} that keeps every value, but it is {found.format}, which changes them: '
            'export the masks as PNG.'
        )
    if mode not in ('L', 'P'):
        raise DataError(f'{expected}, but its pixels are {mode}.')
    fits = own == turn or (turn > _MIRRORED and size[0] != size[1] and values.shape == size)
    if not fits and turn != 1:
        raise DataError(
            f'Expected {pair.image} to be stored upright, as its mask is or is not, but its EXIF '
            f'orientation is {turn}: turn the pixels (mogrify -auto-orient) or the mask, and '
            'remove the tag.'
        )
    return values


def files_key(paths: Iterable[Path], *parts: object) -> str:
    """Return what tells files, by place, size and time of change, and ``parts`` from others.

    ``parts`` must be of what JSON knows.
    """
    stats = [(path, path.stat()) for path in paths]
    files = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return hashlib.sha256(json.dumps([*parts, files]).encode()).hexdigest()


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
    """Return the images of a part of a folder, sorted by name, with where their masks lie.

    Raises:
        DataError: If there is no such part or it holds no image.
    """
    folder, labels = root / 'images' / split, root / 'labels' / split
    if not folder.is_dir():
        others = [path.name for path in visible(folder.parent.glob('*')) if path.is_dir()]
        raise DataError(
            f'Expected the folder {folder} with pictures, but there is none; '
            f'in {folder.parent} there is {", ".join(others[:10]) or "none"}.'
        )
    found = [path for path in visible(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise DataError(f'Expected pictures in {folder}, but found none.')
    return [Pair(path, labels / f'{path.stem}.png') for path in found]


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of a dataset.

    Raises:
        DataError: If there is no such file, a name stands there twice, cannot be a word of a
            vocabulary or has its number before it, or a line between names is empty, as all names
            after it would get wrong indices.
    """
    check_folder(path.parent)
    if not path.is_file():
        raise DataError(f'Expected the class names, one a line, in {path}, but there is no file.')
    lines = read_lines(path, 'the class names', DataError)
    while lines and not lines[-1]:
        lines.pop()
    if '' in lines:
        raise DataError(
            f'Expected a name in each line of {path}, index 0 first, but line '
            f'{lines.index("") + 1} is empty.'
        )
    twice = [name for index, name in enumerate(lines) if name in lines[:index]]
    if twice:
        raise DataError(f'Expected each name once in {path}, but {twice[0]!r} is there twice.')
    check_names(lines, str(path))
    return tuple(lines)


def check_names(names: Sequence[str], where: str) -> None:
    """Check the class names of a dataset by the rules of a vocabulary.

    Raises:
        DataError: If one breaks them, or each one begins with its number.
    """
    numbers = [int(match[1]) for name in names if (match := _NUMBERED.match(name))]
    if names and numbers in ([*range(len(names))], [*range(1, len(names) + 1)]):
        raise DataError(
            f'Expected names alone in {where}, whose places are their indices, but got a number '
            f'before each, such as {names[0]!r}.'
        )
    try:
        Vocabulary.from_words(names)
    except VocabularyError as error:
        raise DataError(f'Cannot use the class names of {where}: {error}') from error


def check_taught(dataset: SegmentationDataset, indices: Sequence[int]) -> None:
    """Check that training can learn from some images of a dataset.

    They are read up to the first one with a label.

    Raises:
        DataError: If there is none, or no mask of them labels a pixel.
        ImageError: If an image cannot be read.
    """
    if not indices:
        raise DataError(
            f'Expected images of {dataset.title} to train on, but all {len(dataset)} are held '
            'out: lower hold_out, or set it to 0.'
        )
    if not any((dataset[index].labels != UNLABELLED).any() for index in indices):
        raise DataError(
            f'Expected masks of {dataset.title} to train on, but none of them labels a pixel: '
            'zegclip data check tells more.'
        )


def check_folder(folder: Path) -> None:
    """Raise a ``DataError`` for a dataset's folder that is not there."""
    if not folder.is_dir():
        raise DataError(f'Expected a folder with a dataset, but {folder} is none.')
