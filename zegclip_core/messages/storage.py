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
"""The data of a message as bytes in the CPU's memory, however they are stored."""

from array import array
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from zegclip_core.errors import EncodingError

Buffer: TypeAlias = Any
"""What has Python's buffer protocol, contiguous; the type of it has come with Python 3.12."""


def message_bytes(data: Any) -> Buffer:  # noqa: ANN401 - of any rclpy
    """Return the data of a message as what NumPy can look into.

    What already is such, as rclpy's ``array.array``, ``bytes`` and NumPy's arrays, is given back
    itself. From Lyrical on a message may hold a buffer of another storage, such as a GPU's: if
    that has ``__bytes__``, ``tobytes`` or ``tolist``, its bytes are copied.

    Raises:
        EncodingError: If it has none of these, or they fail.
    """
    if isinstance(data, array):
        return data  # Each frame of a camera comes through here.
    try:
        view = memoryview(data)
    except (TypeError, BufferError, RuntimeError):
        return _copied(data)
    return data if view.c_contiguous else view.tobytes()


def _copied(data: Any) -> bytearray:  # noqa: ANN401
    """Return a copy of the bytes of a foreign buffer."""
    reason = 'and has no way to copy them from there'
    for copy in _ways(data):
        try:
            return bytearray(copy())
        except Exception as error:  # Of a library that is not known here.
            text = ' '.join(str(error).split())
            reason = f'and copying them failed: {type(error).__name__}: {text[:120]}'
    raise EncodingError(
        "Expected the data of a message to lie in the CPU's memory, but got a "
        f'{type(data).__module__}.{type(data).__qualname__}, which does not give NumPy its bytes '
        f'{reason}. Have the publisher send ordinary messages.'
    )


def _ways(data: Any) -> Iterator[Callable[[], bytes | list[int]]]:  # noqa: ANN401
    """Yield what gives a copy of the bytes of a buffer, the fastest first."""
    kind = type(data)
    if hasattr(kind, '__bytes__'):
        yield lambda: bytes(data)
    if callable(getattr(kind, 'tobytes', None)):
        yield lambda: bytes(data.tobytes())
    if callable(getattr(kind, 'tolist', None)):
        yield lambda: [int(value) for value in data.tolist()]
