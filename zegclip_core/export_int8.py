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
"""Linear layers of an ONNX file that multiply integers of eight bits.

Weights are rounded once, with a scale for each output channel, without which a quarter more of the
labels change. Tokens are rounded in each image, by their own range, so that nothing is calibrated.
The rest, attention among it, stays float32.

Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, dynamic
quantization.
"""

from pathlib import Path
from typing import Any

from zegclip_core.engines.backends import require

INT8_KEY = 'linear_layers'
"""Of the file's ``metadata_props``, with the value ``int8``."""


def quantise_file(source: Path, target: Path, *, external: bool = False) -> None:
    """Write an ONNX file with its linear layers in eight bits.

    Args:
        source: A file in float32.
        target: Where to.
        external: Whether the weights go into a file beside it.

    Raises:
        ModelError: If onnx or onnxruntime is not installed.
    """
    require('onnx', 'to write a model in eight bits')
    require('onnxruntime', 'to write a model in eight bits')
    import onnx
    from onnxruntime.quantization import quant_utils, quantize_dynamic

    model = onnx.load(source)
    # The exporter notes shapes of another order of dimensions than the inference that reads them.
    del model.graph.value_info[:]
    # Or onnxruntime advises to infer shapes before, which it does itself.
    quant_utils.add_pre_process_metadata(model)
    model.metadata_props.add(key=INT8_KEY, value='int8')
    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=['MatMul', 'Gemm'],
        nodes_to_quantize=linear_layers(model),
        per_channel=True,
        use_external_data_format=external,
    )


def linear_layers(model: Any) -> list[str]:  # noqa: ANN401 - ``onnx.ModelProto``
    """Return the names of products with a constant matrix.

    Those with a constant of more dimensions, which have no scale for each channel, are left.
    """
    dimensions = {part.name: len(part.dims) for part in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in {'MatMul', 'Gemm'} and dimensions.get(node.input[1]) == 2
    ]
