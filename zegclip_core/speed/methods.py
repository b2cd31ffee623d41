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
"""The methods: each labels the same images with the same vocabulary."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel, SDPBackend
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from zegclip_core.images.checks import working_size
from zegclip_core.model.vit import CLIP_MEAN, CLIP_STD, VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.inputs import Bundle, Inputs
from zegclip_core.speed.literal import LiteralModel, LiteralPipeline

_HELD_MAPS = 5
"""Full-size maps of every class that the literal pipeline holds at once."""
_PROPOSALS = 100
"""Masks of each image, as many as the first of two stages makes."""
_CROP = 224
"""Height and width of a crop that CLIP classifies, in pixels."""

Labels = npt.NDArray[np.integer]
"""Class indices of the pixels of a batch, ``(B, H, W)``."""


class Method(ABC):
    """One way to label images."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.weight_bytes = sum(weight.nbytes for weight in weights)
        self._words: tuple[Inputs, Tensor, Tensor] | None = None

    @abstractmethod
    def label(self, inputs: Inputs) -> Labels:
        """Label images that lie in the host's memory; the labels lie there as well."""

    @abstractmethod
    def operations(self, inputs: Inputs) -> int:
        """Return how many operations the network needs for the images."""

    def words(self, inputs: Inputs, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return text embeddings and bias on a device, copied there once for each case."""
        if self._words is None or self._words[0] is not inputs:
            self._words = inputs, inputs.embeddings.to(device), inputs.bias.to(device)
        return self._words[1:]

    def needed_bytes(self, inputs: Inputs) -> float:
        """Return about how much memory a case takes, where that may be more than there is."""
        return 0.0

    def release(self) -> None:
        """Free what the last case left."""
        self._words = None


def count_operations(forward: Callable[..., object], *shapes: Sequence[int]) -> int:
    """Return the operations of matrix products and convolutions, as PyTorch counts them.

    A multiplication and its addition are two. Nothing is computed: ``forward`` takes tensors of
    these shapes on the ``meta`` device, where its own have to be as well.
    """
    counter = FlopCounterMode(display=False)
    # Fused attention is not counted on every device.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        forward(*(torch.empty(*shape, device='meta') for shape in shapes))
    return counter.get_total_flops()


class Ours(Method):
    """A segmenter of this package."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        super().__init__(segmenter.network.parameters())

    def label(self, inputs: Inputs) -> Labels:  # noqa: D102 - as every method
        found = self._segmenter.segment_batch(inputs.images, inputs.vocabulary, scores=False)
        return np.stack([each.labels for each in found])

    def operations(self, inputs: Inputs) -> int:
        """Count the plain network; the lean engine saves a few of them."""
        segmenter = self._segmenter
        size = working_size(
            *inputs.images[0].shape[:2],
            short_side=segmenter.short_side,
            patch_size=segmenter.patch_size,
        )
        with torch.device('meta'):
            network = ZegCLIP(segmenter.network.config).eval()  # type: ignore[arg-type] # trained
        return count_operations(network, (len(inputs.images), 3, *size), inputs.embeddings.shape)

    def release(self) -> None:  # noqa: D102
        super().release()
        self._segmenter.release_memory()


class Literal(Method):
    """The published pipeline in float32."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        weights = {
            name: value.to(device, torch.float32)
            for name, value in bundle.published.items()
            if name.startswith(('backbone.', 'decode_head.'))
        }
        super().__init__(weights.values())
        config, settings = bundle.checkpoint.config, bundle.checkpoint.settings
        vision = config.vision
        heads = config.decoder_heads  # type: ignore[union-attr] # Published ones have a decoder.
        model = LiteralModel(weights, vision.grid[0], vision.heads, heads)
        bias = torch.zeros(0, device=device)
        self._pipeline = LiteralPipeline(model, settings.crop, settings.stride, bias)

    @torch.inference_mode()
    def label(self, inputs: Inputs) -> Labels:  # noqa: D102
        embeddings, bias = self.words(inputs, self._pipeline.bias.device)
        pipeline = replace(self._pipeline, bias=bias)
        batch = pipeline.prepare(inputs.images)
        logits = pipeline.predict(batch, embeddings)
        height, width = inputs.images[0].shape[:2]
        return pipeline.postprocess(logits, (batch.shape[2], batch.shape[3]), (height, width))

    def operations(self, inputs: Inputs) -> int:
        """Count the network on every window."""
        batch, crop = self._pipeline.prepare(inputs.images), self._pipeline.crop
        weights = {name: value.to('meta') for name, value in self._pipeline.model.weights.items()}
        predict = replace(self._pipeline.model, weights=weights).predict
        windows = self._pipeline.windows(*batch.shape[2:])
        window = (*batch.shape[:2], crop, crop)
        return len(windows) * count_operations(predict, window, inputs.embeddings.shape)

    def needed_bytes(self, inputs: Inputs) -> float:
        """Count the maps of all classes, at the larger of the two sizes."""
        height, width = inputs.images[0].shape[:2]
        scale = max(1.0, self._pipeline.crop / min(height, width))
        pixels = len(inputs.images) * height * width * scale**2
        return 4.0 * _HELD_MAPS * len(inputs.embeddings) * pixels


class TwoStage(Method):
    """Two stages, as zsseg and ZegFormer work, in float32; the first one costs nothing here.

    A first network proposes masks without names; each is cut out of the image, what is around it
    blanked, and CLIP classifies every crop. Here the masks are seeded ellipses whose making is not
    timed, and all crops are taken at once: both are in its favour.

    References:
        Xu et al., "A Simple Baseline for Open-Vocabulary Semantic Segmentation with Pre-trained
        Vision-language Model" (zsseg), https://arxiv.org/abs/2112.14757.
        Ding et al., "Decoupling Zero-Shot Semantic Segmentation" (ZegFormer),
        https://arxiv.org/abs/2112.07910.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        config = replace(
            bundle.checkpoint.config.vision,
            prompt_tokens=0,
            prompt_norm=False,
            class_embedding_twice=False,
        )
        weights = {
            name.removeprefix('visual.'): value
            for name, value in bundle.checkpoint.state_dict.items()
            if name.startswith('visual.') and 'prompt' not in name
        }
        self._tower, self._device = VisionTransformer(config).eval(), device
        self._tower.load_state_dict(weights)
        self._tower.to(device)
        self._mean, self._std = (
            torch.tensor(part, device=device) for part in (CLIP_MEAN, CLIP_STD)
        )
        self._proposals: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        super().__init__(self._tower.parameters())

    @torch.inference_mode()
    def label(self, inputs: Inputs) -> Labels:  # noqa: D102
        from torchvision.ops import roi_align  # Not on every machine that has PyTorch.

        height, width = inputs.images[0].shape[:2]
        if (height, width) not in self._proposals:  # Made once for a size, in its first call.
            masks, boxes = seeded_proposals(height, width)
            self._proposals[height, width] = masks.to(self._device), boxes.to(self._device)
        masks, boxes = self._proposals[height, width]
        own = boxes.clone()
        own[:, 0] = torch.arange(len(boxes))  # Each box is cut out of its own mask.
        inside = roi_align(masks[:, None], own, (_CROP, _CROP), sampling_ratio=1, aligned=True)
        (text, _), labels = self.words(inputs, self._device), []
        for image in inputs.images:
            pixels = torch.from_numpy(image).to(self._device).float()
            normalised = ((pixels - self._mean) / self._std).permute(2, 0, 1)[None]  # (1, 3, H, W)
            crops = roi_align(normalised, boxes, (_CROP, _CROP), sampling_ratio=1, aligned=True)
            embeddings = F.normalize(self._tower(crops * inside)[1], dim=-1)  # (M, C)
            shares = (100.0 * embeddings @ text.T).softmax(dim=-1)  # (M, K), at CLIP's temperature
            scores = torch.einsum('mk,mhw->khw', shares, masks)
            labels.append(scores.argmax(dim=0).cpu().numpy())
        return np.stack(labels)

    def operations(self, inputs: Inputs) -> int:
        """Count CLIP on every crop."""
        with torch.device('meta'):
            tower = VisionTransformer(self._tower.config)
        return len(inputs.images) * count_operations(tower, (_PROPOSALS, 3, _CROP, _CROP))


