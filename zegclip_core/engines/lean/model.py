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
from zegclip_core.engines.contract import LeanOptions, Network
from zegclip_core.engines.lean.candidates import best_rows, taken
from zegclip_core.engines.lean.kernels import fold_quick_gelu, kernels_for
from zegclip_core.engines.lean.last_block import LastBlock
from zegclip_core.engines.lean.pixels import CENTRE, FoldedConvolution, PatchProjection
from zegclip_core.engines.lean.tower import LeanTower
from zegclip_core.engines.lean.vocabulary import LeanWords
from zegclip_core.engines.lean.whole_layer import WholeLayer
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.zegclip import ZegCLIP

_STREAM = (
    *('visual.*ln_*', 'visual.prompt_norm.*', 'visual.*.gamma', 'visual.*_embedding'),
    'logit_scale.*',  # Rounded, its exponential would be off by a percent.
)
"""Parameters that act on the tokens between the blocks, and two numbers."""
_JOINT = ('visual.proj', 'visual.pool.*', 'decoder.*', '*_projection.*')
"""Parameters of the joint space and the decoder: few operations, but on a GPU not for free."""


def _wide_parts(device: torch.device) -> tuple[str, ...]:
    """Return patterns of the parameters that stay in float32 there."""
    return (*_STREAM, *_JOINT) if device.type == 'cpu' else _STREAM


def cast(network: Network, dtype: torch.dtype, wide: Sequence[str]) -> None:
    """Bring a model's parameters to a type, those whose names match a pattern to float32."""
    for name, parameter in network.named_parameters():
        stays = any(fnmatchcase(name, pattern) for pattern in wide)
        parameter.data = parameter.data.to(torch.float32 if stays else dtype)


