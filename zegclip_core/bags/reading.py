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
"""Bags as recorders leave them: whole, without their end, without ``metadata.yaml``, packed."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from rosbags.interfaces import Connection
import yaml
from zegclip_core.bags.mcap import Extra, McapStorage, Recorded
from zegclip_core.bags.packing import packing, plain_name, unpack_file, unpacker
from zegclip_core.bags.sqlite import SqliteStorage
from zegclip_core.errors import BagError
from zegclip_core.files import visible
from zegclip_core.images.media import natural_key

METADATA = 'metadata.yaml'
_SUFFIXES = ('.mcap', '.db3')
_Kind = tuple[str, str, str]
"""What tells topics apart that are recorded beside each other: name, type, quality of service."""


class _Storage(Protocol):
    """One file of a bag."""

    connections: list[Connection]
    metadata: Any
    unfinished: bool

    def open(self) -> None:  # noqa: A003, RUF100
        """Open it."""

    def close(self) -> None:
        """Close it."""

    def messages(self, connections: Collection[Connection]) -> Iterator[Recorded]:
        """Yield the messages of some topics in recorded order."""

    def extras(self) -> Iterator[Extra]:
        """Yield what is no message."""


@dataclass
class _Metadata:
    """What a recorder says of a bag in ``metadata.yaml``.

    Attributes:
        files: Names of the files, in their order.
        message_count: How many messages there are.
        packed: By what each message is packed, if it is.
        custom: What the recorder's user noted.
        hashes: Hash of the type of a topic, by the names of both.
    """

    files: list[str]
    message_count: int
    packed: str | None = None
    custom: dict[str, str] = field(default_factory=dict)
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)


def _read_metadata(folder: Path) -> _Metadata | None:
    """Return what the recorder says; ``None`` if it has not come to it.

    Raises:
        BagError: If it is none of a bag.
    """
    path = folder / METADATA
    if not path.exists() or not path.read_bytes().strip(b'\0 \r\n'):
        return None  # An empty one is what a loss of power leaves.
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
        topics = [one['topic_metadata'] for one in content['topics_with_message_count']]
        found = _Metadata(
            # The folders before a name are of the machine that has recorded.
            files=[PurePath(name).name for name in content['relative_file_paths']],
            message_count=int(content['message_count']),
            custom={str(k): str(v) for k, v in (content.get('custom_data') or {}).items()},
            hashes={
                (one['name'], one['type']): one.get('type_description_hash') or ''
                for one in topics
            },
        )
        if str(content.get('compression_mode') or '').lower() == 'message':
            found.packed = content['compression_format']
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())[:120]
        raise BagError(f'its {METADATA} is damaged ({type(error).__name__}: {reason})') from error
    return found


class BagReader:
    """Reads a folder, with or without its ``metadata.yaml``, or one file, packed or not.

    Attributes:
        storage: ``mcap`` or ``sqlite3``.
        connections: The topics, of all files together.
        message_count: How many messages there are: as the recorder says, else as found.
        start_time: Of the first message [ns].
        end_time: Behind the last one [ns].
        custom: What the recorder's user noted.
        loose: Whether it is a folder without ``metadata.yaml``.
        missing: Names of files that the recorder names and that are not there.
        unfinished: Whether the end of a file is missing.

    Raises:
        BagError: If it is none.
    """

    def __init__(self, path: Path) -> None:
        """Open all files, and number their topics together."""
        self._path = path
        self._open = ExitStack()
        said = _read_metadata(path) if path.is_dir() else None
        self.loose = path.is_dir() and said is None
        self.missing: list[str] = []
        self.unfinished = False
        try:
            self._files = [self._opened(file) for file in self._paths(said)]
            if said is None:  # Of equal times they keep the order of their names.
                self._files.sort(key=lambda one: int(one.metadata.start_time))
            self.storage = 'mcap' if isinstance(self._files[0], McapStorage) else 'sqlite3'
            self._join(said)
        except BaseException:
            self.close()
            raise

    def _paths(self, said: _Metadata | None) -> list[Path]:
        """Return the files in their order."""
        if not self._path.is_dir():
            return [self._path]
        if said is None:
            files = sorted(filter(_is_bag_file, visible(self._path.iterdir())), key=natural_key)
            if not files:
                raise BagError(f'it has neither a {METADATA} nor a file of MCAP or SQLite')
            return files
        paths = [self._path / name for name in said.files]
        self.missing = [one.name for one in paths if not one.is_file()]
        if len(self.missing) == len(paths):
            raise BagError(f'none of the files that its {METADATA} names is there')
        return [one for one in paths if one.is_file()]

    def _opened(self, path: Path) -> _Storage:
        """Open a file; a packed one is unpacked into a folder that is removed with the reader."""
        scratch = Path(self._open.enter_context(TemporaryDirectory()))
        if packing(path):
            target = scratch / plain_name(path)
            self.unfinished |= not unpack_file(path, target)
            path = target
        if path.suffix not in _SUFFIXES:
            raise BagError(f'its name ends in none of {", ".join(_SUFFIXES)}')
        storage: _Storage = (
            McapStorage(path) if path.suffix == '.mcap' else SqliteStorage(path, scratch)
        )
        storage.open()
        self._open.callback(storage.close)
        self.unfinished |= storage.unfinished
        return storage

    def _join(self, said: _Metadata | None) -> None:
        """Join the topics, counts and times of the files."""
        known: dict[_Kind, Connection] = {}
        counts: Counter[_Kind] = Counter()
        hashes = said.hashes if said else {}
        for one in (one for storage in self._files for one in storage.connections):
            digest = hashes.get((one.topic, one.msgtype)) or one.digest
            new = one._replace(id=len(known) + 1, digest=digest, owner=self)
            known.setdefault(_kind(one), new)
            counts[_kind(one)] += one.msgcount
        self._known = {kind: one._replace(msgcount=counts[kind]) for kind, one in known.items()}
        self.connections = list(self._known.values())
        found = [one.metadata for one in self._files]
        self.start_time = min(int(one.start_time) for one in found)
        self.end_time = max(int(one.end_time) for one in found)
        counted = sum(int(one.message_count) for one in found)
        self.message_count = said.message_count if said else counted
        self.custom = said.custom if said else {}
        self._unpack = unpacker(said.packed) if said and said.packed else None

    def messages(self, connections: Collection[Connection]) -> Iterator[Recorded]:
        """Yield the messages of some topics, file by file, each in recorded order."""
        wanted = {one.id for one in connections}
        for storage in self._files:
            joined = {one.id: self._known[_kind(one)] for one in storage.connections}
            local = [one for one in storage.connections if joined[one.id].id in wanted]
            for message in storage.messages(local):
                data = self._unpack(message.data) if self._unpack else message.data
                yield message._replace(connection=joined[message.connection.id], data=data)

    def extras(self) -> Iterator[Extra]:
        """Yield the attachments and metadata of all files."""
        for storage in self._files:
            yield from storage.extras()

    def close(self) -> None:
        """Close the files, and remove what was unpacked."""
        self._open.close()


def _kind(connection: Connection) -> _Kind:
    return connection.topic, connection.msgtype, repr(connection.ext)


def _is_bag_file(path: Path) -> bool:
    return PurePath(plain_name(path)).suffix in _SUFFIXES
