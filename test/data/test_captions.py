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
"""Sentences and names of images, read from folders made here."""

from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from zegclip_core.data.captions import CaptionedImages, open_captions, open_named_images, without
from zegclip_core.errors import DataError, ImageError


def made_images(root: Path, *names: str) -> Path:
    """Write images of one colour each, 3x2, and return the root."""
    (root / 'images').mkdir(parents=True)
    for index, name in enumerate(names):
        Image.new('RGB', (3, 2), (10 * index, 0, 200)).save(root / 'images' / name)
    return root


def made_captions(root: Path, text: str, *names: str) -> Path:
    """Write images and the sentences about them, and return the root."""
    made_images(root, *names)
    (root / 'captions.tsv').write_text(text, 'utf-8')
    return root


def test_sentences_are_gathered_by_image(tmp_path: Path) -> None:
    """Lines of a file are kept in their order, wherever they stand; files are sorted by name."""
    text = 'b.png\tA dog .\na.png\tTwo cats .\n\nb.png\tA brown\tdog, running.\n'
    captions = open_captions(made_captions(tmp_path / 'mine', text, 'a.png', 'b.png', 'c.png'))
    assert captions.names == ('a.png', 'b.png')
    assert captions.sentences == (('Two cats .',), ('A dog .', 'A brown\tdog, running.'))
    assert len(captions) == 2
    assert captions.title == 'mine'
    image = captions.image(1)
    assert image.dtype == np.uint8
    assert image.shape == (2, 3, 3)
    assert (image == (10, 0, 200)).all()


def test_the_key_changes_with_a_sentence(tmp_path: Path) -> None:
    """What is cached for some sentences is not taken for others."""
    root = made_captions(tmp_path, 'a.png\tA dog .\n', 'a.png')
    before = open_captions(root).key
    assert open_captions(root).key == before
    (root / 'captions.tsv').write_text('a.png\tA cat .\n', 'utf-8')
    assert open_captions(root).key != before


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a.png\tA dog .\na.png A cat .\n', r"a tab and .* got 'a.png A cat .' in line 2"),
        ('a.png\n', 'in line 1'),
        ('a.png\t \n', 'in line 1'),
        ('a.png\tA dog .\nb.png\tA cat .\n', 'b.png, but it is not there, as 1 of 2 are not'),
        ('', 'captions.tsv, but there is none'),
    ],
)
def test_wrong_captions_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    """The line or file at fault is named."""
    root = made_captions(tmp_path, text, 'a.png')
    with pytest.raises(DataError, match=message) as raised:
        open_captions(root)
    assert '\n' not in str(raised.value)


def test_missing_folders_and_files_are_named(tmp_path: Path) -> None:
    """A folder without captions, no folder, and a folder without images are told apart."""
    with pytest.raises(DataError, match='absent is none'):
        open_captions(tmp_path / 'absent')
    with pytest.raises(DataError, match=r'captions\.tsv, but there is no file'):
        open_captions(tmp_path)
    with pytest.raises(DataError, match='images, but found none'):
        open_named_images(tmp_path)
    with pytest.raises(DataError, match='absent is none'):
        open_named_images(tmp_path / 'absent')


def test_a_damaged_image_is_refused_when_it_is_read(tmp_path: Path) -> None:
    """Opening reads no image."""
    root = made_captions(tmp_path, 'a.png\tA dog .\n', 'a.png')
    (root / 'images' / 'a.png').write_bytes(b'no image')
    captions = open_captions(root)
    with pytest.raises(ImageError, match=r'a\.png'):
        captions.image(0)


def test_photos_of_another_dataset_are_left_out() -> None:
    """A stem counts as a whole or behind a sign, not as the end of a longer number."""
    names = ('2007_000032.jpg', '785.jpg', 'coco_000785.jpg', 'coco_785.jpg', 'flickr_1785.jpg')
    captions = CaptionedImages(Path('root'), names, tuple((name,) for name in names))
    kept = without(captions, ['785', '2007_000032', 'other'])
    assert kept.names == ('coco_000785.jpg', 'flickr_1785.jpg')
    assert kept.sentences == (('coco_000785.jpg',), ('flickr_1785.jpg',))
    assert without(captions, ['000032']).names == names[1:]
    assert without(captions, []) == captions


def test_names_are_read_from_file_names(tmp_path: Path) -> None:
    """An id of WordNet is left out, another beginning is not; other files are no images."""
    files = [
        'n01440764_tench.jpg',
        'n01484850_great_white_shark.jpeg',
        'nettle_leaf.png',
        'sea_lion.JPG',
    ]
    root = made_images(tmp_path, *files)
    (root / 'images' / 'notes.txt').write_text('no image')
    named = open_named_images(root)
    assert named.names == tuple(files)
    assert named.words == ('tench', 'great white shark', 'nettle leaf', 'sea lion')
    assert len(named) == 4
    assert named.image(2).shape == (2, 3, 3)
    assert len(named.key) == len(open_named_images(root).key) == 64
