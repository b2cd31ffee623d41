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
"""Outlines follow the image's edges, and nothing else changes."""

import math
import warnings

import cv2
import numpy as np
import pytest
from tiny_models import noise
import torch
from torch import Tensor
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.engines.plain import label_maps
from zegclip_core.model.scoring import Scoring
from zegclip_core.refinement.edges import Rows, sharpened
from zegclip_core.segmentation import label_type, unlabelled_id
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

SIZE = (240, 320)
GRID = (30, 40)


def rows(
    logits: np.ndarray,
    *,
    thresholds: float = 0.0,
    negatives: int = 0,
    scoring: Scoring = 'sigmoid',
    bias: np.ndarray | None = None,
) -> Rows:
    count = len(logits)
    limits = np.full(count, thresholds, np.float32)
    limits[slice(count - negatives, None)] = math.inf
    if bias is None:
        bias = np.zeros(count, np.float32)
    return Rows(logits.astype(np.float32), bias, limits, count - negatives, scoring)


def coarse(given: Rows, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores as an engine gives them."""
    names = [f'word {index}' for index in range(len(given.logits))]
    vocabulary = EngineVocabulary(
        Vocabulary.from_names(names[: given.classes]),
        tuple(names[slice(given.classes, None)]),
        torch.zeros(len(names), 1),
        torch.from_numpy(given.bias),
        torch.from_numpy(given.thresholds),
    )
    maps = torch.from_numpy(given.logits)[None]
    labels, scores = label_maps(maps, size, vocabulary, scoring=given.scoring)
    return labels[0].numpy(), scores[0].numpy()


def disc(radius: float = 70.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a bright disc on dark ground as an image, and where it is."""
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = np.hypot(row - 117, column - 163) < radius
    image = np.where(inside[..., None], (200, 180, 90), (40, 60, 80)).astype(np.uint8)
    return image, inside


def logits_of(inside: np.ndarray, height: float = 4.0, noise_of: float = 1.0) -> np.ndarray:
    """Return what a model might say of a disc, and of what is around it, on the grid."""
    share = cv2.resize(inside.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA)
    share = cv2.blur(share, (3, 3))
    wobble = np.random.default_rng(2).normal(0, noise_of, (2, *GRID))
    return np.stack([height * (2 * share - 1), -height * (2 * share - 1)]) + wobble


@pytest.mark.parametrize('scoring', ['sigmoid', 'softmax'])
def test_an_outline_comes_nearer_to_the_edge(scoring: Scoring) -> None:
    image, inside = disc()
    given = rows(logits_of(inside), scoring=scoring)
    before = coarse(given)
    labels, scores = sharpened(image, *before, given, 8)
    wrong = ((before[0] == 0) != inside).mean(), ((labels == 0) != inside).mean()
    assert wrong[0] > 0.003
    assert wrong[1] < 0.5 * wrong[0]
    assert labels.dtype == np.uint8
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize('scoring', ['sigmoid', 'softmax'])
def test_in_an_image_without_edges_nothing_changes(scoring: Scoring) -> None:
    _, inside = disc()
    given = rows(logits_of(inside), thresholds=0.3, scoring=scoring)
    before = coarse(given)
    labels, scores = sharpened(np.full((*SIZE, 3), 90, np.uint8), *before, given, 8)
    assert (labels == before[0]).mean() > 0.999
    np.testing.assert_allclose(scores, before[1], atol=2e-3)


def test_thresholds_and_negatives_hold() -> None:
    image, inside = disc()
    given = rows(logits_of(inside), negatives=1)
    labels, _ = sharpened(image, *coarse(given), given, 8)
    assert set(np.unique(labels)) == {0, 255}
    assert ((labels == 0) != inside).mean() < 0.01
    given = rows(logits_of(inside), thresholds=1.0)
    labels, _ = sharpened(image, *coarse(given), given, 8)
    assert (labels == 255).all()


def test_a_bias_counts() -> None:
    image, inside = disc()
    given = rows(logits_of(inside), bias=np.array([0.95, 0.0], np.float32))
    expected, scores = coarse(given)
    labels, _ = sharpened(image, expected, scores, given, 8)
    assert (labels == expected).mean() > 0.97
    other = rows(logits_of(inside))
    assert (sharpened(image, *coarse(other), other, 8)[0] == 0).mean() > (labels == 0).mean()


@pytest.mark.parametrize('threshold', [0.0, 0.97])
def test_classes_that_are_not_refined_keep_their_pixels(threshold: float) -> None:
    image, inside = disc()
    third = np.full(GRID, -9.0)
    third[3:6, 3:6] = 9.0
    given = rows(np.concatenate([logits_of(inside), third[None]]), thresholds=threshold)
    before = coarse(given)
    labels, _ = sharpened(image, *before, given, 2)
    assert np.array_equal(labels == 2, before[0] == 2)
    assert (labels == 2).any()
    assert (labels != before[0]).any()


def test_wide_labels_and_many_rows() -> None:
    image, inside = disc()
    count = 300
    logits = np.full((count, *GRID), -9.0)
    logits[[7, 290]] = logits_of(inside)
    given = rows(logits)
    before = coarse(given)
    assert before[0].dtype == label_type(count) == np.uint16
    labels, _ = sharpened(image, *before, given, 4)
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) <= {7, 290, unlabelled_id(np.uint16)}
    assert ((labels == 7) != inside).mean() < 0.01


