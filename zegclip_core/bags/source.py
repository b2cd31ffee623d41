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
"""The bag that is labelled: opened for reading only."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
import hashlib
import json
from pathlib import Path

from rosbags.interfaces import Connection
from zegclip_core.bags.mcap import Extra, Recorded
from zegclip_core.bags.reading import BagReader
from zegclip_core.errors import BagError
from zegclip_core.files import absent, user_path


class BagSource:
    """A rosbag2: a folder, or a single MCAP or SQLite file, also one packed by zstd or lz4.

    Attributes:
        path: Where it lies.
        storage: ``mcap`` or ``sqlite3``.
        connections: The topics with type, quality of service and count of messages.
        message_count: How many messages the bag says that it holds.
        custom_data: What the recorder's user noted in the metadata.
        unfinished: Whether the end of a file is missing, which is read to its last whole message.
        missing: Names of files that ``metadata.yaml`` names and that are not there.
        loose: Whether it is a folder without ``metadata.yaml``, whose files are taken in the order
            of their first messages.

    Raises:
        BagError: If there is none or it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the bag."""
        self.path = user_path(path)
        if not self.path.exists():
            raise BagError(f'Cannot read the bag {self.path}: {absent(self.path)}.')
        with self._reading():
            self._reader = BagReader(self.path)
        self.storage = self._reader.storage
        self.connections = list(self._reader.connections)
        self.message_count = self._reader.message_count
        self.custom_data = self._reader.custom
        self.unfinished, self.loose = self._reader.unfinished, self._reader.loose
        self.missing = self._reader.missing

    def __enter__(self) -> 'BagSource':
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn whatever a damaged bag makes the reader raise into one line."""
        try:
            yield
        except Exception as error:
            reason = (str(error) or type(error).__name__).rstrip('.')
            raise BagError(f'Cannot read the bag {self.path}: {reason}.') from error

    @property
    def seconds(self) -> float:
        """Time from the first message to the last."""
        return max(self._reader.end_time - self._reader.start_time, 0) / 1e9

    def fingerprint(self) -> str:
        """Return a text that another bag has not, without reading the messages."""
        topics = sorted((c.topic, c.msgtype, c.msgcount) for c in self.connections)
        times = (self._reader.start_time, self._reader.end_time)
        content = json.dumps([self.message_count, times, topics])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def messages(self, connections: Collection[Connection]) -> Iterator[Recorded]:
        """Yield the messages of some topics in recorded order.

        Raises:
            BagError: If the bag is damaged.
        """
        with self._reading():
            yield from self._reader.messages(connections)

    def extras(self) -> list[Extra]:
        """Return the attachments and metadata of an MCAP, but for those of the recorder itself.

        Raises:
            BagError: If the bag is damaged.
        """
        with self._reading():
            return list(self._reader.extras())
