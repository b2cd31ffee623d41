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
"""The datasets of the paper: class orders, unseen classes and where their files lie.

Each is a YAML file in ``splits/``, which one can read, and copy for a dataset of one's own.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

from pydantic import Field, field_validator, model_validator
from zegclip_core.data.folder import (
    check_folder,
    check_names,
    FolderDataset,
    label_table,
    LabelTable,
    MaskDataset,
    Pair,
    SegmentationDataset,
)
from zegclip_core.data.shapes import ShapesDataset, UNSEEN
from zegclip_core.errors import ConfigError, DataError
from zegclip_core.files import read_lines, user_path, visible
from zegclip_core.settings import read_yaml, Settings, validated

FOLDER = 'folder'
"""What a plain folder is called in the place of a dataset's name."""
SHAPES = 'shapes'
"""What the dataset that is made on the fly is called."""
_T = TypeVar('_T')
_SPLITS = Path(__file__).resolve().parent / 'splits'
_MaskValue = Annotated[int, Field(ge=0, le=255)]


class MaskValues(Settings):
    """What the values of masks stand for."""

    first: _MaskValue
    """Mask value of the first class; the others follow."""
    ignored: tuple[_MaskValue, ...]
    """Mask values of pixels that are not labelled."""


class ImageSource(Settings):
    """Where images and masks lie below the dataset's folder."""

    images: str
    """Path of an image, ``*`` in the place of its name."""
    masks: str
    """Path of its mask, ``*`` in the place of the image's name."""
    names: str | None = None
    """File of the images' names, one a line; ``None`` takes every image that is there."""

    @field_validator('images', 'masks')
    @classmethod
    def _has_one_star(cls, value: str) -> str:
        if value.count('*') != 1:
            raise ValueError('a path with one *')
        return value

    def pairs(self, title: str, folder: Path) -> list[Pair]:
        """Return the files of a dataset with some title, for error messages."""
        for pattern, what in ((self.images, 'pictures'), (self.masks, 'masks')):
            if not (folder / pattern).parent.is_dir():
                raise DataError(
                    f'Expected the {what} of {title} as {folder / pattern}, '
                    f'but there is no such folder.'
                )
        if not self.names:
            image = folder / self.images
            before, after = image.name.split('*')
            found = [path.name for path in visible(image.parent.glob(image.name))]
            if not found:
                raise DataError(f'Expected pictures as {image}, but found none.')
            names = [name.removeprefix(before).removesuffix(after) for name in found]
        elif (folder / self.names).is_file():
            names = [
                line for line in read_lines(folder / self.names, 'the names', DataError) if line
            ]
        else:
            raise DataError(
                f'Expected the names of the pictures of {title}, one a line, in '
                f'{folder / self.names}, but there is no such file.'
            )
        return [
            Pair(folder / self.images.replace('*', name), folder / self.masks.replace('*', name))
            for name in names
        ]


class Part(Settings):
    """Images to train on, or to validate on."""

    sources: tuple[ImageSource, ...] = Field(min_length=1)
    pictures: tuple[int, ...] = ()
    """How many there may be; empty for any number."""


