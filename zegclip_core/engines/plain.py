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
"""The plain engine: every step as the method describes it, to compare the fast ones with."""

from collections.abc import Sequence

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import (
    EngineVocabulary,
    Network,
    PostprocessStep,
    Prediction,
    run_steps,
)
from zegclip_core.model.scoring import (
    average_windows,
    best_class,
    cut_windows,
    Scoring,
    whole_logits,
    Windows,
)
from zegclip_core.segmentation import label_type, unlabelled_id
from zegclip_core.text.encoder import EncodedVocabulary


class PlainEngine:
    """Runs a model as it is, one image after the other.

    Args:
        network: The model, on its device and in its floating-point type.
        windows: Sliding windows; ``None`` for the whole image.
    """

    steps: Sequence[PostprocessStep] = ()

    def __init__(self, network: Network, *, windows: Windows | None = None) -> None:
        """Keep the model."""
        self.network = network
        self.windows = windows
        weight = network.visual.conv1.weight
        self.device, self.dtype = weight.device, weight.dtype
        vision = network.config.vision
        self._mean = torch.tensor(vision.mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(vision.std, device=self.device).view(1, 3, 1, 1)

    def prepare(self, encoded: EncodedVocabulary) -> EngineVocabulary:
        """Bring a vocabulary to the device."""
        return EngineVocabulary(
            encoded.vocabulary,
            encoded.negatives,
            encoded.embeddings.to(self.device),
            encoded.bias.to(self.device),
            encoded.thresholds.to(self.device),
        )

    @torch.inference_mode()
    def run(
        self,
        pixels: Tensor,
        size: tuple[int, int],
        vocabulary: EngineVocabulary,
        output_size: tuple[int, int],
        *,
        mask_logits: bool = False,
    ) -> Prediction:
        """Label every pixel of images of one size."""
        images = self._resized(pixels, size)
        scoring = self.network.scoring
        if self.windows is None:
            logits = self._logits(images, vocabulary)
            labels, scores = label_maps(logits, output_size, vocabulary, scoring=scoring)
            return Prediction(labels, scores, logits if mask_logits else None)
        corners = self.windows.corners(size)
        logits = self._logits(cut_windows(images, corners), vocabulary)
        logits = logits.unflatten(0, (len(corners), len(images)))  # (N, B, R, h, w)
        # A softmax model averages the logits of its windows, the others their scores.
        averages_scores = scoring == 'sigmoid'
        maps = average_windows(
            logits, corners, size, bias=vocabulary.bias if averages_scores else None
        )
        labels, scores = label_maps(
            maps, output_size, vocabulary, are_logits=not averages_scores, scoring=scoring
        )
        whole = whole_logits(logits, corners, size) if mask_logits else None
        return Prediction(labels, scores, whole)

    def release_memory(self) -> None:
        """Do nothing: it keeps nothing."""

    def normalised(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return RGB pixels uint8 ``(B, H, W, 3)`` as the model takes them, ``(B, 3, *size)``."""
        return self._normalise(self._resized(pixels, size))

    def _resized(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return RGB pixels uint8 ``(B, H, W, 3)`` as float32 ``(B, 3, *size)``."""
        batch = pixels.to(self.device).permute(0, 3, 1, 2).float()
        return F.interpolate(batch, size=size, mode='bilinear', antialias=True)

    def _normalise(self, images: Tensor) -> Tensor:
        """Subtract the mean, divide by the deviation, and cast."""
        return ((images - self._mean) / self._std).to(self.dtype)

    def _logits(self, images: Tensor, vocabulary: EngineVocabulary) -> Tensor:
        """Return the mask logits, float32 ``(B, R, h, w)``, after the steps."""
        text = vocabulary.embeddings.to(self.dtype)
        normalised = self._normalise(images)
        logits = torch.cat([self.network(image[None], text) for image in normalised]).float()
        return run_steps(self.steps, logits, vocabulary, images)


def label_maps(
    maps: Tensor,
    size: tuple[int, int],
    vocabulary: EngineVocabulary,
    *,
    are_logits: bool = True,
    scoring: Scoring = 'sigmoid',
) -> tuple[Tensor, Tensor]:
    """Choose the class of every pixel, one image after the other.

    Args:
        maps: Mask logits or, unless ``are_logits``, calibrated scores, float ``(B, R, h, w)``.
        size: ``(H, W)`` to bring them to.
        vocabulary: The words of the rows.
        are_logits: Whether ``maps`` are mask logits.
        scoring: How logits become scores.
    """
    found = [
        best_class(each, size, vocabulary.bias, are_logits=are_logits, scoring=scoring)
        for each in maps
    ]
    return with_unlabelled(found, vocabulary)


def with_unlabelled(
    found: Sequence[tuple[Tensor, Tensor]], vocabulary: EngineVocabulary
) -> tuple[Tensor, Tensor]:
    """Stack each image's best rows, int64 ``(H, W)``, and their scores, and apply the thresholds.

    Returns:
        Labels, uint8 or uint16 ``(B, H, W)``, and scores, float32 ``(B, H, W)``.
    """
    rows, scores = (torch.stack(parts) for parts in zip(*found, strict=True))
    kind = label_type(vocabulary.classes)
    # "not at least" in place of "below": a NaN, which no order knows, is no class.
    labels = rows.masked_fill(~(scores >= vocabulary.thresholds[rows]), unlabelled_id(kind))
    # Cast already here: an eighth to copy from the device.
    return labels.to(getattr(torch, kind.__name__)), scores
