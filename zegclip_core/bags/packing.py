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
"""Bytes as recorders pack them: messages, chunks and files, by zstd or lz4."""

from collections.abc import Callable
from pathlib import Path, PurePath
import sys
from typing import BinaryIO, cast, Final

import lz4.frame
from zegclip_core.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ENDINGS: Final = {'.zstd': 'zstd', '.zst': 'zstd', '.lz4': 'lz4'}
_PART: Final = 2**20
"""Bytes of an unpacked file that are in memory at a time."""
_FAULTS: Final = (zstd.ZstdError, RuntimeError, EOFError)
"""What packed data that are damaged or break off make the libraries raise."""


def packing(path: PurePath) -> str | None:
    """Return by what a file is packed as a whole, as its name says: zstd, lz4, or ``None``."""
    return _ENDINGS.get(path.suffix)


def plain_name(path: PurePath) -> str:
    """Return the name of a file without what says that it is packed."""
    return path.stem if packing(path) else path.name


def unpacker(kind: str) -> Callable[[bytes], bytes]:
    """Return what unpacks a message.

    Raises:
        BagError: If it is neither zstd nor lz4.
    """
    known: dict[str, Callable[[bytes], bytes]] = {
        'zstd': zstd.decompress,
        'lz4': lz4.frame.decompress,
    }
    if kind not in known:
        raise BagError(f'it is compressed by {kind!r}; {" and ".join(known)} are read')
    return known[kind]


def unpacked_part(kind: str, data: bytes) -> bytes:
    """Return what packed data give whose end is missing; nothing for an unknown packing."""
    try:
        if kind == 'zstd':
            return bytes(zstd.ZstdDecompressor().decompress(data))
        if kind == 'lz4':
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    except _FAULTS:
        return b''
    return b'' if kind else data


def unpack_file(path: Path, target: Path) -> bool:
    """Write a packed file unpacked, a part at a time; what is left of one that breaks off.

    Returns:
        Whether it is whole.
    """
    opened = zstd.open(path, 'rb') if packing(path) == 'zstd' else lz4.frame.open(path, 'rb')
    with cast('BinaryIO', opened) as packed, target.open('wb') as plain:
        try:
            # Not "read": what it has gathered when it meets the end is lost.
            while part := packed.read1(_PART):  # type: ignore[attr-defined]
                plain.write(part)
        except _FAULTS:
            return False
    return True