class DatasetSpec(Settings):
    """A dataset as its file describes it."""

    name: str
    """Its name on the command line."""
    title: str
    """Its name in prose."""
    below: tuple[str, ...] = ()
    """Folders that may lie between the one that users name and the data."""
    masks: MaskValues
    parts: dict[str, Part]
    classes: tuple[str, ...]
    """Class names, in the order of the published models."""
    unseen: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Unseen classes by the name of the split, which is that of its source."""

    @model_validator(mode='after')
    def _names_each_class_once(self) -> 'DatasetSpec':
        twice = [name for index, name in enumerate(self.classes) if name in self.classes[:index]]
        if twice:
            raise ValueError(f'Expected each class once, but {twice[0]!r} is there twice.')
        for split, names in self.unseen.items():
            unknown = [name for name in names if name not in self.classes]
            if unknown:
                raise ValueError(
                    f'Expected unseen.{split} to hold classes, but got {unknown[0]!r}.'
                )
        label_table(len(self.classes), self.masks.first)
        check_names(self.classes, self.name)
        return self

    @cached_property
    def table(self) -> LabelTable:
        """What each mask value stands for."""
        return label_table(len(self.classes), self.masks.first, self.masks.ignored)

    def seen(self, split: str) -> tuple[str, ...]:
        """Return the classes that training may see with a split of them, in their order."""
        unseen = _choose(self.unseen, split, f'a seen/unseen split of {self.name}')
        return tuple(name for name in self.classes if name not in unseen)

    def part(self, name: str) -> Part:
        """Return a part, or say which there are."""
        return _choose(self.parts, name, f'a part of {self.name}')

    def pairs(self, root: Path, part: str) -> list[Pair]:
        """Return the files that a part should have; whether they are there is not asked.

        ``root`` is the folder of the dataset, or one above it.

        Raises:
            DataError: If a list of names or a folder of images or masks is missing.
        """
        sources = self.part(part).sources
        parent = Path(sources[0].images).parent
        for folder in (root, *(root / name for name in self.below)):
            if (folder / parent).is_dir():
                return [pair for source in sources for pair in source.pairs(self.title, folder)]
        below = ''.join(f', {name}/{parent}' for name in self.below)
        raise DataError(
            f'Expected pictures of {self.title} in {parent}{below} of {root}, '
            f'but there is no such folder.'
        )


class Unseen(NamedTuple):
    """The classes of one dataset that training must not see."""

    classes: tuple[str, ...]
    """Their names, in the dataset's order."""
    unknown: tuple[str, ...]
    """What was asked for that is neither a class nor a split of this dataset."""


def dataset_names() -> tuple[str, ...]:
    """Return the names of the published datasets, such as ``voc12``."""
    return tuple(sorted(path.stem for path in _SPLITS.glob('*.yaml')))


def known_names() -> tuple[str, ...]:
    """Return all names that ``open_dataset`` knows."""
    return (FOLDER, *dataset_names(), SHAPES)


def load_spec(name: str) -> DatasetSpec:
    """Read the description of a dataset that comes with the package, or of a YAML file.

    Raises:
        DataError: If there is none of that name, or the file does not describe a dataset.
    """
    own = name.endswith(('.yaml', '.yml'))
    if not own and name not in dataset_names():
        raise DataError(
            f'Expected a dataset of {", ".join(known_names())} or a YAML file, but got {name!r}.'
        )
    path = user_path(name) if own else _SPLITS / f'{name}.yaml'
    values = read_yaml(path, 'dataset', DataError)
    if isinstance(values, dict):
        # What is left blank counts as left out.
        values = {key: value for key, value in values.items() if value is not None}
    try:
        return validated(DatasetSpec, values)
    except ConfigError as error:
        raise DataError(f'Cannot use the dataset {path}: {error}') from error


def open_dataset(root: str | Path, name: str, split: str) -> SegmentationDataset:
    """Open a part of a dataset, such as ``val``; ``shapes`` needs no folder.

    Raises:
        DataError: If it is not known, or its files do not lie as expected.
    """
    if name == FOLDER:
        return FolderDataset(root, split)
    if name == SHAPES:
        return ShapesDataset(split)
    spec, folder = load_spec(name), user_path(root)
    check_folder(folder)
    return MaskDataset(folder, spec.classes, spec.pairs(folder, split), spec.table)


def unseen_of(name: str, entries: Sequence[str], classes: Sequence[str]) -> Unseen:
    """Return the classes of a dataset that are unseen.

    ``entries`` are names of classes, and of seen/unseen splits, of this and of other datasets.
    """
    splits: Mapping[str, Sequence[str]] = {}
    if name != FOLDER:
        splits = UNSEEN if name == SHAPES else load_spec(name).unseen
    wanted = {*entries, *(known for entry in entries for known in splits.get(entry, ()))}
    return Unseen(
        classes=tuple(known for known in classes if known in wanted),
        unknown=tuple(entry for entry in entries if entry not in {*splits, *classes}),
    )


def _choose(known: Mapping[str, _T], name: str, what: str) -> _T:
    """Return an entry, or say which there are."""
    if name not in known:
        raise DataError(f'Expected {what} ({", ".join(known)}), but got {name!r}.')
    return known[name]
