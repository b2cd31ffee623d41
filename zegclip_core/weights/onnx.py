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
"""Read the weights of a Hugging Face style DINOv2 out of an ONNX file.

Only the weights are taken; the graph serves to tell which nameless matrix belongs to which layer.
"""

from collections.abc import Iterator
import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from zegclip_core.errors import TowerError

logger = logging.getLogger(__name__)

KNOWN_FILES = {
    'vit_s_focus.onnx': '198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355'
}
"""SHA-256 of the files that bundled models were trained on."""
_HEAD_WIDTH = 64
_PREFIX = 'backbone.'
_BLOCK_NAMES = {
    'norm1': 'norm1',
    'norm2': 'norm2',
    'attention.output.dense': 'attn.proj',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
}


def read_onnx_vit(path: Path) -> tuple[dict[str, Tensor], int]:
    """Read a DINOv2-style ViT.

    Args:
        path: An ONNX export whose biases carry Hugging Face's names below ``backbone.``. A file
            that is known by name must also have the known content.

    Returns:
        The parameters under timm's names, float32, and the width of an attention head.

    Raises:
        TowerError: If the file is not the known one, or holds no such ViT.
    """
    _check_content(path)
    weights = _named_weights(path)
    try:
        return _timm_layout(weights), _HEAD_WIDTH
    except KeyError as error:
        raise TowerError(
            f'Expected {path} to hold a DINOv2-style ViT, but it lacks {error}.'
        ) from error


def _check_content(path: Path) -> None:
    """Refuse a file that is known by name and has other content."""
    expected = KNOWN_FILES.get(path.name)
    if expected is None:
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise TowerError(
            f'Expected {path} to have the SHA-256 {expected[:16]}..., but got {found[:16]}...: '
            'it is another version of the package than the model was trained with.'
        )


def _named_weights(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return all weights by name; a matrix gets the name of the bias that is added behind it."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise TowerError(
            f'Reading {path} needs the Python package onnx (pip install onnx).'
        ) from error
    graph = onnx.load(str(path)).graph
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    named = {key: value for key, value in arrays.items() if key.startswith(_PREFIX)}
    for bias, matrix in _biased_products(graph, arrays):
        named[bias.removesuffix('bias') + 'weight'] = arrays[matrix].T
    positions = [key for key in arrays if arrays[key].ndim == 3 and key not in named]
    # The [CLS] row and the grid of the position table are kept apart, both nameless.
    ordered = sorted((arrays[key] for key in positions), key=lambda array: array.shape[1])
    if len(ordered) == 2:
        named[f'{_PREFIX}embeddings.position_embeddings'] = np.concatenate(ordered, axis=1)
    return named


def _biased_products(
    graph: Any,  # noqa: ANN401 - onnx.GraphProto, and onnx may be absent
    arrays: dict[str, Any],
) -> Iterator[tuple[str, str]]:
    """Yield the names of bias and matrix of every product that a bias is added to."""
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        biases = [name for name in node.input if name in arrays and name.endswith('.bias')]
        if node.op_type != 'Add' or not biases:
            continue
        other = next(name for name in node.input if name not in biases)
        product = producers.get(other)
        if product is not None and product.op_type == 'MatMul' and product.input[1] in arrays:
            yield biases[0], product.input[1]


def _timm_layout(weights: dict[str, np.ndarray[Any, Any]]) -> dict[str, Tensor]:
    """Rename Hugging Face's names to timm's."""

    def take(key: str) -> Tensor:
        return torch.from_numpy(np.array(weights[_PREFIX + key], dtype=np.float32))

    named = {
        'cls_token': take('embeddings.cls_token'),
        'pos_embed': take('embeddings.position_embeddings'),
    }
    for part in ('weight', 'bias'):
        named[f'patch_embed.proj.{part}'] = take(f'embeddings.patch_embeddings.projection.{part}')
        named[f'norm.{part}'] = take(f'layernorm.{part}')
    index = 0
    while f'{_PREFIX}encoder.layer.{index}.norm1.weight' in weights:
        block, layer = f'blocks.{index}.', f'encoder.layer.{index}.'
        for scale in ('1', '2'):
            named[f'{block}ls{scale}.gamma'] = take(f'{layer}layer_scale{scale}.lambda1')
        for part in ('weight', 'bias'):
            for source, target in _BLOCK_NAMES.items():
                named[f'{block}{target}.{part}'] = take(f'{layer}{source}.{part}')
            parts = [
                take(f'{layer}attention.attention.{n}.{part}') for n in ('query', 'key', 'value')
            ]
            named[f'{block}attn.qkv.{part}'] = torch.cat(parts)
        index += 1
    return named
