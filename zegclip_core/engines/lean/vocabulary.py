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
"""A vocabulary as the lean engine keeps it: padded to a bucket, with what the words alone give."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
import math
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.segmentation import label_type

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
    """

    text: Tensor
    queries: Tensor
    penalties: Tensor
    calibrated: bool

    @property
    def shape_key(self) -> tuple[object, ...]:
        """What of a vocabulary a recorded graph depends on."""
        return len(self.embeddings), self.calibrated, label_type(self.classes)

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
        return self if rows == len(self.bias) else self.with_tensors(lambda tensor: tensor[:rows])


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
