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
"""Figures of aligned towers on tensors made by hand."""

import math

import pytest
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.alignment.figures import Naming, rank_of, Retrieval, share_among_best
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.vit import VisionConfig

AXES = torch.eye(8)
TOWERS = AlignedTowers(
    AlignmentConfig(VisionConfig(8, 32, 1, 2, 32, (2, 2)), text_dim=8, dim=8, text_hidden=0)
)


def patches(rows: list[list[int]]) -> Tensor:
    """Return an image, (1, 8, h, w), of patches that lie on axes."""
    return AXES[torch.tensor(rows)].movedim(-1, 0)[None]


def test_ranks_count_what_is_better() -> None:
    scores = torch.tensor([0.1, 0.9, 0.5, 0.5])
    assert [rank_of(scores, right) for right in range(4)] == [3, 0, 1, 1]
    assert share_among_best([0, 0, 3, 7], 1) == 0.5
    assert share_among_best([0, 0, 3, 7], 5) == 0.75
    assert math.isnan(share_among_best([], 1))


def test_retrieval_ranks_the_sentence_of_each_image() -> None:
    """Eight sentences, each on its axis: patches and image embedding count alike."""
    retrieval = Retrieval(AXES)
    retrieval.update(patches([[0, 0], [0, 0]]), AXES[[0]], 0)  # The best.
    retrieval.update(patches([[1, 2], [1, 1]]), AXES[[3]], 2)  # Axes 1 and 3 are better.
    # All but its own: seven are better.
    retrieval.update(patches([[0, 1, 2], [3, 4, 5]]), AXES[[6]], 7)
    whole = F.normalize(AXES[[4]] + 0.5 * AXES[[5]], dim=1)
    retrieval.update(patches([[5, 5], [5, 5]]), whole, 5)  # Its patches decide.
    assert retrieval.figures() == {'retrieval_r1': 0.5, 'retrieval_r5': 0.75}


def naming(withheld: frozenset[int] = frozenset()) -> Naming:
    """Return figures of a dataset whose classes are words 2, 0 and 5 of eight."""
    return Naming((2, 0, 5), AXES, withheld, ('c', 'a', 'f'))


def test_pixels_are_labelled_among_the_classes_of_the_dataset() -> None:
    measure = naming()
    labels = torch.tensor([[[0, 0, 1, 1], [2, 2, 255, 1]]], dtype=torch.uint8)
    measure.update(TOWERS, patches([[2, 0, 0, 2], [5, 5, 5, 0]]), labels)
    # Of class 0 one pixel is found, one missed, one too many; of class 1 two, one missed, one
    # too many; of class 2 both.
    figures = measure.figures()
    assert figures['miou'] == pytest.approx((1 / 3 + 2 / 4 + 1) / 3)
    assert figures['pixel_accuracy'] == pytest.approx(5 / 7)


def test_regions_are_named_among_all_words() -> None:
    measure = naming(withheld=frozenset({5}))
    labels = torch.tensor([[[0, 0, 0, 1], [2, 2, 2, 1]]], dtype=torch.uint8)
    # Word 2 has two of three patches of its region; word 0 none; word 5 a third, like 6 and 7.
    tokens = patches([[2, 2, 3, 1], [5, 6, 7, 4]])
    text = AXES.clone()
    text[6] *= 1.1
    measure.text = text
    measure.update(TOWERS, tokens, labels)
    figures = measure.figures()
    assert figures['naming_top1'] == 0.5
    assert figures['naming_top5'] == 1.0
    assert figures['naming_withheld_top1'] == 0.0
    assert figures['naming_withheld_top5'] == 1.0


def test_what_does_not_exist_is_left_out() -> None:
    measure = naming()
    assert measure.figures() == {}
    measure.update(TOWERS, patches([[2]]), torch.full((1, 1, 1), 255, dtype=torch.uint8))
    assert measure.figures() == {}
    measure.update(TOWERS, patches([[2]]), torch.zeros((1, 1, 1), dtype=torch.uint8))
    assert measure.figures().keys() == {'miou', 'pixel_accuracy', 'naming_top1', 'naming_top5'}
