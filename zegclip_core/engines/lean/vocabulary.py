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
"""A vocabulary as the lean engine keeps it, and the few of its many rows that an image shows.

Rows are padded to a bucket, with what the words alone give.

Only candidates are brought to full size. Classes never attend to one another, so the logits of
those that are kept do not change. Those come first that are the best class of a patch, by how many
patches they win, however low their scores are; then those that come nearest to it. The highest
scores alone would keep classes that are second everywhere and leave out the best of what the
model is not sure about.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
import math
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.segmentation import label_type, unlabelled_id

SMALLEST_BUCKET = 32
"""Fewer classes cost as much: nearly all of a frame's time is the image's."""


def bucket_of(rows: int) -> int:
    """Return the least of 32, 64, 128 and so on that holds so many rows.

    Example:
        >>> [bucket_of(rows) for rows in (1, 32, 33, 150)]
        [32, 32, 64, 256]
    """
    return max(SMALLEST_BUCKET, 1 << (rows - 1).bit_length())


@dataclass(frozen=True, eq=False)
class LeanVocabulary(EngineVocabulary):
    """A vocabulary with what the model computes of it alone.

    In a bucket there is padding behind the rows of ``words``, which can never win.

    Attributes:
        text: L2-normalised text embeddings in the joint space, ``(R, C)`` in the model's type.
        queries: The part of the class queries that no image changes, ``(R, C)`` in that type.
        penalties: What is subtracted before classes are compared, float32 ``(R,)``: from scores
            if ``calibrated``, else from logits.
        calibrated: Whether classes differ in their bias; else their logits have the order of
            their scores.
        used: How many rows are words, int32 ``(1,)`` on the device, as what is recorded once has
            to read it anew; ``None`` where all of them are.
    """

    text: Tensor
    queries: Tensor
    penalties: Tensor
    calibrated: bool
    used: Tensor | None = None

    @property
    def shape_key(self) -> tuple[object, ...]:
        """What of a vocabulary a recorded graph depends on."""
        kind = label_type(self.classes)
        return len(self.embeddings), self.calibrated, kind, self.used is not None

    def tensors(self) -> list[Tensor]:
        """Return all tensors."""
        values = (getattr(self, field.name) for field in fields(self))
        return [value for value in values if isinstance(value, Tensor)]

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> 'LeanVocabulary':
        """Return this with every tensor changed; labels keep their type."""
        changed: dict[str, Any] = {
            field.name: change(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **changed)

    def unpadded(self) -> 'LeanVocabulary':
        """Return this without the padding of its bucket."""
        rows = len(self.words)
        if rows == len(self.bias):
            return self
        return replace(self, used=None).with_tensors(lambda tensor: tensor[:rows])


def padded(
    embeddings: Tensor, bias: Tensor, thresholds: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a vocabulary's tensors of ``size`` rows, the padding of which is never the best."""
    room = (0, size - len(bias))
    return (
        F.pad(embeddings, (0, 0, *room)),
        F.pad(bias, room, value=math.inf),
        F.pad(thresholds, room, value=math.inf),
    )


def penalties_of(bias: Tensor, rows: int) -> tuple[Tensor, bool]:
    """Return ``penalties`` and ``calibrated`` of a bias ``(R,)``, padded behind its ``rows``."""
    used = bias[:rows]
    if bool((used == used[0]).all()):
        return torch.where(torch.isinf(bias), bias, 0.0), False
    return bias, True


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


Postprocess = Callable[[Tensor, tuple[int, int], 'LeanVocabulary'], tuple[Tensor, Tensor]]
"""Gives labels and scores ``(B, H, W)`` of mask logits ``(B, R, h, w)`` at a size ``(H, W)``."""


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
        rows: Which rows of the vocabulary the candidates are, int64 ``(B, C)``.
        size: ``(H, W)`` of labels and scores.
        vocabulary: The words of all rows.
        postprocess: Labels an image by its candidates alone.
    """
    unlabelled = unlabelled_id(label_type(vocabulary.classes))
    found = []
    for maps, kept in zip(logits, rows, strict=True):
        if len(maps) > len(kept):
            maps = maps.index_select(0, kept)
        pick = partial(torch.index_select, dim=0, index=kept)
        candidates = replace(vocabulary, used=None).with_tensors(pick)
        places, scores = postprocess(maps[None], size, candidates)
        # From places among the candidates to rows of the vocabulary; what is unlabelled stays so.
        wide = places.long()
        labels = kept[wide.clamp(max=len(kept) - 1)].masked_fill_(wide == unlabelled, unlabelled)
        found.append((labels.to(places.dtype), scores))
    labels, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    return labels, scores
