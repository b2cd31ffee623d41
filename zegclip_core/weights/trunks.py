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
"""The ViTs of timm that open_clip builds image towers of, by timm's names; never imports torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal['siglip', 'eva02']


@dataclass(frozen=True)
class Trunk:
    """The shape of a ViT, which open_clip's configuration leaves to timm.

    Attributes:
        kind: Its family, which tells what its blocks and ends are like.
        width: Width of the tokens.
        layers: Number of blocks.
        heads: Attention heads of each block, and of the pooling.
        mlp_width: Hidden width of the feed-forward parts.
        patch_size: Side of a patch, in pixels.
        activation: Activation of the feed-forward parts, as ``VisionConfig`` names it.
    """

    kind: Kind
    width: int
    layers: int
    heads: int
    mlp_width: int
    patch_size: int
    activation: str = 'gelu'


_BASE, _LARGE = (768, 12, 12, 3072), (1024, 24, 16, 4096)
_SO400M, _GIANT = (1152, 27, 16, 4304), (1536, 40, 16, 6144)
TRUNKS: dict[str, Trunk] = {
    **{
        f'vit_base_patch16_siglip_{side}': Trunk('siglip', *_BASE, 16)
        for side in (224, 256, 384, 512)
    },
    'vit_base_patch32_siglip_256': Trunk('siglip', *_BASE, 32, 'gelu_tanh'),
    **{f'vit_large_patch16_siglip_{side}': Trunk('siglip', *_LARGE, 16) for side in (256, 384)},
    'vit_large_patch16_siglip_512': Trunk('siglip', *_LARGE, 16, 'gelu_tanh'),
    **{
        f'vit_so400m_patch14_siglip_{side}': Trunk('siglip', *_SO400M, 14)
        for side in (224, 378, 384)
    },
    **{
        f'vit_so400m_patch16_siglip_{side}': Trunk('siglip', *_SO400M, 16, 'gelu_tanh')
        for side in (256, 384, 512)
    },
    **{
        f'vit_giantopt_patch16_siglip_{side}': Trunk('siglip', *_GIANT, 16, 'gelu_tanh')
        for side in (256, 384)
    },
    'eva02_base_patch16_clip_224': Trunk('eva02', 768, 12, 12, 2048, 16),
    **{
        f'eva02_large_patch14_clip_{side}': Trunk('eva02', 1024, 24, 16, 2730, 14)
        for side in (224, 336)
    },
}
"""Those that this project has the arithmetic of."""

_ENDS: dict[Kind, Mapping[str, Any]] = {
    'siglip': {'timm_pool': 'map', 'timm_proj': 'none'},
    'eva02': {'timm_pool': 'token', 'timm_proj': None},
}
"""How open_clip's configuration says that the image embedding is made, by family."""


def trunk_of(vision: Mapping[str, Any]) -> Trunk | None:
    """Return the ViT that a ``vision_cfg`` of open_clip's names, if it is one of ``TRUNKS``.

    Its ends must be those of its family as well.
    """
    trunk = TRUNKS.get(str(vision.get('timm_model_name')))
    if trunk is None:
        return None
    fits = all(vision.get(key) == value for key, value in _ENDS[trunk.kind].items())
    return trunk if fits else None


def count_trunk(trunk: Trunk, patches: int, dim: int) -> int:
    """Return how many parameters a ViT has.

    Args:
        trunk: Its shape.
        patches: How many its position table has places for.
        dim: Width of the joint space.
    """
    return _COUNTS[trunk.kind](trunk, patches, dim)


def _count_siglip(trunk: Trunk, patches: int, dim: int) -> int:
    """Count a SigLIP: plain blocks without prefix tokens; its pooling leads to the joint space."""
    del dim
    width, hidden = trunk.width, trunk.mlp_width
    attention, norm = 4 * width**2 + 4 * width, 2 * width
    feed_forward = 2 * width * hidden + hidden + width
    stem = 3 * trunk.patch_size**2 * width + width + patches * width
    probe = width
    pooling = probe + attention + norm + feed_forward
    return trunk.layers * (attention + feed_forward + 2 * norm) + stem + norm + pooling


def _count_eva02(trunk: Trunk, patches: int, dim: int) -> int:
    """Count an EVA-02: a class token, keys without biases, SwiGLU, four norms in each block."""
    width, hidden = trunk.width, trunk.mlp_width
    attention = 4 * width**2 + 3 * width
    feed_forward = 2 * (width * hidden + hidden) + hidden * width + width
    norms = 3 * 2 * width + 2 * hidden
    stem = 3 * trunk.patch_size**2 * width + width + (1 + 1 + patches) * width
    return trunk.layers * (attention + feed_forward + norms) + stem + 2 * width + (width + 1) * dim


_COUNTS: dict[Kind, Callable[[Trunk, int, int], int]] = {
    'siglip': _count_siglip,
    'eva02': _count_eva02,
}
