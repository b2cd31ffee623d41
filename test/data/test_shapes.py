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
"""The dataset ``shapes``: masks, classes, what is unseen, and that pictures follow from seeds."""

import colorsys
from pathlib import Path

import cv2
import numpy as np
import pytest
from zegclip_core.data.check import expected_parts
from zegclip_core.data.datasets import open_dataset, unseen_of
from zegclip_core.data.folder import Sample, SegmentationDataset
from zegclip_core.data.shapes import CLASSES, COLORS, PARTS, SHAPES, SIDE, UNSEEN
from zegclip_core.errors import DataError
from zegclip_core.options import UNLABELLED


def pictures(part: str, count: int = 25) -> list[Sample]:
    dataset = open_dataset('no such folder', 'shapes', part)
    return [dataset[index] for index in range(count)]


def regions(sample: Sample) -> list[tuple[str, np.ndarray]]:
    """Return each connected shape of a picture with its class name."""
    found = []
    for index in np.unique(sample.labels[sample.labels != UNLABELLED]):
        count, parts = cv2.connectedComponents((sample.labels == index).astype(np.uint8))
        found += [(CLASSES[index], parts == part) for part in range(1, count)]
    return found


def test_a_mask_lies_where_the_colour_is_and_nowhere_else() -> None:
    for sample in pictures('train'):
        assert sample.image.shape == (*sample.labels.shape, 3)
        assert sample.image.dtype == sample.labels.dtype == np.uint8
        for name, inside in regions(sample):
            pixels = sample.image[inside].astype(float)
            distances = {c: np.abs(pixels - rgb).max(-1) for c, rgb in COLORS.items()}
            nearest = np.array(list(distances))[np.argmin(list(distances.values()), axis=0)]
            assert (nearest == name.split()[0]).mean() > 0.99
        for pixel in sample.image[sample.labels == UNLABELLED][::97]:
            assert colorsys.rgb_to_hsv(*(pixel / 255.0))[1] < 0.75  # The background is dull.


def test_a_shape_has_the_form_that_its_name_says() -> None:
    # How much of the smallest turned rectangle and of the smallest circle around it is filled.
    forms = {
        'circle': (np.pi / 4, 1.0),
        'square': (1.0, 2 / np.pi),
        'triangle': (0.5, 3 * 3**0.5 / 4 / np.pi),
        'star': (0.39, 0.42),
    }
    checked = set()
    for sample in pictures('train'):
        for name, inside in regions(sample):
            outlines, _ = cv2.findContours(
                inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            _, (width, height), _ = cv2.minAreaRect(outlines[0])
            _, radius = cv2.minEnclosingCircle(outlines[0])
            fills = inside.sum() / (width * height), inside.sum() / (np.pi * radius**2)
            nearest = min(forms, key=lambda form: np.hypot(*np.subtract(forms[form], fills)))
            assert nearest == name.split()[1], (sample.name, name, fills)
            checked.add(name)
    assert len(checked) > 15


def test_every_colour_and_every_shape_of_an_unseen_combination_is_seen() -> None:
    unseen, unknown = unseen_of('shapes', ['combinations', 'car'], CLASSES)
    assert unseen == tuple(name for name in CLASSES if name in UNSEEN['combinations'])
    assert unknown == ('car',)
    assert len(set(CLASSES)) == len(CLASSES) == len(COLORS) * len(SHAPES) == 20
    assert len(unseen) == 5
    seen = [set(name.split()) for name in CLASSES if name not in unseen]
    for name in unseen:
        for word in name.split():
            assert sum(word in words for words in seen) >= 2
    assert unseen_of('shapes', ['red star'], CLASSES) == (('red star',), ())


@pytest.mark.parametrize('part', ['train', 'val'])
def test_each_part_has_every_class_often(part: str) -> None:
    dataset = open_dataset('', 'shapes', part)
    holding = np.zeros(256, int)
    for index in range(len(dataset)):
        holding[np.unique(dataset[index].labels)] += 1
    assert (holding[: len(CLASSES)] >= 5).all()
    assert holding[UNLABELLED] == len(dataset)
    assert set(np.flatnonzero(holding)) == {*range(len(CLASSES)), UNLABELLED}


def test_pictures_follow_from_part_and_number_alone() -> None:
    first, again = pictures('train', 6), pictures('train', 6)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.labels, other.labels)
    dataset = open_dataset('', 'shapes', 'train')
    assert np.array_equal(dataset[5].image, first[5].image)  # Whatever was drawn before.
    images = [sample.image.tobytes() for part in ('train', 'val') for sample in pictures(part)]
    assert len(set(images)) == 50


def test_it_can_be_used_in_the_place_of_a_folder() -> None:
    train: SegmentationDataset = open_dataset('', 'shapes', 'train')
    val = open_dataset('', 'shapes', 'val')
    assert train.classes == val.classes == CLASSES
    assert train.title == 'shapes'
    assert train.name(3) == train[3].name
    assert len({sample.name for sample in [*train, *val]}) == len(train) + len(val)
    assert train.key != val.key
    assert train.key == open_dataset('elsewhere', 'shapes', 'train').key


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match=r"part of shapes \(train, val\), but got 'test'"):
        open_dataset('', 'shapes', 'test')
    dataset = open_dataset('', 'shapes', 'val')
    for index in (-1, len(dataset)):
        with pytest.raises(IndexError, match=str(index)):
            dataset[index]
    with pytest.raises(DataError, match=r'folder, .*voc12, shapes or a YAML file'):
        open_dataset('', 'shape', 'val')
    with pytest.raises(DataError, match='shapes is made on the fly'):
        expected_parts('.', 'shapes')


def test_the_page_on_datasets_says_how_it_is() -> None:
    page = (Path(__file__).parents[2] / 'docs' / 'datasets.md').read_text('utf-8')
    parts = ', '.join(f'`{part}`: {count}' for part, count in PARTS.items())
    assert f'| {len(CLASSES)} | {parts} | `combinations`: {len(UNSEEN["combinations"])} |' in page
    assert f'{SIDE}x{SIDE} pixels' in page
    for words in (COLORS, SHAPES, UNSEEN['combinations']):
        assert ', '.join(words) in page
