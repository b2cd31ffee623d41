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
"""DINOv2 image towers in transformers' naming, read out of ONNX files.

Only the weights are taken; the graph serves to tell which nameless matrix belongs to which layer.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from zegclip_core.errors import TowerError
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD
from zegclip_core.weights.families import square_grid, TowerFamily

KNOWN_FILES = {
    'vit_s_focus.onnx': '198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355'
}
"""SHA-256 of the files that bundled models were trained on."""
_PREFIX = 'backbone.'
_BLOCK, _OURS = 'encoder.layer.*', 'transformer.resblocks.*'
DINOV2 = TowerFamily(
    kind='a DINOv2-style ViT',
    mark='embeddings.cls_token',
    names={
        'embeddings.cls_token': 'class_embedding',
        'embeddings.position_embeddings': 'positional_embedding',
        'embeddings.mask_token': None,
        'embeddings.patch_embeddings.projection.*': 'conv1.*',
        'layernorm.*': 'ln_post.*',
        f'{_BLOCK}.norm1.*': f'{_OURS}.ln_1.*',
        f'{_BLOCK}.norm2.*': f'{_OURS}.ln_2.*',
        tuple(
            f'{_BLOCK}.attention.attention.{part}.*' for part in ('query', 'key', 'value')
        ): f'{_OURS}.attn.in_proj_*',
        f'{_BLOCK}.attention.output.dense.*': f'{_OURS}.attn.out_proj.*',
        f'{_BLOCK}.mlp.fc1.*': f'{_OURS}.mlp.c_fc.*',
        f'{_BLOCK}.mlp.fc2.*': f'{_OURS}.mlp.c_proj.*',
        f'{_BLOCK}.layer_scale1.lambda1': f'{_OURS}.ls_1.gamma',
        f'{_BLOCK}.layer_scale2.lambda1': f'{_OURS}.ls_2.gamma',
    },
    needed=('class_embedding', 'ln_post.weight'),
    grid=square_grid,
    facts={'head_width': 64, 'norm_eps': 1e-6, 'mean': IMAGENET_MEAN, 'std': IMAGENET_STD},
)


def read_onnx_vit(path: Path) -> dict[str, Tensor]:
    """Read the weights of a DINOv2-style ViT.

    Args:
        path: An ONNX export whose biases have transformers' names below ``backbone.``. A file
            that is known by name must also have the known content.

    Returns:
        The parameters under transformers' names, float32.

    Raises:
        TowerError: If the file is not the known one, or the package onnx is not installed.
    """
    expected = KNOWN_FILES.get(path.name)
    if expected is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise TowerError(
                f'Expected {path} to have the SHA-256 {expected[:16]}..., but got {found[:16]}...:'
                ' it is another version of the package than the model was trained with.'
            )
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise TowerError(
            f'Reading {path} needs the Python package onnx (pip install onnx).'
        ) from error
    graph = onnx.load(str(path)).graph
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    return {
        key.removeprefix(_PREFIX): torch.from_numpy(np.array(value, dtype=np.float32))
        for key, value in _named(graph, arrays).items()
        if key.startswith(_PREFIX)
    }


def _named(graph: Any, arrays: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - a GraphProto
    """Return all weights by name; a matrix gets the name of the bias that is added behind it."""
    named = dict(arrays)
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        biases = [name for name in node.input if name in arrays and name.endswith('.bias')]
        if node.op_type != 'Add' or not biases:
            continue
        other = next(name for name in node.input if name not in biases)
        product = producers.get(other)
        if product is not None and product.op_type == 'MatMul' and product.input[1] in arrays:
            named[biases[0].removesuffix('bias') + 'weight'] = arrays[product.input[1]].T
    # The class token's row and the patches' rows of the position table are apart and nameless.
    tables = [
        array for key, array in arrays.items() if array.ndim == 3 and not key.startswith(_PREFIX)
    ]
    if len(tables) == 2:
        tables.sort(key=lambda array: array.shape[1])
        named[f'{_PREFIX}embeddings.position_embeddings'] = np.concatenate(tables, axis=1)
    return named
