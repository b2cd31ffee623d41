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
"""What a segmentation makes of its labels: ids, other sizes."""

import cv2
import numpy as np
import pytest
from zegclip_core.segmentation import sampled, Segmentation
from zegclip_core.text.vocabulary import Vocabulary


def test_ids_are_the_words_own_and_the_labels_their_places() -> None:
    words = Vocabulary.parse('[{"name": "cat", "id": 7}, {"name": "dog", "id": 254}]')
    labels = np.array([[0, 1], [255, 1]], np.uint8)
    found = Segmentation(labels, np.ones((2, 2), np.float32), words)
    assert found.ids.tolist() == [[7, 254], [255, 254]]
    assert found.ids.dtype == np.uint8
    assert found.mask('dog').tolist() == [[False, True], [False, True]]
    assert found.shares() == {'cat': 0.25, 'dog': 0.5}
    assert found.unlabelled_share == 0.25


def test_255_classes_with_ids_fit_into_8_bits() -> None:
    ids = range(254, -1, -1)
    words = Vocabulary.from_names(f'thing {number}' for number in ids).numbered(ids)
    labels = np.array([[0, 254, 65535]], np.uint16)
    found = Segmentation(labels, np.ones((1, 3), np.float32), words)
    assert found.ids.dtype == np.uint8
    assert found.ids.tolist() == [[254, 0, 255]]


def test_without_ids_they_are_the_labels() -> None:
    labels = np.array([[0, 299, 65535]], np.uint16)
    words = Vocabulary.from_names(f'thing {number}' for number in range(300))
    assert Segmentation(labels, np.ones((1, 3), np.float32), words).ids is labels


@pytest.mark.parametrize('size', [(5, 7), (480, 640), (1, 1), (100, 3), (31, 41), (960, 1280)])
@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.float32])
def test_another_size_has_the_nearest_pixels_alone(size: tuple[int, int], kind: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (480, 640)).astype(kind)
    made = sampled(pixels, *size)
    exact = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    assert made.shape == size
    assert made.dtype == kind
    assert np.mean(made == exact) > 0.9  # OpenCV rounds in another way where two are as near.
    assert np.isin(made, pixels).all()


def test_half_the_size_has_every_second_pixel() -> None:
    pixels = np.arange(16).reshape(4, 4)
    assert sampled(pixels, 2, 2).tolist() == [[5, 7], [13, 15]]
    assert sampled(pixels, 8, 8)[::2, ::2].tolist() == pixels.tolist()
    assert sampled(pixels, 4, 4) is pixels
