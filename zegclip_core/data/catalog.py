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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from zegclip_core.data.folder import (
    check_folder,
    FolderDataset,
    label_table,
    LabelTable,
    MaskDataset,
    Pair,
    Pictures,
    read_lines,
)
from zegclip_core.data.shapes import ShapesDataset, UNSEEN
from zegclip_core.errors import DataError

FOLDER = 'folder'
"""Name of a plain folder in the place of a dataset's name."""
SHAPES = 'shapes'
"""Likewise, of the dataset that is made on the fly."""
_T = TypeVar('_T')
_SPLITS = Path(__file__).resolve().parent / 'splits'


@dataclass(frozen=True)
class Source:
    """Where pictures and masks lie below the dataset's folder.

    Attributes:
        images: Path of a picture, ``*`` in the place of its name.
        masks: Path of its mask, likewise.
        names: File of their names, one a line; ``None`` takes every picture that is there.
    """

    images: str
    masks: str
    names: str | None = None


@dataclass(frozen=True)
class Part:
    """Pictures to train on, or to validate on.

    Attributes:
        sources: Where they lie.
        pictures: How many there may be; empty for any number.
    """

    sources: tuple[Source, ...]
    pictures: tuple[int, ...] = ()


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset as its file describes it.

    Attributes:
        name: Its name on the command line.
        title: Its name in prose.
        classes: Class names, in the order of the published models.
        table: What each mask value stands for.
        parts: Its parts by name.
        unseen: Unseen classes by the name of the split, which is that of its source.
        below: Folders that may lie between the one that users name and the data.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    table: LabelTable
    parts: Mapping[str, Part]
    unseen: Mapping[str, tuple[str, ...]]
    below: tuple[str, ...] = ()

    def seen(self, split: str) -> tuple[str, ...]:
        """Return the classes that training may see, in their order.

        Raises:
            DataError: If there is no such split.
        """
        unseen = _choose(self.unseen, split, f'a seen/unseen split of {self.name}')
        return tuple(name for name in self.classes if name not in unseen)

    def part(self, name: str) -> Part:
        """Return a part.

        Raises:
            DataError: If there is none of that name.
        """
        return _choose(self.parts, name, f'a part of {self.name}')

    def pairs(self, root: Path, part: str) -> list[Pair]:
        """Return the files that a part should have; whether they are there is not asked.

        Args:
            root: Folder of the dataset, or one above it.
            part: Name of the part.

        Raises:
            DataError: If a list of names or a folder of pictures or masks is missing.
        """
        sources = self.part(part).sources
        folder = self._folder(root, sources)
        return [pair for source in sources for pair in _source_pairs(self, folder, source)]

    def _folder(self, root: Path, sources: tuple[Source, ...]) -> Path:
        """Return where the data lie: in a folder or in one of those that may be below it."""
        parent = Path(sources[0].images).parent
        for folder in (root, *(root / name for name in self.below)):
            if (folder / parent).is_dir():
                return folder
        below = ''.join(f', {name}/{parent}' for name in self.below)
        raise DataError(
            f'Expected pictures of {self.title} in {parent}{below} of {root}, '
            f'but there is no such folder.'
        )


class Unseen(NamedTuple):
    """The classes of one dataset that training must not see.

    Attributes:
        classes: Their names, in the dataset's order.
        unknown: What was asked for that is neither a class nor a split of this dataset.
    """

    classes: tuple[str, ...]
    unknown: tuple[str, ...]


def dataset_names() -> tuple[str, ...]:
    """Return the names of the datasets that come with the package.

    Example:
        >>> dataset_names()
        ('coco_stuff164k', 'context59', 'context60', 'voc12')

    """
    return tuple(sorted(path.stem for path in _SPLITS.glob('*.yaml')))


def known_names() -> tuple[str, ...]:
    """Return all names that ``open_dataset`` knows."""
    return (FOLDER, *dataset_names(), SHAPES)


def load_spec(name: str) -> DatasetSpec:
    """Read the description of a dataset.

    Args:
        name: Name of one that comes with the package, or path of a YAML file.

    Raises:
        DataError: If there is none of that name, or the file does not describe a dataset.
    """
    own = name.endswith(('.yaml', '.yml'))
    if not own and name not in dataset_names():
        raise DataError(
            f'Expected a dataset of {", ".join(known_names())} or a YAML file, but got {name!r}.'
        )
    path = Path(name).expanduser() if own else _SPLITS / f'{name}.yaml'
    try:
        return _spec(yaml.safe_load(path.read_text('utf-8')))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f'Cannot read {path}: {error}') from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'Expected {path} to describe a dataset with name, title, masks, parts, classes and '
            f'unseen as voc12.yaml does, but found {type(error).__name__}: {error}.'
        ) from error


