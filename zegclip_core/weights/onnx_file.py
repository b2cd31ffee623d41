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
"""Reads the weights and the nodes of an ONNX file, and nothing else of it.

The package onnx takes a quarter of a second to import and holds the file several times. What is
needed here is a page of it: messages of protocol buffers, whose fields have the numbers of
onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from collections.abc import Iterator
from dataclasses import dataclass
import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
from zegclip_core.errors import TowerError

Array = npt.NDArray[np.floating]
Value = int | memoryview
_GRAPH = 7  # of a ModelProto
_NODE, _INITIALIZER = 1, 5  # of a GraphProto
_INPUT, _OUTPUT, _OPERATOR = 1, 2, 4  # of a NodeProto
_DIMENSIONS, _TYPE, _FLOATS, _NAME, _RAW, _EXTERNAL = 1, 2, 4, 8, 9, 13  # of a TensorProto
_FLOAT_TYPES = {1: '<f4', 10: '<f2', 11: '<f8'}
"""NumPy's names of the floating-point types, by their numbers in a TensorProto."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # how a field is written
_MAX_SHIFT = 63


@dataclass(frozen=True)
class OnnxNode:
    """An operation of a graph with the names of the tensors that it takes and gives."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """What was read of a file.

    Attributes:
        nodes: The operations, in the order of the file.
        weights: The floating-point tensors by name, read from the file when they are looked at.
    """

    nodes: list[OnnxNode]
    weights: dict[str, Array]


def read_onnx(path: Path) -> OnnxGraph:
    """Read the graph of an ONNX file.

    The weights are views of the mapped file: copy what is to be kept.

    Raises:
        TowerError: If it cannot be read, is no whole ONNX file, or its weights lie elsewhere.
    """
    try:
        with path.open('rb') as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        graphs = [value for number, value in _fields(data) if number == _GRAPH]
        if not graphs:
            raise ValueError('it holds no graph')
        fields = list(_fields(_bytes(graphs[-1])))
        nodes = [_node(_bytes(value)) for number, value in fields if number == _NODE]
        tensors = [_tensor(_bytes(value)) for number, value in fields if number == _INITIALIZER]
    except (OSError, ValueError, OverflowError) as error:
        raise TowerError(f'Cannot read {path} as an ONNX file: {error}.') from error
    return OnnxGraph(nodes, dict(filter(None, tensors)))


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield number and value of each field of a message; a number of fixed size is its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in {_FIXED32, _FIXED64}:
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f'a field is written in the way {kind}')
        start, at = at, at + size
        if at > len(data):
            raise ValueError('it ends too early')
        yield key >> 3, data[start:at]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, seven bits a byte, and the place behind it."""
    value = 0
    for shift in range(0, _MAX_SHIFT + 1, 7):
        if at >= len(data):
            raise ValueError('it ends too early')
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError('a number has no end')


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError(f'expected a message, but got the number {value}')
    return value


def _text(value: Value) -> str:
    return str(_bytes(value), 'utf-8')


def _node(data: memoryview) -> OnnxNode:
    """Read a NodeProto."""
    fields = list(_fields(data))
    inputs, outputs, operators = (
        tuple(_text(value) for number, value in fields if number == wanted)
        for wanted in (_INPUT, _OUTPUT, _OPERATOR)
    )
    return OnnxNode(''.join(operators[-1:]), inputs, outputs)


def _tensor(data: memoryview) -> tuple[str, Array] | None:
    """Read a TensorProto: its name and a view of its values; ``None`` unless they are floats."""
    fields = list(_fields(data))
    found = dict(fields)  # The last of those that should be there once counts.
    number = found.get(_TYPE)
    if not isinstance(number, int) or number not in _FLOAT_TYPES:
        return None
    kind = _FLOAT_TYPES[number]
    name = _text(found.get(_NAME, memoryview(b'')))
    if _EXTERNAL in found:
        raise ValueError(f'the weight {name!r} lies in another file')
    shape = [size for key, value in fields if key == _DIMENSIONS for size in _sizes(value)]
    if _RAW in found:
        values = np.frombuffer(_bytes(found[_RAW]), kind)
    else:  # One or several runs of 32-bit floats; half and double precision use other fields.
        runs = [np.frombuffer(_bytes(run), '<f4') for key, run in fields if key == _FLOATS]
        values = np.concatenate([np.empty(0, '<f4'), *runs])
    return name, values.reshape(shape)


def _sizes(value: Value) -> Iterator[int]:
    """Yield the sizes of one field: one, or several in a row."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        size, at = _varint(value, at)
        yield size
