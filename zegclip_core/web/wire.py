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
"""How results travel: JSON, and behind it arrays that browsers read without loss."""

from collections.abc import Mapping
import json
from typing import Any
import zlib

import numpy as np
import numpy.typing as npt

Payload = str | bytes


def text(kind: str, **fields: Any) -> str:  # noqa: ANN401 - whatever JSON has
    """Return a message of JSON alone."""
    return json.dumps({'type': kind, **fields})


def packed(
    kind: str,
    fields: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[np.uint8] | npt.NDArray[np.uint16]],
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return a message of JSON, arrays ``(H, W)`` and files.

    First come four bytes, little-endian, with the length of the JSON, then the JSON, whose
    ``parts`` tell of each part its length and of arrays type and shape, then the parts. Arrays are
    little-endian and compressed by zlib.
    """
    parts: list[dict[str, Any]] = []
    bodies = []
    for name, array in arrays.items():
        bodies.append(zlib.compress(array.astype(array.dtype.newbyteorder('<')).tobytes(), 1))
        about = {'name': name, 'dtype': array.dtype.name, 'shape': list(array.shape)}
        parts.append({**about, 'bytes': len(bodies[-1])})
    for name, data in (files or {}).items():
        bodies.append(data)
        parts.append({'name': name, 'bytes': len(data)})
    head = text(kind, **fields, parts=parts).encode()
    return b''.join([len(head).to_bytes(4, 'little'), head, *bodies])


def unpacked(message: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON of a ``packed`` message, and its parts by name."""
    end = 4 + int.from_bytes(message[:4], 'little')
    fields = json.loads(message[4:end])
    parts: dict[str, Any] = {}
    for one in fields['parts']:
        body, end = message[end:][: one['bytes']], end + one['bytes']
        if 'dtype' in one:
            kind = np.dtype(one['dtype']).newbyteorder('<')
            parts[one['name']] = np.frombuffer(zlib.decompress(body), kind).reshape(one['shape'])
        else:
            parts[one['name']] = body
    return fields, parts


def levels(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return scores in [0, 1] as 0 to 255, rounded; what is not finite as 0."""
    return np.asarray(np.nan_to_num(scores).clip(0.0, 1.0) * 255.0 + 0.5, np.uint8)
