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
"""ZegCLIP: normalised images and text embeddings to mask logits.

The model takes and gives tensors only; ``zegclip_core.segmenter`` joins it to NumPy and to words.
"""

from dataclasses import dataclass
import math
from typing import cast

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.model.decoder import MaskDecoder
from zegclip_core.model.projections import PatchProjection, Projection
from zegclip_core.model.scoring import Scoring
from zegclip_core.model.vit import VisionConfig, VisionTransformer

_INITIAL_SCALE = 200.0
_INITIAL_BIAS = -2.0
_LIKELY = 0.3
"""Cosine of patch and word from which on aligned towers say that it is there."""


@dataclass(frozen=True)
class ZegCLIPConfig:
    """What shapes a model.

    Attributes:
        vision: The image tower.
        text_dim: Width of the text embeddings.
        dim: Width ``C`` of the joint space.
        decoder_layers: Layers of the decoder; the last one only compares.
        decoder_heads: Attention heads of each.
        decoder_mlp_dim: Hidden width of their feed-forward part.
        decoder_dropout: Dropout while training.
        relationship_descriptor: Whether queries are ``[t * g, t]`` or ``t`` alone.
        average_pooling: Whether ``g`` is the mean of the patch tokens in the joint space, and not
            what the image tower pools, as of CLIP its class token.
        projections: Whether image and text go through trained projections into the joint space;
            needed where the towers were not trained together.
        projection_dropout: Dropout of the image features before their projections.
        detail_width: Channels of the detail branch; 0 for none.
        logit_scale: Whether mask logits have a learnt factor and offset, as in SigLIP
            (https://arxiv.org/abs/2303.15343); a new decoder learns many times faster with it.
        text_hidden: Hidden width of the text projection; 0 for a linear one.
        image_blocks: Transformer blocks behind the linear projection of the patch tokens.

    """

    vision: VisionConfig
    text_dim: int
    dim: int
    decoder_layers: int = 3
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    decoder_dropout: float = 0.1
    relationship_descriptor: bool = True
    average_pooling: bool = False
    projections: bool = False
    projection_dropout: float = 0.0
    detail_width: int = 0
    logit_scale: bool = False
    text_hidden: int = 0
    image_blocks: int = 0


class DetailBranch(nn.Module):
    """Tokens at a quarter of the image's resolution: patch tokens refined by the pixels' edges.

    A patch is too coarse for a pole or a distant sign. Two strided convolutions see the pixels;
    what they find is added to the upsampled patch tokens. Not part of the published method.
    """

    def __init__(self, dim: int, width: int) -> None:
        """Build it for the joint space; the pixels' ``width`` channels are a multiple of 8."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1),
            nn.GroupNorm(4, width // 2),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.GroupNorm(8, width),
            nn.GELU(),
        )
        self.mix = nn.Conv2d(dim + width, 2 * width, 1)
        self.spread = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.out = nn.Conv2d(2 * width, dim, 1)

    def forward(self, patch_tokens: Tensor, images: Tensor) -> Tensor:
        """Return tokens ``(B, C, ceil(H / 4), ceil(W / 4))`` of images ``(B, 3, H, W)``.

        Neither these nor the projected patch tokens ``(B, C, h, w)`` are L2-normalised.
        """
        return self.refine(patch_tokens, self.stem(images))

    @property
    def first(self) -> nn.Conv2d:
        """The convolution that sees the pixels."""
        return cast(nn.Conv2d, self.stem[0])

    def refine(self, patch_tokens: Tensor, pixels: Tensor) -> Tensor:
        """Return fine tokens as ``forward`` does, ``pixels`` being the stem's ``(B, W, h, w)``."""
        coarse = F.interpolate(patch_tokens, size=pixels.shape[2:], mode='bilinear')
        mixed = F.gelu(self.mix(torch.cat([coarse, pixels], dim=1)))
        mixed = mixed + F.gelu(self.spread(mixed))
        refined: Tensor = coarse + self.out(mixed)
        return refined


class LogitScale(nn.Module):
    """A learnt factor and offset of the mask logits; a new one starts with few positives."""

    def __init__(self) -> None:
        """Start where untrained logits have a spread of a few and a low mean."""
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_SCALE)))
        self.bias = nn.Parameter(torch.tensor(_INITIAL_BIAS))

    def forward(self, logits: Tensor) -> Tensor:
        """Return the scaled logits."""
        return logits * self.log_scale.exp() + self.bias


