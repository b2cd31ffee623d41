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

Classes never attend to one another, so the logits of those that are kept do not change. Those
come first that are the best class of a patch, by how many patches they win, however low their
scores are; then those that come nearest to it. The highest scores alone would keep classes that
are second everywhere and leave out the best of what the model is not sure about.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from zegclip_core.engines.lean.vocabulary import LeanVocabulary
from zegclip_core.segmentation import label_type, unlabelled_id

Postprocess = Callable[[Tensor, tuple[int, int], LeanVocabulary], tuple[Tensor, Tensor]]
"""Gives labels and scores ``(B, H, W)`` of mask logits ``(B, R, h, w)`` at a size ``(H, W)``."""


def best_rows(logits: Tensor, vocabulary: LeanVocabulary, count: int) -> Tensor:
    """Return which rows of a vocabulary win most patches, then which come nearest to winning.

    Args:
        logits: On the patches, float ``(B, R, h, w)``.
        vocabulary: The words of the rows.
        count: How many rows to return, less than ``R``.

    Returns:
        Rows of each image, int64 ``(B, count)``, ascending, as of equal classes the first wins.
    """
    values = logits.flatten(2).float()  # (B, R, h * w)
    if vocabulary.calibrated:
        values = values.sigmoid()
    values = values - vocabulary.penalties.view(1, -1, 1)
    best, winner = values.max(dim=1, keepdim=True)  # (B, 1, h * w)
    # 0 for a row that wins somewhere, else by how much it misses its nearest patch.
    margins = (values - best).amax(dim=2)  # (B, R)
    wins = torch.zeros_like(margins).scatter_add_(1, winner[:, 0], torch.ones_like(best[:, 0]))
    return (wins + margins).topk(count, dim=1).indices.sort(dim=1).values


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Return the rows ``(B, C)`` of values ``(B, R, ...)``."""
    pairs = zip(values, rows, strict=True)
    return torch.stack([part.index_select(0, each) for part, each in pairs])


def label_candidates(
    logits: Tensor,
    rows: Tensor,
    size: tuple[int, int],
    vocabulary: LeanVocabulary,
    postprocess: Postprocess,
) -> tuple[Tensor, Tensor]:
    """Label every pixel by the candidates of its image.

    Args:
        logits: Mask logits of the candidates, float ``(B, C, h, w)``, or of all rows.
        rows: Which rows of the vocabulary they are, int64 ``(B, C)``.
        size: ``(H, W)`` of labels and scores.
        vocabulary: The words of all rows.
        postprocess: Labels an image by its candidates alone.

    Returns:
        Labels, uint8 or uint16 ``(B, H, W)``, and scores, float32 ``(B, H, W)``.
    """
    unlabelled = unlabelled_id(label_type(vocabulary.classes))
    found = []
    for maps, kept in zip(logits, rows, strict=True):
        if len(maps) > len(kept):
            maps = maps.index_select(0, kept)
        candidates = vocabulary.with_tensors(partial(torch.index_select, dim=0, index=kept))
        places, scores = postprocess(maps[None], size, candidates)
        # From places among the candidates to rows of the vocabulary; what is unlabelled stays so.
        wide = places.long()
        labels = kept[wide.clamp(max=len(kept) - 1)].masked_fill_(wide == unlabelled, unlabelled)
        found.append((labels.to(places.dtype), scores))
    labels, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    return labels, scores
