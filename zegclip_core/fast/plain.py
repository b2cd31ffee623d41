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

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.fast.contract import PreparedWords, Windows
from zegclip_core.inference import best_class, sliding_scores
from zegclip_core.model import ZegCLIP
from zegclip_core.segmentation import label_type, unlabelled_id


class PlainEngine:
    """Runs a model as it is, one frame after the other.

    Args:
        network: The model, on its device and in its floating-point type.
        windows: Windows to look at; ``None`` for the whole image.
    """

    def __init__(self, network: ZegCLIP, *, windows: Windows | None = None) -> None:
        """Keep the model."""
        self.network = network
        self.windows = windows
        weight = network.visual.conv1.weight
        self.device, self.dtype = weight.device, weight.dtype
        vision = network.config.vision
        self._mean = torch.tensor(vision.mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(vision.std, device=self.device).view(1, 3, 1, 1)

    def prepare(self, embeddings: Tensor, bias: Tensor, thresholds: Tensor) -> PreparedWords:
        """Bring a vocabulary to the device; see ``Engine``."""
        parts = (part.to(self.device) for part in (embeddings, bias, thresholds))
        return PreparedWords(*parts)

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
        found = [self._label(image[None], words, output_size) for image in images]
        labels, scores = (torch.stack(parts) for parts in zip(*found, strict=True))
        return labels, scores

    def release_memory(self) -> None:
        """Do nothing: it keeps nothing."""

    def normalised(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return frames uint8 ``(B, H, W, 3)`` normalised at their working size ``(h, w)``."""
        batch = pixels.to(self.device).permute(0, 3, 1, 2).float()
        batch = F.interpolate(batch, size=size, mode='bilinear', antialias=True)
        return ((batch - self._mean) / self._std).to(self.dtype)

    def _label(
        self, image: Tensor, words: PreparedWords, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return labels and scores, both ``(H, W)``, of a normalised image ``(1, 3, h, w)``."""
        text = words.embeddings.to(self.dtype)
        if self.windows is None:
            maps = self.network(image, text)
        else:
            maps = sliding_scores(
                lambda window: self.network(window, text),
                image,
                crop=self.windows.crop,
                stride=self.windows.stride,
                bias=words.bias,
            )
        are_logits = self.windows is None
        labels, scores = best_class(maps[0], size, words.bias, are_logits=are_logits)
        return with_unlabelled(labels, scores, words), scores


def with_unlabelled(labels: Tensor, scores: Tensor, words: PreparedWords) -> Tensor:
    """Return class indices as uint8 or uint16, the greatest where a class is below its threshold.

    Args:
        labels: Best classes, int64.
        scores: Their scores, of the same shape.
        words: The vocabulary.
    """
    kind = label_type(words.classes)
    ids = labels.masked_fill(scores < words.thresholds[labels], unlabelled_id(kind))
    # Narrow already here: an eighth to copy from the device.
    return ids.to(getattr(torch, kind.__name__))
