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
"""Segmentation: what the segmenter says about one image."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from zegclip_core.options import UNLABELLED
from zegclip_core.text.vocabulary import Vocabulary

NARROW = UNLABELLED - 1
"""Most classes whose labels fit into 8 bits beside ``UNLABELLED``; more take 16."""

LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def label_type(classes: int) -> type[np.uint8] | type[np.uint16]:
    """Return the type of the labels of a vocabulary of so many classes."""
    return np.uint8 if classes <= NARROW else np.uint16


def unlabelled_id(kind: npt.DTypeLike) -> int:
    """Return the label of a pixel that is no class: the greatest one that the type has."""
    return int(np.iinfo(np.dtype(kind)).max)


def sampled(pixels: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Return an image ``(H, W)`` in another size, made of its own values: never in between.

    Each new pixel has the value of the one that its centre lies in.
    """
    if pixels.shape == (height, width):
        return pixels
    old_height, old_width = pixels.shape
    rows = (2 * np.arange(height) + 1) * old_height // (2 * height)
    columns = (2 * np.arange(width) + 1) * old_width // (2 * width)
    return np.asarray(pixels[rows[:, None], columns])


@dataclass(frozen=True)
class Moment:
    """Of which stream of images one is, and when it was taken.

    Attributes:
        stream: Name of the camera or video.
        seconds: Time of the image [s]; only differences count.
    """

    stream: Hashable
    seconds: float


@dataclass(frozen=True)
class Segmentation:
    """The label of every pixel of an image.

    Attributes:
        labels: Places of classes in the vocabulary, uint8 ``(H, W)``, or uint16 above ``NARROW``
            classes; the greatest value of the type (255 or 65535) where the best class is under
            its threshold, or a negative word is better than all.
        scores: Score of the best class or negative word, float32 ``(H, W)`` in [0, 1], also where
            unlabelled; ``(0, 0)`` if the segmenter was told that nobody wants them.
        vocabulary: The classes.
        mask_logits: What the labels were made of, before the upsampling, the bias and the
            sigmoid or softmax: a row for each class, and if asked for each negative word after
            them, float32 ``(K, h, w)`` at the resolution of the patches, or finer; ``None`` if
            nobody asked.
    """

    labels: LabelArray
    scores: npt.NDArray[np.float32]
    vocabulary: Vocabulary
    mask_logits: npt.NDArray[np.float32] | None = None

    @property
    def ids(self) -> LabelArray:
        """The id of each pixel's class as a label image has it, ``(H, W)``.

        uint8 with 255 = unlabelled where the classes were given ids, else ``labels``.
        """
        if not self.vocabulary.has_ids:
            return self.labels
        table = np.full(int(np.iinfo(self.labels.dtype).max) + 1, UNLABELLED, np.uint8)
        table[: len(self.vocabulary)] = self.vocabulary.ids
        return np.take(table, self.labels)

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """Return where a class is, bool ``(H, W)``.

        Raises:
            VocabularyError: If no class has this name.
        """
        return np.asarray(self.labels == self.vocabulary.index(name), dtype=np.bool_)

    def shares(self) -> dict[str, float]:
        """Return each class's share of all pixels, in [0, 1], by class name."""
        size = len(self.vocabulary)
        counts = np.bincount(self.labels.ravel(), minlength=size)[:size]
        return {
            name: float(count) / self.labels.size
            for name, count in zip(self.vocabulary.names, counts, strict=True)
        }

    def report(self) -> dict[str, Any]:
        """Return id, name, colour and share of each class and of what is none, fit for JSON."""
        return report_of(self, self.shares(), self.unlabelled_share)

    @property
    def unlabelled(self) -> npt.NDArray[np.bool_]:
        """Where no class is, bool ``(H, W)``."""
        return np.asarray(self.labels == unlabelled_id(self.labels.dtype), dtype=np.bool_)

    @property
    def unlabelled_share(self) -> float:
        """Share of pixels, in [0, 1], that are none of the classes."""
        return float(np.mean(self.unlabelled))


def report_of(last: Segmentation, shares: dict[str, float], unlabelled: float) -> dict[str, Any]:
    """Return what JSON files say about classes and their shares of an image or a video.

    Args:
        last: Any segmentation of it.
        shares: Share of the pixels, in [0, 1], by class name, in the order of the classes.
        unlabelled: Share of the pixels that are none of them.
    """
    colors, ids = last.vocabulary.colors.tolist(), last.vocabulary.ids
    return {
        'classes': [
            {'id': ids[place], 'name': name, 'color': colors[place], 'share': round(share, 6)}
            for place, (name, share) in enumerate(shares.items())
        ],
        'unlabelled': {'id': unlabelled_id(last.ids.dtype), 'share': round(unlabelled, 6)},
    }
