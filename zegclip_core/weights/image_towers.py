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
"""Frozen image towers by reference: weights of a known family, and the shape read off them.

They come from open_clip, from timm, from TIPSv2's release, or from ONNX files of DINOv2 in
transformers' naming.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from zegclip_core.errors import TowerError
from zegclip_core.model.vit import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PositionResize,
    resize_positions,
    VisionConfig,
)
from zegclip_core.weights.catalogue import unusable_image
from zegclip_core.weights.clip import CLIP, clip_config, CLIPWeights, load_clip_weights
from zegclip_core.weights.families import (
    BLOCKS,
    rename_weights,
    square_grid,
    TowerFamily,
    under,
)
from zegclip_core.weights.names import (
    package_path,
    PAIR_KINDS,
    parse_reference,
    TowerReference,
)
from zegclip_core.weights.onnx_file import Array, OnnxGraph, read_onnx
from zegclip_core.weights.timm_towers import (
    DINOV3,
    EVA02,
    load_timm_weights,
    REGISTERS,
    SIGLIP,
    TIMM,
    TIPS,
    TIPS_GATED,
)
from zegclip_core.weights.trunks import trunk_of

_OURS = f'{BLOCKS}*'
KNOWN_FILES = {
    'vit_s_focus.onnx': '198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355'
}
"""SHA-256 of the files that bundled models were trained on."""
_CHUNK = 2**20  # bytes of a file that are hashed at once
_PREFIX = 'backbone.'
_BLOCK = 'encoder.layer.*'
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
    """Read the weights of a DINOv2-style ViT, float32 under transformers' names.

    In the ONNX export, biases have these names below ``backbone.``. The graph serves to tell
    which nameless matrix belongs to which layer. A file that is known by name must also have the
    known content.

    Raises:
        TowerError: If the file is not the known one, or none of ONNX.
    """
    expected = KNOWN_FILES.get(path.name)
    if expected is not None:
        digest = hashlib.sha256()
        with path.open('rb') as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        found = digest.hexdigest()
        if found != expected:
            raise TowerError(
                f'Expected {path} to have the SHA-256 {expected[:16]}..., but got {found[:16]}...:'
                ' it is another version of the package than the model was trained with.'
            )
    # Copies, in the order of rows: the matrices lie transposed in a file that is only mapped.
    return {
        key.removeprefix(_PREFIX): torch.from_numpy(np.array(value, dtype=np.float32, order='C'))
        for key, value in _named(read_onnx(path)).items()
        if key.startswith(_PREFIX)
    }


def _named(graph: OnnxGraph) -> dict[str, Array]:
    """Return all weights by name; a matrix gets the name of the bias that is added behind it."""
    arrays, named = graph.weights, dict(graph.weights)
    producers = {output: node for node in graph.nodes for output in node.outputs}
    for node in graph.nodes:
        biases = [name for name in node.inputs if name in arrays and name.endswith('.bias')]
        if node.operator != 'Add' or not biases:
            continue
        other = next(name for name in node.inputs if name not in biases)
        product = producers.get(other)
        if product is None or product.operator != 'MatMul' or product.inputs[1] not in arrays:
            continue
        named[biases[0].removesuffix('bias') + 'weight'] = arrays[product.inputs[1]].T
    # The class token's row and the patches' rows of the position table are apart and nameless.
    tables = [
        array for key, array in arrays.items() if array.ndim == 3 and not key.startswith(_PREFIX)
    ]
    if len(tables) == 2:
        tables.sort(key=lambda array: array.shape[1])
        named[f'{_PREFIX}embeddings.position_embeddings'] = np.concatenate(tables, axis=1)
    return named


FAMILIES: tuple[TowerFamily, ...] = (
    *(CLIP, SIGLIP, DINOV3, EVA02, REGISTERS, TIPS_GATED, TIPS),
    *(TIMM, DINOV2),
)
"""Those that image towers can be of; the first whose mark fits counts."""
_NEEDED = ('conv1.weight', 'positional_embedding', f'{BLOCKS}0.mlp.c_fc.weight')
"""Weights, under our names, that tell a tower's shape."""


_TRUNK = 'trunk.'
"""What open_clip puts before the names of a ViT of timm's."""


@dataclass(frozen=True)
class ImageTower:
    """A frozen image tower: its shape without prompts, and ``VisionTransformer``'s parameters."""

    config: VisionConfig
    state_dict: dict[str, Tensor]


def load_image_tower(reference: str) -> ImageTower:
    """Load the image tower that a reference names (``zegclip_core.weights.names``).

    Raises:
        TowerError: If it cannot be found or read, or is of a kind that this project cannot use.
    """
    parsed = parse_reference(reference)
    if parsed.kind in PAIR_KINDS:
        check_image_tower(parsed)
        return clip_image_tower(load_clip_weights(parsed))
    if parsed.kind == 'timm':
        weights, facts = load_timm_weights(parsed)
        return image_tower(weights, where=reference, **facts)
    return image_tower(read_onnx_vit(package_path(parsed)), where=reference)


