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
"""Two towers that were not trained together, brought into one space.

Neither tower changes, but for low-rank updates of the image tower. What is trained projects patch
tokens, image embeddings and text embeddings into a joint space, in which a patch lies near the
words for what it shows.

References:
    Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning",
        https://arxiv.org/abs/2111.07991.
    Jose et al., "DINOv2 Meets Text" (dino.txt), https://arxiv.org/abs/2412.16334.
    Barsellotti et al., "Talking to DINO" (Talk2DINO), https://arxiv.org/abs/2411.19331.
"""

from dataclasses import dataclass
import math

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.errors import ModelError
from zegclip_core.model.low_rank import LowRankUpdates
from zegclip_core.model.projections import PatchProjection, Projection
from zegclip_core.model.scoring import Scoring
from zegclip_core.model.vit import VisionConfig, VisionTransformer

_INITIAL_SCALE = 20.0
_LARGEST_SCALE = 100.0
"""Of the factor of the cosines, as in CLIP."""


def cosine_scale(log_scale: Tensor) -> Tensor:
    """Return the factor of the cosines by the parameter that is trained."""
    return log_scale.exp().clamp(max=_LARGEST_SCALE)


@dataclass(frozen=True)
class AlignmentConfig:
    """What shapes aligned towers.

    Attributes:
        vision: The image tower, without prompts.
        text_dim: Width of the text embeddings.
        dim: Width ``C`` of the joint space.
        projections: Whether there are any; towers that were trained together, such as CLIP's,
            need none, and share a space of width ``dim``.
        text_hidden: Hidden width of the text projection; 0 for a linear one.
        image_blocks: Transformer blocks behind the linear projection of the patch tokens.
        rank: Rank of the image tower's updates; 0 for none.
        adapted_blocks: How many of its last blocks have them.

    Raises:
        ModelError: If there are no projections, and the towers' widths differ from ``dim``; or if
            updates are wanted of more blocks than there are.

    """

    vision: VisionConfig
    text_dim: int
    dim: int = 256
    projections: bool = True
    text_hidden: int = 512
    image_blocks: int = 0
    rank: int = 0
    adapted_blocks: int = 8

    def __post_init__(self) -> None:
        widths = self.vision.output_dim, self.text_dim
        if not self.projections and set(widths) != {self.dim}:
            raise ModelError(
                f'Expected towers that share a space of width {self.dim}, as there are no '
                f'projections, but the image tower gives {widths[0]} and the text tower '
                f'{widths[1]}.'
            )
        if self.rank and not 0 < self.adapted_blocks <= self.vision.layers:
            raise ModelError(
                f'Expected to adapt 1 to {self.vision.layers} of the last blocks, but got '
                f'{self.adapted_blocks}.'
            )


class AlignedTowers(nn.Module):
    """An image tower and projections that make patch tokens comparable with words.

    By itself a model that needs no decoder: the logit of a word is a factor times the cosine of
    patch and word.

    Example:
        >>> vision = VisionConfig(8, 32, 2, 4, 64, (4, 4))
        >>> towers = AlignedTowers(AlignmentConfig(vision, text_dim=48, dim=64))
        >>> towers(torch.rand(2, 3, 40, 56), torch.rand(9, 48)).shape
        torch.Size([2, 9, 5, 7])

    """

    scoring: Scoring = 'softmax'
    """Scores are compared among the words: they are a softmax over them."""

    def __init__(self, config: AlignmentConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTransformer(config.vision).requires_grad_(False)
        if config.projections:
            width = config.vision.output_dim
            self.image_projection = PatchProjection(width, config.dim, 0.0, config.image_blocks)
            self.global_projection = Projection(width, config.dim)
            self.text_projection = Projection(config.text_dim, config.dim, 0.0, config.text_hidden)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_SCALE)))
        if config.rank:
            self.low_rank = LowRankUpdates(self.visual, config.rank, config.adapted_blocks)

    @property
    def scale(self) -> Tensor:
        """The factor of the cosines."""
        return cosine_scale(self.log_scale)

    def trained_names(self) -> list[str]:
        """Return the names of the parameters that training changes: all but the tower's own."""
        return [name for name, _ in self.named_parameters() if not name.startswith('visual.')]

    def encode_image(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the tower makes of normalised images ``(B, 3, H, W)``, updates included.

        That is patch tokens ``(B, D, h, w)`` and image embeddings ``(B, D)``, not projected.
        """
        if not self.config.rank:
            out: tuple[Tensor, Tensor] = self.visual(images)
            return out
        adapted: tuple[Tensor, Tensor] = self.visual(images, self.low_rank.kernels(self.visual))
        return adapted

    def project(self, patch_tokens: Tensor, image_embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Bring the tower's output into the joint space: ``(B, C, h, w)`` and ``(B, C)``.

        Both are L2-normalised.
        """
        if self.config.projections:
            image_embedding = self.global_projection(image_embedding)
        patches = self.project_patches(patch_tokens)
        return F.normalize(patches, dim=1), F.normalize(image_embedding, dim=-1)

    def project_patches(self, patch_tokens: Tensor) -> Tensor:
        """Bring patch tokens alone into the joint space: ``(B, C, h, w)``, not normalised."""
        if not self.config.projections:
            return patch_tokens
        tokens: Tensor = self.image_projection(patch_tokens.movedim(1, -1)).movedim(-1, 1)
        return tokens

    def project_text(self, text_embeddings: Tensor) -> Tensor:
        """Bring text embeddings ``(K, D)`` into the joint space: ``(K, C)``, L2-normalised."""
        if self.config.projections:
            text_embeddings = self.text_projection(text_embeddings)
        return F.normalize(text_embeddings, dim=-1)

    def compare(self, patch_tokens: Tensor, text: Tensor) -> Tensor:
        """Return logits ``(B, K, h, w)`` of patches ``(B, C, h, w)`` and words ``(K, C)``.

        Both are in the joint space and L2-normalised.
        """
        return self.scale * torch.einsum('kc,bchw->bkhw', text, patch_tokens)

    def forward(self, images: Tensor, text_embeddings: Tensor) -> Tensor:
        """Predict logits ``(B, K, h, w)``, whose softmax over the words is the score.

        Args:
            images: Normalised RGB, ``(B, 3, H, W)``.
            text_embeddings: As the text tower gives them, ``(K, text_dim)``.
        """
        patch_tokens, _ = self.project(*self.encode_image(images))
        return self.compare(patch_tokens, self.project_text(text_embeddings))
