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
"""Read checkpoints of ZegCLIP's release (``.pth`` of mmcv), and turn them into ours.

All that is peculiar to the published checkpoints stands here: the class embedding that enters
twice, the norm before ``ln_post``, ImageNet's mean and std and the bilinear position table.

Reference: https://github.com/ZiqinZhou66/ZegCLIP (MIT), commit 9ba4bb5.
"""

from collections.abc import Mapping
from pathlib import Path
import re
from typing import Any

import torch
from torch import Tensor
from zegclip_core.errors import CheckpointError, TowerError
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD
from zegclip_core.model.zegclip import ZegCLIPConfig
from zegclip_core.weights.checkpoint import Checkpoint, ModelSettings
from zegclip_core.weights.clip import first_line, UNREADABLE
from zegclip_core.weights.image_towers import CLIP_HEAD_WIDTH, vision_config

SEEN_BIAS = 0.1
"""What the release subtracts from the scores of seen classes when it tests inductive models."""

_DECODER_HEAD_WIDTH = 64
_IGNORED = (
    r'decode_head\.loss_decode\.criterion\.empty_weight',
    r'decode_head\.decoder_1\.layers\.\d+\.(self_attn|norm1)\..*',
)
"""Parameters that never act."""
_UNUSED_LAST = r'(linear1|linear2|norm2|norm3|multihead_attn\.(v|proj))\.'
"""Parameters of the last decoder layer that never act: only its attention logits are used."""


def read_published_file(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of an mmcv checkpoint, with ``weights_only=True``.

    Raises:
        CheckpointError: If the file is missing, damaged, or no ZegCLIP checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f'Expected a checkpoint, but there is no file at {path}.')
    try:
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except UNREADABLE as error:
        raise CheckpointError(
            f'Cannot read the checkpoint {path}: it is cut off or of another kind '
            f'({first_line(error)}).'
        ) from error
    state = loaded.get('state_dict', loaded) if isinstance(loaded, Mapping) else {}
    tensors = {
        str(key).removeprefix('module.'): value
        for key, value in (state.items() if isinstance(state, Mapping) else ())
        if isinstance(value, Tensor)
    }
    if 'backbone.conv1.weight' not in tensors or 'decode_head.q_proj.weight' not in tensors:
        raise CheckpointError(
            f'Expected {path} to hold a published ZegCLIP checkpoint with keys backbone.* and '
            f'decode_head.*, but its first keys are: {", ".join(sorted(tensors)[:3]) or "none"}.'
        )
    return tensors


def load_published(
    path: str | Path, *, heads: int | None = None, decoder_heads: int | None = None
) -> Checkpoint:
    """Read a published checkpoint as one of ours that holds its own towers.

    Args:
        path: The ``.pth`` file.
        heads: Attention heads of the image tower; ``None`` means 64 channels each, as in CLIP.
        decoder_heads: Attention heads of the decoder; ``None`` means 64 channels each.

    Raises:
        CheckpointError: If the file cannot be read or does not match the published layout.
    """
    tensors = read_published_file(path)
    return convert_published(tensors, heads=heads, decoder_heads=decoder_heads, where=str(path))


def convert_published(
    tensors: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    decoder_heads: int | None = None,
    where: str = 'the state dict',
) -> Checkpoint:
    """Turn a published state dict into a checkpoint of ours that holds its own towers.

    Args:
        tensors: Parameters under the published names.
        heads: Attention heads of the image tower; ``None`` means 64 channels each.
        decoder_heads: Attention heads of the decoder; ``None`` means 64 channels each.
        where: What the weights are called in an error message.

    Raises:
        CheckpointError: If they do not match the published layout.
    """
    config = _published_config(tensors, heads, decoder_heads, where)
    state = {}
    for key, value in tensors.items():
        name = _our_name(key, config.decoder_layers)
        if name is not None:
            state[name] = value.float()
    templates = 'single' if config.vision.prompt_tokens <= 10 else 'coco_stuff'
    patch, rows = config.vision.patch_size, config.vision.grid[0]
    side = patch * rows
    settings = ModelSettings(
        templates=templates,
        seen_bias=SEEN_BIAS,
        short_side=side,
        crop=side,
        # The release moves its 512 pixel window by 426.
        stride=round(side * 426 / 512),
    )
    return Checkpoint(config, settings, state)


def _published_config(
    tensors: Mapping[str, Tensor], heads: int | None, decoder_heads: int | None, where: str
) -> ZegCLIPConfig:
    """Read a published model's shape off its weights."""
    tower = _without_prefix(tensors, 'backbone.')
    try:
        vision = vision_config(
            tower,
            head_width=CLIP_HEAD_WIDTH,
            heads=heads,
            activation='quick_gelu',
            position_resize='bilinear',
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            prompt_tokens=tower['prompt_embeddings'].shape[1],
            class_embedding_twice=True,
            prompt_norm=True,
        )
        dim = tensors['decode_head.q_proj.weight'].shape[0]
        mlp_dim = tensors['decode_head.decoder_1.layers.0.linear1.weight'].shape[0]
    except (KeyError, TowerError) as error:
        raise CheckpointError(f'{where} does not match the published layout: {error}') from error
    return ZegCLIPConfig(
        vision=vision,
        text_dim=dim,
        dim=dim,
        decoder_layers=_count_layers(tensors),
        decoder_heads=decoder_heads or dim // _DECODER_HEAD_WIDTH,
        decoder_mlp_dim=mlp_dim,
    )


def _count_layers(tensors: Mapping[str, Tensor]) -> int:
    pattern = re.compile(r'decode_head\.decoder_1\.layers\.(\d+)\.')
    return 1 + max(int(match[1]) for key in tensors if (match := pattern.match(key)))


def _our_name(key: str, layers: int) -> str | None:
    """Return our name of a published parameter, or ``None`` if it never acts."""
    last = rf'decode_head\.decoder_1\.layers\.{layers - 1}\.{_UNUSED_LAST}'
    if any(re.fullmatch(pattern, key) for pattern in _IGNORED) or re.match(last, key):
        return None
    for theirs, ours in (
        ('backbone.', 'visual.'),
        ('decode_head.decoder_1.layers.', 'decoder.layers.'),
        ('decode_head.q_proj.', 'decoder.relationship.q_proj.'),
    ):
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def _without_prefix(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def drop_towers(checkpoint: Checkpoint, trained: list[str]) -> Checkpoint:
    """Return the checkpoint without its frozen towers.

    Args:
        checkpoint: One that holds its own towers.
        trained: Names of the parameters to keep.

    """
    kept = {key: checkpoint.state_dict[key] for key in trained}
    return Checkpoint(checkpoint.config, checkpoint.settings, kept)
