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
"""Queries: the words that are asked for in a batch, and the pixels in which each counts.

A word of another dataset counts only where it cannot be true.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from zegclip_core.data.views import present_classes
from zegclip_core.model.losses import UNSEEN
from zegclip_core.options import UNLABELLED
from zegclip_core.training.config import SourceConfig
from zegclip_core.training.text_embeddings import ClassSet, ClassWords

_T = TypeVar('_T')


@dataclass(frozen=True)
class Query:
    """What is asked of a batch: ``K`` words and where each of them counts.

    Attributes:
        text: Text embeddings, float32 ``(K, C)``.
        index: Position in the query of each class of the dataset, int64 ``(256,)``; ``UNLABELLED``
            for those that are not asked for and for unlabelled pixels, ``UNSEEN`` for those of
            which training is told only that they are unseen.
        valid: Whether word ``k`` counts in a pixel with label ``v``, bool ``(K, 256)``.
        weights: Weight of each word in the loss, float32 ``(K,)``.
        guessed: Positions of the words among which a pixel labelled ``UNSEEN`` is guessed.
    """

    text: Tensor
    index: Tensor
    valid: Tensor
    weights: Tensor
    guessed: tuple[int, ...] = ()

    @property
    def not_guessed(self) -> list[int]:
        """Positions of all other words."""
        return [index for index in range(len(self.text)) if index not in self.guessed]


class QueryMaker:
    """Chooses the words for batches of one dataset.

    Args:
        config: How many to choose.
        own: Classes of this dataset.
        others: Classes of the other datasets.
        pixel_counts: Labelled pixels of each class in the training views, float ``(K,)``.
        transductive: Whether unseen classes are asked for, their pixels being known to be of one
            of them; if not, those pixels count as unlabelled.

    """

    def __init__(
        self,
        config: SourceConfig,
        own: ClassSet,
        others: Sequence[ClassSet],
        pixel_counts: Tensor,
        *,
        transductive: bool = False,
    ) -> None:
        self._config = config
        self._own = own
        self._others = others
        self._guessed = sorted(own.unseen) if transductive else []
        seen_counts = pixel_counts.clone()
        seen_counts[sorted(own.unseen)] = 0.0
        self._weights = balance_weights(seen_counts, config.balance)
        self._foreign = [(set_, i) for set_, other in enumerate(others) for i in other.seen]

    def make(self, labels: Tensor, generator: torch.Generator) -> Query:
        """Choose words for a batch.

        Args:
            labels: Class indices of the dataset, uint8 ``(B, H, W)``.
            generator: Source of the random choice.

        """
        own = self._choose_own(present_classes(labels), generator)
        foreign = _choose(self._foreign, self._config.foreign_words, generator)
        text = [self._own.table.sample(own, generator)]
        text += [self._others[set_].table.sample([i], generator) for set_, i in foreign]
        # Own classes count in labelled pixels, and perhaps in the others.
        own_valid = torch.ones(256, dtype=torch.bool)
        hidden = [] if self._guessed else sorted(self._own.unseen)
        own_valid[[UNLABELLED, *hidden]] = self._config.unlabelled == 'none_of_these'
        valid = [own_valid] * len(own)
        valid += [self._foreign_valid(self._others[set_].words[i]) for set_, i in foreign]
        index = torch.full((256,), UNLABELLED, dtype=torch.int64)
        index[own] = torch.arange(len(own))
        index[self._guessed] = UNSEEN
        return Query(
            torch.cat(text),
            index,
            torch.stack(valid),
            torch.cat([self._weights[own], torch.ones(len(foreign))]),
            tuple(k for k, i in enumerate(own) if i in self._guessed),
        )

    def _choose_own(self, present: list[int], generator: torch.Generator) -> list[int]:
        """Return the seen classes that are present, some that are not, and those to guess."""
        seen = [i for i in present if i not in self._own.unseen]
        absent = [i for i in self._own.seen if i not in present]
        count = self._config.absent_words
        chosen = _choose(absent, len(absent) if count < 0 else count, generator)
        # A batch without any seen class still needs a word to be told that it is not there.
        if not (seen or chosen or self._guessed):
            chosen = _choose(self._own.seen, 1, generator)
        return seen + chosen + self._guessed

    def _foreign_valid(self, word: ClassWords) -> Tensor:
        """Return where another dataset's class is known to be absent."""
        valid = torch.zeros(256, dtype=torch.bool)
        for index in self._own.seen:
            own = self._own.words[index]
            clash = word.name in own.overlaps or own.name in word.overlaps
            valid[index] = not clash and word.name != own.name
        return valid


def _choose(options: Sequence[_T], count: int, generator: torch.Generator) -> list[_T]:
    """Return some of the options in random order."""
    order = torch.randperm(len(options), generator=generator)[:count]
    return [options[int(i)] for i in order]


def balance_weights(pixel_counts: Tensor, exponent: float) -> Tensor:
    """Return class weights that even out frequencies.

    Args:
        pixel_counts: Pixels of each class, float ``(K,)``.
        exponent: 0 gives ones, 1 weights in inverse proportion.

    Returns:
        Weights with a mean of 1 over the pixels of all classes, at most 5; 1 for classes without
        pixels.

    """
    share = pixel_counts / pixel_counts.sum().clamp(min=1.0)
    weights = share.clamp(min=1e-6) ** -exponent
    weights = weights / (weights * share).sum().clamp(min=1e-6)
    return torch.where(pixel_counts > 0, weights.clamp(max=5.0), torch.ones_like(weights))
