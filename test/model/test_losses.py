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
"""The loss and the pseudo labels equal the published ones, closed forms and slow loops."""

import math

import pytest
from reference_files import zegclip_parity
import torch
from torch import Tensor
from zegclip_core.model.losses import (
    count_present_classes,
    dice_maps,
    focal_maps,
    NonExclusiveLoss,
    pseudo_labels,
)

# The stored outputs are float32 sums of many terms, added up in another order.
PARITY_TOLERANCE = 1e-4


def seeded_case(count: int = 5) -> tuple[Tensor, Tensor]:
    """Return logits of a non-square size and labels with absent classes and ignored pixels."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, count, 6, 7, generator=generator) * 3
    labels = torch.randint(0, count, (3, 6, 7), generator=generator)
    labels[0, :2] = 255
    labels[1][labels[1] == 1] = 255
    labels[2] = 255
    return logits, labels


def slow_loss(
    logits: Tensor,
    labels: Tensor,
    valid: Tensor | None = None,
    weights: list[float] | None = None,
) -> tuple[float, float]:
    """Compute both parts, times 100 and 1, pixel by pixel in float64 from their definitions."""
    batch, count, height, width = logits.shape
    focal = dice = present = 0.0
    for b in range(batch):
        for k in range(count):
            overlap = total = 0.0
            weight = 1.0 if weights is None else weights[k]
            here = False
            for y in range(height):
                for x in range(width):
                    is_class = int(labels[b, y, x]) == k
                    here = here or is_class
                    if valid is not None and not valid[b, k % valid.shape[1], y, x]:
                        continue
                    p = 1.0 / (1.0 + math.exp(-float(logits[b, k, y, x])))
                    if is_class:
                        focal -= weight * 0.25 * (1 - p) ** 2 * math.log(p) / (height * width)
                    else:
                        focal -= weight * 0.75 * p**2 * math.log(1 - p) / (height * width)
                    overlap += p * is_class
                    total += p + is_class
            if here:
                dice += weight * (1 - (2 * overlap + 1) / (total + 1))
                present += 1
    divisor = max(present, 1.0)
    return 100 * focal / divisor, dice / divisor


def test_both_parts_equal_the_published_ones() -> None:
    reference = zegclip_parity()
    given, expected = reference.under('loss'), reference.under('expected')
    loss = NonExclusiveLoss(reference.config['mask_weight'], reference.config['dice_weight'])
    parts = loss(given['mask_logits'], given['label'])
    for part, stored in ((parts.mask, 'loss_mask'), (parts.dice, 'loss_dice')):
        torch.testing.assert_close(
            part, expected[stored].squeeze(), atol=PARITY_TOLERANCE, rtol=PARITY_TOLERANCE
        )


def test_pseudo_labels_equal_the_published_ones() -> None:
    reference = zegclip_parity()
    given = reference.under('selftrain')
    actual = pseudo_labels(given['label'], given['mask_logits'], reference.config['seen'])
    assert torch.equal(actual, reference.tensors['expected.selftrain_target'])


@pytest.mark.parametrize('columns', [None, 1, 5])
@pytest.mark.parametrize('weights', [None, [0.0, 1.0, 2.5, 0.5, 1.0]])
def test_both_parts_equal_slow_loops(columns: int | None, weights: list[float] | None) -> None:
    logits, labels = seeded_case()
    generator = torch.Generator().manual_seed(4)
    valid = columns and torch.rand(3, columns, 6, 7, generator=generator) > 0.4
    factors = None if weights is None else torch.tensor(weights)
    parts = NonExclusiveLoss()(logits, labels, valid=valid, class_weights=factors)
    expected = slow_loss(logits, labels, valid, weights)
    assert (float(parts.mask), float(parts.dice)) == pytest.approx(expected, rel=1e-5)
    assert float(parts.total) == pytest.approx(sum(expected), rel=1e-5)


def test_all_pairs_counting_changes_nothing() -> None:
    logits, labels = seeded_case()
    loss = NonExclusiveLoss()
    everything = torch.ones(3, 1, 6, 7, dtype=torch.bool)
    assert loss(logits, labels, valid=everything) == loss(logits, labels)


def test_logits_of_pairs_that_do_not_count_have_no_effect() -> None:
    logits, labels = seeded_case()
    valid = torch.ones(3, 5, 6, 7, dtype=torch.bool)
    valid[1, 2] = False
    changed = logits.clone()
    changed[1, 2] = 40.0
    loss = NonExclusiveLoss()
    assert loss(changed, labels, valid=valid) == loss(logits, labels, valid=valid)


def test_zero_logits_have_the_closed_form() -> None:
    # One image, 4 pixels, classes 0 and 2 present, one pixel ignored; every score is 1/2.
    labels = torch.tensor([[[0, 0], [2, 255]]])
    parts = NonExclusiveLoss()(torch.zeros(1, 3, 2, 2), labels)
    positive, negative = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    focal = (3 * positive + 9 * negative) / 4 / 2
    dice = ((1 - (2 * 1.0 + 1) / (2 + 2 + 1)) + (1 - (2 * 0.5 + 1) / (2 + 1 + 1))) / 2
    assert float(parts.mask) == pytest.approx(100 * focal, rel=1e-6)
    assert float(parts.dice) == pytest.approx(dice, rel=1e-6)


def test_gamma_zero_is_the_weighted_cross_entropy() -> None:
    logits, labels = seeded_case()
    target = (labels[:, None] == torch.arange(5)[None, :, None, None]).float()
    actual = focal_maps(logits, target, alpha=0.5, gamma=0.0)
    expected = 0.5 * torch.nn.functional.binary_cross_entropy(
        logits.double().sigmoid(), target.double(), reduction='none'
    )
    # The reference takes the logarithm of a probability, which loses digits near 0 and 1.
    torch.testing.assert_close(actual.double(), expected, atol=1e-5, rtol=1e-5)


def test_perfect_prediction_has_no_loss() -> None:
    labels = torch.tensor([[[0, 1], [1, 255]]])
    target = labels[:, None] == torch.arange(2)[None, :, None, None]
    parts = NonExclusiveLoss()(torch.where(target, 60.0, -60.0), labels)
    assert float(parts.total) == pytest.approx(0.0, abs=1e-6)


def test_extreme_logits_stay_finite_and_keep_their_gradient() -> None:
    labels = torch.tensor([[[0, 1], [1, 255]]])
    logits = torch.full((1, 2, 2, 2), 200.0, requires_grad=True)
    parts = NonExclusiveLoss()(logits, labels)
    parts.total.backward()
    assert torch.isfinite(parts.total)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0, 0, 1] > 0).all()


def test_all_ignored_pixels_are_negatives_and_nothing_is_divided_by_zero() -> None:
    labels = torch.full((1, 2, 2), 255)
    parts = NonExclusiveLoss()(torch.zeros(1, 3, 2, 2), labels)
    assert float(parts.mask) == pytest.approx(100 * 3 * 0.75 * 0.25 * math.log(2))
    assert float(parts.dice) == 0.0


def test_dice_of_a_map_without_pixels_is_zero() -> None:
    empty = torch.zeros(1, 1, 2, 2)
    assert float(dice_maps(empty, empty)) == 0.0


def test_bfloat16_logits_are_computed_in_float32() -> None:
    logits, labels = seeded_case()
    rounded = logits.bfloat16()
    parts = NonExclusiveLoss()(rounded, labels)
    assert parts.mask.dtype == torch.float32
    assert parts == NonExclusiveLoss()(rounded.float(), labels)


def test_classes_present_are_counted_per_image() -> None:
    labels = torch.tensor([[[0, 0], [3, 255]], [[0, 1], [2, 3]], [[255, 255], [255, 255]]])
    assert count_present_classes(labels) == 6
    assert count_present_classes(labels).dtype == torch.float32


def test_two_steps_with_a_shared_normaliser_equal_one_step() -> None:
    logits, labels = seeded_case()
    loss = NonExclusiveLoss()
    normalizer = count_present_classes(labels)
    whole = loss(logits, labels)
    steps = [
        loss(image[None], label[None], normalizer=normalizer).total
        for image, label in zip(logits, labels, strict=True)
    ]
    assert float(sum(steps)) == pytest.approx(float(whole.total), rel=1e-6)


def test_a_normaliser_below_one_counts_as_one() -> None:
    logits, labels = seeded_case()
    loss = NonExclusiveLoss()
    assert loss(logits, labels, normalizer=0.2) == loss(logits, labels, normalizer=1.0)


@pytest.mark.parametrize('wrong', [-1, 5, 254, 256])
def test_label_that_is_no_class_is_refused(wrong: int) -> None:
    logits, labels = seeded_case()
    labels[0, 3, 3] = wrong
    with pytest.raises(ValueError, match=rf'labels in \[0, 5\) or 255, but got {wrong}'):
        NonExclusiveLoss()(logits, labels)


def test_shapes_that_do_not_fit_are_refused() -> None:
    logits, labels = seeded_case()
    loss = NonExclusiveLoss()
    with pytest.raises(ValueError, match='mask_logits'):
        loss(logits, labels[:, :-1])
    with pytest.raises(ValueError, match='valid'):
        loss(logits, labels, valid=torch.ones(3, 2, 6, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match='valid'):
        loss(logits, labels, valid=torch.ones(3, 5, 6, 7))
    with pytest.raises(ValueError, match='class_weights'):
        loss(logits, labels, class_weights=torch.ones(4))


@pytest.mark.parametrize(
    ('name', 'value'),
    [('alpha', 1.5), ('alpha', math.nan), ('gamma', -1.0), ('mask_weight', -1.0)],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        NonExclusiveLoss(**{name: value})


def test_pseudo_labels_take_the_best_unseen_class_only_where_unseen() -> None:
    labels = torch.tensor([[[-1, 0], [255, -1]]])
    logits = torch.zeros(1, 4, 1, 1).expand(1, 4, 2, 2).clone()
    logits[0, 0] = 9.0  # seen, and best everywhere
    logits[0, 1, 0, 0] = 1.0
    logits[0, 3, 1, 1] = 1.0
    actual = pseudo_labels(labels, logits, seen=[0, 2])
    assert actual.tolist() == [[[1, 0], [255, 3]]]
    assert labels.tolist() == [[[-1, 0], [255, -1]]]


def test_pseudo_labels_keep_no_gradient() -> None:
    logits = torch.zeros(1, 2, 1, 1, requires_grad=True)
    assert not pseudo_labels(torch.tensor([[[-1]]]), logits, seen=[0]).requires_grad


def test_pseudo_labels_without_unseen_classes() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    labels = torch.tensor([[[1, 255]]])
    assert torch.equal(pseudo_labels(labels, logits, seen=[0, 1]), labels)
    with pytest.raises(ValueError, match='all are seen'):
        pseudo_labels(torch.tensor([[[1, -1]]]), logits, seen=[0, 1])


def test_seen_class_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r'\[0, 2\), but got \[2\]'):
        pseudo_labels(torch.tensor([[[1]]]), torch.zeros(1, 2, 1, 1), seen=[0, 2])
