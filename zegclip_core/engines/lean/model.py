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
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import Network
from zegclip_core.engines.lean.last_block import LastBlock
from zegclip_core.engines.lean.pixels import FoldedConvolution, PatchProjection
from zegclip_core.engines.lean.tower import LeanTower
from zegclip_core.engines.lean.vocabulary import best_rows, LeanVocabulary, take_rows
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.blocks import Kernels, PYTORCH, QUICK_GELU, QuickGELU
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP

Features = tuple[Tensor, ...]
"""What a model makes of images alone; the words are compared with it."""

ROWS = 256
"""Queries at a time; more do not fit into a core's cache, fewer make small products."""
_RESIDUAL_STREAM = (
    *('visual.*ln_*', 'visual.prompt_norm.*', 'visual.*.gamma', 'visual.*_embedding'),
    *('logit_scale.*', 'log_scale'),  # Rounded, its exponential would be off by a percent.
)
"""Parameters that act on the tokens between the blocks, and factors and offset of the logits."""
_DECODER = ('visual.proj', 'visual.pool.*', 'decoder.*', '*_projection.*')
"""Parameters of the joint space and the decoder: few operations, but on a GPU not for free."""


def cast(network: Network, dtype: torch.dtype, float32: Sequence[str]) -> None:
    """Bring a model's parameters to a type, those whose names match a pattern to float32."""
    for name, parameter in network.named_parameters():
        stays = any(fnmatchcase(name, pattern) for pattern in float32)
        parameter.data = parameter.data.to(torch.float32 if stays else dtype)


def fold_quick_gelu(visual: VisionTransformer) -> None:
    """Fold QuickGELU's factor into the weights around it, which leaves one kernel of three.

    ``x * sigmoid(a x)`` is ``silu(a x) / a``: ``a`` goes into the layer before, ``1 / a`` into
    the layer behind. A tower that is folded already, or has another activation, stays as it is.
    """
    for block in visual.blocks:
        mlp = block.mlp
        if isinstance(mlp.act, QuickGELU):
            mlp.act = nn.SiLU(inplace=True)
            for parameter in mlp.c_fc.parameters():
                parameter.data = parameter.data * QUICK_GELU
            mlp.c_proj.weight.data = mlp.c_proj.weight.data / QUICK_GELU