@pytest.mark.parametrize('grid', [(1, 1), (1, 9), (4, 4), (50, 70)])
@pytest.mark.parametrize('size', [(1, 1), (2, 300), (60, 40)])
@pytest.mark.parametrize('scoring', ['sigmoid', 'softmax'])
def test_any_size_is_taken(grid: tuple[int, int], size: tuple[int, int], scoring: Scoring) -> None:
    given = rows(np.random.default_rng(0).normal(0, 300, (3, *grid)), scoring=scoring)
    before = coarse(given, size)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        labels, scores = sharpened(noise(*size), *before, given, 8)
    assert labels.shape == scores.shape == size
    assert np.isfinite(scores).all()


def test_one_class_everywhere_is_left_alone() -> None:
    given = rows(np.stack([np.ones(GRID), -np.ones(GRID)]))
    before = coarse(given)
    labels, scores = sharpened(noise(*SIZE), *before, given, 8)
    assert labels is before[0]
    assert scores is before[1]


WORDS = Vocabulary.from_names(['cat', 'traffic light', 'tree'])


def test_a_segmenter_sharpens_what_it_is_told_to(tiny: str) -> None:
    images = [cv2.GaussianBlur(noise(96, 120, seed), (0, 0), 3) for seed in range(2)]

    def half(logits: Tensor, vocabulary: EngineVocabulary, images: Tensor) -> Tensor:
        sides = torch.linspace(-3, 3, logits.shape[3]).expand(len(logits), *logits.shape[2:])
        logits[:, 0], logits[:, 1], logits[:, 2:] = sides, -9.0, -sides[:, None]
        return logits

    plain, sharp = (
        Segmenter.load(tiny, device='cpu', sharp_edges=most, negatives=['wall'], steps=[half])
        for most in (0, 8)
    )
    expected = plain.segment_batch(images, WORDS, mask_logits=True)
    found = sharp.segment_batch(images, WORDS)
    asked = sharp.segment_batch(images, WORDS, mask_logits=True)
    for one, two, three in zip(expected, found, asked, strict=True):
        assert two.mask_logits is None
        np.testing.assert_allclose(three.mask_logits, one.mask_logits, rtol=1e-5, atol=1e-6)
        assert two.labels.dtype == one.labels.dtype
        assert np.array_equal(two.labels, three.labels)
        assert (two.labels != one.labels).any()
        assert (two.labels == one.labels).mean() > 0.5
    alone = sharp.segment(images[1], WORDS)
    assert (alone.labels == found[1].labels).mean() > 0.99
