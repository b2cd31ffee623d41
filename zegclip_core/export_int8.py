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

Weights are rounded once, with a scale for each output channel, without which more than twice as
many labels change. Tokens are rounded in each image, by their own range, so that nothing is
calibrated. The rest, attention among it, stays float32.

With AVX2 alone onnxruntime adds two products in 16 bits, which large neighbours can exceed.
Weights of seven bits (``reduce_range``) would prevent it, but change more labels than it does.

Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, dynamic
quantization.
"""

from pathlib import Path
from typing import Any

from zegclip_core.errors import ModelError

PRECISIONS = ('fp32', 'int8')
"""Of the linear layers in a file."""
INT8_KEY = 'linear_layers'
"""Of the file's ``metadata_props``, with the value ``int8``."""


def quantise_file(source: Path, target: Path, *, external: bool = False) -> None:
    """Write an ONNX file with its linear layers in eight bits.

    Args:
        source: A file in float32, which is overwritten.
        target: Where to.
        external: Whether the weights go into a file beside it.

    Raises:
        ModelError: If there is no linear layer.
    """
    import onnx
    from onnxruntime.quantization import quant_utils, quantize_dynamic

    model = onnx.load(source)
    layers = linear_layers(model)
    if not layers:  # An empty list would mean all.
        raise ModelError('Expected a model with linear layers to write it in eight bits.')
    # The exporter notes shapes of another order of dimensions than the inference that reads them.
    del model.graph.value_info[:]
    # Or onnxruntime advises to infer shapes before, which it does itself.
    quant_utils.add_pre_process_metadata(model)
    model.metadata_props.add(key=INT8_KEY, value='int8')
    # Given the file, it keeps its own copies beside it, on the disk that has room for them.
    onnx.save_model(model, source, save_as_external_data=external)
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=['MatMul'],
        nodes_to_quantize=layers,
        per_channel=True,
        use_external_data_format=external,
    )


def linear_layers(model: Any) -> list[str]:  # noqa: ANN401 - ``onnx.ModelProto``
    """Return the names of products of tokens with a constant matrix.

    Those with a constant of more dimensions, which have no scale for each channel, are left, and
    so is ``Gemm``, which the exporter writes for the few rows of words and of the class token.
    """
    dimensions = {part.name: len(part.dims) for part in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == 'MatMul' and dimensions.get(node.input[1]) == 2
    ]
