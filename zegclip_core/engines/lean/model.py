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
from collections.abc import Callable

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import Network
from zegclip_core.engines.lean.block import Prompts
from zegclip_core.engines.lean.decoder import LeanDecoder, LeanDetail
from zegclip_core.engines.lean.folding import cast, fold_layer_scale, fold_quick_gelu, own_copy
from zegclip_core.engines.lean.last_block import LastBlock
from zegclip_core.engines.lean.pixels import FoldedConvolution, PatchProjection
from zegclip_core.engines.lean.rows import RowKernels
from zegclip_core.engines.lean.tower import LeanTower
from zegclip_core.engines.lean.vocabulary import best_rows, LeanVocabulary, take_rows
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.blocks import Kernels, PYTORCH
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP

Features = tuple[Tensor, ...]
"""What a model makes of images alone; the words are compared with it."""

ROWS = 256
"""Queries at a time; more do not fit into a core's cache, fewer make small products."""
FEW_PROMPTS = 32
"""Prompts of a layer up to which a CPU projects them anew sooner than it copies the tokens."""
_RESIDUAL_STREAM = (
    *('visual.*ln_*', 'visual.prompt_norm.*', 'visual.*.gamma', 'visual.*_embedding'),
    *('logit_scale.*', 'log_scale'),  # Rounded, its exponential would be off by a percent.
)
"""Parameters that act on the tokens between the blocks, and factors and offset of the logits."""
_DECODER = ('visual.proj', 'visual.proj_bias', 'visual.pool.*', 'decoder.*', '*_projection.*')
"""Parameters of the joint space and the decoder: few operations, but on a GPU not for free."""


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


