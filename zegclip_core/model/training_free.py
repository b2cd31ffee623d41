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
"""CLIP as a segmenter without any training: its patch tokens are compared with the words.

CLIP was trained to put the image's meaning into its class token; the patch tokens say where only
if the last block attends otherwise. All attentions here share the weights and every other block.

References:
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
        (CLIP), https://arxiv.org/abs/2103.00020.
    Zhou et al., "Extract Free Dense Labels from CLIP" (MaskCLIP),
        https://arxiv.org/abs/2112.01071.
    Wang et al., "SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference",
        https://arxiv.org/abs/2312.01597.
    Hajimiri et al., "Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic
        Segmentation" (NACLIP), https://arxiv.org/abs/2404.08181, and its release
        (https://github.com/sinahmr/NACLIP, MIT).
"""

from dataclasses import dataclass, replace

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.errors import ModelError
from zegclip_core.model.blocks import AttentionFunction, Block, Kernels, PYTORCH
from zegclip_core.model.scoring import Scoring
from zegclip_core.model.vit import concatenated, VisionConfig, VisionTransformer
from zegclip_core.options import Attention, OPTIONS

_REDUCED = ('key_key', 'naclip')
"""Attentions whose block has neither residual nor feed-forward part."""


@dataclass(frozen=True)
class TrainingFreeConfig:
    """What shapes a training-free model.

    Attributes:
        vision: CLIP's image tower, without prompts.
        attention: How the last block attends.
        gaussian_std: Deviation of NACLIP's neighbourhood, in patches.
        scale: Factor of the cosines.
        offset: What is added to them then.
        scoring: Whether a softmax over the classes makes scores of these logits, or the sigmoid
            of each, as SigLIP was trained.
        unprojected: Whether the tower's own tokens are in the space of the words, as TIPSv2's are.

    Raises:
        ModelError: If a value is out of its range, or the tower is not CLIP's kind.
    """

    vision: VisionConfig
    attention: Attention = 'naclip'
    gaussian_std: float = 5.0
    scale: float = 40.0
    offset: float = 0.0
    scoring: Scoring = 'softmax'
    unprojected: bool = False

    def __post_init__(self) -> None:
        OPTIONS['attention'].check(self.attention)
        for name, value in (('gaussian_std', self.gaussian_std), ('scale', self.scale)):
            if not value > 0:
                raise ModelError(f'Expected `{name}` to be greater than 0, but got {value}.')
        vision = self.vision
        trained = vision.prompt_tokens or vision.prompt_norm or vision.class_embedding_twice
        # Attention pooling leads to the space of the words by itself.
        ways = (bool(vision.embed_dim), vision.pooling == 'map', self.unprojected)
        is_joint = sum(ways) == 1
        if trained or vision.feature_layers or not is_joint:
            raise ModelError(
                "Expected CLIP's own image tower, whose last block is projected to the space of "
                'the words, but got one that was changed, or that has no such projection.'
            )

    @property
    def text_dim(self) -> int:
        """Width of the text embeddings."""
        return self.vision.embed_dim or self.vision.width


def usual_attention(vision: VisionConfig, *, unprojected: bool = False) -> Attention:
    """Return how the last block attends by default: as the tables of a family's papers have it.

    SigLIP's stays as it is, as the value path of its pooling follows (``TrainingFreeCLIP.joint``).
    EVA-02 takes the value path by CLIPSelf (Wu et al., https://arxiv.org/abs/2310.01403), and
    TIPSv2 by the evaluation of its release (https://github.com/google-deepmind/tips). For all
    others it is NACLIP's.
    """
    if vision.pooling == 'map':
        return 'clip'
    return 'maskclip' if unprojected or vision.rotary == 'eva02' else 'naclip'


