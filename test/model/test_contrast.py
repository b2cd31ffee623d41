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
"""Contrastive and relational losses equal closed forms and slow loops in NumPy."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.model.contrast import contrastive_loss, pooled_similarity, relational_loss


def seeded(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def log_softmax(row: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = row - np.log(np.exp(row).sum())
    return values


def test_one_match_each_is_the_loss_of_clip() -> None:
    similarity = seeded(6, 6)
    logits, own = 7.0 * similarity, torch.arange(6)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    found = contrastive_loss(similarity, torch.eye(6, dtype=torch.bool), 7.0)
    torch.testing.assert_close(found, expected)


def test_several_matches_equal_a_slow_loop() -> None:
    similarity, scale = seeded(3, 5), 3.0
    positive = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]).bool()
    logits, matches = (scale * similarity).numpy(), positive.numpy()
    directions = []
    for rows, wanted in ((logits, matches), (logits.T, matches.T)):
        losses = [
            -log_softmax(row)[own].mean()
            for row, own in zip(rows, wanted, strict=True)
            if own.any()
        ]
        directions.append(np.mean(losses))
    assert len(directions) == 2
    found = float(contrastive_loss(similarity, positive, scale))
    assert found == pytest.approx(np.mean(directions))


def test_what_is_equal_costs_the_logarithm_of_the_choices() -> None:
    same = torch.eye(4, dtype=torch.bool)
    assert float(contrastive_loss(torch.ones(4, 4), same, 20.0)) == pytest.approx(math.log(4))
    assert float(contrastive_loss(2.0 * same.float() - 1.0, same, 100.0)) == pytest.approx(0.0)


def test_a_pooled_similarity_lies_between_the_mean_and_the_best_patch() -> None:
    patches = F.normalize(seeded(2, 8, 3, 5), dim=1)
    text = F.normalize(seeded(4, 8, seed=1), dim=1)
    cosines = torch.stack(
        [torch.stack([(image.flatten(1).T @ word) for word in text]) for image in patches]
    )
    mean, best = cosines.mean(dim=-1), cosines.amax(dim=-1)
    torch.testing.assert_close(pooled_similarity(patches, text, 1e6), mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(pooled_similarity(patches, text, 1e-5), best)
    between = pooled_similarity(patches, text, 0.2)
    assert (between > mean).all()
    assert (between < best).all()
    weights = np.exp(cosines[1, 2].numpy() / 0.2)
    expected = (weights * cosines[1, 2].numpy()).sum() / weights.sum()
    assert float(between[1, 2]) == pytest.approx(expected)


def test_words_of_the_same_geometry_cost_nothing_however_they_are_turned() -> None:
    teacher = F.normalize(seeded(7, 5), dim=1)
    student = F.normalize(teacher - teacher.mean(dim=0), dim=1)
    turn, _ = torch.linalg.qr(seeded(5, 5, seed=2))
    for same in (student, student @ turn):
        assert float(relational_loss(same, teacher, 0.1)) == pytest.approx(0.0, abs=1e-9)
    other = F.normalize(seeded(7, 5, seed=3), dim=1)
    loss = float(relational_loss(other, teacher, 0.1))
    assert loss > 0.1
    assert float(relational_loss(other @ turn, teacher, 0.1)) == pytest.approx(loss)
    # Neither do the spaces' widths matter.
    wide = F.pad(student, (0, 3))
    assert float(relational_loss(wide, teacher, 0.1)) == pytest.approx(0.0, abs=1e-9)


def test_a_relational_loss_equals_a_slow_loop() -> None:
    teacher, student = (F.normalize(seeded(5, 6, seed=seed), dim=1) for seed in (4, 5))
    centred = teacher.numpy() - teacher.numpy().mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    total = 0.0
    for word in range(5):
        others = [other for other in range(5) if other != word]
        wanted, found = (
            log_softmax(np.array([space[word] @ space[other] / 0.3 for other in others]))
            for space in (centred, student.numpy())
        )
        total += (np.exp(wanted) * (wanted - found)).sum() / 5
    assert float(relational_loss(student, teacher, 0.3)) == pytest.approx(total)


def test_no_gradient_flows_into_the_teacher() -> None:
    teacher, student = (seeded(4, 3, seed=seed).requires_grad_() for seed in (1, 2))
    relational_loss(F.normalize(student, dim=1), F.normalize(teacher, dim=1), 0.1).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
