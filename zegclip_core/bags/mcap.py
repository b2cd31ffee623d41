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
"""MCAP files, whole or without their end, with or without an index, all that they hold."""

from binascii import crc32
from collections.abc import Collection, Iterable, Iterator
import heapq
import io
import struct
from typing import Any, BinaryIO, cast, Final, NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader
from zegclip_core.bags.packing import unpacked_part, unpacker
from zegclip_core.errors import BagError

MAGIC: Final = b'\x89MCAP0\r\n'
_END: Final = b'\x02' + struct.pack('<QQQI', 20, 0, 0, 0) + MAGIC
"""A footer that says that there is no index: readers then look at every record."""
RECORD: Final = struct.Struct('<BQ')
"""What a record begins with: its kind and its length."""
MESSAGE_HEAD: Final = struct.Struct('<HIQQ')
"""What a message begins with: channel, number, times of recording and of publication [ns]."""
CHANNEL, MESSAGE, CHUNK, ATTACHMENT, METADATA, DATA_END = 0x04, 0x05, 0x06, 0x09, 0x0C, 0x0F
RECORDER: Final = 'rosbag2'
"""Name of the metadata that a recorder writes itself."""
_LARGEST_CHUNK: Final = 2**28
"""Bytes of a torn chunk, and of messages that wait for earlier ones; more is never in memory."""


class Recorded(NamedTuple):
    """A message of a bag.

    Attributes:
        connection: Its topic.
        time: Of recording [ns].
        data: Serialised.
        published: Time of publication [ns]; ``None`` where the bag does not say it.
        number: Among those of its publisher; 0 where nobody counted.
    """

    connection: Connection
    time: int
    data: bytes
    published: int | None = None
    number: int = 0


class Extra(NamedTuple):
    """A record of an MCAP that is no message: an attachment or metadata.

    Attributes:
        kind: ``ATTACHMENT`` or ``METADATA``.
        file: Where its content lies.
        start: Place of its first byte there.
        length: Its bytes.
    """

    kind: int
    file: BinaryIO
    start: int
    length: int

    def head(self, size: int = 4096) -> bytes:
        """Return its first bytes."""
        self.file.seek(self.start)
        return self.file.read(min(size, self.length))


def read_string(data: bytes, place: int) -> tuple[str, int]:
    """Return the text at a place of a record, and the place behind it."""
    (length,) = struct.unpack_from('<I', data, place)
    start = place + 4
    return data[start:][:length].decode(errors='replace'), start + int(length)


def _whole_records(file: BinaryIO, start: int, end: int) -> tuple[int, int | None]:
    """Return where the last whole record from ``start`` on ends, and the kind of the torn one."""
    while end - start >= RECORD.size:
        file.seek(start)
        kind, length = RECORD.unpack(file.read(RECORD.size))
        if kind == DATA_END:
            break
        if length > end - start - RECORD.size:
            return start, kind
        start += RECORD.size + length
    return start, None


def _torn_chunk(data: bytes) -> bytes:
    """Return the whole records of a chunk whose end is missing."""
    try:
        name, place = read_string(data, 28)
    except struct.error:
        return b''
    start = place + 8
    plain = unpacked_part(name, data[start:])
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


