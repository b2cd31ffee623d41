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
"""SQLite files of recorders: whole, cut off, with a journal beside them, with or without index."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
import re
import shutil
import sqlite3
import struct
from typing import BinaryIO, Final
from urllib.parse import quote

from rosbags.interfaces import Connection
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader
from zegclip_core.bags.mcap import Extra, Recorded
from zegclip_core.bags.pages import Pages, Value
from zegclip_core.errors import BagError

MAGIC: Final = b'SQLite format 3\0'
_JOURNALS: Final = ('-wal', '-journal')
"""What SQLite keeps beside a file that it has not finished: committed, or to be taken back."""
_MESSAGES: Final = 'messages'
_ORDERED: Final = 'SELECT id, topic_id, timestamp FROM messages ORDER BY timestamp, id'


class SqliteStorage(Sqlite3Reader):
    """Reads a file of SQLite.

    What can be read of an unfinished one is first written into another file.

    Args:
        path: The file.
        scratch: Folder for that.

    Attributes:
        unfinished: Whether its end is missing.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self.unfinished = is_cut(path)
        super().__init__(_settled(path, scratch, cut=self.unfinished))

    def open(self) -> None:  # noqa: A003, RUF100 - its base's name for it
        """Open the file."""
        path = self.path
        # The base makes a URL of it as it is, in which # and ? are no part of a path.
        self.path = Path(quote(str(path), errors='surrogateescape'))
        try:
            super().open()
        finally:
            self.path = path

    def messages(  # type: ignore[override]
        self, connections: Collection[Connection]
    ) -> Iterator[Recorded]:
        """Yield the messages of some topics in the order of their times of recording.

        SQLite sorts their numbers and times where the file has no index, not the messages.
        """
        known = {one.id: one for one in connections}
        if self.dbconn is None:
            raise BagError('it is not open')
        database = self.dbconn
        for number, topic, time in database.execute(_ORDERED):
            if topic in known:
                row = 'SELECT data FROM messages WHERE id = ?'
                for (data,) in database.execute(row, (number,)):
                    yield Recorded(known[topic], int(time), data)

    def extras(self) -> Iterator[Extra]:
        """Yield nothing: only MCAP has attachments."""
        yield from ()


def is_cut(path: Path) -> bool:
    """Return whether a file of SQLite is shorter than it says."""
    with path.open('rb') as file:
        head = file.read(100)
    if len(head) < 100 or not head.startswith(MAGIC):
        return False
    (size,), (pages,) = struct.unpack_from('>H', head, 16), struct.unpack_from('>I', head, 28)
    counted = head[24:28] == head[92:96]  # Old versions of SQLite do not count.
    return bool(counted and path.stat().st_size < pages * (65536 if size == 1 else size))


def _settled(path: Path, scratch: Path, *, cut: bool) -> Path:
    """Return a file that can be read as it is: the given one, or one made of it."""
    beside = [Path(f'{path}{ending}') for ending in _JOURNALS]
    beside = [one for one in beside if one.is_file() and one.stat().st_size]
    folder = scratch / 'settled'  # An unpacked file already lies in the other one.
    folder.mkdir()
    target = folder / path.name
    if cut:
        try:
            with path.open('rb') as file:
                _rescue(file, target)
        except (sqlite3.Error, struct.error, ValueError) as error:
            raise BagError(f'of its tables nothing is left ({error})') from error
        return target
    if not beside:
        return path
    for one in (path, *beside):
        shutil.copy(one, folder / one.name)
    with closing(sqlite3.connect(target)) as database:
        # SQLite takes in what is beside it on reading, and changes the files with it.
        database.execute('PRAGMA journal_mode = DELETE').fetchall()
    return target


def _rescue(file: BinaryIO, target: Path) -> None:
    """Write what is left of the tables of a file that was cut off into a new one."""
    pages = Pages(file)
    with closing(sqlite3.connect(target)) as database, database:
        found = [values for _, values in pages.rows(1) if values[0] == 'table']
        for _, name, _, root, text in found:
            if not isinstance(name, str) or not isinstance(text, str):
                raise ValueError('its first page is damaged')
            if name.startswith('sqlite_'):
                continue
            # Nothing but columns: a query might never end.
            if not re.match(r'CREATE TABLE(?!.*\bSELECT\b)', text, re.IGNORECASE | re.DOTALL):
                raise ValueError(f'{name} is no table')
            database.execute(text)
            if name != _MESSAGES and isinstance(root, int):
                _copy(database, name, pages.rows(root))
        messages = ((number, row) for number, row in pages.other_rows() if _is_message(row))
        _copy(database, _MESSAGES, messages)


def _is_message(row: list[Value]) -> bool:
    return len(row) >= 4 and [type(value) for value in row[1:4]] == [int, int, bytes]


def _copy(
    database: sqlite3.Connection, table: str, rows: Iterable[tuple[int, list[Value]]]
) -> None:
    """Write rows into a table; of two of one number the first."""
    name = table.replace('"', '""')
    quoted = f'"{name}"'
    columns = database.execute(f'PRAGMA table_info({quoted})').fetchall()
    places = ', '.join('?' * len(columns))
    for number, values in rows:
        # A column that is the number of its row is stored as nothing.
        row = [
            number if value is None and one[5] else value
            for one, value in zip(columns, values, strict=False)
        ]
        row += [None] * (len(columns) - len(row))
        database.execute(f'INSERT OR IGNORE INTO {quoted} VALUES ({places})', row)
