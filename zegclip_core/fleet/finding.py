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
"""Which bags there are in the places that a user names."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import PurePosixPath
from typing import Final

from zegclip_core.bags.packing import plain_name
from zegclip_core.bags.reading import METADATA
from zegclip_core.errors import BagError
from zegclip_core.fleet.places import absolute, below, files_below, is_url, Place

_SUFFIXES: Final = ('.mcap', '.db3')


@dataclass(frozen=True)
class Task:
    """A bag to be labelled.

    Attributes:
        source: Where it lies.
        target: Where the labelled one comes.
    """

    source: Place
    target: Place


def find_tasks(sources: Sequence[str], out: Place) -> list[Task]:
    """Return a task for each bag, sorted by target.

    A folder with ``metadata.yaml`` is a bag, and so is one below a named one that holds nothing
    but files of bags; files that lie in a named folder itself, or beside others or folders, are
    a bag each. What lies in ``out`` is no source, where that is a folder of one.

    Args:
        sources: Bags, files of bags, or folders with any number of them; paths or URLs.
        out: Folder of the labelled bags.

    Raises:
        BagError: If a source is not there or holds no bag, or two bags have one target.
    """
    found: dict[Place, Place] = {}
    out = absolute(out)
    for text in sources:
        source = absolute(text)
        bags = _bags(_outside(files_below(source), source, out))
        if not bags:
            raise BagError(f'Expected bags in {source}, but found none.')
        for bag in bags:
            path = PurePosixPath(bag or PurePosixPath(source.rstrip('/')).name)
            target = below(out, path.with_name(_name(path)).as_posix())
            place = below(source, bag) if bag else source
            if found.setdefault(target, place) != place:
                raise BagError(
                    f'Expected bags with different names, but {found[target]} and {place} both '
                    f'become {target}: label them with another --out.'
                )
    return [Task(found[target], target) for target in sorted(found)]


def _outside(files: Sequence[str], source: Place, out: Place) -> list[str]:
    """Return the files of a source that are not in a folder of it for the labelled bags."""
    folder, inner = (one if is_url(one) else os.path.realpath(one) for one in (source, out))
    start = below(folder, '')
    if not inner.startswith(start) or inner == start:
        return list(files)
    labelled = below(inner.removeprefix(start), '')
    return [file for file in files if not file.startswith(labelled)]


def _name(path: PurePosixPath) -> str:
    """Return the name of a bag without the endings of its file."""
    plain = PurePosixPath(plain_name(path))
    return plain.stem if plain.suffix in _SUFFIXES else path.name


def _is_bag_file(path: PurePosixPath) -> bool:
    return PurePosixPath(plain_name(path)).suffix in _SUFFIXES


def _bags(files: Sequence[str]) -> list[str]:
    """Return the bags among the files of a folder; ``''`` is the folder itself."""
    if list(files) == ['']:
        return ['']
    folders: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in map(PurePosixPath, files):
        if not any(part.startswith('.') or part.endswith('.partial') for part in path.parts):
            folders[path.parent].append(path)
    found = []
    for folder, paths in folders.items():
        inside = list(filter(_is_bag_file, paths))
        root = folder == PurePosixPath()
        alone = not root and inside == paths and not any(folder in one.parents for one in folders)
        if alone or any(path.name == METADATA for path in paths):
            found.append('' if root else folder.as_posix())
        else:
            found += [path.as_posix() for path in inside]
    return sorted(found)
