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
"""Figures equal slow per-pixel counts and closed forms, and edge cases are as documented."""

import json
import math

import numpy as np
import pytest
from zegclip_core.errors import DataError
from zegclip_core.model.metrics import ConfusionMatrix


def slow_iou(predicted: np.ndarray, truth: np.ndarray, label: int) -> float:
    """Count one class pixel by pixel, over all images at once."""
    both = either = 0
    for guess, real in zip(predicted.ravel(), truth.ravel(), strict=True):
        if real == 255:
            continue
        both += guess == label and real == label
        either += guess == label or real == label
    return both / either if either else math.nan


def seeded_labels(count: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and true labels that agree on about half of the pixels."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, count, shape).astype(np.uint8)
    predicted = np.where(rng.random(shape) < 0.5, truth, rng.integers(0, count, shape))
    predicted[rng.random(shape) < 0.1] = 255
    truth[rng.random(shape) < 0.2] = 255
    return predicted.astype(np.uint8), truth


@pytest.mark.parametrize('count', [1, 4, 254])
def test_figures_equal_slow_counts(count: int) -> None:
    predicted, truth = seeded_labels(count, (3, 9, 11))
    confusion = ConfusionMatrix(count)
    for guess, real in zip(predicted, truth, strict=True):
        confusion.update(guess, real)
    names = [f'class {index}' for index in range(count)]
    half = count // 2
    metrics = confusion.compute(names, seen=names[:half])
    expected = [slow_iou(predicted, truth, label) for label in range(count)]
    np.testing.assert_allclose(list(metrics.iou.values()), expected, rtol=1e-12)
    known = truth != 255
    assert metrics.pixel_accuracy == pytest.approx(np.mean(predicted[known] == truth[known]))
    assert metrics.miou == pytest.approx(np.nanmean(expected))
    assert metrics.miou_unseen == pytest.approx(np.nanmean(expected[half:]))


def test_seen_unseen_and_harmonic_mean_have_the_closed_form() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update([0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 1, 1, 2, 2])
    metrics = confusion.compute(['a', 'b', 'c'], seen={'a', 'b'})
    assert metrics.iou == pytest.approx({'a': 3 / 4, 'b': 1 / 3, 'c': 2 / 3})
    assert metrics.pixel_accuracy == pytest.approx(6 / 8)
    seen, unseen = (3 / 4 + 1 / 3) / 2, 2 / 3
    assert metrics.miou_seen == pytest.approx(seen)
    assert metrics.miou_unseen == pytest.approx(unseen)
    assert metrics.hiou == pytest.approx(2 / (1 / seen + 1 / unseen))
    assert metrics.miou == pytest.approx((3 / 4 + 1 / 3 + 2 / 3) / 3)


def test_iou_is_that_of_the_whole_set_not_the_mean_of_its_images() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update([0, 0, 0, 0], [0, 0, 0, 0])
    confusion.update([1, 1], [0, 1])
    metrics = confusion.compute(['a', 'b'])
    assert metrics.iou['a'] == pytest.approx(4 / 5)


def test_unlabelled_prediction_is_wrong_and_unlabelled_truth_is_not_counted() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update([0, 255, 1, 1], [0, 0, 1, 255])
    metrics = confusion.compute(['a', 'b'])
    assert metrics.pixel_accuracy == pytest.approx(2 / 3)
    assert metrics.iou == pytest.approx({'a': 1 / 2, 'b': 1.0})
    assert confusion.matrix.tolist() == [[1, 0, 1], [0, 1, 0]]


def test_absent_class_has_no_iou_unless_it_was_predicted() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update([0, 0, 1], [0, 0, 0])
    metrics = confusion.compute(['a', 'b', 'c'])
    assert metrics.iou['b'] == 0.0
    assert math.isnan(metrics.iou['c'])
    assert metrics.miou == pytest.approx((2 / 3 + 0.0) / 2)


@pytest.mark.parametrize(('predicted', 'figure'), [([0, 1], 1.0), ([1, 0], 0.0)])
def test_all_right_has_figures_of_one_and_nothing_right_zero(
    predicted: list[int], figure: float
) -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(predicted, [0, 1])
    metrics = confusion.compute(['a', 'b'], seen=['a'])
    figures = (metrics.pixel_accuracy, metrics.miou_seen, metrics.miou_unseen, metrics.hiou)
    assert figures == (figure,) * 4


def test_figures_that_do_not_exist_are_null_in_json() -> None:
    metrics = ConfusionMatrix(2).compute(['a', 'b'])
    names = ('pixel_accuracy', 'miou', 'miou_seen', 'miou_unseen', 'hiou')
    empty = {**dict.fromkeys(names), 'iou': {'a': None, 'b': None}}
    assert json.loads(json.dumps(metrics.to_dict(), allow_nan=False)) == empty


def test_all_classes_are_seen_unless_told_otherwise() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update([0, 1], [0, 0])
    metrics = confusion.compute(['a', 'b'])
    assert metrics.miou_seen == metrics.miou
    assert math.isnan(metrics.miou_unseen)
    assert math.isnan(metrics.hiou)


def test_parts_that_are_merged_equal_the_whole() -> None:
    predicted, truth = seeded_labels(5, (4, 6, 6))
    whole, first, second = ConfusionMatrix(5), ConfusionMatrix(5), ConfusionMatrix(5)
    whole.update(predicted, truth)
    first.update(predicted[:1], truth[:1])
    second.update(predicted[1:], truth[1:])
    first.merge(second)
    np.testing.assert_array_equal(first.matrix, whole.matrix)
    assert whole.matrix.sum() == np.sum(truth != 255)


def test_matrix_is_a_copy() -> None:
    confusion = ConfusionMatrix(2)
    confusion.matrix[:] = 7
    assert confusion.matrix.sum() == 0


@pytest.mark.parametrize(
    ('predicted', 'truth', 'message'),
    [
        ([0, 2], [0, 1], r'predicted labels in \[0, 2\) or 255, but got 2'),
        ([0, 1], [0, 254], r'true labels in \[0, 2\) or 255, but got 254'),
        ([0, 1], [0, -1], r'true labels in \[0, 2\) or 255, but got -1'),
        ([0, 1], [[0, 1]], 'one shape'),
        ([0.0, 1.0], [0, 1], 'integers'),
    ],
)
def test_labels_that_do_not_fit_are_refused_and_not_counted(
    predicted: list, truth: list, message: str
) -> None:
    confusion = ConfusionMatrix(2)
    with pytest.raises(DataError, match=message):
        confusion.update(predicted, truth)
    assert confusion.matrix.sum() == 0


@pytest.mark.parametrize('count', [0, 255])
def test_class_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf'\[1, 254\], but got {count}'):
        ConfusionMatrix(count)


def test_names_that_do_not_fit_are_refused() -> None:
    confusion = ConfusionMatrix(2)
    with pytest.raises(ValueError, match='2 distinct class names'):
        confusion.compute(['a'])
    with pytest.raises(ValueError, match='2 distinct class names'):
        confusion.compute(['a', 'a'])
    with pytest.raises(ValueError, match=r"but got \['z'\]"):
        confusion.compute(['a', 'b'], seen=['a', 'z'])
    with pytest.raises(ValueError, match='of 2 classes'):
        confusion.merge(ConfusionMatrix(3))