class TrainingFreeCLIP(nn.Module):
    """CLIP's image tower with another last block; nothing is trained.

    Args:
        config: The model's shape. Position tables are brought to other grids as NACLIP does it,
            but for those that have a way of their own (TIPSv2).
            Its release compares the numbers of tokens, so that a grid with as many patches in
            another shape (2 by 8 for 4 by 4) keeps the table as it is; here it is resized.

    Example:
        >>> vision = VisionConfig(8, 32, 2, 4, 64, (4, 4), embed_dim=16)
        >>> model = TrainingFreeCLIP(TrainingFreeConfig(vision))
        >>> model(torch.rand(2, 3, 40, 56), torch.rand(9, 16)).shape
        torch.Size([2, 9, 5, 7])

    """

    scoring: Scoring

    def __init__(self, config: TrainingFreeConfig) -> None:
        super().__init__()
        self.scoring = config.scoring
        vision = config.vision
        if vision.position_resize == 'bicubic':
            vision = replace(vision, position_resize='bicubic_offset')
        self.config = replace(config, vision=vision)
        self.visual = VisionTransformer(vision)
        self.requires_grad_(False)

    def patch_tokens(self, images: Tensor) -> Tensor:
        """Return the projected patch tokens ``(B, C, h, w)``, not normalised.

        Images are normalised RGB, ``(B, 3, H, W)``; ``h`` and ``w`` are in patches.
        """
        x, grid = self.visual.embed(images)
        kernels = PYTORCH
        if self.config.vision.rotary != 'none':
            kernels = self.visual.placed(kernels, self.visual.rotary_table(grid))
        *others, last = self.visual.blocks
        for block in others:
            x = block(x, None, kernels)
        near = None
        if self.config.attention == 'naclip':
            prefix = self.config.vision.num_prefix_tokens
            near = neighbourhood(grid, self.config.gaussian_std, prefix).to(x)
        x = run_last_block(last, x, self.config.attention, near, kernels)
        patch_tokens, _ = concatenated([self.visual.head(x)], grid)
        return self.joint(patch_tokens)

    def joint(self, tokens: Tensor) -> Tensor:
        """Bring patch tokens ``(B, C, h, w)`` of the tower into the space of the words.

        Those of a tower with attention pooling are not there yet: each is pooled alone.
        """
        if self.config.vision.pooling != 'map':
            return tokens
        pooled = self.visual.pool.each(tokens.flatten(2).transpose(1, 2))
        joint: Tensor = pooled.transpose(1, 2).unflatten(2, tokens.shape[2:])
        return joint

    def forward(self, images: Tensor, text_embeddings: Tensor) -> Tensor:
        """Predict logits ``(B, K, h, w)``, of which ``scoring`` makes scores.

        They are ``scale`` times the cosines of the patches of normalised RGB ``(B, 3, H, W)`` and
        the text embeddings ``(K, C)``, and ``offset``.
        """
        tokens = F.normalize(self.patch_tokens(images), dim=1)
        text = F.normalize(text_embeddings, dim=-1)
        cosines: Tensor = torch.einsum('kc,bchw->bkhw', text, tokens)
        return self.config.scale * cosines + self.config.offset


def run_last_block(
    block: Block,
    x: Tensor,
    attention: Attention,
    near: Tensor | None = None,
    kernels: Kernels = PYTORCH,
) -> Tensor:
    """Return prefix and patch tokens, ``(B, P + h * w, D)``, behind CLIP's last block.

    ``near`` is what ``neighbourhood`` gives; only ``naclip`` uses it.
    """
    attend = kernels.attend

    def to_neighbours(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(key, key, value, attn_mask=near)

    functions: dict[Attention, AttentionFunction] = {
        'clip': attend,
        'maskclip': lambda query, key, value: value,
        'sclip': lambda query, key, value: attend(query, query, value) + attend(key, key, value),
        'key_key': lambda query, key, value: attend(key, key, value),
        'naclip': to_neighbours,
    }
    kernels = kernels._replace(attend=functions[attention])
    if attention in _REDUCED:
        reduced: Tensor = block.attn(block.ln_1(x), None, kernels)
        return reduced.to(x.dtype)
    tokens: Tensor = block(x, None, kernels)
    return tokens


def neighbourhood(grid: tuple[int, int], std: float, prefix: int) -> Tensor:
    """Return what is added to the attention's scores, so that patches look at those near them.

    Float32 ``(P + h * w, P + h * w)`` with ``P`` the prefix tokens: a Gaussian of deviation
    ``std`` in patches, 1 from a patch to itself; 0 from and to the prefix tokens.
    """
    places = (torch.arange(length, dtype=torch.float32) / std for length in grid)
    rows, columns = (torch.exp(-0.5 * (at[:, None] - at).square()) for at in places)
    return F.pad(torch.kron(rows, columns), (prefix, 0, prefix, 0))
