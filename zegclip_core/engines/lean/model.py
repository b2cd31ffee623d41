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
"""A model without what is the same for every image, or for every image of a vocabulary."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import Network
from zegclip_core.engines.lean.candidates import best_rows, take_rows
from zegclip_core.engines.lean.kernels import fold_quick_gelu, kernels_for
from zegclip_core.engines.lean.last_block import LastBlock
from zegclip_core.engines.lean.pixels import FoldedConvolution, PatchProjection
from zegclip_core.engines.lean.tower import LeanTower
from zegclip_core.engines.lean.vocabulary import LeanVocabulary
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.zegclip import ZegCLIP

_RESIDUAL_STREAM = (
    *('visual.*ln_*', 'visual.prompt_norm.*', 'visual.*.gamma', 'visual.*_embedding'),
    'logit_scale.*',  # Rounded, its exponential would be off by a percent.
)
"""Parameters that act on the tokens between the blocks, and two numbers."""
_DECODER = ('visual.proj', 'visual.pool.*', 'decoder.*', '*_projection.*')
"""Parameters of the joint space and the decoder: few operations, but on a GPU not for free."""


def cast(network: Network, dtype: torch.dtype, float32: Sequence[str]) -> None:
    """Bring a model's parameters to a type, those whose names match a pattern to float32."""
    for name, parameter in network.named_parameters():
        stays = any(fnmatchcase(name, pattern) for pattern in float32)
        parameter.data = parameter.data.to(torch.float32 if stays else dtype)


class LeanModel(ABC):
    """Pixels and words to mask logits.

    Keys and values of the prompts, the normalisation of the pixels and QuickGELU's factor do not
    depend on the image: they are computed once, or folded into weights, in the precision that
    the network comes in. Where the products are of a narrower type, the tokens that every block
    adds to, and their norms, stay in float32; on a CPU, so does the decoder. This takes time and
    keeps labels nearer to those in float32.

    Args:
        network: The model; it is moved to ``device`` and ``dtype``.
        dtype: Floating-point type of the products.
        device: Where it runs.
    """

    def __init__(self, network: Network, *, dtype: torch.dtype, device: torch.device) -> None:
        """Fold, compute the constants, then cast the model."""
        network.to(device).eval()
        self.dtype = dtype
        vision = network.config.vision
        first = [network.visual.conv1]
        if isinstance(network, ZegCLIP) and network.config.detail_width:
            first.append(network.detail.first)
        fold_quick_gelu(network.visual)
        with torch.no_grad():
            patches, *stem = (
                FoldedConvolution(layer, mean=vision.mean, std=vision.std, dtype=dtype)
                for layer in first
            )
            prompts = [
                None if pair is None else (pair[0].to(dtype), pair[1].to(dtype))
                for pair in network.visual.prompt_keys_and_values()
            ]
        on_cpu = device.type == 'cpu'
        cast(network, dtype, (*_RESIDUAL_STREAM, *_DECODER) if on_cpu else _RESIDUAL_STREAM)
        projection = PatchProjection(vision, patches.weight, patches.bias)
        kernels = kernels_for(device, dtype)
        last = None
        if isinstance(network, TrainingFreeCLIP):
            last = LastBlock(network.visual.blocks[-1], network.config, kernels)
        self.tower = LeanTower(network.visual, projection, prompts, kernels, last)
        self._stem = stem

    @abstractmethod
    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return what depends on the words alone.

        Args:
            embeddings: Text embeddings as the text tower gives them, ``(R, D)``.

        Returns:
            L2-normalised text embeddings in the joint space, ``(R, C)``, and the part of the
            class queries that no image changes, ``(R, C)``.
        """

    @abstractmethod
    def logits(self, images: Tensor, vocabulary: LeanVocabulary) -> Tensor:
        """Return mask logits.

        Args:
            images: What ``resized`` gives, float32 ``(B, 3, H, W)``.
            vocabulary: The words, ``R`` rows.

        Returns:
            Mask logits, float ``(B, R, h, w)``.
        """

    @abstractmethod
    def best_logits(
        self, images: Tensor, vocabulary: LeanVocabulary, count: int, *, complete: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the mask logits of the classes that win patches, or come nearest to it.

        Args:
            images: What ``resized`` gives, float32 ``(B, 3, H, W)``.
            vocabulary: The words, more than ``count`` rows.
            count: How many classes to keep, ``C``.
            complete: Whether the logits of all rows are returned nevertheless.

        Returns:
            Their logits ``(B, C, h, w)``, equal to those that ``logits`` gives, or those of all
            rows ``(B, R, h, w)``; and which rows they are, int64 ``(B, C)``, ascending.
        """