def kernels_for(device: torch.device, dtype: torch.dtype) -> Kernels:
    """Return what computes the blocks fastest on a device, in a floating-point type."""
    if device.type == 'cpu' and dtype == torch.bfloat16:
        return Kernels(attend=attend_in_bfloat16)
    # PyTorch's own convolutions, without oneDNN, are slow.
    has_onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    if device.type == 'cpu' and dtype == torch.float32 and has_onednn:
        return Kernels(linear=convolve)
    return PYTORCH


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a linear layer ``(B, N, O)`` of tokens ``(B, N, I)`` as a convolution of one pixel.

    PyTorch gives products in float32 to MKL and convolutions to oneDNN, which is a sixth faster
    at them on processors of AMD. The layout is the same, so that nothing is copied.
    """
    pixels = x.unsqueeze(1).permute(0, 3, 1, 2)  # (B, I, 1, N) in channels-last memory
    out = F.conv2d(pixels, weight[:, :, None, None], bias)  # (B, O, 1, N)
    return out.permute(0, 2, 3, 1).squeeze(1)


def attend_in_bfloat16(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax attention ``(B, heads, N, D / heads)`` as products in bfloat16.

    On a CPU, PyTorch's fused kernel takes as long in bfloat16 as in float32; this takes about two
    thirds of it. The scores before the softmax are rounded to bfloat16 on the way.

    Args:
        query: ``(B, heads, N, D / heads)``.
        key: ``(B, heads, M, D / heads)``.
        value: ``(B, heads, M, D / heads)``.
    """
    # Contiguous copies: the products would copy strided parts once for every few rows.
    queries, keys, values = (
        part.contiguous().flatten(0, 1) for part in (query * query.shape[-1] ** -0.5, key, value)
    )
    keys = keys.transpose(1, 2)  # (B * heads, D / heads, M)
    mixed = torch.empty_like(queries)
    for start in range(0, queries.shape[1], ROWS):
        rows = slice(start, start + ROWS)
        weights = torch.bmm(queries[:, rows], keys).softmax(dim=-1)  # (B * heads, ROWS, M)
        mixed[:, rows] = torch.bmm(weights, values)
    out: Tensor = mixed.unflatten(0, query.shape[:2])
    return out


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
        kernels: What computes the blocks; ``None`` takes what is fastest there.

    Attributes:
        look: Returns the features of images: ``features``, or what computes the same faster.
    """

    network: Network

    def __init__(
        self,
        network: Network,
        *,
        dtype: torch.dtype,
        device: torch.device,
        kernels: Kernels | None = None,
    ) -> None:
        """Fold, compute the constants, then cast the model."""
        self.network, self.dtype = network.to(device).eval(), dtype
        self.look: Callable[[Tensor], Features] = self.features
        vision = network.config.vision
        first = [network.visual.conv1]
        if isinstance(network, ZegCLIP) and network.config.detail_width:
            first.append(network.detail.first)
        fold_quick_gelu(network.visual)
        with torch.no_grad():
            patches, *self._stem = (
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
        kernels = kernels_for(device, dtype) if kernels is None else kernels
        last = None
        if isinstance(network, TrainingFreeCLIP):
            last = LastBlock(network.visual.blocks[-1], network.config, kernels)
        self.tower = LeanTower(network.visual, projection, prompts, kernels, last)

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
    def features(self, images: Tensor) -> Features:
        """Return what does not depend on the words, of ``resized`` images ``(B, 3, H, W)``.

        The first are the L2-normalised patch tokens in the joint space, ``(B, C, h, w)``.
        """

    @abstractmethod
    def compare(self, features: Features, vocabulary: LeanVocabulary) -> Tensor:
        """Return mask logits, float ``(B, R, h, w)``, of features and words."""

    def logits(self, images: Tensor, vocabulary: LeanVocabulary) -> Tensor:
        """Return mask logits, float ``(B, R, h, w)``, of ``resized`` images ``(B, 3, H, W)``."""
        return self.compare(self.look(images), vocabulary)

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
        logits = self.logits(images, vocabulary)
        rows = best_rows(logits, vocabulary, count)
        return logits if complete else take_rows(logits, rows), rows


class LeanZegCLIP(LeanModel):
    """``ZegCLIP``."""

    network: ZegCLIP

    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings in the joint space and the constant of the queries."""
        text = self.network.project_text(embeddings.to(self._joint))
        return text, self.network.decoder.relationship.constants(text)

    def features(self, images: Tensor) -> Features:
        """Return normalised patch tokens, image embedding ``(B, C)``, any finer tokens."""
        images = images.to(self.dtype)
        tokens, embedding = self.network.project(
            *(part.to(self._joint) for part in self.tower(images))
        )
        found = F.normalize(tokens, dim=1), F.normalize(embedding, dim=-1)
        if not self.network.config.detail_width:
            return found
        detail, (stem,) = self.network.detail, self._stem
        pixels = detail.stem[1:](stem(images))  # (B, W, H / 4, W / 4)
        fine = detail.refine(tokens.to(self.dtype), pixels)
        return *found, F.normalize(fine.to(self._joint), dim=1)

    def compare(self, features: Features, vocabulary: LeanVocabulary) -> Tensor:
        """Return mask logits ``(B, R, h, w)``, on the finest tokens."""
        return self._mask_logits(self._decoded(features, vocabulary), features)

    def best_logits(
        self, images: Tensor, vocabulary: LeanVocabulary, count: int, *, complete: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the best classes, which alone are compared with fine features."""
        if not self.network.config.detail_width:
            return super().best_logits(images, vocabulary, count, complete=complete)
        features = self.look(images)
        queries = self._decoded(features, vocabulary)
        rows = best_rows(self._mask_logits(queries, features[:2]), vocabulary, count)
        queries = queries if complete else take_rows(queries, rows)
        return self._mask_logits(queries, features), rows

    @property
    def _joint(self) -> torch.dtype:
        """Type of the joint space and the decoder."""
        return self.network.decoder.relationship.q_proj.weight.dtype

    def _decoded(self, features: Features, vocabulary: LeanVocabulary) -> Tensor:
        """Return decoded queries ``(B, R, C)``."""
        decoder, (tokens, embedding) = self.network.decoder, features[:2]
        queries = decoder.relationship.queries(vocabulary.text, vocabulary.queries, embedding)
        return decoder.decode_queries(queries, tokens)

    def _mask_logits(self, queries: Tensor, features: Features) -> Tensor:
        """Return mask logits of queries ``(B, R, C)`` on the finest of some features."""
        tokens, _, *fine = features
        logits = self.network.decoder.mask_logits(queries, fine[0] if fine else tokens)
        return self.network.logit_scale(logits) if self.network.config.logit_scale else logits


class LeanTrainingFree(LeanModel):
    """``TrainingFreeCLIP``, its cosines made of float32."""

    network: TrainingFreeCLIP

    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings, and those times the factor."""
        text = F.normalize(embeddings.float(), dim=-1)
        return text, self.network.config.scale * text

    def features(self, images: Tensor) -> Features:
        """Return the normalised patch tokens."""
        tokens, _ = self.tower(images.to(self.dtype))
        return (F.normalize(tokens.float(), dim=1),)

    def compare(self, features: Features, vocabulary: LeanVocabulary) -> Tensor:
        """Return logits ``(B, R, h, w)``, cosines times the factor."""
        return scaled_cosines(features, vocabulary)


class LeanAligned(LeanModel):
    """``AlignedTowers``, their cosines made of float32."""

    network: AlignedTowers

    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings in the joint space, and those times the factor."""
        text = self.network.project_text(embeddings.to(self._joint)).float()
        return text, self.network.scale * text

    def features(self, images: Tensor) -> Features:
        """Return the normalised patch tokens."""
        tokens, _ = self.tower(images.to(self.dtype))
        patches = self.network.project_patches(tokens.to(self._joint))
        return (F.normalize(patches.float(), dim=1),)

    def compare(self, features: Features, vocabulary: LeanVocabulary) -> Tensor:
        """Return logits ``(B, R, h, w)``, cosines times the factor."""
        return scaled_cosines(features, vocabulary)

    @property
    def _joint(self) -> torch.dtype:
        """Type of the projections; float32 where there are none."""
        if not self.network.config.projections:
            return torch.float32
        return self.network.text_projection.linear.weight.dtype


def scaled_cosines(features: Features, vocabulary: LeanVocabulary) -> Tensor:
    """Return logits ``(B, R, h, w)`` of patches ``(B, C, h, w)`` and scaled words ``(R, C)``."""
    (patches,) = features
    logits: Tensor = (vocabulary.queries @ patches.flatten(2)).unflatten(2, patches.shape[2:])
    return logits


def lean_form(
    network: Network,
    *,
    dtype: torch.dtype,
    device: torch.device,
    kernels: Kernels | None = None,
) -> LeanModel:
    """Return the lean model of a network; arguments as in ``LeanModel``."""
    kind: type[LeanModel] = LeanZegCLIP
    if isinstance(network, TrainingFreeCLIP):
        kind = LeanTrainingFree
    elif isinstance(network, AlignedTowers):
        kind = LeanAligned
    return kind(network, dtype=dtype, device=device, kernels=kernels)
