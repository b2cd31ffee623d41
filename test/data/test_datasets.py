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
"""The published datasets: class orders, unseen classes, label values and where files lie."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from zegclip_core.data.datasets import dataset_names, load_spec, open_dataset, unseen_of
from zegclip_core.data.folder import FolderDataset, MaskDataset, Pair, read_classes
from zegclip_core.errors import DataError

UNSEEN_VOC = ('pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
UNSEEN_COCO = {
    'cow': 19,
    'giraffe': 23,
    'suitcase': 28,
    'frisbee': 29,
    'skateboard': 36,
    'carrot': 51,
    'scissors': 76,
    'cardboard': 88,
    'clouds': 94,
    'grass': 112,
    'playingfield': 133,
    'river': 136,
    'road': 137,
    'tree': 157,
    'wall-concrete': 160,
}
UNSEEN_CONTEXT = {
    'aeroplane': 0,
    'bird': 6,
    'boat': 7,
    'cat': 14,
    'cow': 19,
    'fence': 24,
    'keyboard': 31,
    'motorbike': 33,
    'sofa': 48,
    'tvmonitor': 54,
}


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def picture(path: Path) -> None:
    write(path, np.full((4, 6, 3), 90, np.uint8))


def mask(path: Path, *values: int) -> None:
    """Write a mask of 4 x 6 pixels that begins with some values and goes on with the last."""
    array = np.full((4, 6), values[-1], np.uint8)
    array.flat[: len(values)] = values
    write(path, array)


def names_in(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(names) + '\n', encoding='utf-8')


def voc(root: Path) -> Path:
    """Lay out a VOC 2012 of one picture of each kind below a folder, which is returned."""
    base = root / 'VOCdevkit' / 'VOC2012'
    for name, part, masks in (
        ('2007_1', 'train', 'SegmentationClass'),
        ('2008_2', 'aug', 'SegmentationClassAug'),
        ('2009_3', 'val', 'SegmentationClass'),
    ):
        picture(base / 'JPEGImages' / f'{name}.jpg')
        names_in(base / 'ImageSets' / 'Segmentation' / f'{part}.txt', name)
        mask(base / masks / f'{name}.png', 0, 1, 20, 255)
    return root


def coco(root: Path) -> Path:
    for part in ('train2017', 'val2017'):
        picture(root / 'images' / part / '000000000009.jpg')
        mask(root / 'annotations' / part / '000000000009_labelTrainIds.png', 0, 170, 255)
    return root


def context(root: Path) -> Path:
    base = root / 'VOC2010'
    for part in ('train', 'val'):
        picture(base / 'JPEGImages' / f'2008_{part}.jpg')
        names_in(base / 'ImageSets' / 'SegmentationContext' / f'{part}.txt', f'2008_{part}')
        mask(base / 'SegmentationClassContext' / f'2008_{part}.png', 0, 1, 59)
    return root


def test_these_datasets_come_with_the_package() -> None:
    assert dataset_names() == ('coco_stuff164k', 'context59', 'context60', 'voc12')
    assert all(load_spec(name).name == name for name in dataset_names())


@pytest.mark.parametrize(
    ('name', 'classes', 'split', 'seen'),
    [
        ('voc12', 20, 'zegclip', 15),
        ('coco_stuff164k', 171, 'zegclip', 156),
        ('context59', 59, 'zs3', 49),
        ('context59', 59, 'cascade_clip', 49),
        ('context60', 60, 'zs3', 50),
        ('context60', 60, 'cascade_clip', 50),
    ],
)
def test_there_are_as_many_classes_as_published(
    name: str, classes: int, split: str, seen: int
) -> None:
    spec = load_spec(name)
    assert len(spec.classes) == len(set(spec.classes)) == classes
    assert len(spec.seen(split)) == seen
    assert set(spec.seen(split)) | set(spec.unseen[split]) == set(spec.classes)


def test_the_unseen_classes_have_their_published_places() -> None:
    spec = load_spec('voc12')
    assert spec.classes[15:] == spec.unseen['zegclip'] == UNSEEN_VOC
    assert spec.classes[0] == 'aeroplane'
    assert spec.classes[14] == 'person'
    for name, split, places, shift in (
        ('coco_stuff164k', 'zegclip', UNSEEN_COCO, 0),
        ('context59', 'zs3', UNSEEN_CONTEXT, 0),
        ('context60', 'zs3', UNSEEN_CONTEXT, 1),
    ):
        spec = load_spec(name)
        found = {key: spec.classes.index(key) - shift for key in spec.unseen[split]}
        assert found == places


def test_context_is_in_alphabetical_order_after_its_background() -> None:
    narrow, wide = load_spec('context59').classes, load_spec('context60').classes
    assert list(narrow) == sorted(narrow)
    assert wide == ('background', *narrow)
    assert load_spec('context59').unseen == load_spec('context60').unseen


@pytest.mark.parametrize(
    ('name', 'layout', 'part', 'labels'),
    [
        ('voc12', voc, 'train_aug', [255, 0, 19, 255]),
        ('voc12', voc, 'val', [255, 0, 19, 255]),
        ('coco_stuff164k', coco, 'train', [0, 170, 255]),
        ('coco_stuff164k', coco, 'val', [0, 170, 255]),
        ('context59', context, 'val', [255, 0, 58]),
        ('context60', context, 'val', [0, 1, 59]),
    ],
)
def test_mask_values_become_class_indices(
    tmp_path: Path, name: str, layout: Callable[[Path], Path], part: str, labels: list[int]
) -> None:
    dataset = open_dataset(layout(tmp_path), name, part)
    assert dataset.classes == load_spec(name).classes
    for index in range(len(dataset)):
        sample = dataset[index]
        assert sample.image.shape == (4, 6, 3)
        assert sample.labels.dtype == np.uint8
        assert sample.labels.flat[: len(labels)].tolist() == labels


def test_the_augmented_part_takes_each_picture_from_its_own_masks(tmp_path: Path) -> None:
    dataset = open_dataset(voc(tmp_path), 'voc12', 'train_aug')
    assert [(pair.image.stem, pair.mask.parent.name) for pair in dataset.pairs] == [
        ('2007_1', 'SegmentationClass'),
        ('2008_2', 'SegmentationClassAug'),
    ]
    assert dataset[1].name == '2008_2'


def test_the_folder_may_also_be_the_innermost(tmp_path: Path) -> None:
    inner = voc(tmp_path) / 'VOCdevkit' / 'VOC2012'
    assert len(open_dataset(inner, 'voc12', 'val')) == 1
    assert len(open_dataset(inner.parents[0], 'voc12', 'val')) == 1


def test_masks_with_a_palette_hold_indices(tmp_path: Path) -> None:
    root = voc(tmp_path)
    path = root / 'VOCdevkit/VOC2012/SegmentationClass/2009_3.png'
    colored = Image.fromarray(np.array(Image.open(path)))
    colored.putpalette([value for index in range(256) for value in (index, 7, 255 - index)])
    colored.save(path)
    assert Image.open(path).mode == 'P'
    labels = open_dataset(root, 'voc12', 'val')[0].labels
    assert labels.flat[:4].tolist() == [255, 0, 19, 255]


def test_a_plain_folder_is_opened_by_the_same_function(tmp_path: Path) -> None:
    picture(tmp_path / 'images/val/a.png')
    mask(tmp_path / 'labels/val/a.png', 0, 1, 255)
    names_in(tmp_path / 'classes.txt', 'cat', 'dog')
    dataset = open_dataset(tmp_path, 'folder', 'val')
    assert isinstance(dataset, FolderDataset)
    assert dataset.classes == ('cat', 'dog')
    assert dataset[0].labels.flat[:3].tolist() == [0, 1, 255]


def test_a_value_that_stands_for_no_class_is_refused(tmp_path: Path) -> None:
    root = voc(tmp_path)
    mask(root / 'VOCdevkit/VOC2012/SegmentationClass/2009_3.png', 0, 21)
    with pytest.raises(DataError, match=r'1 to 20 .*or 0 or 255, but got 21'):
        open_dataset(root, 'voc12', 'val')[0]


def test_names_may_have_spaces_but_must_be_text(tmp_path: Path) -> None:
    base = voc(tmp_path) / 'VOCdevkit/VOC2012'
    picture(base / 'JPEGImages/a b.jpg')
    mask(base / 'SegmentationClass/a b.png', 1)
    names_in(base / 'ImageSets/Segmentation/val.txt', 'a b', '')
    assert open_dataset(tmp_path, 'voc12', 'val')[0].name == 'a b'
    (base / 'ImageSets/Segmentation/val.txt').write_bytes(b'\xff\xfe\x80')
    with pytest.raises(DataError, match=r'val\.txt to be text in UTF-8'):
        open_dataset(tmp_path, 'voc12', 'val')


@pytest.mark.parametrize(
    ('text', 'named'),
    [('road\n\ncar\n', 'line 2 is empty'), ('car\nroad\ncar\n', "'car' is there twice")],
)
def test_names_that_would_shift_or_clash_are_refused(
    tmp_path: Path, text: str, named: str
) -> None:
    (tmp_path / 'classes.txt').write_text(text)
    with pytest.raises(DataError, match=named):
        read_classes(tmp_path / 'classes.txt')


def test_a_changed_mask_changes_what_tells_a_dataset_apart(tmp_path: Path) -> None:
    names_in(tmp_path / 'classes.txt', 'road', 'car')
    picture(tmp_path / 'images/train/a.png')
    mask(tmp_path / 'labels/train/a.png', 0, 1)
    before = FolderDataset(tmp_path, 'train').key
    assert FolderDataset(tmp_path, 'train').key == before
    mask(tmp_path / 'labels/train/a.png', 1, 0)
    assert FolderDataset(tmp_path, 'train').key != before


def test_a_color_mask_is_refused(tmp_path: Path) -> None:
    root = voc(tmp_path)
    picture(root / 'VOCdevkit/VOC2012/SegmentationClass/2009_3.png')
    with pytest.raises(DataError, match='one channel, but its pixels are RGB'):
        open_dataset(root, 'voc12', 'val')[0]


@pytest.mark.parametrize(
    ('gone', 'expected'),
    [
        ('JPEGImages', r'pictures of PASCAL VOC 2012 .*JPEGImages, VOCdevkit/VOC2012/JPEGImages'),
        ('SegmentationClassAug', r'masks .*SegmentationClassAug/\*\.png'),
        ('ImageSets/Segmentation/aug.txt', r'names of the pictures .*aug\.txt'),
        ('JPEGImages/2008_2.jpg', r'picture .*2008_2\.jpg'),
        ('SegmentationClassAug/2008_2.png', r'1 have none.*2008_2\.png'),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, gone: str, expected: str) -> None:
    path = voc(tmp_path) / 'VOCdevkit/VOC2012' / gone
    path.rename(tmp_path / 'elsewhere')
    with pytest.raises(DataError, match=expected):
        open_dataset(tmp_path, 'voc12', 'train_aug')


def test_unknown_names_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"folder, coco_stuff164k, .*but got 'voc13'"):
        open_dataset(tmp_path, 'voc13', 'val')
    with pytest.raises(DataError, match=r"\(train_aug, val\), but got 'test'"):
        open_dataset(voc(tmp_path), 'voc12', 'test')
    with pytest.raises(DataError, match=r'split of context59 \(zs3, cascade_clip\)'):
        load_spec('context59').seen('zegclip')


OWN = """
name: own
title: My own
masks: {first: 1, ignored: [0]}
parts: {val: {sources: [{images: p/*.jpg, masks: m/*_mask.png}]}}
classes: [cat, dog]
unseen: {mine: [dog]}
"""


def test_unseen_classes_are_asked_for_by_class_and_by_split(tmp_path: Path) -> None:
    classes = load_spec('voc12').classes
    found = unseen_of('voc12', ['zegclip', 'car', 'pavement', 'zs3'], classes)
    assert found.classes == ('car', *UNSEEN_VOC)
    assert found.unknown == ('pavement', 'zs3')
    assert unseen_of('folder', ['dog', 'zegclip'], ['dog', 'cat']) == (('dog',), ('zegclip',))
    names_in(tmp_path / 'own.yaml', OWN)
    assert unseen_of(str(tmp_path / 'own.yaml'), ['mine'], ['cat', 'dog']) == (('dog',), ())
    assert unseen_of('context60', [], load_spec('context60').classes) == ((), ())


def test_a_dataset_tells_its_pictures_without_reading_them(tmp_path: Path) -> None:
    dataset = open_dataset(voc(tmp_path / 'here'), 'voc12', 'train_aug')
    assert [dataset.name(index) for index in range(2)] == ['2007_1', '2008_2']
    assert dataset.name(1) == dataset[1].name
    assert dataset.title == 'here'


def test_readings_with_other_classes_or_masks_have_other_keys(tmp_path: Path) -> None:
    root = context(tmp_path / 'context')
    opened = [('context59', 'val'), ('context60', 'val'), ('context60', 'train')]
    keys = [open_dataset(root, name, part).key for name, part in opened]
    assert len(set(keys)) == 3
    assert open_dataset(root, 'context59', 'val').key == keys[0]
    assert open_dataset(context(tmp_path / 'copy'), 'context59', 'val').key != keys[0]


def test_a_file_of_ones_own_describes_a_dataset(tmp_path: Path) -> None:
    names_in(tmp_path / 'own.yaml', OWN)
    picture(tmp_path / 'p/a.jpg')
    mask(tmp_path / 'm/a_mask.png', 0, 1, 2)
    spec = load_spec(str(tmp_path / 'own.yaml'))
    assert spec.seen('mine') == ('cat',)
    dataset = open_dataset(tmp_path, str(tmp_path / 'own.yaml'), 'val')
    assert dataset[0].labels.flat[:3].tolist() == [255, 0, 1]


@pytest.mark.parametrize(
    ('old', 'new', 'expected'),
    [
        ('mine: [dog]', 'mine: [horse]', r"unseen\.mine to hold classes, but got 'horse'"),
        ('[cat, dog]', '[cat, dog, dog]', "'dog' is there twice"),
        ('classes: [cat, dog]', '', 'a value for classes'),
        ('[0]', '[256]', r'masks\.ignored.* at most 255, but got 256'),
        ('title: My own', 'titel: My own', r'did you mean title\?'),
        (
            'p/*.jpg',
            'p/a.jpg',
            r"sources\.0\.images to be a path with one \*, but got 'p/a\.jpg'",
        ),
        (
            'sources: [{images',
            'sources: [{pictures',
            r"parts\.val\.sources\.0, but got 'pictures'",
        ),
        ('{first: 1', '{first: 254', 'but got 2'),
        ('name: own', 'name: [own', 'Cannot read'),
    ],
)
def test_a_wrong_file_is_described(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in OWN
    names_in(tmp_path / 'own.yaml', OWN.replace(old, new))
    with pytest.raises(DataError, match=expected):
        load_spec(str(tmp_path / 'own.yaml'))


def test_more_classes_than_a_mask_can_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='1 to 255 class names, but got 256'):
        MaskDataset(tmp_path, [str(number) for number in range(256)], [])
    with pytest.raises(DataError, match='but got 0'):
        MaskDataset(tmp_path, [], [])


def test_each_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        picture(tmp_path / 'p' / f'{number}.jpg')
        mask(tmp_path / 'm' / f'{number}.png', 0)
    pairs = [Pair(tmp_path / f'p/{k}.jpg', tmp_path / f'm/{k}.png') for k in range(20)]
    asked = []
    listdir = __import__('os').listdir
    monkeypatch.setattr('os.listdir', lambda path: asked.append(path) or listdir(path))
    assert len(MaskDataset(tmp_path, ['cat'], pairs)) == 20
    assert sorted(asked) == [tmp_path / 'm', tmp_path / 'p']


def test_a_folder_that_lies_wrong_is_described(tmp_path: Path) -> None:
    def refused(expected: str) -> None:
        with pytest.raises(DataError, match=expected):
            FolderDataset(tmp_path, 'train')[0]

    refused(r'classes\.txt')
    names_in(tmp_path / 'classes.txt', 'a')
    (tmp_path / 'images/val').mkdir(parents=True)
    refused('train with pictures, but there is none; .* there is val')
    picture(tmp_path / 'images/train/1.png')
    refused('1 have none')
    mask(tmp_path / 'labels/train/1.png', 9)
    refused('but got 9')
    write(tmp_path / 'labels/train/1.png', np.zeros((4, 5), np.uint8))
    refused('size')