def prompts_of(
    visual: VisionTransformer, device: torch.device, dtype: torch.dtype
) -> list[Prompts]:
    """Return every layer's prompts, in a type, in the form that takes least time on a device."""
    if device.type == 'cpu' and visual.config.prompt_tokens > FEW_PROMPTS:
        return [
            None if pair is None else (pair[0].to(dtype), pair[1].to(dtype))
            for pair in visual.prompt_keys_and_values()
        ]
    return [None if part is None else part.to(dtype) for part in visual.normalised_prompts()]


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

    The prompts of the layers, the normalisation of the pixels, QuickGELU's factor and those of
    LayerScale do not depend on the image: they are computed once, or folded into weights, in the
    precision that the network comes in. Where the products are of a narrower type, the tokens
    that every block adds to, and their norms, stay in float32; on a CPU, so does the decoder. This
    takes time and keeps labels nearer to those in float32.

    Args:
        network: The model; it stays as it is.
        dtype: Floating-point type of the products.
        device: Where it runs.
        kernels: What computes the blocks; ``None`` takes what is fastest there.

    Attributes:
        network: A copy of the model, on ``device`` and in ``dtype``, with factors folded in.
        rows: What computes the norms; it may be changed between two frames.
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
        self.look: Callable[[Tensor], Features] = self.features
        self.network = network = own_copy(network, device)
        self.dtype = dtype
        vision = network.config.vision
        first = [network.visual.conv1]
        if isinstance(network, ZegCLIP) and network.config.detail_width:
            first.append(network.detail.first)
        on_cpu = device.type == 'cpu'
        # A CPU's convolutions are faster so; CUDA's group norm would copy what comes in this way.
        layout = torch.channels_last if on_cpu else torch.contiguous_format
        fold_quick_gelu(network.visual)
        # The last block of a training-free model does without its factors, as do its users.
        kept = int(isinstance(network, TrainingFreeCLIP))
        for block in network.visual.blocks[: len(network.visual.blocks) - kept]:
            fold_layer_scale(block)
        with torch.no_grad():
            patches, *self._stem = (
                FoldedConvolution(
                    layer, mean=vision.mean, std=vision.std, dtype=dtype, memory_format=layout
                )
                for layer in first
            )
            prompts = prompts_of(network.visual, device, dtype)
        cast(network, dtype, (*_RESIDUAL_STREAM, *_DECODER) if on_cpu else _RESIDUAL_STREAM)
        projection = PatchProjection(vision, patches.weight, patches.bias)
        self._kernels = kernels = kernels or kernels_for(device, dtype)
        last = None
        if isinstance(network, TrainingFreeCLIP):
            last = LastBlock(network.visual.blocks[-1], network.config, kernels)
        self.rows = RowKernels()
        self.tower = LeanTower(
            network.visual,
            projection,
            prompts,
            self._joint,
            kernels=kernels,
            rows=self.rows,
            last=last,
        )

    @property
    @abstractmethod
    def _joint(self) -> torch.dtype:
        """Floating-point type of the joint space and what works in it."""

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
        """Return what does not depend on the words, of ``resized`` images ``(B, 3, H, W)``."""

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

    def __init__(
        self,
        network: ZegCLIP,
        *,
        dtype: torch.dtype,
        device: torch.device,
        kernels: Kernels | None = None,
    ) -> None:
        """Join weights of the decoder as well."""
        super().__init__(network, dtype=dtype, device=device, kernels=kernels)
        own, config = self.network, network.config
        scale = network.logit_scale if config.logit_scale else None
        self.decoder = LeanDecoder(own.decoder, network.decoder, scale, self.rows)
        self.detail: LeanDetail | None = None
        if config.detail_width:
            (stem,) = self._stem
            self.detail = LeanDetail(own.detail, stem, self._kernels.linear)

    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings in the joint space and the constant of the queries."""
        text = self.network.project_text(embeddings.to(self._joint))
        return text, self.network.decoder.relationship.constants(text)

    def features(self, images: Tensor) -> Features:
        """Return normalised patch tokens, image embedding ``(B, C)``, any finer tokens.

        The tokens are ``(B, h, w, C)``.
        """
        images = images.to(self.dtype)
        tokens, embedding = self.network.project(
            *(part.to(self._joint) for part in self.tower(images))
        )
        normal = self.rows.unit(tokens.flatten(2).transpose(1, 2), self._joint)
        found = (
            # One by one: a slice of the shape would be constants of a recorded graph.
            normal.unflatten(1, (tokens.shape[2], tokens.shape[3])),
            self.rows.unit(embedding[:, None], self._joint)[:, 0],
        )
        if self.detail is None:
            return found
        fine, size = self.detail(tokens.to(self.dtype), images)
        return *found, self.rows.unit(fine, self._joint).unflatten(1, size)

    def compare(self, features: Features, vocabulary: LeanVocabulary) -> Tensor:
        """Return mask logits ``(B, R, h, w)``, on the finest tokens."""
        tokens, _, *fine = features
        return self._mask_logits(self._decoded(features, vocabulary), fine[0] if fine else tokens)

    def best_logits(
        self, images: Tensor, vocabulary: LeanVocabulary, count: int, *, complete: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the best classes, which alone are compared with fine features."""
        if self.detail is None:
            return super().best_logits(images, vocabulary, count, complete=complete)
        tokens, embedding, fine = self.look(images)
        queries = self._decoded((tokens, embedding), vocabulary)
        rows = best_rows(self._mask_logits(queries, tokens), vocabulary, count)
        queries = queries if complete else take_rows(queries, rows)
        return self._mask_logits(queries, fine), rows

    @property
    def _joint(self) -> torch.dtype:
        """Type of the joint space and the decoder."""
        return self.network.decoder.relationship.q_proj.weight.dtype

    def _decoded(self, features: Features, vocabulary: LeanVocabulary) -> Tensor:
        """Return decoded queries ``(B, R, C)``."""
        tokens, embedding = features[:2]
        queries = self.network.decoder.relationship.queries(
            vocabulary.text, vocabulary.queries, embedding
        )
        return self.decoder.decode(queries, tokens.flatten(1, 2))

    def _mask_logits(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return mask logits ``(B, R, h, w)`` of queries ``(B, R, C)`` on tokens."""
        logits = self.decoder.mask_logits(queries, tokens.flatten(1, 2))
        found: Tensor = logits.unflatten(2, tokens.shape[1:3])
        return found


class LeanTrainingFree(LeanModel):
    """``TrainingFreeCLIP``, its cosines made of float32."""

    network: TrainingFreeCLIP
    _joint = torch.float32

    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings, and those times the factor."""
        text = F.normalize(embeddings.float(), dim=-1)
        return text, self.network.config.scale * text

    def features(self, images: Tensor) -> Features:
        """Return the normalised patch tokens, ``(B, C, h, w)``."""
        tokens, _ = self.tower(images.to(self.dtype))
        return (F.normalize(self.network.joint(tokens).float(), dim=1),)

    def compare(self, features: Features, vocabulary: LeanVocabulary) -> Tensor:
        """Return logits ``(B, R, h, w)``, cosines times the factor and any offset."""
        logits, offset = scaled_cosines(features, vocabulary), self.network.config.offset
        return logits + offset if offset else logits


class LeanAligned(LeanModel):
    """``AlignedTowers``, their cosines made of float32."""

    network: AlignedTowers

    def queries(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised text embeddings in the joint space, and those times the factor."""
        text = self.network.project_text(embeddings.to(self._joint)).float()
        return text, self.network.scale * text

    def features(self, images: Tensor) -> Features:
        """Return the normalised patch tokens, ``(B, C, h, w)``."""
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
