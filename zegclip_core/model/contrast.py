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
"""Losses that bring images and texts into one space."""

import torch
from torch import Tensor
import torch.nn.functional as F

POOLING_TEMPERATURE = 0.07
"""Of the softmax over patches: a text is compared with the patches that are most like it."""
_NOTHING = -1e4
"""Logit of what has no share; finite, so that no product of zero and infinity is made."""


def pooled_similarity(
    patch_tokens: Tensor, text: Tensor, temperature: float = POOLING_TEMPERATURE
) -> Tensor:
    """Return how well each text fits each image, by the patches that it fits best.

    The mean over the patches of their cosines, weighted by a softmax of these: patches learn what
    they show, which a class token's contrast would not teach them. After FILIP's token-wise
    similarity (Yao et al., https://arxiv.org/abs/2111.07783), with a soft maximum.

    Args:
        patch_tokens: L2-normalised, ``(A, C, h, w)``.
        text: L2-normalised text embeddings, ``(B, C)``.
        temperature: Of the softmax over patches; a small one looks at the best patch alone.

    Returns:
        Similarities in [-1, 1], ``(A, B)``.
    """
    cosines = torch.einsum('achw,bc->abhw', patch_tokens, text).flatten(2)
    weights = (cosines / temperature).softmax(dim=-1)
    return (weights * cosines).sum(dim=-1)


def contrastive_loss(similarity: Tensor, positive: Tensor, scale: Tensor | float) -> Tensor:
    """Return InfoNCE in both directions, where a row may have several matches.

    Each row's and each column's loss is the mean over its matches of their negative log-softmax;
    rows and columns without any are left out. With one match each it is CLIP's loss.

    Args:
        similarity: ``(A, B)``.
        positive: Which pairs match, bool ``(A, B)``; at least one of them does.
        scale: What similarities are multiplied by before the softmax.
    """
    logits, matches = similarity * scale, positive.to(similarity.dtype)
    losses = []
    for dim in (0, 1):
        counts = matches.sum(dim=dim)
        each = -(logits.log_softmax(dim=dim) * matches).sum(dim=dim) / counts.clamp(min=1.0)
        losses.append(each.sum() / (counts > 0).sum().clamp(min=1))
    return torch.stack(losses).mean()


def relational_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return how far words are from having the neighbours that they have in another space.

    The mean over the words of the Kullback-Leibler divergence of two softmaxes over the other
    words, one of each space's cosines, after Park et al., "Relational Knowledge Distillation",
    https://arxiv.org/abs/1904.05068. The teacher's embeddings are centred, as CLIP's lie in a
    narrow cone.

    Args:
        student: L2-normalised, ``(N, C)``.
        teacher: L2-normalised, ``(N, D)``; no gradient flows into it.
        temperature: Of both softmaxes.
    """
    centred = F.normalize(teacher - teacher.mean(dim=0), dim=-1)
    same = torch.eye(len(student), dtype=torch.bool, device=student.device)
    wanted, found = (
        (part @ part.T / temperature).masked_fill(same, _NOTHING).log_softmax(dim=-1)
        for part in (centred, student)
    )
    return F.kl_div(found, wanted.detach(), reduction='batchmean', log_target=True)
