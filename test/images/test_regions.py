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
"""Regions against OpenCV's labelling of components, which takes another way to them."""

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from zegclip_core.images.regions import draw_regions, find_regions, MAX_REGIONS
from zegclip_core.segmentation import Segmentation, unlabelled_id
from zegclip_core.text.vocabulary import Vocabulary


def segmentation(labels: np.ndarray, classes: int, seed: int = 0) -> Segmentation:
    scores = np.random.default_rng(seed).random(labels.shape).astype(np.float32)
    names = Vocabulary.from_names([f'thing {number}' for number in range(classes)])
    return Segmentation(labels, scores, names)


def by_components(found: Segmentation, min_area: int) -> list[tuple]:
    """Return class, box, area, centre and score of OpenCV's components of all classes."""
    rows = []
    for place in range(len(found.vocabulary)):
        mask = (found.labels == place).astype(np.uint8)
        count, parts, stats, centers = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for index in range(1, count):
            *box, area = stats[index].tolist()
            if area >= min_area:
                score = found.scores[parts == index].mean(dtype=np.float64)
                rows.append((place, tuple(box), area, *centers[index], score))
    return sorted(rows)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 24), st.integers(1, 24), st.integers(1, 4)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.uint8, np.uint16]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 5),
)
def test_regions_are_the_components_of_each_class(
    size: tuple[int, int, int], seed: int, kind: type, zoom: tuple[int, int], least: int
) -> None:
    # Noise has every shape: holes, islands in them, diagonal lines, single pixels; zoomed, blocks.
    height, width, classes = size
    labels = np.random.default_rng(seed).integers(0, classes + 1, (height, width)).astype(kind)
    labels[labels == classes] = unlabelled_id(kind)
    labels = np.ascontiguousarray(labels.repeat(zoom[0], axis=0).repeat(zoom[1], axis=1))
    found = segmentation(labels, classes, seed)
    regions = find_regions(found, least)
    rows = sorted((one.place, one.box, one.area, *one.center, one.score) for one in regions)
    expected = by_components(found, least)
    assert [row[:3] for row in rows] == [row[:3] for row in expected]
    assert np.allclose([row[3:] for row in rows], [row[3:] for row in expected], atol=1e-5)
    sizes = [(one.place, -one.area) for one in regions]
    assert sizes == sorted(sizes)


def test_a_ring_is_not_what_it_encloses() -> None:
    labels = np.full((9, 9), 255, np.uint8)
    cv2.circle(labels, (4, 4), 3, 0)
    labels[4, 4] = 0
    ring, dot = find_regions(segmentation(labels, 1))
    assert (ring.box, ring.center) == ((1, 1, 7, 7), (4.0, 4.0))
    assert ring.area == (labels == 0).sum() - 1
    assert (dot.box, dot.area) == ((4, 4, 1, 1), 1)


def test_of_noise_only_the_largest_are_told() -> None:
    labels = np.full((130, 130), 255, np.uint8)
    labels[::2, ::2] = 0  # 65 x 65 single pixels.
    labels[:4, :4] = 1
    regions = find_regions(segmentation(labels, 2))
    assert len(regions) == MAX_REGIONS
    assert regions[-1].place == 1
    assert regions[-1].area == 16


def test_nothing_has_no_regions() -> None:
    assert find_regions(segmentation(np.full((3, 3), 255, np.uint8), 2)) == []


def test_boxes_are_drawn_in_their_class_s_colour_on_a_copy() -> None:
    labels = np.full((60, 80), 255, np.uint8)
    labels[10:40, 20:70] = 1
    found = segmentation(labels, 2)
    image = np.zeros((60, 80, 3), np.uint8)
    drawn = draw_regions(image, find_regions(found), found)
    assert not image.any()
    color = found.vocabulary.colors[1].tolist()
    for row, column in ((10, 20), (10, 69), (39, 20), (39, 69), (25, 20)):
        assert drawn[row, column].tolist() == color
    assert not drawn[:8].any()
    assert drawn[12:28, 22:66].any(), 'the name stands in the box'
    assert not drawn[36:38, 30:60].any()


@pytest.mark.parametrize('width', [1, 5])
def test_a_box_without_room_for_a_name_is_drawn_all_the_same(width: int) -> None:
    labels = np.full((6, 8), 255, np.uint8)
    labels[:, :width] = 0
    found = segmentation(labels, 1)
    assert draw_regions(np.zeros((6, 8, 3), np.uint8), find_regions(found), found).any()