def open_dataset(root: str | Path, name: str, split: str) -> Pictures:
    """Open a part of a dataset.

    Args:
        root: Its folder; ``shapes`` needs none.
        name: A name of ``known_names()`` or the path of a YAML file.
        split: The part, such as ``val``.

    Raises:
        DataError: If it is not known, or its files do not lie as expected.
    """
    if name == FOLDER:
        return FolderDataset(root, split)
    if name == SHAPES:
        return ShapesDataset(split)
    spec, folder = load_spec(name), Path(root).expanduser()
    check_folder(folder)
    return MaskDataset(folder, spec.classes, spec.pairs(folder, split), spec.table)


def unseen_of(name: str, entries: Sequence[str], classes: Sequence[str]) -> Unseen:
    """Return the classes of a dataset that are unseen.

    Args:
        name: As in ``open_dataset``.
        entries: Names of classes, and of seen/unseen splits, of this and of other datasets.
        classes: The dataset's classes.

    Raises:
        DataError: If the dataset is not known.
    """
    splits = _splits(name)
    wanted = {*entries, *(known for entry in entries for known in splits.get(entry, ()))}
    return Unseen(
        classes=tuple(known for known in classes if known in wanted),
        unknown=tuple(entry for entry in entries if entry not in {*splits, *classes}),
    )


def _splits(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return a dataset's unseen classes by the names of its splits."""
    if name == FOLDER:
        return {}
    return UNSEEN if name == SHAPES else load_spec(name).unseen


def _spec(values: Mapping[str, Any]) -> DatasetSpec:
    """Return the dataset that a file's values describe."""
    classes = tuple(str(name) for name in values['classes'])
    unseen = {key: tuple(names) for key, names in (values.get('unseen') or {}).items()}
    unknown = [name for names in unseen.values() for name in names if name not in classes]
    masks = values['masks']
    if unknown:
        raise ValueError(f'the unseen class {unknown[0]!r}, which is no class')
    if len(set(classes)) < len(classes):
        raise ValueError('a class twice')
    return DatasetSpec(
        name=str(values['name']),
        title=str(values['title']),
        classes=classes,
        table=label_table(len(classes), masks['first'], masks['ignored']),
        parts={key: _part(part) for key, part in values['parts'].items()},
        unseen=unseen,
        below=tuple(values.get('below') or ()),
    )


def _part(values: Mapping[str, Any]) -> Part:
    sources = tuple(Source(**source) for source in values['sources'])
    if not sources or any(text.count('*') != 1 for s in sources for text in (s.images, s.masks)):
        raise ValueError('a part without sources, or a path without one *')
    return Part(sources, tuple(values.get('pictures') or ()))


def _choose(known: Mapping[str, _T], name: str, what: str) -> _T:
    """Return an entry, or say which there are."""
    if name not in known:
        raise DataError(f'Expected {what} ({", ".join(known)}), but got {name!r}.')
    return known[name]


def _source_pairs(spec: DatasetSpec, folder: Path, source: Source) -> list[Pair]:
    """Return the files of one source."""
    for pattern, what in ((source.images, 'pictures'), (source.masks, 'masks')):
        if not (folder / pattern).parent.is_dir():
            raise DataError(
                f'Expected the {what} of {spec.title} as {folder / pattern}, '
                f'but there is no such folder.'
            )
    names = _listed(spec, folder, source.names) if source.names else _found(folder, source.images)
    return [
        Pair(folder / source.images.replace('*', name), folder / source.masks.replace('*', name))
        for name in names
    ]


def _listed(spec: DatasetSpec, folder: Path, name: str) -> list[str]:
    """Return the names in a list."""
    path = folder / name
    if not path.is_file():
        raise DataError(
            f'Expected the names of the pictures of {spec.title}, one a line, in {path}, '
            f'but there is no such file.'
        )
    return read_lines(path)


def _found(folder: Path, pattern: str) -> list[str]:
    """Return the names of the pictures that are there."""
    before, after = (folder / pattern).name.split('*')
    found = sorted((folder / pattern).parent.glob((folder / pattern).name))
    if not found:
        raise DataError(f'Expected pictures as {folder / pattern}, but found none.')
    return [path.name.removeprefix(before).removesuffix(after) for path in found]
