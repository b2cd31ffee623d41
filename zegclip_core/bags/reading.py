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
"""Bags as recorders leave them: without their end, without ``metadata.yaml``, packed."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
import io
from pathlib import Path
import shutil
import struct
import sys
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, BinaryIO, cast

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.metadata import ReaderMetadata
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader
from zegclip_core.errors import BagError
from zegclip_core.files import visible
from zegclip_core.images.media import natural_key

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKED = '.zstd'
"""Ending of a file that was compressed as a whole."""
_MAGIC = b'\x89MCAP0\r\n'
_END = b'\x02' + struct.pack('<QQQI', 20, 0, 0, 0) + _MAGIC
"""A footer that says that there is no index: readers then look at every record."""
_HEAD = 9
"""Bytes before the content of a record: its kind and its length."""
_CHUNK, _DATA_END = 0x06, 0x0F
_LATEST = 2**63 - 1


def _whole_records(file: BinaryIO, start: int, end: int) -> tuple[int, int | None]:
    """Return where the last whole record from ``start`` on ends, and the kind of the torn one."""
    while end - start >= _HEAD:
        file.seek(start)
        kind, length = struct.unpack('<BQ', file.read(_HEAD))
        if kind == _DATA_END:
            break
        if length > end - start - _HEAD:
            return start, kind
        start += _HEAD + length
    return start, None


def _torn_chunk(data: bytes) -> bytes:
    """Return the whole records of a chunk whose end is missing."""
    try:
        (length,) = struct.unpack_from('<I', data, 28)
        name, packed = data[32 : 32 + length], data[32 + length + 8 :]
        plain = packed
        if name == b'zstd':
            plain = zstd.ZstdDecompressor().decompress(packed)
        elif name:
            return b''
    except (struct.error, zstd.ZstdError):
        return b''
    end, _ = _whole_records(io.BytesIO(plain), 0, len(plain))
    return plain[:end]


class _Joined(io.RawIOBase):
    """The first bytes of a file, and others behind them, as one file to read."""

    def __init__(self, file: BinaryIO, length: int, rest: bytes) -> None:
        self._file, self._length, self._rest = file, length, rest
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}
        self._place = offset + base.get(whence, self._length + len(self._rest))
        return self._place

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - of any type that holds bytes
        if self._place < self._length:
            self._file.seek(self._place)
            data = self._file.read(min(len(buffer), self._length - self._place))
        else:
            start = self._place - self._length
            data = self._rest[start:][: len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class UnfinishedMcap(McapReader):
    """Reads an MCAP, one that breaks off up to the last whole record.

    Attributes:
        unfinished: Whether its end is missing.
    """

    unfinished = False

    def open(self) -> None:
        """Open the file."""
        with self.path.open('rb') as file:
            head = file.read(len(_MAGIC))
            size = file.seek(0, io.SEEK_END)
            file.seek(max(size - len(_MAGIC), 0))
            self.unfinished = head == _MAGIC and file.read() != _MAGIC
        if not self.unfinished:
            super().open()
            return
        raw = self.path.open('rb')
        end, torn = _whole_records(raw, len(_MAGIC), size)
        rest = b''
        if torn == _CHUNK:
            raw.seek(end + _HEAD)
            rest = _torn_chunk(raw.read())
        self.bio = cast('BinaryIO', io.BufferedReader(_Joined(raw, end, rest + _END)))
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Any:  # noqa: ANN401 - a generator, of the base's own type
        """Return the messages, those without an index in the order of the file."""
        if self.unfinished:
            return self.messages_scan(connections, start, stop)
        return super().messages(connections, start, stop)


class _Folder(DirectoryReader):
    """Reads a folder with its ``metadata.yaml``."""

    STORAGE_PLUGINS = MappingProxyType({'mcap': UnfinishedMcap, 'sqlite3': Sqlite3Reader})


class _LooseFiles(DirectoryReader):
    """Reads the files of a folder without ``metadata.yaml`` one after another, by their names."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.connections: list[Connection] = []
        self.metadata = ReaderMetadata(0, _LATEST, 0, 0, None, None, None, None)
        self.files = []
        self.storages = []
        self.stack: ExitStack | None = None

    def open(self) -> None:
        """Open all files, and number their topics together."""
        self.stack = ExitStack()
        try:
            for path in self.paths:
                storage = (UnfinishedMcap if path.suffix == '.mcap' else Sqlite3Reader)(path)
                storage.open()
                self.stack.callback(storage.close)
                self.storages.append(storage)
        except BaseException:
            self.close()
            raise
        self._join()

    def _join(self) -> None:
        """Join the topics, counts and times of the files."""
        known: dict[tuple[object, ...], Connection] = {}
        counts: Counter[tuple[object, ...]] = Counter()
        for one in (one for storage in self.storages for one in storage.connections):
            key = (one.topic, one.msgtype, repr(one.ext))
            known.setdefault(key, one._replace(id=len(known) + 1, owner=self))
            counts[key] += one.msgcount
        self.connections = [one._replace(msgcount=counts[key]) for key, one in known.items()]
        found = [one.metadata for one in self.storages]
        start, end = min(one.start_time for one in found), max(one.end_time for one in found)
        self.metadata = self.metadata._replace(
            message_count=sum(one.message_count for one in found),
            start_time=start,
            end_time=end,
            duration=max(end - start, 0),
        )


class BagReader(Reader):
    """Reads a folder, with or without its ``metadata.yaml``, or one file, packed or not."""

    STORAGE_PLUGINS = MappingProxyType(
        {'dir': _Folder, '.mcap': UnfinishedMcap, '.db3': Sqlite3Reader}
    )

    def __init__(self, path: Path) -> None:
        self._unpacked = ExitStack()
        self.loose = path.is_dir() and not (path / 'metadata.yaml').exists()
        if not self.loose:
            super().__init__(self._plain(path))
            return
        files = sorted(filter(_is_bag_file, visible(path.iterdir())), key=natural_key)
        if not files:
            raise BagError('it has neither a metadata.yaml nor a file of MCAP or SQLite')
        self.path, self.is_open = path, False
        self.storage = _LooseFiles([self._plain(file) for file in files])

    def _plain(self, path: Path) -> Path:
        """Return a file, unpacked into a folder that is removed with the reader."""
        if path.suffix != PACKED or path.is_dir():
            return path
        folder = self._unpacked.enter_context(TemporaryDirectory())
        target = Path(folder, path.stem)
        with zstd.open(path, 'rb') as packed, target.open('wb') as plain:
            shutil.copyfileobj(packed, plain)
        return target

    def close(self) -> None:
        """Close the files, and remove what was unpacked."""
        with self._unpacked:
            super().close()

    @property
    def is_mcap(self) -> bool:
        """Whether it is stored as MCAP."""
        return isinstance(next(self._storages()), McapReader)

    @property
    def unfinished(self) -> bool:
        """Whether the end of a file is missing."""
        return any(getattr(one, 'unfinished', False) for one in self._storages())

    def _storages(self) -> Iterator[object]:
        yield from getattr(self.storage, 'storages', None) or [self.storage]


def _is_bag_file(path: Path) -> bool:
    return path.name.removesuffix(PACKED).endswith(('.mcap', '.db3'))
