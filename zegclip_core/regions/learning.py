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
"""Where a word is in photos of which only sentences are known: one linear layer on patch tokens.

Multiple-instance learning, as of weakly supervised segmentation (https://arxiv.org/abs/1411.6228):
a photo shows a word if its best patches do. The layer learns to tell from the mean of these which
photos have a sentence that names the word; what it says of each patch then tells where it is. The
image tower does not change, and no text tower is asked: it is the photos of a word that have its
patches in common.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
import torch
from torch import nn, Tensor
import torch.nn.functional as F
from tqdm import tqdm
from zegclip_core.model.vit import VisionTransformer

GRID = 16
"""Rows and columns of patches that a photo is looked at with, whatever its shape."""
_CHANNELS = 256
"""Most channels that are kept of patch tokens."""
_NOISE = 0.05
"""Part of the mean variance that is added to each channel's, so that whitening does not blow up
what hardly varies."""
_BEST = GRID * GRID // 10
"""Patches that speak for a photo."""
_STEPS, _BATCH, _RATE, _DECAY = 400, 96, 1e-2, 0.05
_MOST_WEIGHT = 15.0
"""Most that a photo of a rare word counts beside one without it."""
_IMAGES_AT_ONCE = 16
_SAMPLE = 200
"""About so many images tell how patch tokens vary."""


@dataclass(frozen=True)
class Whitening:
    """Brings patch tokens ``(..., D)`` to ``C`` channels of about one variance, not correlated.

    Attributes:
        mean: Of the tokens, float32 ``(D,)``.
        directions: Their principal directions, scaled, float32 ``(D, C)``.
    """

    mean: Tensor
    directions: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> 'Whitening':
        """Fit it to tokens, ``(N, D)``."""
        mean = tokens.float().mean(dim=0)
        centred = tokens.float() - mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(tokens))
        variances, directions = variances[-_CHANNELS:], directions[:, -_CHANNELS:]
        return cls(mean, directions / (variances + _NOISE * variances.mean()).sqrt())

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return whitened tokens, float32 ``(..., C)``."""
        return (tokens.float() - self.mean) @ self.directions


def whitened_tokens(
    visual: VisionTransformer,
    images: Callable[[int], npt.NDArray[np.uint8]],
    indices: Sequence[int],
) -> Tensor:
    """Return the whitened patch tokens of some images, float16 ``(N, GRID * GRID, C)``.

    Args:
        visual: The image tower, on its device; the tokens are on the CPU.
        images: Gives an image by its index, RGB uint8 ``(H, W, 3)``.
        indices: Those wanted.
    """
    sample = indices[:: max(1, len(indices) // _SAMPLE)]
    some = torch.cat([*_tokens(visual, images, sample, 'looking at some photos')])
    whiten = Whitening.of(some.flatten(0, 1))
    parts = _tokens(visual, images, indices, 'looking at all photos')
    return torch.cat([whiten(part).half() for part in parts])


def _tokens(
    visual: VisionTransformer,
    images: Callable[[int], npt.NDArray[np.uint8]],
    indices: Sequence[int],
    title: str,
) -> Iterable[Tensor]:
    """Yield the patch tokens of a few images at a time, ``(n, GRID * GRID, D)``, on the CPU."""
    config = visual.config
    side = GRID * config.patch_size
    weight = next(visual.parameters())
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (config.mean, config.std))
    for start in tqdm(range(0, len(indices), _IMAGES_AT_ONCE), title, disable=None):
        some = [images(index) for index in indices[start:][:_IMAGES_AT_ONCE]]
        pixels = torch.stack([(_square(image, side) - mean) / std for image in some])
        with torch.inference_mode():
            tokens, _ = visual(pixels.to(weight))
        yield tokens.flatten(2).movedim(1, 2).float().cpu()


def _square(image: npt.NDArray[np.uint8], side: int) -> Tensor:
    """Return an image as a square, float32 ``(3, side, side)``, in ``[0, 255]``."""
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).movedim(2, 0).float()


def learn_words(tokens: Tensor, named: Tensor, *, seed: int = 0) -> nn.Linear:
    """Fit the layer that tells words by patches.

    Args:
        tokens: Whitened patch tokens of photos, ``(N, P, C)``.
        named: Whether a sentence of the photo names the word, bool ``(N, K)``.
        seed: Of the photos' order.

    Returns:
        A layer from ``C`` channels to the evidence of each of the ``K`` words; the more, the
        likelier. Photos with the word have a mean above 0 over their best patches, the others
        below.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(tokens.shape[2], named.shape[1])
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, -3.0)
    share = named.float().mean(dim=0)
    weight = ((1 - share) / share).clamp(max=_MOST_WEIGHT)  # Without a photo it is that, too.
    optimizer = torch.optim.AdamW(layer.parameters(), lr=_RATE, weight_decay=_DECAY)
    course = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, _STEPS)
    for _ in tqdm(range(_STEPS), 'learning words', disable=None):
        batch = torch.randperm(len(tokens), generator=generator)[:_BATCH]
        best = evidence_of(layer, tokens[batch]).topk(min(_BEST, tokens.shape[1]), dim=1).values
        loss = F.binary_cross_entropy_with_logits(
            best.mean(dim=1), named[batch].float(), pos_weight=weight
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.step()
    return layer.requires_grad_(requires_grad=False)


def evidence_of(layer: nn.Linear, tokens: Tensor) -> Tensor:
    """Return what patches say of each word, float32 ``(N, P, K)``."""
    evidence: Tensor = layer(tokens.float())
    return evidence