def check_image_tower(reference: TowerReference) -> None:
    """Raise TowerError before any download unless a CLIP's image tower can be used."""
    config = clip_config(reference)
    reason = None if reference.kind == 'tips' else unusable_image(config)
    if reason:
        raise TowerError(
            f'Expected a CLIP whose image tower is a ViT of a known family, but got {reference}: '
            f'{reason}, '
            'which is not supported.'
        )


def clip_image_tower(weights: CLIPWeights) -> ImageTower:
    """Take the image tower, which must be of a known family, out of weights of open_clip."""
    vision = weights.config.get('vision_cfg') or {}
    trunk, tower = trunk_of(vision), under('visual.', weights.state_dict)
    facts: dict[str, Any] = dict(weights.pixels)
    facts['activation'] = 'quick_gelu' if weights.quick_gelu else 'gelu'
    patch = vision.get('patch_size')
    if trunk is not None:
        tower = {key.removeprefix(_TRUNK): value for key, value in tower.items()}
        patch = trunk.patch_size
        facts |= {'heads': trunk.heads, 'activation': trunk.activation}
    elif 'head_width' in vision:
        facts['head_width'] = vision['head_width']
    size = vision.get('image_size')
    if size and patch:
        height, width = (size, size) if isinstance(size, int) else size
        facts['grid'] = (height // patch, width // patch)
    return image_tower(tower, where=weights.source, **facts)


def image_tower(
    weights: Mapping[str, Tensor],
    *,
    where: str,
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    **facts: Any,  # noqa: ANN401 - fields of VisionConfig
) -> ImageTower:
    """Bring the weights of any known family under our names, and read their shape off them.

    Args:
        weights: Under the names of their family.
        where: What the weights are called in an error message.
        heads: Attention heads of each block; ``None`` where the source does not tell.
        grid: ``(H, W)`` of the position table as the source tells it. Where it does not, or the
            table is of another size, the family says how the grid is known.
        **facts: Further fields of ``VisionConfig``, and ``head_width``, in place of the family's.

    Raises:
        TowerError: If the weights are of no known family, or have parts that it does not know.
    """
    family = next((each for each in FAMILIES if each.mark in weights), None)
    if family is None:
        found = ', '.join(sorted(weights)[:3]) or 'none'
        raise TowerError(
            f'Expected a ViT with weights such as {CLIP.mark}, but the first of the weights are: '
            f'{found}. Convolutional towers cannot be used.'
        )
    expected = f'{where} to be {family.kind}'
    tower = rename_weights(family.completed(weights), family.names, expected=expected)
    missing = [key for key in (*_NEEDED, *family.needed) if key not in tower]
    if missing:
        raise TowerError(f'Expected {expected}, but it lacks {missing[0]}.')
    # Some families keep a batch of one, and CLIP's class embedding has no row.
    for key in ('positional_embedding', 'register_embedding'):
        if key in tower:
            tower[key] = tower[key].flatten(0, -2)  # (N, D)
    if 'class_embedding' in tower:
        tower['class_embedding'] = tower['class_embedding'].flatten()  # (D,)
    prefix = int('class_embedding' in tower) + len(tower.get('register_embedding', ()))
    tower['positional_embedding'] = _with_places(tower['positional_embedding'], family, prefix)
    patches = len(tower['positional_embedding']) - prefix
    if grid is None or math.prod(grid) != patches:
        grid = family.grid(patches)
    facts = {**family.facts, **facts}
    head_width = facts.pop('head_width')
    width, _, patch, _ = tower['conv1.weight'].shape
    gates = 2 if facts.get('gated_mlp') else 1
    config = VisionConfig(
        patch_size=patch,
        width=width,
        layers=len({key.split('.')[2] for key in tower if key.startswith(BLOCKS)}),
        heads=heads or width // head_width,
        mlp_width=len(tower[f'{BLOCKS}0.mlp.c_fc.weight']) // gates,
        grid=grid,
        embed_dim=tower['proj'].shape[1] if 'proj' in tower else 0,
        num_prefix_tokens=prefix,
        proj_bias='proj_bias' in tower,
        sub_norms=f'{BLOCKS}0.attn.norm.weight' in tower,
        pre_norm='ln_pre.weight' in tower,
        patch_bias='conv1.bias' in tower,
        layer_scale=f'{BLOCKS}0.ls_1.gamma' in tower,
        **facts,
    )
    return ImageTower(config, tower)


def _with_places(table: Tensor, family: TowerFamily, prefix: int) -> Tensor:
    """Return a position table with rows of zeros for prefix tokens that have none."""
    placed = min(family.placed, prefix)
    return torch.cat(
        [table[:placed], table.new_zeros(prefix - placed, table.shape[1]), table[placed:]]
    )


def resized_positions(
    tower: ImageTower, grid: tuple[int, int], mode: PositionResize
) -> ImageTower:
    """Return the tower with its position table brought to another grid, as ZegCLIP trains it."""
    table = tower.state_dict['positional_embedding']
    resized = resize_positions(table, tower.config.grid, grid, mode).to(torch.float32)
    return ImageTower(
        replace(tower.config, grid=grid), {**tower.state_dict, 'positional_embedding': resized}
    )
