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
"""The tables of a file of SQLite, page by page, as far as the pages are there.

SQLite itself refuses a file that is shorter than it says. Its format is published and stable:
https://www.sqlite.org/fileformat2.html
"""

from collections.abc import Iterator
import io
import struct
from typing import BinaryIO, Final, TypeAlias

Value: TypeAlias = int | float | str | bytes | None

_LEAF, _INTERIOR = 0x0D, 0x05
"""Kinds of pages of a table: with rows, and with the numbers of further pages."""
_SIZES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""Bytes of a value by its type; from 12 on types are texts and bytes of any length."""


class Pages:
    """Reads the rows of tables.

    Args:
        file: The file.

    Raises:
        ValueError: If it is none of SQLite, or its texts are not in UTF-8.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = file.read(100)
        if len(head) < 100:
            raise ValueError('its first page is not there')
        (size,) = struct.unpack_from('>H', head, 16)
        self._size = 65536 if size == 1 else int(size)
        self._used = self._size - head[20]
        if self._used < 480 or struct.unpack_from('>I', head, 56)[0] not in {0, 1}:
            raise ValueError('its first page is damaged')
        self._seen: set[int] = set()
        self._end = file.seek(0, io.SEEK_END)

    def _page(self, number: int) -> bytes | None:
        """Return a page, counted from 1; ``None`` if it is not there."""
        if number < 1:
            return None
        self._file.seek((number - 1) * self._size)
        page = self._file.read(self._size)
        return page if len(page) == self._size else None

    def rows(self, root: int) -> Iterator[tuple[int, list[Value]]]:
        """Yield number and values of each whole row of a table that is there.

        Args:
            root: Number of its first page; 1 is the table of tables.
        """
        stack = [root]
        while stack:
            number = stack.pop()
            page = None if number in self._seen else self._page(number)
            self._seen.add(number)  # A damaged file may lead in circles.
            if page is None:
                continue
            start = 100 if number == 1 else 0
            if page[start] == _INTERIOR:
                below = [
                    struct.unpack_from('>I', page, cell)[0] for cell in _cells(page, start, 12)
                ]
                stack += reversed([*below, *struct.unpack_from('>I', page, start + 8)])
            elif page[start] == _LEAF:
                yield from self._leaf(page, start)

    def other_rows(self) -> Iterator[tuple[int, list[Value]]]:
        """Yield the same of all pages that ``rows`` has not seen, in the order of the file.

        Of a table that has grown, the pages that lead to the others may lie behind them. Pages of
        images begin with the number of a further page, which is never as large as a kind.
        """
        number = 1
        while (page := self._page(number)) is not None:
            if page[0] == _LEAF and number not in self._seen:
                yield from self._leaf(page, 0)
            number += 1

    def _leaf(self, page: bytes, start: int) -> Iterator[tuple[int, list[Value]]]:
        """Yield the whole rows of a page."""
        for cell in _cells(page, start, 8):
            row = self._row(page, cell)
            if row is not None:
                yield row

    def _row(self, page: bytes, place: int) -> tuple[int, list[Value]] | None:
        """Return a row; ``None`` if a part of it is not there."""
        try:
            length, place = _varint(page, place)
            number, place = _varint(page, place)
            record = self._payload(page, place, length)
            return None if record is None else (_signed(number), _values(record))
        except (IndexError, struct.error, UnicodeDecodeError):
            return None

    def _payload(self, page: bytes, place: int, length: int) -> bytes | None:
        """Return the bytes of a row, which go on in further pages if they are many."""
        if length > self._end:
            return None
        largest, least = self._used - 35, (self._used - 12) * 32 // 255 - 23
        if length <= largest:
            return page[place:][:length]
        here = least + (length - least) % (self._used - 4)
        here = here if here <= largest else least
        parts, left = [page[place:][:here]], length - here
        (further,) = struct.unpack_from('>I', page, place + here)
        while left > 0:
            following = self._page(further)
            if following is None:
                return None
            (further,) = struct.unpack_from('>I', following)
            end = 4 + min(left, self._used - 4)
            parts.append(following[4:end])
            left -= len(parts[-1])
        return b''.join(parts)


def _cells(page: bytes, start: int, head: int) -> tuple[int, ...]:
    """Return the places of the cells of a page; none if it is damaged."""
    (count,) = struct.unpack_from('>H', page, start + 3)
    if start + head + 2 * count > len(page):
        return ()
    cells = struct.unpack_from(f'>{count}H', page, start + head)
    return cells if max(cells, default=0) + 4 <= len(page) else ()


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return an integer of one to nine bytes, and the place behind it."""
    value = 0
    for count in range(8):
        byte = data[place + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + count + 1
    return value << 8 | data[place + 8], place + 9


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _values(record: bytes) -> list[Value]:
    """Return the values of a record."""
    end, place = _varint(record, 0)
    kinds, values, start = [], [], end
    while place < end:
        kind, place = _varint(record, place)
        kinds.append(kind)
    for kind in kinds:
        size = (kind - 12) // 2 if kind >= 12 else _SIZES[kind]
        end = start + size
        if end > len(record):
            raise IndexError
        values.append(_value(kind, record[start:end]))
        start = end
    return values


def _value(kind: int, data: bytes) -> Value:
    if kind >= 12:
        return data.decode() if kind % 2 else data
    if kind in {8, 9}:
        return kind - 8
    if kind == 7:
        return float(struct.unpack('>d', data)[0])
    return int.from_bytes(data, 'big', signed=True) if kind else None
