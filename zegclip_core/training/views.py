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
"""What a training set looks like to the training loop: views by index."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class Batch(NamedTuple):
    """Views of one dataset.

    Attributes:
        source: Index of the dataset.
        images: RGB, uint8 ``(B, H, W, 3)``.
        labels: Class indices, uint8 ``(B, H, W)``.
        patch_tokens: The frozen tower's output, float16 ``(B, D, h, w)``, if it is kept.
        image_embedding: Likewise, float16 ``(B, D)``.
        position: Number of the batch in the run, over all processes; seeds what is random in it.
    """

    source: int
    images: Tensor
    labels: Tensor
    patch_tokens: Tensor | None = None
    image_embedding: Tensor | None = None
    position: int = 0


class Views(Protocol):
    """A dataset's views, kept with features or drawn anew."""

    def __len__(self) -> int:
        """Return the number of views in a round."""
        ...

    def batch(self, source: int, indices: Sequence[int]) -> Batch:
        """Return views by their numbers, which go on after the first round."""
        ...

    def pixel_counts(self, classes: int) -> Tensor:
        """Return how many labelled pixels each class has, float ``(classes,)``."""
        ...