class McapStorage(McapReader):
    """Reads an MCAP, one that breaks off up to the last whole record.

    Attributes:
        unfinished: Whether its end is missing.
    """

    unfinished = False

    def open(self) -> None:  # noqa: A003, RUF100 - its base's name for it
        """Open the file."""
        with self.path.open('rb') as file:
            head = file.read(len(MAGIC))
            size = file.seek(0, io.SEEK_END)
            file.seek(max(size - len(MAGIC), 0))
            self.unfinished = head == MAGIC and file.read() != MAGIC
        if self.unfinished:
            self._open_unfinished(size)
        else:
            super().open()
        self.connections = [
            one._replace(digest=self._type_hash(one.id)) for one in self.connections
        ]

    def _open_unfinished(self, size: int) -> None:
        """Open a file without its end as one that is whole but for its index."""
        raw = self.path.open('rb')
        end, torn = _whole_records(raw, len(MAGIC), size)
        rest = b''
        if torn == CHUNK:
            raw.seek(end + RECORD.size)
            rest = _torn_chunk(raw.read(_LARGEST_CHUNK))
        self.bio = cast('BinaryIO', io.BufferedReader(_Joined(raw, end, rest + _END)))
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def read_index(self) -> None:
        """Read the index; where that does not count the messages, the file itself is counted.

        Statistics may leave out how many a topic has, and chunks where their messages lie. The
        base then takes all topics for empty.
        """
        super().read_index()
        said = self.statistics
        if said is None:
            counted = all(one.channel_count for one in self.chunks)
        else:
            counted = bool(said.channel_message_counts) or not said.message_count
        if not counted:
            self.meta_scan()

    def _type_hash(self, channel: int) -> str:
        """Return the hash of a channel's type, if the recorder has noted it there."""
        data, place = self.channels[channel].metadata, 0
        while place < len(data):
            key, place = read_string(data, place)
            value, place = read_string(data, place)
            if key == 'topic_type_hash':
                return value
        return ''

    def messages(  # type: ignore[override]
        self, connections: Collection[Connection]
    ) -> Iterator[Recorded]:
        """Yield the messages of some topics.

        They come in the order of their times of recording; those without an index in the order of
        the file.
        """
        known = {one.id: one for one in connections}
        if self.chunks and not self.unfinished:
            return self._indexed(known)
        return self._scanned(known)

    def _indexed(self, known: dict[int, Connection]) -> Iterator[Recorded]:
        """Yield messages by the index of chunks: in memory are those that overlap in time."""
        waiting: list[tuple[int, int, Recorded]] = []
        held = count = 0
        # A recorder may leave out which channels a chunk has.
        wanted = (
            one
            for one in self.chunks
            if not one.channel_count or one.channel_count.keys() & known.keys()
        )
        for chunk in sorted(wanted, key=lambda one: one.message_start_time):
            while waiting and (waiting[0][0] < chunk.message_start_time or held > _LARGEST_CHUNK):
                message = heapq.heappop(waiting)[2]
                held -= len(message.data)
                yield message
            for message in _messages(self._chunk(chunk), known):
                count += 1  # Of equal times the one that stands first goes first.
                held += len(message.data)
                heapq.heappush(waiting, (message.time, count, message))
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _chunk(self, chunk: ChunkInfo) -> bytes:
        """Return the records of a chunk."""
        file = self._file
        file.seek(chunk.chunk_start_offset)
        kind, length = RECORD.unpack(file.read(RECORD.size))
        if kind != CHUNK:
            raise BagError(f'its index names a chunk at {chunk.chunk_start_offset}, where none is')
        return _records_of(file.read(length))

    @property
    def _file(self) -> BinaryIO:
        if self.bio is None:
            raise BagError('it is not open')
        return self.bio

    def _records(self) -> Iterator[tuple[int, int, int]]:
        """Yield kind, place of the content and length of each record that is in no chunk."""
        place = self.data_start
        while place + RECORD.size <= self.data_end:
            self._file.seek(place)
            kind, length = RECORD.unpack(self._file.read(RECORD.size))
            place += RECORD.size
            yield kind, place, length
            place += length

    def _scanned(self, known: dict[int, Connection]) -> Iterator[Recorded]:
        """Yield messages in the order of the file."""
        for kind, place, length in self._records():
            if kind in {CHUNK, MESSAGE}:
                self._file.seek(place)
                data = self._file.read(length)
                whole = RECORD.pack(kind, length) + data if kind == MESSAGE else _records_of(data)
                yield from _messages(whole, known)

    def extras(self) -> Iterator[Extra]:
        """Yield the attachments and metadata, but for the metadata of the recorder itself."""
        for kind, place, length in self._records():
            if kind in {ATTACHMENT, METADATA}:
                found = Extra(kind, self._file, place, length)
                if kind == ATTACHMENT or read_string(found.head(), 0)[0] != RECORDER:
                    yield found


def _records_of(chunk: bytes) -> bytes:
    """Return the records that a chunk holds, unpacked and compared with their checksum."""
    size, checksum = struct.unpack_from('<QI', chunk, 16)
    name, place = read_string(chunk, 28)
    (length,) = struct.unpack_from('<Q', chunk, place)
    start = place + 8
    packed = chunk[start:][:length]
    plain = unpacker(name)(packed) if name else packed
    if len(plain) != size or (checksum and crc32(plain) != checksum):
        raise BagError('a chunk of it does not fit its length or checksum')
    return plain


def _messages(records: bytes, known: dict[int, Connection]) -> Iterator[Recorded]:
    """Yield the messages of some channels, by their ids, among records."""
    place = 0
    while place + RECORD.size <= len(records):
        kind, length = RECORD.unpack_from(records, place)
        place += RECORD.size
        if length > len(records) - place:
            raise BagError('a record of it is longer than what holds it')
        if kind == MESSAGE:
            channel, number, time, published = MESSAGE_HEAD.unpack_from(records, place)
            if channel in known:
                start, end = place + MESSAGE_HEAD.size, place + length
                data = records[start:end]
                yield Recorded(known[channel], time, data, published, number)
        place += length


def named(extras: Iterable[Extra]) -> str:
    """Return how many attachments and metadata there are, as the start of a sentence."""
    kinds = [one.kind for one in extras]
    parts = [(kinds.count(ATTACHMENT), 'attachments'), (kinds.count(METADATA), 'metadata')]
    return ' and '.join(f'{count} {what}' for count, what in parts if count)
