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
"""Where bags lie: paths of this machine, and URLs, which fsspec reads and writes."""

from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
from pathlib import Path, PurePosixPath
import shutil
from typing import Any, Final, TypeAlias

from zegclip_core.bags.reading import METADATA
from zegclip_core.errors import BagError
from zegclip_core.files import absent, user_path

Place: TypeAlias = str
"""A path, or a URL such as ``s3://bucket/drives``."""
_URL: Final = '://'


def is_url(place: Place) -> bool:
    """Return whether a place is no path of this machine."""
    return _URL in place


def absolute(text: str) -> Place:
    """Return what a user typed as a place that means the same to processes anywhere."""
    return text if is_url(text) else str(user_path(text).absolute())


def below(place: Place, name: str) -> Place:
    """Return what lies in a folder."""
    return f'{place.rstrip("/")}/{name}'


@contextmanager
def _reaching(place: Place) -> Iterator[None]:
    """Turn whatever a store of another machine makes fsspec raise into one line."""
    try:
        yield
    except BagError:
        raise
    except ImportError as error:
        raise BagError(
            f'Expected the package that reaches {place}: {error}. "pip install '
            "'zegclip-ros[ray]'\" brings fsspec, s3fs and Ray."
        ) from error
    except Exception as error:
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        raise BagError(f'Cannot reach {place}: {reason.rstrip(".")}.') from error


def _system(url: Place) -> tuple[Any, str]:
    """Return the file system of a URL, and the path there."""
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    return system, str(path)


def files_below(place: Place) -> list[str]:
    """Return the files in a folder and its subfolders, by their paths from there, sorted.

    A file is a folder with one file, whose path is ``''``.

    Raises:
        BagError: If there is nothing.
    """
    if not is_url(place):
        return _local_files(Path(place))
    with _reaching(place):
        system, path = _system(place)
        if system.isfile(path):
            return ['']
        found = [PurePosixPath(one).relative_to(path).as_posix() for one in system.find(path)]
    if not found:
        raise BagError(f'Cannot read {place}: there is no such file or folder.')
    return sorted(found)


def _local_files(path: Path) -> list[str]:
    if path.is_file():
        return ['']
    if not path.is_dir():
        raise BagError(f'Cannot read {path}: {absent(path)}.')
    files = (one for one in path.rglob('*') if one.is_file())
    return sorted(one.relative_to(path).as_posix() for one in files)


def read_metadata(bag: Place) -> str | None:
    """Return what the ``metadata.yaml`` of a bag holds; ``None`` without one."""
    place = below(bag, METADATA)
    if not is_url(bag):
        path = Path(place)
        return path.read_text(encoding='utf-8') if path.is_file() else None
    with _reaching(place):
        system, path_there = _system(place)
        if not system.exists(path_there):
            return None
        return bytes(system.cat_file(path_there)).decode()


@contextmanager
def at_hand(bag: Place, cache: Path) -> Iterator[Path]:
    """Give a path at which a bag can be read: its own, or that of a copy in the cache.

    The copy is removed at the end and after an error, but not when the process is ended: then the
    next one begins with it, if the bag is still the same.

    Raises:
        BagError: If it cannot be copied.
    """
    if not is_url(bag):
        yield Path(bag)
        return
    room = room_for(bag, cache)
    try:
        yield _copied(bag, room)
    except Exception:
        shutil.rmtree(room, ignore_errors=True)
        raise
    shutil.rmtree(room)


def _copied(bag: Place, room: Path) -> Path:
    """Copy a bag from a URL, unless a whole copy of what it is now is there."""
    with _reaching(bag):
        system, path = _system(bag)
        target = room / _state(system, path) / PurePosixPath(bag).name
        if target.exists():
            return target
        shutil.rmtree(room, ignore_errors=True)  # Part of a copy, or one of the bag as it was.
        target.parent.mkdir(parents=True)
        partial = target.with_name(f'{target.name}.part')
        system.get(path.rstrip('/'), str(partial), recursive=not system.isfile(path))
    partial.rename(target)
    return target


def _state(system: Any, path: str) -> str:  # noqa: ANN401 - fsspec has no annotations
    """Return what tells whether files have changed: a digest of what their store says of them."""
    system.invalidate_cache()
    found = system.find(path, detail=True)
    return hashlib.sha256(str(sorted(found.items())).encode()).hexdigest()[:16]


def room_for(place: Place, cache: Path) -> Path:
    """Return which folder of the cache is for what belongs to a place; it need not exist."""
    return cache / hashlib.sha256(place.encode()).hexdigest()[:16]


def put(bag: Path, target: Place) -> None:
    """Copy a bag to a URL, its ``metadata.yaml`` last, which thus stands for the whole bag.

    Raises:
        BagError: If it cannot be copied.
    """
    files = sorted(bag.iterdir(), key=lambda one: one.name == METADATA)
    with _reaching(target):
        system, path = _system(target)
        system.makedirs(path, exist_ok=True)
        for file in files:
            system.put_file(str(file), below(path, file.name))
