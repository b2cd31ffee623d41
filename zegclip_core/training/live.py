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
"""Views drawn anew each time, for towers whose output changes while training (prompts)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from zegclip_core.data.folder import Pictures
from zegclip_core.data.views import random_view, view_seed, ViewConfig, whole_view
from zegclip_core.training.views import Batch


class LiveViews:
    """A dataset's pictures, each giving many views.

    Args:
        dataset: The pictures.
        indices: Which of them.
        config: How views are drawn.
        seed: Seed of the views; ``None`` gives each picture once, whole.
        multiple: What the sides of whole pictures are multiples of, where they keep their shape.

    """

    def __init__(
        self,
        dataset: Pictures,
        indices: Sequence[int],
        config: ViewConfig,
        seed: int | None,
        *,
        multiple: int = 1,
    ) -> None:
        self._dataset = dataset
        self._indices = list(indices)
        self._config = config
        self._seed = seed
        self._multiple = multiple

    def __len__(self) -> int:
        """Return the number of pictures, which is that of the views of a round."""
        return len(self._indices)

    def batch(self, source: int, indices: Sequence[int]) -> Batch:
        """Return some of the views; each round has others."""
        views = [self._view(index) for index in indices]
        images, labels = zip(*views, strict=True)
        return Batch(source, torch.stack(images), torch.stack(labels))

    def _view(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self._dataset[self._indices[index % len(self._indices)]]
        if self._seed is None:
            return whole_view(sample, self._config, multiple=self._multiple)
        seed = view_seed(self._seed, sample.name, index // len(self._indices))
        return random_view(sample, self._config, seed)

    def pixel_counts(self, classes: int) -> Tensor:
        """Return how many labelled pixels each class has, float ``(classes,)``."""
        counts = np.zeros(256, dtype=np.int64)
        for index in self._indices:
            counts += np.bincount(self._dataset[index].labels.ravel(), minlength=256)
        return torch.from_numpy(counts[:classes]).float()