class ZegCLIP(nn.Module):
    """One-stage zero-shot segmentation: prompted image tower, relationship descriptor, decoder.

    What is trained is the prompts, the decoder and, where there are any, the projections and the
    detail branch; the rest of the image tower is frozen (``trained_names`` tells which).
    """

    scoring: Scoring = 'sigmoid'
    """A class's score does not depend on the other classes."""

    def __init__(self, config: ZegCLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTransformer(config.vision)
        if config.projections:
            width, drop = config.vision.output_dim, config.projection_dropout
            self.image_projection = PatchProjection(width, config.dim, drop, config.image_blocks)
            if not config.average_pooling:
                self.global_projection = Projection(width, config.dim, drop)
            self.text_projection = Projection(config.text_dim, config.dim, 0.0, config.text_hidden)
        if config.detail_width:
            self.detail = DetailBranch(config.dim, config.detail_width)
        if config.logit_scale:
            self.logit_scale = LogitScale()
        self.decoder = MaskDecoder(
            config.dim,
            layers=config.decoder_layers,
            heads=config.decoder_heads,
            mlp_dim=config.decoder_mlp_dim,
            dropout=config.decoder_dropout,
            relationship_descriptor=config.relationship_descriptor,
        )
        self.train_tower(False)

    def trained_names(self) -> list[str]:
        """Return the names of the parameters that training changes."""
        return [
            name
            for name, _ in self.named_parameters()
            if self._tower_is_trained or not name.startswith('visual.') or 'prompt' in name
        ]

    def train_tower(self, trained: bool) -> None:
        """Choose whether the image tower's own weights are trained; a new model's are not."""
        self._tower_is_trained = trained
        names = set(self.trained_names())
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in names)

    @torch.no_grad()
    def start_aligned(self, scale: float) -> None:
        """Make a new model's mask logits those of the aligned towers that its weights are of.

        They are ``scale``, the factor of the towers' cosines, times the cosine of word and patch
        less ``_LIKELY``, from which on a word becomes likely; the cosines are those that
        ``MaskDecoder.start_with_cosines`` tells. The decoder and the detail branch add nothing
        yet. Without ``logit_scale`` factor and offset are the decoder's.
        """
        factor = self.decoder.start_with_cosines()
        if self.config.detail_width:
            for parameter in self.detail.out.parameters():
                parameter.zero_()
        if self.config.logit_scale:
            self.logit_scale.log_scale.fill_(math.log(scale / factor))
            self.logit_scale.bias.fill_(-_LIKELY * scale)

    def project(self, patch_tokens: Tensor, image_embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Bring the image tower's output ``(B, D, h, w)`` and ``(B, D)`` into the joint space.

        Returns patch tokens ``(B, C, h, w)`` and image embedding ``(B, C)``, not normalised.
        """
        tokens, projected = patch_tokens, self.config.projections
        if projected:
            tokens = self.image_projection(patch_tokens.movedim(1, 3)).movedim(3, 1)
        if self.config.average_pooling:
            return tokens, tokens.mean(dim=(2, 3))
        return tokens, self.global_projection(image_embedding) if projected else image_embedding

    def project_text(self, text_embeddings: Tensor) -> Tensor:
        """Bring text embeddings ``(K, D)`` into the joint space: ``(K, C)``, L2-normalised."""
        if self.config.projections:
            text_embeddings = self.text_projection(text_embeddings)
        return F.normalize(text_embeddings, dim=-1)

    def decode(
        self,
        patch_tokens: Tensor,
        image_embedding: Tensor,
        text: Tensor,
        images: Tensor,
        window: tuple[slice, slice] | None = None,
    ) -> Tensor:
        """Predict mask logits from the image tower's output.

        Args:
            patch_tokens: As the image tower gives them, ``(B, D, h, w)``.
            image_embedding: As the image tower gives it, ``(B, D)``.
            text: Text embeddings as the text tower gives them, ``(K, text_dim)``.
            images: The normalised images, ``(B, 3, H, W)``; only the detail branch looks at them.
            window: Rows and columns of patches to draw masks on; the queries still see all of
                the image. ``None`` draws on all of it.

        Returns:
            Mask logits ``(B, K, h, w)``, or ``(B, K, H / 4, W / 4)`` with a detail branch.

        """
        tokens, image_embedding = self.project(patch_tokens, image_embedding)
        features = tokens
        if window is not None:
            patch = self.config.vision.patch_size
            rows, columns = (slice(part.start * patch, part.stop * patch) for part in window)
            features, images = tokens[:, :, window[0], window[1]], images[:, :, rows, columns]
        if self.config.detail_width:
            features = self.detail(features, images)
        logits: Tensor = self.decoder(
            F.normalize(tokens, dim=1),
            F.normalize(image_embedding, dim=-1),
            self.project_text(text),
            F.normalize(features, dim=1),
        )
        return self.logit_scale(logits) if self.config.logit_scale else logits

    def forward(self, images: Tensor, text_embeddings: Tensor) -> Tensor:
        """Predict mask logits of normalised images; arguments and result as in ``decode``."""
        patch_tokens, image_embedding = self.visual(images)
        return self.decode(patch_tokens, image_embedding, text_embeddings, images)