class _Features(NamedTuple):
    """What the mask logits of images are made of.

    Attributes:
        images: What the first convolutions take, ``(B, 3, H, W)``.
        tokens: Patch tokens in the joint space, ``(B, C, h, w)``.
        normal: These, L2-normalised.
        queries: Decoded class queries, ``(B, R, C)``.
    """

    images: Tensor
    tokens: Tensor
    normal: Tensor
    queries: Tensor


class LeanZegCLIP(LeanModel):
    """``ZegCLIP``; arguments as of ``LeanModel``."""

    def __init__(self, network: ZegCLIP, *, dtype: torch.dtype, device: torch.device) -> None:
        """Keep the decoder as well."""
        super().__init__(network, dtype=dtype, device=device)
        self.network = network
        self._joint = network.decoder.relationship.q_proj.weight.dtype

    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings in the joint space and the constant of the queries."""
        text = self.network.project_text(embeddings.to(self._joint))
        return text, self.network.decoder.relationship.constants(text)

    def logits(self, images: Tensor, vocabulary: LeanVocabulary) -> Tensor:
        """Return mask logits ``(B, R, h, w)``."""
        features = self._features(images, vocabulary)
        return self._mask_logits(features.queries, self._mask_features(features))

    def best_logits(
        self, images: Tensor, vocabulary: LeanVocabulary, count: int, *, complete: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the best classes, which alone are compared with fine features."""
        features = self._features(images, vocabulary)
        logits = self._mask_logits(features.queries, features.normal)
        rows = best_rows(logits, vocabulary, count)
        queries = features.queries
        if self.network.config.detail_width:
            queries = queries if complete else take_rows(queries, rows)
            return self._mask_logits(queries, self._mask_features(features)), rows
        return logits if complete else take_rows(logits, rows), rows

    def _features(self, images: Tensor, vocabulary: LeanVocabulary) -> _Features:
        """Run the model up to the decoded queries."""
        images = images.to(self.dtype)
        tokens, embedding = self.network.project(
            *(part.to(self._joint) for part in self.tower(images))
        )
        decoder, normal = self.network.decoder, F.normalize(tokens, dim=1)
        queries = decoder.relationship.queries(
            vocabulary.text, vocabulary.queries, F.normalize(embedding, dim=-1)
        )
        return _Features(images, tokens, normal, decoder.decode_queries(queries, normal))

    def _mask_logits(self, queries: Tensor, mask_features: Tensor) -> Tensor:
        """Return mask logits of queries ``(B, R, C)`` on features ``(B, C, h, w)``."""
        logits = self.network.decoder.mask_logits(queries, mask_features)
        return self.network.logit_scale(logits) if self.network.config.logit_scale else logits

    def _mask_features(self, features: _Features) -> Tensor:
        """Return the normalised features that queries are compared with."""
        if not self.network.config.detail_width:
            return features.normal
        detail, (stem,) = self.network.detail, self._stem
        pixels = detail.stem[1:](stem(features.images))  # (B, W, H / 4, W / 4)
        fine = detail.refine(features.tokens.to(self.dtype), pixels)
        return F.normalize(fine.to(self._joint), dim=1)


class LeanTrainingFree(LeanModel):
    """``TrainingFreeCLIP``, its cosines made of float32; arguments as of ``LeanModel``."""

    def __init__(
        self, network: TrainingFreeCLIP, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Keep the factor of the cosines."""
        super().__init__(network, dtype=dtype, device=device)
        self.network = network

    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings, and those times the factor."""
        text = F.normalize(embeddings.float(), dim=-1)
        return text, self.network.config.scale * text

    def logits(self, images: Tensor, vocabulary: LeanVocabulary) -> Tensor:
        """Return logits ``(B, R, h, w)``, cosines times the factor."""
        tokens, _ = self.tower(images.to(self.dtype))
        normal = F.normalize(tokens.float(), dim=1)  # (B, C, h, w)
        logits: Tensor = (vocabulary.queries @ normal.flatten(2)).unflatten(2, normal.shape[2:])
        return logits

    def best_logits(
        self, images: Tensor, vocabulary: LeanVocabulary, count: int, *, complete: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the best classes."""
        logits = self.logits(images, vocabulary)
        rows = best_rows(logits, vocabulary, count)
        return logits if complete else take_rows(logits, rows), rows


def lean_model(network: Network, *, dtype: torch.dtype, device: torch.device) -> LeanModel:
    """Return a network as the lean engine runs it; arguments as of ``LeanModel``."""
    if isinstance(network, TrainingFreeCLIP):
        return LeanTrainingFree(network, dtype=dtype, device=device)
    return LeanZegCLIP(network, dtype=dtype, device=device)
