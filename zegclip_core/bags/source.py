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
"""The bag that is labelled: opened for reading only, its topics and its images."""

from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
import json
from pathlib import Path
import re

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from zegclip_core.errors import BagError
from zegclip_core.files import user_path
from zegclip_core.messages.image_encodings import COMPRESSED, IMAGE


class BagSource:
    """A rosbag2: a folder with its ``metadata.yaml``, or a single MCAP or SQLite file.

    Attributes:
        path: Where it lies.
        storage: ``mcap`` or ``sqlite3``.
        connections: The topics with type, quality of service and count of messages.
        message_count: How many messages the bag says that it holds.

    Raises:
        BagError: If there is none or it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the bag."""
        self.path = user_path(path)
        if not self.path.exists():
            raise BagError(f'Cannot read the bag {self.path}: there is no such file or folder.')
        metadata = self.path / 'metadata.yaml'
        if self.path.is_dir() and not metadata.exists():
            raise BagError(
                f'Cannot read the bag {self.path}: it has no metadata.yaml, which '
                '`ros2 bag reindex` makes; a single file of it can be named instead.'
            )
        with self._reading():
            self._reader = Reader(self.path)
            self._reader.open()
            text = metadata.read_text('utf-8') if self.path.is_dir() else str(self.path)
            is_mcap = re.search(r'storage_identifier:\s*[\'"]?mcap\b|\.mcap\Z', text)
            self.storage = 'mcap' if is_mcap else 'sqlite3'
            self.connections = list(self._reader.connections)
            self.message_count = int(self._reader.message_count)

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
    def custom_data(self) -> dict[str, str]:
        """What the recorder's user noted in the metadata."""
        return dict(self._reader.storage.metadata.custom or {})

    def fingerprint(self) -> str:
        """Return a text that another bag has not, without reading the messages."""
        topics = sorted((c.topic, c.msgtype, c.msgcount) for c in self.connections)
        times = (self._reader.start_time, self._reader.end_time)
        content = json.dumps([self.message_count, times, topics])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def pick_topic(self, topic: str | None) -> list[Connection]:
        """Return the connections of a topic with images.

        Args:
            topic: Its name; ``None`` takes the only one.

        Raises:
            BagError: If there is no such topic, it has another type or no message, or none is
                named and there is not exactly one.
        """
        images = [c for c in self.connections if c.msgtype in {IMAGE, COMPRESSED}]
        names = sorted({c.topic for c in images})
        listed = ', '.join(names) or 'none'
        if topic is None:
            if len(names) != 1:
                raise BagError(
                    f'Expected --topic, as {self.path} does not have exactly one topic with '
                    f'images; it has: {listed}.'
                )
            topic = names[0]
        found = [c for c in images if c.topic == topic]
        if not found:
            others = sorted({c.msgtype for c in self.connections if c.topic == topic})
            what = f'that has the type {others[0]}' if others else 'there is none of that name'
            raise BagError(
                f'Expected a topic with images in {self.path}, which has {listed}, but got '
                f'{topic}: {what}.'
            )
        if not any(c.msgcount for c in found):
            raise BagError(f'Expected images on {topic} in {self.path}, but it has no message.')
        return found

    def messages(self, connections: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time of recording [ns] and serialised message, in recorded order.

        Raises:
            BagError: If the bag is damaged.
        """
        with self._reading():
            yield from self._reader.messages(connections)
