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
from difflib import get_close_matches
import hashlib
import json
from pathlib import Path

from rosbags.interfaces import Connection
from zegclip_core.bags.reading import BagReader
from zegclip_core.errors import BagError
from zegclip_core.files import absent, user_path
from zegclip_core.messages.image_encodings import COMPRESSED, IMAGE
from zegclip_core.messages.outputs import ACTIVE_VOCABULARY, LABEL_INFO


class BagSource:
    """A rosbag2: a folder, or a single MCAP or SQLite file, also one packed by zstd.

    Attributes:
        path: Where it lies.
        storage: ``mcap`` or ``sqlite3``.
        connections: The topics with type, quality of service and count of messages.
        message_count: How many messages the bag says that it holds.
        unfinished: Whether the end of a file is missing, which is read to its last whole message.
        loose: Whether it is a folder without ``metadata.yaml``, whose files are taken in the order
            of their names.

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
            self._reader.open()
            self.storage = 'mcap' if self._reader.is_mcap else 'sqlite3'
            self.connections = list(self._reader.connections)
            self.message_count = int(self._reader.message_count)
            self.unfinished, self.loose = self._reader.unfinished, self._reader.loose

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
            topic: Its name; ``None`` takes the only one that is no result of a labelling.

        Raises:
            BagError: If there is no such topic, it has another type or no message, or none is
                named and there is not exactly one.
        """
        images = [c for c in self.connections if c.msgtype in {IMAGE, COMPRESSED}]
        own = self._labelled_before()
        names = sorted({c.topic for c in images if not c.topic.startswith(own)})
        listed = ', '.join(names) or 'none'
        if not images:
            others = sorted({f'{c.topic} ({c.msgtype})' for c in self.connections})
            raise BagError(
                f'Expected a topic with images in {self.path}, but it has only '
                f'{", ".join(others) or "no topic at all"}.'
            )
        if topic is None:
            if len(names) != 1:
                raise BagError(
                    f'Expected --topic, as {self.path} does not have exactly one topic with '
                    f'images; it has: {listed}.'
                )
            topic = names[0]
        elif not topic.startswith('/'):  # As people write it, and ROS does not.
            topic = f'/{topic}'
        found = [c for c in images if c.topic == topic]
        if not found:
            others = sorted({c.msgtype for c in self.connections if c.topic == topic})
            near = get_close_matches(topic, names, n=1)
            hint = f'; is {near[0]} meant?' if near else ''
            what = f'that has the type {others[0]}' if others else 'there is none of that name'
            raise BagError(
                f'Expected a topic with images in {self.path}, which has {listed}, but got '
                f'{topic}: {what}{hint}.'
            )
        if not any(c.msgcount for c in found):
            raise BagError(f'Expected images on {topic} in {self.path}, but it has no message.')
        return found

    def _labelled_before(self) -> tuple[str, ...]:
        """Return what the topics begin with that an earlier labelling has added."""
        topics = {c.topic for c in self.connections}
        ends = (f'/{ACTIVE_VOCABULARY}', f'/{LABEL_INFO}')
        owners = [{t.removesuffix(end) for t in topics if t.endswith(end)} for end in ends]
        return tuple(f'{owner}/' for owner in sorted(owners[0] & owners[1]))

    def messages(self, connections: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time of recording [ns] and serialised message, in recorded order.

        Raises:
            BagError: If the bag is damaged.
        """
        with self._reading():
            yield from self._reader.messages(connections)
