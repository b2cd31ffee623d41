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
"""The labelled bag: every recorded message as it is, and the added ones beside them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.metadata import dump_qos_v8
from rosbags.rosbag2.storage_mcap import McapWriter, Schema, write_schema
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer
from rosbags.typesys import get_typestore, Stores
from zegclip_core.bags.messages import Output, TYPES
from zegclip_core.bags.source import BagSource
from zegclip_core.errors import BagError

VERSION: Literal[8] = 8
"""Of the metadata; the newest that also the older ROS 2 releases read."""


class _Mcap(McapWriter):
    """Writes types without a definition too, as MCAP has it: an empty schema."""

    def add_msgtype(self, connection: Connection) -> None:
        """Write the definition of a type if there is one."""
        if connection.msgdef.data:
            super().add_msgtype(connection)
            return
        self.schemas.append(Schema(len(self.schemas) + 1, connection.msgtype, '', ''))
        write_schema(self.chunk.bio, self.schemas[-1])


class _Sqlite3(Sqlite3Writer):
    """Leaves out the definition of types that have none."""

    def add_msgtype(self, connection: Connection) -> None:
        """Write the definition of a type if there is one."""
        if connection.msgdef.data:
            super().add_msgtype(connection)


class BagWriter(Writer):
    """A new bag that takes topics of another bag with all that is known about them.

    Args:
        path: Folder of the bag; it must not exist.
        storage: ``mcap`` or ``sqlite3``.
        compress: Whether the chunks of an MCAP are compressed.

    Raises:
        BagError: If SQLite is to be compressed.
    """

    STORAGE_PLUGINS = {  # noqa: RUF012 - its base's name for it
        StoragePlugin.SQLITE3: _Sqlite3,
        StoragePlugin.MCAP: _Mcap,
    }

    def __init__(self, path: Path, storage: str, *, compress: bool = False) -> None:
        super().__init__(path, version=VERSION, storage_plugin=StoragePlugin[storage.upper()])
        if compress:
            self.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)

    def copy_connection(self, connection: Connection) -> Connection:
        """Add a topic of another bag: name, type, definition, hash and quality of service.

        The base's ``add_connection`` takes no topics whose definition or hash is not known.
        """
        for known in self.connections:
            if known[1:3] == connection[1:3] and known.ext == connection.ext:
                return known
        made = connection._replace(id=len(self.connections) + 1, msgcount=0, owner=self)
        if self.storage is None or not isinstance(made.ext, ConnectionExtRosbag2):
            raise BagError('Expected an open bag and a topic of ROS 2.')
        if made.msgtype not in self.added_types:
            self.storage.add_msgtype(made)
            self.added_types.add(made.msgtype)
        self.storage.add_connection(made, dump_qos_v8(made.ext.offered_qos_profiles))
        self.connections.append(made)
        self.counts[made.id] = 0
        return made


def with_definitions(connections: list[Connection]) -> list[Connection]:
    """Return the connections with the definitions of well-known types, if there are none at all.

    Bags in SQLite from before ROS 2 Iron have none. The added topics bring some, and readers look
    either into the bag or into what they know.
    """
    if any(connection.msgdef.data for connection in connections):
        return connections
    known = get_typestore(Stores.ROS2_HUMBLE)

    def with_definition(connection: Connection) -> Connection:
        if connection.msgtype not in known.fielddefs:
            return connection
        text, _ = known.generate_msgdef(connection.msgtype, ros_version=2)
        return connection._replace(msgdef=MessageDefinition(MessageDefinitionFormat.MSG, text))

    return list(map(with_definition, connections))


class LabelledBag:
    """The recorded topics and the added ones in a bag that is being written.

    Args:
        writer: The open bag.
        source: What was recorded.
        added: The topics that are added.

    Raises:
        BagError: If a topic that is added was recorded already.
    """

    def __init__(self, writer: BagWriter, source: BagSource, added: Iterable[Output]) -> None:
        """Write all topics."""
        self._writer = writer
        connections = source.connections
        pairs = zip(connections, with_definitions(connections), strict=True)
        self._copied = {old.id: writer.copy_connection(new) for old, new in pairs}
        self._added = {
            topic.topic: writer.add_connection(
                topic.topic, topic.kind, typestore=TYPES, offered_qos_profiles=[topic.qos]
            )
            for topic in added
        }
        for name, value in source.custom_data.items():
            writer.set_custom_data(name, value)

    def copy(self, connection: Connection, time: int, message: bytes) -> None:
        """Write a recorded message as it is."""
        self._writer.write(self._copied[connection.id], time, message)

    def add(self, output: Output, time: int) -> None:
        """Write a message of ours with the time of recording [ns] of its image."""
        data = TYPES.serialize_cdr(output.message, output.kind)
        self._writer.write(self._added[output.topic], time, data)


def check_topics(source: BagSource, added: Iterable[Output]) -> None:
    """Refuse to add a topic that was recorded already.

    Raises:
        BagError: If there is one.
    """
    recorded = {connection.topic for connection in source.connections}
    taken = sorted(recorded & {output.topic for output in added})
    if taken:
        raise BagError(
            f'Expected topics that {source.path} does not have, but it has {", ".join(taken)}: '
            'give another --prefix.'
        )
