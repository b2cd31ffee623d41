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
"""The plain engine: every step as the method describes it. What is faster is measured by it."""

from collections.abc import Sequence

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import Network, PreparedWords, thresholds_of, Windows
from zegclip_core.model.scoring import best_class, Scoring, sliding_maps
from zegclip_core.segmentation import label_type, unlabelled_id


class PlainEngine:
    """Runs a model as it is, one frame after the other.

    Args:
        network: The model, on its device and in its floating-point type.
        windows: Windows to look at; ``None`` for the whole image.
    """

    def __init__(self, network: Network, *, windows: Windows | None = None) -> None:
        """Keep the model."""
        self.network = network
        self.windows = windows
        weight = network.visual.conv1.weight
        self.device, self.dtype = weight.device, weight.dtype
        vision = network.config.vision
        self._mean = torch.tensor(vision.mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(vision.std, device=self.device).view(1, 3, 1, 1)

    def prepare(
        self, embeddings: Tensor, bias: Tensor, thresholds: Tensor, classes: int | None = None
    ) -> PreparedWords:
        """Bring a vocabulary to the device; see ``Engine``."""
        thresholds, classes = thresholds_of(thresholds, classes)
        embeddings, bias, thresholds = (
            part.to(self.device) for part in (embeddings, bias, thresholds)
        )
        return PreparedWords(embeddings, bias, thresholds, classes)

    @torch.inference_mode()
    def run(
        self,
        pixels: Tensor,
        size: tuple[int, int],
        words: PreparedWords,
        output_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Label every pixel; see ``Engine``."""
        images = self.normalised(pixels, size)
        scoring = self.network.scoring
        # The windows of a softmax model have their logits averaged, those of others their scores.
        are_logits = self.windows is None or scoring == 'softmax'
        maps = torch.cat([self._maps(image[None], words) for image in images])
        return label_maps(maps, output_size, words, are_logits=are_logits, scoring=scoring)

    def release_memory(self) -> None:
        """Do nothing: it keeps nothing."""

    def normalised(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return frames uint8 ``(B, H, W, 3)`` normalised at their working size ``(h, w)``."""
        batch = pixels.to(self.device).permute(0, 3, 1, 2).float()
        batch = F.interpolate(batch, size=size, mode='bilinear', antialias=True)
        return ((batch - self._mean) / self._std).to(self.dtype)

    def _maps(self, image: Tensor, words: PreparedWords) -> Tensor:
        """Return mask logits of a normalised image, or the average where there are windows."""
        text = words.embeddings.to(self.dtype)
        if self.windows is None:
            logits: Tensor = self.network(image, text)
            return logits
        return sliding_maps(
            lambda window: self.network(window, text),
            image,
            crop=self.windows.crop,
            stride=self.windows.stride,
            bias=words.bias,
            scoring=self.network.scoring,
        )


def label_maps(
    maps: Tensor,
    size: tuple[int, int],
    words: PreparedWords,
    *,
    are_logits: bool = True,
    scoring: Scoring = 'sigmoid',
) -> tuple[Tensor, Tensor]:
    """Choose the class of every pixel; arguments and result as in ``best_class``, for a batch.

    Args:
        maps: Float ``(B, K, h, w)``.
        size: ``(H, W)`` to bring them to.
        words: The vocabulary.
        are_logits: Whether ``maps`` are mask logits, or calibrated scores.
        scoring: How logits become scores.

    Returns:
        Labels, uint8 or uint16 ``(B, H, W)`` with thresholds applied, and scores, float32.
    """
    found = [
        best_class(each, size, words.bias, are_logits=are_logits, scoring=scoring) for each in maps
    ]
    return with_unlabelled(found, words)


def with_unlabelled(
    found: Sequence[tuple[Tensor, Tensor]], words: PreparedWords
) -> tuple[Tensor, Tensor]:
    """Join the images of a batch and apply the thresholds.

    Args:
        found: Of each image class indices, int64 ``(H, W)``, and their scores.
        words: The vocabulary.

    Returns:
        Labels, uint8 or uint16 ``(B, H, W)``, and scores, float32.
    """
    labels, scores = (torch.stack(parts) for parts in zip(*found, strict=True))
    kind = label_type(words.classes)
    # "not at least" in place of "below": a NaN, which no order knows, is no class.
    ids = labels.masked_fill(~(scores >= words.thresholds[labels]), unlabelled_id(kind))
    # Narrow already here: an eighth to copy from the device.
    return ids.to(getattr(torch, kind.__name__)), scores