def seeded_proposals(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return masks and boxes of ellipses of many sizes all over an image.

    Returns:
        Masks, float32 ``(M, H, W)``, 1 inside and 0 outside; and the box around each, float32
        ``(M, 5)``: 0, left, top, right, bottom, in pixels.
    """
    rng = np.random.default_rng(0)
    size = torch.tensor([height, width])
    center = torch.from_numpy(rng.uniform(0.1, 0.9, (_PROPOSALS, 2))) * size
    radii = torch.from_numpy(rng.uniform(0.05, 0.3, (_PROPOSALS, 2))) * size
    (y, x), (b, a) = center.T[:, :, None, None], radii.T[:, :, None, None]  # (M, 1, 1) each
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    masks = ((rows - y) / b) ** 2 + ((columns - x) / a) ** 2 < 1.0
    least = (center - radii).clamp(min=0.0).flip(1)
    most = torch.minimum(center + radii, size).flip(1)
    boxes = torch.cat([torch.zeros(_PROPOSALS, 1), least, most], dim=1)
    return masks.float(), boxes.float()


def build_method(name: str, bundle: Bundle, device: torch.device) -> Method:
    """Build one of ``METHODS``; ``literal`` and ``two_stage`` need weights as published."""
    if name == 'literal':
        return Literal(bundle, device)
    if name == 'two_stage':
        return TwoStage(bundle, device)
    options = SegmenterOptions(
        device=str(device),
        precision='auto' if name == 'lean' else 'fp32',
        engine='plain' if name == 'plain' else 'lean',
        threshold=0.0,
        negatives=(),
    )
    return Ours(Segmenter(bundle.loaded(), options))
