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
"""Of many classes the few that can be seen in an image: only they are brought to full size.

Classes never look at one another, so the logits of those that are kept do not change. Those come
first that are the best class of a patch, by how many patches they win, however low their scores
are; then those that come nearest to it. The highest scores alone would keep classes that are
second everywhere and leave out the best of what the model is not sure about.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from zegclip_core.engines.lean.vocabulary import LeanWords
from zegclip_core.segmentation import label_type, unlabelled_id

Tail = Callable[[Tensor, tuple[int, int], LeanWords], tuple[Tensor, Tensor]]
"""Gives labels and scores of mask logits ``(1, K, h, w)`` at a size."""


def best_rows(logits: Tensor, words: LeanWords, count: int) -> Tensor:
    """Return which rows of a vocabulary win most patches, then which come nearest to winning.

    Args:
        logits: On the patches, float ``(B, K, h, w)``.
        words: The vocabulary.
        count: How many to return, less than ``K``.

    Returns:
        Rows of each image, int64 ``(B, count)``, ascending, as of equal classes the first wins.
    """
    values = logits.flatten(2).float()
    if words.calibrated:
        values = values.sigmoid()
    values = values - words.penalties.view(1, -1, 1)
    best, winner = values.max(dim=1, keepdim=True)
    margins = (values - best).amax(dim=2)
    wins = torch.zeros_like(margins).scatter_add_(1, winner[:, 0], torch.ones_like(best[:, 0]))
    return (wins + margins).topk(count, dim=1).indices.sort(dim=1).values


def taken(values: Tensor, rows: Tensor) -> Tensor:
    """Return the rows ``(B, C)`` of values ``(B, K, ...)``."""
    pairs = zip(values, rows, strict=True)
    return torch.stack([part.index_select(0, each) for part, each in pairs])


def label_candidates(
    logits: Tensor, rows: Tensor, size: tuple[int, int], words: LeanWords, tail: Tail
) -> tuple[Tensor, Tensor]:
    """Label every pixel by the candidates of its image.

    Args:
        logits: Of the candidates, float ``(B, C, h, w)``.
        rows: Which rows of the vocabulary they are, int64 ``(B, C)``.
        size: ``(H, W)`` of labels and scores.
        words: The vocabulary.
        tail: Labels one image.

    Returns:
        As an engine's ``run`` does.
    """
    found = []
    for maps, each in zip(logits, rows, strict=True):
        places, scores = tail(maps[None], size, words.of(each))
        found.append((_named(places, each, words.classes), scores))
    labels, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    return labels, scores


def _named(places: Tensor, rows: Tensor, classes: int) -> Tensor:
    """Return labels of places among the candidates; what is unlabelled stays so."""
    unlabelled = unlabelled_id(label_type(classes))
    wide = places.long()
    named = rows[wide.clamp(max=len(rows) - 1)]
    return named.masked_fill_(wide == unlabelled, unlabelled).to(places.dtype)
