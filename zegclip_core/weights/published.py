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

All that is peculiar to the published checkpoints stands here: the class embedding that is added
twice, the norm before ``ln_post``, ImageNet's mean and std and the bilinear position table.

Reference: https://github.com/ZiqinZhou66/ZegCLIP (MIT), commit 9ba4bb5.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from zegclip_core.errors import CheckpointError, TowerError
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD
from zegclip_core.model.zegclip import ZegCLIPConfig
from zegclip_core.weights.checkpoint import Checkpoint, ModelSettings
from zegclip_core.weights.families import Names, reading, rename_weights, tensors_in, under
from zegclip_core.weights.image_towers import image_tower

SEEN_BIAS = 0.1
"""What the release subtracts from the scores of seen classes when it tests inductive models."""
HEAD_WIDTH = 64
"""Width of an attention head of its image tower and of its decoder."""

_LAYERS = 'decode_head.decoder_1.layers.'
NAMES: Names = {
    'backbone.**': 'visual.**',
    'text_encoder.**': 'text_encoder.**',
    'decode_head.q_proj.**': 'decoder.relationship.q_proj.**',
    # These never act.
    'decode_head.loss_decode.criterion.empty_weight': None,
    **dict.fromkeys((f'{_LAYERS}*.self_attn.**', f'{_LAYERS}*.norm1.**')),
    f'{_LAYERS}**': 'decoder.layers.**',
}
"""The release's names, each with that of ``ZegCLIP``."""
_UNUSED_LAST = (
    *('linear1', 'linear2', 'norm2', 'norm3'),
    *('multihead_attn.v', 'multihead_attn.proj'),
)
"""Parts of the last decoder layer that never act: only its attention logits are used."""


def read_published_file(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of an mmcv checkpoint, with ``weights_only=True``.

    Raises:
        CheckpointError: If the file is missing, damaged, or no ZegCLIP checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f'Expected a checkpoint, but there is no file at {path}.')
    with reading(f'the checkpoint {path}', CheckpointError):
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    tensors = tensors_in(loaded)
    if 'backbone.conv1.weight' not in tensors or 'decode_head.q_proj.weight' not in tensors:
        raise CheckpointError(
            f'Expected {path} to hold a published ZegCLIP checkpoint with keys backbone.* and '
            f'decode_head.*, but its first keys are: {", ".join(sorted(tensors)[:3]) or "none"}.'
        )
    return tensors


def load_published(path: str | Path) -> Checkpoint:
    """Read a published ``.pth`` file as a checkpoint of ours that holds its own towers.

    Raises:
        CheckpointError: If the file cannot be read or does not match the published layout.
    """
    return convert_published(read_published_file(path), where=str(path))


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
        heads: Attention heads of the image tower; ``None`` means 64 channels each, as in CLIP.
        decoder_heads: Attention heads of the decoder; ``None`` means 64 channels each.
        where: What the weights are called in an error message.

    Raises:
        CheckpointError: If they do not match the published layout.
    """
    layers = len({key.split('.')[3] for key in tensors if key.startswith(_LAYERS)})
    unused: Names = dict.fromkeys(f'{_LAYERS}{layers - 1}.{part}.**' for part in _UNUSED_LAST)
    expected = 'parts backbone.*, text_encoder.* and decode_head.* alone'
    try:
        state = rename_weights(tensors, {**unused, **NAMES}, expected=expected)
        vision = image_tower(
            under('visual.', state),
            where=where,
            heads=heads,
            activation='quick_gelu',
            position_resize='bilinear',
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            prompt_tokens=state['visual.prompt_embeddings'].shape[1],
            class_embedding_twice=True,
            prompt_norm=True,
        ).config
        dim = len(state['decoder.relationship.q_proj.weight'])
        mlp_dim = len(state['decoder.layers.0.linear1.weight'])
    except (KeyError, TowerError) as error:
        raise CheckpointError(f'{where} does not match the published layout: {error}') from error
    config = ZegCLIPConfig(
        vision=vision,
        text_dim=dim,
        dim=dim,
        decoder_layers=layers,
        decoder_heads=decoder_heads or dim // HEAD_WIDTH,
        decoder_mlp_dim=mlp_dim,
    )
    side = vision.patch_size * vision.grid[0]
    settings = ModelSettings(
        templates='single' if vision.prompt_tokens <= 10 else 'coco_stuff',
        seen_bias=SEEN_BIAS,
        short_side=side,
        crop=side,
        stride=round(side * 426 / 512),  # The release moves its 512 pixel window by 426.
    )
    return Checkpoint(config, settings, {key: value.float() for key, value in state.items()})