class LeanModel(ABC):
    """Pixels and words to mask logits.

    Args:
        network: The model in the precision that its weights are folded in; it is moved to
            ``device`` and ``dtype``.
        dtype: Floating-point type to compute in.
        device: Where.
        options: Which savings are made.
    """

    def __init__(
        self, network: Network, *, dtype: torch.dtype, device: torch.device, options: LeanOptions
    ) -> None:
        """Fold, compute the constants, then move the model."""
        network.to(device).eval()
        self.options = options
        self.dtype = dtype
        vision = network.config.vision
        if options.folded_activation:
            fold_quick_gelu(network.visual)
        with torch.no_grad():
            folded = _fold(network, dtype) if options.folded_input else (None, None)
            prompts = None
            if options.prompt_constants:
                prompts = [
                    None if pair is None else (pair[0].to(dtype), pair[1].to(dtype))
                    for pair in network.visual.prompt_keys_and_values()
                ]
        cast(network, dtype, _wide_parts(device) if options.float32_stream else ())
        patches = folded[0] or network.visual.conv1
        projection = PatchProjection(vision, patches.weight, patches.bias)
        kernels = kernels_for(device, dtype, options)
        last = None
        if isinstance(network, TrainingFreeCLIP):
            last = LastBlock(network.visual.blocks[-1], network.config, kernels)
        self.tower = LeanTower(network.visual, projection, prompts, kernels, last)
        self._stem = folded[1]
        self._mean = torch.tensor(vision.mean, device=device).sub(CENTRE).view(1, 3, 1, 1)
        self._std = torch.tensor(vision.std, device=device).view(1, 3, 1, 1)

    @abstractmethod
    def words(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings in the joint space and the constant of the queries.

        Args:
            embeddings: As the text tower gives them, ``(K, D)``.
        """

    @abstractmethod
    def logits(self, images: Tensor, words: LeanWords) -> Tensor:
        """Return mask logits ``(B, K, h, w)`` of ``resized`` pixels, float ``(B, 3, H, W)``."""

    @abstractmethod
    def best_logits(self, images: Tensor, words: LeanWords, count: int) -> tuple[Tensor, Tensor]:
        """Return the logits of the classes that win patches, or come nearest to it.

        Args:
            images: As of ``logits``.
            words: The vocabulary, of more than ``count`` rows.
            count: How many classes to keep, ``C``.

        Returns:
            Their logits ``(B, C, h, w)``, equal to those that ``logits`` gives, and their rows,
            int64 ``(B, C)``, ascending.
        """

    def _input(self, images: Tensor) -> Tensor:
        """Return what the first convolutions take."""
        if self.options.folded_input:
            return images.to(self.dtype)
        return ((images - self._mean) / self._std).to(self.dtype)


def _fold(
    network: Network, dtype: torch.dtype
) -> tuple[FoldedConvolution, FoldedConvolution | None]:
    """Return the first convolutions of the tower and of the detail branch, on pixels."""
    vision = network.config.vision
    first = [network.visual.conv1]
    if isinstance(network, ZegCLIP) and network.config.detail_width:
        first.append(network.detail.first)
    folded = [
        FoldedConvolution(layer, mean=vision.mean, std=vision.std, dtype=dtype) for layer in first
    ]
    return folded[0], folded[1] if len(folded) > 1 else None


class _Features(NamedTuple):
    """What the mask logits of images are made of.

    Attributes:
        images: What the first convolutions take.
        tokens: Patch tokens in the joint space, ``(B, C, h, w)``.
        normal: These, L2-normalised.
        queries: Of the classes, having seen the image, ``(B, K, C)``.
    """

    images: Tensor
    tokens: Tensor
    normal: Tensor
    queries: Tensor


class LeanZegCLIP(LeanModel):
    """``ZegCLIP``; see ``LeanModel``."""

    def __init__(
        self, network: ZegCLIP, *, dtype: torch.dtype, device: torch.device, options: LeanOptions
    ) -> None:
        """Keep the decoder as well."""
        super().__init__(network, dtype=dtype, device=device, options=options)
        self.network = network
        self._joint = network.decoder.relationship.q_proj.weight.dtype
        self._compare = None
        if not options.last_layer_product:
            last = network.decoder.last.multihead_attn
            self._compare = WholeLayer(last, network.config.decoder_mlp_dim)

    def words(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings in the joint space and the constant of the queries.

        Args:
            embeddings: As the text tower gives them, ``(K, D)``.
        """
        text = self.network.project_text(embeddings.to(self._joint))
        return text, self.network.decoder.relationship.constants(text)

    def logits(self, images: Tensor, words: LeanWords) -> Tensor:
        """Return mask logits ``(B, K, h, w)`` of ``resized`` pixels, float ``(B, 3, H, W)``."""
        features = self._features(images, words)
        return self._mask_logits(features.queries, self._mask_features(features))

    def best_logits(self, images: Tensor, words: LeanWords, count: int) -> tuple[Tensor, Tensor]:
        """Return the logits of the best classes, which alone are compared with fine features."""
        features = self._features(images, words)
        coarse = self._mask_logits(features.queries, features.normal)
        rows = best_rows(coarse, words, count)
        if not self.network.config.detail_width:
            return taken(coarse, rows), rows
        return self._mask_logits(
            taken(features.queries, rows), self._mask_features(features)
        ), rows

    def _features(self, images: Tensor, words: LeanWords) -> _Features:
        """Run the model up to the decoded queries."""
        images = self._input(images)
        tokens, embedding = self.network.project(
            *(part.to(self._joint) for part in self.tower(images))
        )
        text, constants = words.text, words.queries
        if not self.options.vocabulary_constants:
            text, constants = self.words(words.embeddings)
        decoder, normal = self.network.decoder, F.normalize(tokens, dim=1)
        queries = decoder.relationship.queries(text, constants, F.normalize(embedding, dim=-1))
        return _Features(images, tokens, normal, decoder.decode_queries(queries, normal))

    def _mask_logits(self, queries: Tensor, mask_features: Tensor) -> Tensor:
        """Return mask logits of queries on normalised tokens."""
        logits = self.network.decoder.mask_logits(queries, mask_features, self._compare)
        return self.network.logit_scale(logits) if self.network.config.logit_scale else logits

    def _mask_features(self, features: _Features) -> Tensor:
        """Return the normalised features that queries are compared with."""
        if not self.network.config.detail_width:
            return features.normal
        detail, images = self.network.detail, features.images
        pixels = detail.stem(images) if self._stem is None else detail.stem[1:](self._stem(images))
        fine = detail.refine(features.tokens.to(self.dtype), pixels)
        return F.normalize(fine.to(self._joint), dim=1)


class LeanTrainingFree(LeanModel):
    """``TrainingFreeCLIP``; see ``LeanModel``. Cosines are made of float32."""

    def __init__(
        self,
        network: TrainingFreeCLIP,
        *,
        dtype: torch.dtype,
        device: torch.device,
        options: LeanOptions,
    ) -> None:
        """Keep the factor of the cosines."""
        super().__init__(network, dtype=dtype, device=device, options=options)
        self.network = network

    def words(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings, and those times the factor: the queries."""
        text = F.normalize(embeddings.float(), dim=-1)
        return text, self.network.config.scale * text

    def logits(self, images: Tensor, words: LeanWords) -> Tensor:
        """Return logits ``(B, K, h, w)`` of ``resized`` pixels, float ``(B, 3, H, W)``."""
        tokens, _ = self.tower(self._input(images))
        queries = words.queries
        if not self.options.vocabulary_constants:
            _, queries = self.words(words.embeddings)
        normal = F.normalize(tokens.float(), dim=1)
        logits: Tensor = (queries @ normal.flatten(2)).unflatten(2, normal.shape[2:])
        return logits

    def best_logits(self, images: Tensor, words: LeanWords, count: int) -> tuple[Tensor, Tensor]:
        """Return the logits of the best classes."""
        logits = self.logits(images, words)
        rows = best_rows(logits, words, count)
        return taken(logits, rows), rows


def lean_model(
    network: Network, *, dtype: torch.dtype, device: torch.device, options: LeanOptions
) -> LeanModel:
    """Return a network as the lean engine runs it; arguments as of ``LeanModel``."""
    if isinstance(network, TrainingFreeCLIP):
        return LeanTrainingFree(network, dtype=dtype, device=device, options=options)
    return LeanZegCLIP(network, dtype=dtype, device=device, options=options)
