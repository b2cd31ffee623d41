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
"""Vocabularies of any embeddings, which no text tower encoded."""

import math

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.text.encoder import EncodedVocabulary
from zegclip_core.text.vocabulary import Vocabulary


def made_vocabulary(
    embeddings: Tensor, bias: Tensor, thresholds: Tensor, classes: int | None = None
) -> EncodedVocabulary:
    """Return a vocabulary of rows ``(R, C)``, negative words behind ``classes``."""
    rows = len(embeddings)
    classes = rows if classes is None else classes
    return EncodedVocabulary(
        Vocabulary.from_names([f'class {number}' for number in range(classes)]),
        embeddings,
        bias,
        thresholds.masked_fill(torch.arange(rows) >= classes, math.inf),
        negatives=tuple(f'other {number}' for number in range(rows - classes)),
    )


def seeded_vocabulary(
    rows: int, width: int, *, bias: float = 0.1, high: float = 0.3, classes: int | None = None
) -> EncodedVocabulary:
    """Return seeded words, every other with a bias, with thresholds below ``high``."""
    generator = torch.Generator().manual_seed(2)
    embeddings = torch.randn((rows, width), generator=generator)
    return made_vocabulary(
        F.normalize(embeddings, dim=-1),
        bias * (torch.arange(rows) % 2),
        torch.rand(rows, generator=generator) * high,
        classes,
    )
