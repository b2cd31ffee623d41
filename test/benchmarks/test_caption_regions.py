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
"""Regions of unseen classes in photos with sentences, and what is kept of them."""

from pathlib import Path

from benchmarks import caption_regions
from benchmarks.caption_regions import make_regions, sure_labels
import numpy as np
from PIL import Image
import pytest
from zegclip_core.data.datasets import open_dataset
from zegclip_core.errors import DataError
from zegclip_core.options import UNLABELLED

CLASSES = ('person', 'sheep', 'sofa')


@pytest.mark.parametrize(
    ('scores', 'named', 'expected'),
    [
        ((0.9, 0.1, 0.1), ['sheep'], 0),
        ((0.4, 0.1, 0.1), ['sheep'], UNLABELLED),  # Not sure.
        ((0.8, 0.75, 0.1), ['sheep'], 1),  # Less 0.1, the seen word is second.
        ((0.8, 0.65, 0.1), ['sheep'], 0),
        ((0.1, 0.2, 0.1), ['sheep'], 1),
        ((0.1, 0.14, 0.1), ['sheep'], UNLABELLED),
        ((0.1, 0.1, 0.9), ['sheep'], UNLABELLED),  # Nobody said that there is one.
        ((0.1, 0.1, 0.9), ['sofa'], 2),
    ],
)
def test_a_label_is_kept_where_the_model_is_sure_and_the_sentence_agrees(
    scores: tuple[float, ...], named: list[str], expected: int
) -> None:
    maps = np.array(scores, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    labels = sure_labels(maps, CLASSES, ['sheep', 'sofa'], named, 0.1)
    assert labels.shape == (2, 3)
    assert (labels == expected).all()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    (folder / 'images').mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for name in ('farm', 'room', 'street'):
        Image.fromarray(pixels).save(folder / 'images' / f'{name}.jpg')
    (folder / 'captions.tsv').write_text(
        'farm.jpg\tTwo rams on a hill .\nroom.jpg\tA cat on a couch .\nstreet.jpg\tA bus .\n'
    )
    return folder


def regions_of(model: str, photos: Path, out: Path) -> dict[str, int]:
    unseen = {'sheep': ['ram'], 'sofa': ['couch']}
    return make_regions(Path(model), photos, CLASSES, unseen, 0.1, out)


def test_photos_whose_sentences_name_a_class_become_a_dataset(
    tiny: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named_everywhere(scores: np.ndarray, *rest: object) -> np.ndarray:
        assert scores.shape == (3, 40, 60)
        word = rest[2][0]  # type: ignore[index]
        return np.full((40, 60), CLASSES.index(word), np.uint8)

    monkeypatch.setattr(caption_regions, 'sure_labels', named_everywhere)
    out = tmp_path / 'regions'
    assert regions_of(tiny, photos, out) == {'sheep': 1, 'sofa': 1}
    dataset = open_dataset(out, 'folder', 'train')
    assert dataset.classes == ('person', 'Sheep', 'Sofa')
    assert [(dataset.name(k), int(dataset[k].labels[0, 0])) for k in range(len(dataset))] == [
        ('farm', 1),
        ('room', 2),
    ]


def test_nothing_half_written_stays_behind(tiny: str, photos: Path, tmp_path: Path) -> None:
    (photos / 'images' / 'room.jpg').write_bytes(b'no picture')
    with pytest.raises(Exception, match=r'room\.jpg'):
        regions_of(tiny, photos, tmp_path / 'out' / 'regions')
    assert list((tmp_path / 'out').iterdir()) == []


def test_photos_that_are_not_there_are_told(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'captions\.tsv'):
        regions_of(tiny, tmp_path, tmp_path / 'out')
