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
"""A data check looks at what masks and names mean, not at their form alone."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from commands import answer_of
import numpy as np
from PIL import Image
import pytest
from zegclip_core.cli.evaluate import _opened
from zegclip_core.data.check import check_part, CheckResult, expected_parts
from zegclip_core.data.folder import check_taught, FolderDataset, read_classes
from zegclip_core.errors import DataError

CORNER = np.zeros((20, 30), np.uint8)
CORNER[:5, :10] = 1
"""A mask: class 1 in the upper left corner."""


def folder_of(root: Path, mask: np.ndarray, names: bytes = b'couch\ncat\n') -> Path:
    """Write a folder of two pictures, red where the mask is 1."""
    for part in ('images/train', 'labels/train'):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / 'classes.txt').write_bytes(names)
    for name in 'ab':
        pixels = np.zeros((*mask.shape, 3), np.uint8)
        pixels[mask == 1] = (255, 0, 0)
        Image.fromarray(pixels).save(root / f'images/train/{name}.jpg', quality=95)
        Image.fromarray(mask).save(root / f'labels/train/{name}.png')
    return root


def checked(root: Path) -> CheckResult:
    (expected,) = expected_parts(root, 'folder', ['train'])
    return check_part(expected)


def tag(path: Path, orientation: int) -> None:
    """Give an image an EXIF orientation; its stored pixels stay."""
    with Image.open(path) as image:
        image.load()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, quality=95)


@pytest.mark.parametrize(
    ('orientation', 'shape'), [(3, (20, 30)), (6, (30, 30)), (2, (20, 30)), (8, (20, 30))]
)
def test_turned_photos_beside_unturned_masks_are_named(
    tmp_path: Path, orientation: int, shape: tuple[int, int]
) -> None:
    root = folder_of(tmp_path, np.resize(CORNER, shape))
    for name in 'ab':
        tag(root / f'images/train/{name}.jpg', orientation)
    faults = checked(root).faults
    assert len(faults) == 2
    assert 'a.jpg to be stored upright' in faults[0]
    assert f'its EXIF orientation is {orientation}' in faults[0]


def test_a_photo_and_a_mask_that_are_both_turned_are_followed(tmp_path: Path) -> None:
    root = folder_of(tmp_path, CORNER)
    for path in (*root.glob('images/train/*'), *root.glob('labels/train/*')):
        tag(path, 3)
    sample = FolderDataset(root, 'train')[0]
    assert checked(root).faults == []
    assert np.array_equal(sample.labels, CORNER[::-1, ::-1])
    assert ((sample.image[..., 0] > 128) == (sample.labels == 1)).mean() > 0.98


def test_a_mask_of_the_upright_shape_tells_that_it_is_upright(tmp_path: Path) -> None:
    root = folder_of(tmp_path, CORNER)
    tag(root / 'images/train/a.jpg', 6)
    Image.fromarray(np.rot90(CORNER, -1)).save(root / 'labels/train/a.png')
    assert checked(root).faults == []
    sample = FolderDataset(root, 'train')[0]
    assert ((sample.image[..., 0] > 128) == (sample.labels == 1)).mean() > 0.98


def test_masks_of_0_and_255_are_flagged(tmp_path: Path) -> None:
    (fault,) = checked(folder_of(tmp_path, CORNER * 255)).faults
    assert "write the index of a class, such as 1 for 'cat'" in fault


def test_masks_without_any_label_are_flagged_and_do_not_train(tmp_path: Path) -> None:
    root = folder_of(tmp_path, np.full((20, 30), 255, np.uint8))
    (fault,) = checked(root).faults
    assert 'No mask of train labels a pixel' in fault
    with pytest.raises(DataError, match='none of them labels a pixel'):
        check_taught(FolderDataset(root, 'train'), [0, 1])


def test_a_set_with_one_labelled_image_trains_and_one_that_is_all_held_out_does_not(
    tmp_path: Path,
) -> None:
    root = folder_of(tmp_path, np.full((20, 30), 255, np.uint8))
    Image.fromarray(CORNER).save(root / 'labels/train/b.png')
    dataset = FolderDataset(root, 'train')
    check_taught(dataset, [0, 1])
    with pytest.raises(DataError, match='all 2 are held out'):
        check_taught(dataset, [])


def test_classes_without_a_pixel_and_masks_of_one_value_are_noted(tmp_path: Path) -> None:
    root = folder_of(tmp_path, np.zeros((20, 30), np.uint8))
    found = checked(root)
    assert found.faults == []
    assert found.notes[0] == '1 classes without a pixel: cat'
    assert found.notes[1].startswith('2 masks of a single value, such as')


@pytest.mark.parametrize('kind', ['JPEG', 'WEBP', 'JPEG2000'])
def test_lossy_masks_are_refused_whatever_their_suffix(tmp_path: Path, kind: str) -> None:
    root = folder_of(tmp_path, CORNER)
    Image.fromarray(CORNER).save(root / 'labels/train/a.png', format=kind)
    (fault,) = checked(root).faults
    assert f'it is {kind}, which changes them' in fault


@pytest.mark.parametrize(
    'raw',
    [
        b'\xef\xbb\xbfcouch\r\ncat\r\n',
        b'couch\rcat\r',
        b'\xef\xbb\xbfcouch\ncat',
        b'couch \r\n\tcat\r\n\r\n',
    ],
)
def test_class_names_are_read_with_a_byte_order_mark_and_any_line_ends(
    tmp_path: Path, raw: bytes
) -> None:
    (tmp_path / 'classes.txt').write_bytes(raw)
    assert read_classes(tmp_path / 'classes.txt') == ('couch', 'cat')


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('0 couch\n1 cat\n', "a number before each, such as '0 couch'"),
        ('0 couch\n', "a number before each, such as '0 couch'"),
        ('1: couch\n2: cat\n', 'a number before each'),
        ('0\tcouch\n1\tcat\n', 'a number before each'),
        ('cat\nnot a cat\n', "but got 'not a cat'"),
        ('cat\nCat\n', "'Cat' twice"),
        ('cat\n???\n', 'a letter or a digit'),
        ('cat\n\x07bell\n', 'readable UTF-8'),
        ('c\0a\0t\0', 'bytes of 0'),
    ],
)
def test_class_names_pass_the_rules_of_a_vocabulary(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / 'classes.txt').write_text(text)
    with pytest.raises(DataError, match=says.replace('?', '.')) as error:
        read_classes(tmp_path / 'classes.txt')
    assert 'classes.txt' in str(error.value)


def test_names_that_only_hold_numbers_stay(tmp_path: Path) -> None:
    (tmp_path / 'classes.txt').write_text('2 euro coin\n1 euro coin\n50 cent coin\n')
    assert len(read_classes(tmp_path / 'classes.txt')) == 3


@pytest.mark.parametrize(
    'hide',
    [
        lambda root: (root / 'images/train/._a.jpg').write_bytes(b'\0\5\x16\7'),
        lambda root: (root / 'images/train/.DS_Store').write_bytes(b'\0'),
        lambda root: (root / 'labels/train/._a.png').write_bytes(b'\0\5\x16\7'),
        lambda root: (root / 'images/.ipynb_checkpoints').mkdir(),
    ],
)
def test_hidden_files_are_no_part_of_a_dataset(
    tmp_path: Path, hide: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_of(tmp_path, CORNER)
    hide(root)
    assert len(FolderDataset(root, 'train')) == 2
    code, out, _ = answer_of(capsys, 'data', 'check', root)
    assert code == 0
    assert 'train: nothing wrong' in out


@pytest.mark.parametrize('names', ['couch\ncat\n', 'sofa | couch, kitten'])
def test_a_folder_without_its_classes_is_named_by_the_words_that_are_given(
    tmp_path: Path, names: str
) -> None:
    root = folder_of(tmp_path / 'data', CORNER)
    (root / 'classes.txt').unlink()
    (tmp_path / 'words.txt').write_text(names)
    args = Namespace(data=str(root), dataset='folder', split='train')
    found = _opened(Namespace(**vars(args), classes_file=str(tmp_path / 'words.txt')))
    assert len(found.classes) == 2
    assert found[0].labels.max() == 1
    with pytest.raises(DataError, match=r'classes\.txt, but there is no file'):
        _opened(Namespace(**vars(args), classes_file=None))
