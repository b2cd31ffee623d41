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
"""Writing MCAP with all that one may hold: times of publication, attachments and metadata."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
import struct
from typing import Final

from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionMode
from rosbags.rosbag2.storage_mcap import (
    McapWriter,
    Schema,
    write_channel,
    write_schema,
)
from zegclip_core.bags.mcap import (
    ATTACHMENT,
    CHANNEL,
    DATA_END,
    Extra,
    MAGIC,
    MESSAGE,
    MESSAGE_HEAD,
    METADATA,
    read_string,
    RECORD,
    Recorded,
    RECORDER,
)

_FULL: Final = 2**20
"""Bytes of messages from which a chunk is written."""
_FOOTER, _SCHEMA, _CHUNK_INDEX, _ATTACHMENT_INDEX = 0x02, 0x03, 0x08, 0x0A
_STATISTICS, _METADATA_INDEX, _SUMMARY_OFFSET = 0x0B, 0x0D, 0x0E


class McapFile(McapWriter):
    """An MCAP that is written."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        super().__init__(path, compression)
        self._indices: dict[int, list[bytes]] = {ATTACHMENT: [], METADATA: []}

    def add_msgtype(self, connection: Connection) -> None:
        """Write the definition of a type; an empty schema, as MCAP has it, if there is none."""
        if connection.msgdef.data:
            super().add_msgtype(connection)
            return
        self.schemas.append(Schema(len(self.schemas) + 1, connection.msgtype, '', ''))
        write_schema(self.chunk.bio, self.schemas[-1])

    def add_connection(self, connection: Connection, offered_qos_profiles: str) -> None:
        """Write a topic, with the hash of its type beside its quality of service."""
        start = self.chunk.bio.tell()
        super().add_connection(connection, offered_qos_profiles)
        if connection.digest:
            old = self.channels[-1]
            noted = _text('topic_type_hash') + _text(connection.digest)
            self.channels[-1] = old._replace(metadata=old.metadata + noted)
            self.chunk.bio.seek(start)
            write_channel(self.chunk.bio, self.channels[-1], self.schemas)

    def put(self, connection: Connection, message: Recorded) -> None:
        """Write a message with all its times, whatever topic it is of in its own bag."""
        time, chunk = message.time, self.chunk
        self.message_start_time = min(time, self.message_start_time)
        self.message_end_time = max(time, self.message_end_time)
        self.channel_stats[connection.id] += 1
        chunk.message_start_time = min(time, chunk.message_start_time)
        chunk.message_end_time = max(time, chunk.message_end_time)
        chunk.msgs[connection.id].append((time, chunk.bio.tell()))
        published = time if message.published is None else message.published
        chunk.bio.write(RECORD.pack(MESSAGE, MESSAGE_HEAD.size + len(message.data)))
        chunk.bio.write(MESSAGE_HEAD.pack(connection.id, message.number, time, published))
        chunk.bio.write(message.data)
        if chunk.bio.tell() > _FULL:
            self.close_chunk()

    def add_extra(self, extra: Extra) -> None:
        """Write an attachment or metadata, a part at a time."""
        start = self.bio.tell()
        self.bio.write(RECORD.pack(extra.kind, extra.length))
        extra.file.seek(extra.start)
        left = extra.length
        while left > 0 and (part := extra.file.read(min(left, _FULL))):
            self.bio.write(part)
            left -= len(part)
        self._note(extra.kind, start, extra.head())

    def close(self, version: int, metadata: str) -> None:
        """Write what ``metadata.yaml`` says, as recorders do, the index and the end."""
        del version
        if self.chunk.bio.tell():
            self.close_chunk()
        pairs = _text('serialized_metadata') + _text(metadata)
        content = _text(RECORDER) + struct.pack('<I', len(pairs)) + pairs
        self._note(METADATA, self._record(METADATA, content), content)
        self._record(DATA_END, bytes(4))
        start = self.bio.tell()
        offsets = []
        for kind, contents in self._summary():
            first = self.bio.tell()
            for one in contents:
                self._record(kind, one)
            if contents:
                offsets.append(struct.pack('<BQQ', kind, first, self.bio.tell() - first))
        offset_start = self.bio.tell()
        for one in offsets:
            self._record(_SUMMARY_OFFSET, one)
        self._record(_FOOTER, struct.pack('<QQI', start, offset_start, 0))
        self.bio.write(MAGIC)
        self.bio.close()

    def _record(self, kind: int, content: bytes) -> int:
        """Write a record outside of chunks, and return where it begins."""
        start = self.bio.tell()
        self.bio.write(RECORD.pack(kind, len(content)) + content)
        return start

    def _note(self, kind: int, start: int, head: bytes) -> None:
        """Note for the index what was written from a place on; ``head`` is how it begins."""
        what = _text(read_string(head, 0)[0])
        if kind == ATTACHMENT:
            name, place = read_string(head, 16)
            media, place = read_string(head, place)
            size = head[place:][:8]
            what = head[:16] + size + _text(name) + _text(media)
        self._indices[kind].append(struct.pack('<QQ', start, self.bio.tell() - start) + what)

    def _summary(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the kind and the contents of each group of the index."""
        schemas, channels = BytesIO(), BytesIO()
        for schema in self.schemas:
            write_schema(schemas, schema)
        for channel in self.channels:
            write_channel(channels, channel, self.schemas)
        yield _SCHEMA, _contents(schemas.getvalue())
        yield CHANNEL, _contents(channels.getvalue())
        yield _CHUNK_INDEX, [one.getvalue() for one in self.chunks]
        yield _ATTACHMENT_INDEX, self._indices[ATTACHMENT]
        yield _METADATA_INDEX, self._indices[METADATA]
        counts = b''.join(struct.pack('<HQ', *one) for one in sorted(self.channel_stats.items()))
        numbers = (
            *(sum(self.channel_stats.values()), len(self.schemas), len(self.channels)),
            *(len(self._indices[ATTACHMENT]), len(self._indices[METADATA]), len(self.chunks)),
            *(self.message_start_time, self.message_end_time, len(counts)),
        )
        yield _STATISTICS, [struct.pack('<QHIIIIQQI', *numbers) + counts]


def _text(text: str) -> bytes:
    """Return a text as records hold it."""
    data = text.encode()
    return struct.pack('<I', len(data)) + data


def _contents(records: bytes) -> list[bytes]:
    """Return the content of each record."""
    found, place = [], 0
    while place < len(records):
        _, length = RECORD.unpack_from(records, place)
        start, place = place + RECORD.size, place + RECORD.size + length
        found.append(records[start:place])
    return found
