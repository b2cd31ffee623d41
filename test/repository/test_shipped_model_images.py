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
"""The shipped model never saw the images that it is measured on.

``test/data/everyday-s-images.txt.gz`` names what it was trained on: the ``images.txt`` of the
runs in its card. ``test/data/held_out_images.txt`` names what it is measured on.
"""

import gzip
from pathlib import Path

import pytest
import yaml
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.settings import read_settings
from zegclip_core.training.config import ALIGN, find_recipe

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / 'test' / 'data'
TRAINED = gzip.decompress((DATA / 'everyday-s-images.txt.gz').read_bytes()).decode().splitlines()
HELD_OUT = (DATA / 'held_out_images.txt').read_text('utf-8').splitlines()
RECIPES = (
    *('align/everyday-s', 'align/everyday-s-adapt'),
    *('train/everyday-s', 'train/everyday-s-larger', 'train/everyday-s-finer'),
)


def _photo(path: str) -> str:
    """Return what a photo is called wherever it lies: captioned ones tell their source before."""
    return Path(path).name.removesuffix('.jpg').rpartition('coco_')[2]


def test_no_image_that_is_measured_on_was_trained_on() -> None:
    assert len(TRAINED) > 10_000
    assert len(HELD_OUT) == 407
    assert {*map(_photo, HELD_OUT)} & {*map(_photo, TRAINED)} == set()


def test_names_are_compared_as_they_are_written_in_each_set() -> None:
    # 65 of the photos that may be trained on lie in both sets, under two names.
    captioned = {_photo(path) for path in TRAINED if path.startswith('data/captions/')}
    labelled = {_photo(path) for path in TRAINED if path.startswith('data/coco_small/')}
    assert len(captioned & labelled) > 50


def test_every_recipe_holds_the_same_photos_out() -> None:
    for name in RECIPES:
        recipe = yaml.safe_load((ROOT / 'config' / f'{name}.yaml').read_text('utf-8'))
        masks = recipe['masks']['sources'] if 'masks' in recipe else recipe['train']
        for source in masks:
            expected = 5 if 'coco' in source['root'] else None
            assert source.get('hold_out') == expected, (name, source['root'])
            assert source['split'] in {'train', 'train_aug'}


@pytest.mark.parametrize('name', ['everyday-s', 'everyday-s-adapt'])
def test_no_sentence_is_of_a_photo_that_a_recipe_holds_out(name: str) -> None:
    """The captioned photos are in part those with masks, under other names."""
    config = read_settings(AlignConfig, find_recipe(name, ALIGN))
    held_out = {
        (source.root, source.split, source.hold_out)
        for source in config.masks.sources
        if source.hold_out
    }
    without = {(entry.root, entry.split, entry.hold_out) for entry in config.sentences.without}
    assert {root for root, *_ in held_out} == {'data/coco_small', 'data/coco128'}
    assert without == held_out
