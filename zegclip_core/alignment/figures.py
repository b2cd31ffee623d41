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
"""How well towers are aligned: sentences found again, regions named, pixels labelled."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.data.views import present_classes
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.contrast import pooled_similarity
from zegclip_core.model.metrics import ConfusionMatrix
from zegclip_core.model.scoring import resize_maps

_BEST = (1, 5)
"""Among how many of the best the right one should be."""


def share_among_best(ranks: Sequence[int], best: int) -> float:
    """Return the share of ranks, from 0, that are below ``best``; NaN of none."""
    return float(np.mean([rank < best for rank in ranks])) if ranks else float('nan')


def rank_of(scores: Tensor, right: int) -> int:
    """Return how many of the scores ``(N,)`` are above that of the right one."""
    return int((scores > scores[right]).sum())


class Retrieval:
    """Finds the sentence of each image among those of all.

    ``text`` are the sentences' embeddings, one an image, projected, float ``(N, C)``.
    """

    def __init__(self, text: Tensor) -> None:
        self._text = text
        self._ranks: list[int] = []

    def update(self, patch_tokens: Tensor, embedding: Tensor, index: int) -> None:
        """Rank the sentences for one image, projected ``(1, C, h, w)`` and ``(1, C)``."""
        scores = pooled_similarity(patch_tokens, self._text)[0] + (embedding @ self._text.T)[0]
        self._ranks.append(rank_of(scores, index))

    def figures(self) -> dict[str, float]:
        """Return the share of images whose sentence is the best, or among the five best."""
        return {f'retrieval_r{best}': share_among_best(self._ranks, best) for best in _BEST}


@dataclass
class Naming:
    """Labels the pixels of a dataset without training, and names its regions among all words.

    Attributes:
        classes: Indices of the dataset's classes in ``text``.
        text: Embeddings of all words, projected, float ``(K, C)``.
        withheld: Which of the words are withheld, by index.
        names: The dataset's class names.
    """

    classes: Sequence[int]
    text: Tensor
    withheld: frozenset[int]
    names: Sequence[str]
    _ranks: dict[bool, list[int]] = field(default_factory=lambda: {False: [], True: []})

    def __post_init__(self) -> None:
        """Begin to count."""
        self._matrix = ConfusionMatrix(len(self.classes))

    def update(self, towers: AlignedTowers, patch_tokens: Tensor, labels: Tensor) -> None:
        """Count one image: projected tokens ``(1, C, h, w)``, labels uint8 ``(1, H, W)``."""
        logits = towers.compare(patch_tokens, self.text[list(self.classes)]).float()
        found = resize_maps(logits, (labels.shape[1], labels.shape[2])).argmax(dim=1)
        self._matrix.update(found[0].cpu().numpy(), labels[0].cpu().numpy())
        coarse = F.interpolate(labels[None].float(), size=patch_tokens.shape[2:]).long()[0, 0]
        for index in present_classes(coarse):
            region = patch_tokens[0][:, coarse == index].mean(dim=1)  # (C,)
            word = self.classes[index]
            rank = rank_of(self.text @ region, word)
            self._ranks[word in self.withheld].append(rank)

    def figures(self) -> dict[str, float]:
        """Return mIoU, pixel accuracy, and the shares of regions that are named rightly."""
        metrics = self._matrix.compute(self.names)
        figures = {'miou': metrics.miou, 'pixel_accuracy': metrics.pixel_accuracy}
        for withheld, ranks in self._ranks.items():
            kind = 'naming_withheld' if withheld else 'naming'
            figures |= {f'{kind}_top{best}': share_among_best(ranks, best) for best in _BEST}
        return {name: value for name, value in figures.items() if not np.isnan(value)}
