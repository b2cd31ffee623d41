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
"""What the model said so far, kept so that a run that is killed loses one frame at most."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import sqlite3
import zlib

import numpy as np
from zegclip_core.bags.mcap import Recorded
from zegclip_core.errors import BagError
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

Key = tuple[str, int, int]
"""What tells a frame from all others: topic, time of recording [ns], checksum of its message."""

NAME = 'labels.sqlite3'

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS frames (
    topic TEXT NOT NULL, time INTEGER NOT NULL, checksum INTEGER NOT NULL,
    type TEXT NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
    labels BLOB NOT NULL, scores BLOB,
    PRIMARY KEY (topic, time, checksum)
);
"""


def key_of(message: Recorded) -> Key:
    """Return what tells a frame from all others, whatever order they are read in."""
    return message.connection.topic, message.time, zlib.crc32(message.data)


class LabelStore:
    """Labels by frame in a file that is whole after every frame; one process uses it at a time.

    Args:
        folder: Where the file is, or is made if there is none.

    Raises:
        BagError: If another process uses it, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        with self._using():
            # No waiting for a lock: whoever holds it does so to the end of its run.
            self._database = sqlite3.connect(self.path, timeout=0.0, isolation_level=None)
            for pragma in ('locking_mode=EXCLUSIVE', 'journal_mode=WAL', 'synchronous=NORMAL'):
                self._database.execute(f'PRAGMA {pragma}')
            for statement in ('BEGIN IMMEDIATE', *_SCHEMA.split(';'), 'COMMIT'):
                self._database.execute(statement)

    def __enter__(self) -> 'LabelStore':
        return self

    def __exit__(self, *error: object) -> None:
        with self._using():
            self._database.close()

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Turn the database's errors into one line."""
        try:
            yield
        except sqlite3.Error as error:
            reason = 'another run uses it' if 'locked' in str(error) else str(error)
            raise BagError(f'Cannot use {self.path}: {reason}.') from error

    def settings(self) -> dict[str, str]:
        """Return what was noted."""
        with self._using():
            return dict(self._database.execute('SELECT name, value FROM settings').fetchall())

    def note(self, settings: dict[str, str]) -> None:
        """Keep some settings, all or none of them; values of the same names are replaced."""
        with self._using():
            self._database.execute('BEGIN')
            self._database.executemany(
                'INSERT OR REPLACE INTO settings VALUES (?, ?)', settings.items()
            )
            self._database.execute('COMMIT')

    def keys(self) -> set[Key]:
        """Return the frames that are labelled."""
        with self._using():
            query = 'SELECT topic, time, checksum FROM frames'
            return set(self._database.execute(query).fetchall())

    def save(self, key: Key, segmentation: Segmentation, *, scores: bool) -> None:
        """Keep a frame's labels and, if asked for, its scores."""
        kind = segmentation.labels.dtype.newbyteorder('<')
        labels = segmentation.labels.astype(kind, copy=False)
        row = (
            *key,
            kind.str,
            *labels.shape,
            # The fastest level: labels are areas of one value, which any level makes tiny.
            zlib.compress(labels.tobytes(), 1),
            segmentation.scores.astype('<f4').tobytes() if scores else None,
        )
        with self._using():
            self._database.execute('INSERT OR REPLACE INTO frames VALUES (?,?,?,?,?,?,?,?)', row)

    def load(self, key: Key, vocabulary: Vocabulary) -> Segmentation | None:
        """Return a frame's labels, if it has some; where scores were not kept, they are empty."""
        query = (
            'SELECT type, height, width, labels, scores FROM frames '
            'WHERE topic=? AND time=? AND checksum=?'
        )
        with self._using():
            row = self._database.execute(query, key).fetchone()
        if row is None:
            return None
        kind, height, width, packed, kept = row
        labels = np.frombuffer(zlib.decompress(packed), dtype=kind).reshape(height, width)
        scores = np.frombuffer(kept or b'', dtype='<f4')
        return Segmentation(labels, scores.reshape(height, width) if kept else scores, vocabulary)
