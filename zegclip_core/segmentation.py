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

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from zegclip_core.vocabulary import Vocabulary

UNLABELLED = 255
"""Label of a pixel that is none of the classes."""


@dataclass(frozen=True)
class Segmentation:
    """The label of every pixel of an image.

    Attributes:
        labels: Class ids, uint8 ``(H, W)``; ``UNLABELLED`` where no class reaches its threshold.
        scores: Score of the best class, float32 ``(H, W)`` in [0, 1], also where unlabelled.
        vocabulary: The classes that the ids stand for.
    """

    labels: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float32]
    vocabulary: Vocabulary

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """Return where a class is, bool ``(H, W)``.

        Raises:
            VocabularyError: If no class has this name.
        """
        return np.asarray(self.labels == self.vocabulary.index(name), dtype=np.bool_)

    def shares(self) -> dict[str, float]:
        """Return each class's share of all pixels, in [0, 1], by class name."""
        counts = np.bincount(self.labels.ravel(), minlength=256)[: len(self.vocabulary)]
        return {
            name: float(count) / self.labels.size
            for name, count in zip(self.vocabulary.names, counts, strict=True)
        }

    @property
    def unlabelled_share(self) -> float:
        """Share of pixels, in [0, 1], that are none of the classes."""
        return float(np.mean(self.labels == UNLABELLED))
