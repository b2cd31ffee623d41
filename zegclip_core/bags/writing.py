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

from pathlib import Path
import sqlite3
from typing import Any

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.metadata import dump_qos_v8
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer
from rosbags.typesys import get_typestore, Stores
from zegclip_core.bags.mcap import Extra, Recorded
from zegclip_core.bags.mcap_writing import McapFile
from zegclip_core.bags.message_types import TYPES
from zegclip_core.bags.source import BagSource
from zegclip_core.errors import BagError


class _Sqlite3(Sqlite3Writer):
    """Leaves out what SQLite has no place for: times of publication, types without definition."""

    def __init__(self, path: Path, _: CompressionMode) -> None:
        # The base's own makes a URL of the path, in which # and ? are no part of it.
        self.path = path / f'{path.name}.db3'
        self.conn = sqlite3.connect(self.path)
        self.conn.executescript(self.SQLITE_SCHEMA)
        self.cursor = self.conn.cursor()

    def add_msgtype(self, connection: Connection) -> None:
        """Write the definition of a type if there is one."""
        if connection.msgdef.data:
            super().add_msgtype(connection)

    def put(self, connection: Connection, message: Recorded) -> None:
        """Write a message."""
        self.write(connection, message.time, message.data)


class BagWriter(Writer):
    """A new bag that holds what another one does, and further topics.

    Args:
        path: Folder of the bag; it must not exist.
        storage: ``mcap`` or ``sqlite3``.
        compress: Whether the chunks of an MCAP are compressed.
    """

    STORAGE_PLUGINS = {  # noqa: RUF012 - its base's name for it
        StoragePlugin.SQLITE3: _Sqlite3,
        StoragePlugin.MCAP: McapFile,
    }

    def __init__(self, path: Path, storage: str, *, compress: bool = False) -> None:
        # Version 8 of the metadata is the newest that older ROS 2 releases read, too.
        super().__init__(path, version=8, storage_plugin=StoragePlugin[storage.upper()])
        self._copied: dict[int, Connection] = {}
        self._added: dict[str, Connection] = {}
        if compress:
            self.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)

    def add_topics(self, source: BagSource, added: dict[str, tuple[str, Qos]]) -> None:
        """Add the recorded topics, and further ones by their names with type and QoS.

        Bags in SQLite from before ROS 2 Iron have no definitions of types. The further topics
        bring some, and readers look either into the bag or into what they know: so well-known
        types get theirs if there are none at all.
        """
        known = get_typestore(Stores.ROS2_HUMBLE)
        undefined = not any(connection.msgdef.data for connection in source.connections)
        for recorded in source.connections:
            copied = recorded
            if undefined and recorded.msgtype in known.fielddefs:
                text, _ = known.generate_msgdef(recorded.msgtype, ros_version=2)
                definition = MessageDefinition(MessageDefinitionFormat.MSG, text)
                copied = recorded._replace(msgdef=definition)
            self._copied[recorded.id] = self.copy_connection(copied)
        for topic, (kind, qos) in added.items():
            self._added[topic] = self.add_connection(
                topic, kind, typestore=TYPES, offered_qos_profiles=[qos]
            )
        for name, value in source.custom_data.items():
            self.set_custom_data(name, value)

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

    def copy(self, message: Recorded) -> None:
        """Write a recorded message, with its times, as it is."""
        self._put(self._copied[message.connection.id], message)

    def copy_extra(self, extra: Extra) -> bool:
        """Write an attachment or metadata; return whether the storage has a place for it."""
        if not isinstance(self.storage, McapFile):
            return False
        self.storage.add_extra(extra)
        return True

    def add(self, topic: str, message: Any, time: int) -> None:  # noqa: ANN401 - of rosbags
        """Write an added message with the time of recording [ns] of its image."""
        connection = self._added[topic]
        data = bytes(TYPES.serialize_cdr(message, connection.msgtype))
        self._put(connection, Recorded(connection, time, data))

    def _put(self, connection: Connection, message: Recorded) -> None:
        """Do what the base's ``write`` does, which takes one time."""
        if not isinstance(self.storage, (McapFile, _Sqlite3)):
            raise BagError('Expected an open bag.')
        self.storage.put(connection, message)
        self.counts[connection.id] += 1
        self.min_timestamp = min(message.time, self.min_timestamp)
        self.max_timestamp = max(message.time, self.max_timestamp)

    @property
    def added(self) -> int:
        """How many of the messages are added ones."""
        return sum(self.counts[connection.id] for connection in self._added.values())
