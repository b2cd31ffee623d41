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
"""Small folders of all that an alignment learns from, with words to withhold, and its runs."""

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file
import torch
from torch import Tensor
import yaml
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.cli.main import main
from zegclip_core.settings import validated

CLASSES = {'cup': (200, 30, 30), 'sofa': (30, 30, 200), 'cat': (30, 160, 30), 'TV': (90, 90, 90)}
"""Of the dataset with masks, each with its colour."""
OTHERS = {'tree': (20, 120, 20), 'Couches': (60, 60, 190), 'potted_plant': (120, 180, 30)}
"""Of a second one."""
WITHHELD = {
    'sofa': ['couch', 'studio couch'],
    'tvmonitor': ['tv', 'television', 'screen'],
    'pottedplant': ['potted plant'],
}
SENTENCES = (
    'A cat sits on a red sofa .',
    'A cup stands beside a big potted plant .',
    'A trainer opens a screen door .',
    'Two Couches and a tree .',
    'A cat drinks from a cup .',
    'The TVs are on .',
)
NAMES = ('cup', 'studio_couch', 'trainer', 'screen_door', 'TVs', 'cat', 'Potted_Plant')
GEOMETRY = (
    'cup',
    {'name': 'sofa', 'synonyms': ['couch', 'settee'], 'definition': 'a seat'},
    {'name': 'television_set', 'synonyms': ['TV'], 'definition': 'a device'},
    {'name': 'trainer_(person)', 'synonyms': ['coach'], 'definition': 'someone who teaches'},
    {'name': 'screen_door', 'definition': 'a door of wire'},
    {'name': 'cat', 'definition': 'it sleeps on the Couches'},
    'Monitor/TVs',
    'tree',
)
_DATA = """\
  1 This line is part of a licence.
00000001 06 n 03 sofa 0 couch 0 lounge 1 001 @ 00000002 n 0000 | an upholstered seat; "sit on it"
00000002 06 n 02 cup 0 mug 0 002 @ 00000001 n 0000 ~ 00000003 n 0101 | a container; "a cup of tea"
00000003 06 n 02 telly 0 goggle_box 0 000 | a device with a screen; it is switched on
00000004 05 n 02 cat 0 true_cat 0 001 @ 00000006 n 0000 | a feline mammal
00000005 06 n 02 screen_door 0 wire_door 0 000 | a door of wire
00000006 18 n 02 trainer 0 coach 0 000 | someone who teaches others
00000007 15 n 02 Paris 0 City_of_Light 0 000 | the capital of France
00000008 09 n 02 idea 0 thought 0 000 | the content of cognition
00000009 08 n 0a mug 1 countenance 0 a1 0 a2 0 a3 0 a4 0 a5 0 a6 0 a7 0 a8 0 000 | the face
"""
_FIRST = {
    '00000001': 'sofa couch lounge',
    '00000002': 'cup mug',
    '00000003': 'telly goggle_box',
    '00000004': 'cat true_cat',
    '00000005': 'screen_door wire_door',
    '00000006': 'trainer coach',
    '00000007': 'paris city_of_light',
    '00000008': 'idea thought',
    '00000009': 'countenance a8',
}
"""Words by where their most frequent meaning stands."""


def write_wordnet(root: Path) -> Path:
    """Write a few synsets as wndb(5WN) has them."""
    root.mkdir(parents=True)
    (root / 'data.noun').write_text(_DATA)
    index = ['  1 This line is part of a licence.']
    for place, words in _FIRST.items():
        for word in words.split():
            places = f'{place} 00000009' if word == 'mug' else place
            count = len(places.split())
            index.append(f'{word} n {count} 2 @ ~ {count} 1 {places}  ')
    (root / 'index.noun').write_text('\n'.join(index) + '\n')
    return root


def write_masks(root: Path, classes: dict[str, tuple[int, int, int]], count: int) -> Path:
    """Write images of coloured quarters; number 3 is ``000000000003.png``."""
    rng = np.random.default_rng(len(classes))
    for kind in ('images', 'labels'):
        (root / kind / 'train').mkdir(parents=True)
    (root / 'classes.txt').write_text('\n'.join(classes) + '\n')
    colors = np.array(list(classes.values()), np.uint8)
    for index in range(count):
        labels = np.repeat(np.repeat(rng.integers(0, len(classes), (2, 2)), 24, 0), 32, 1)
        image = np.clip(colors[labels] + rng.normal(0, 8, (48, 64, 3)), 0, 255)
        name = f'train/{index:012}.png'
        Image.fromarray(image.astype(np.uint8)).save(root / 'images' / name)
        Image.fromarray(labels.astype(np.uint8)).save(root / 'labels' / name)
    return root


def _write_images(root: Path, names: list[str]) -> Path:
    rng = np.random.default_rng(1)
    (root / 'images').mkdir(parents=True)
    for name in names:
        pixels = rng.integers(0, 256, (40, 56, 3), np.uint8)
        Image.fromarray(pixels).save(root / 'images' / name)
    return root


def write_teachers(root: Path) -> Path:
    """Write the folders ``masks``, ``more``, ``captions``, ``names``, ``words``, ``wordnet``.

    The captioned photos 0 to 5 are those of the same number with masks.
    """
    write_masks(root / 'masks', CLASSES, 6)
    write_masks(root / 'more', OTHERS, 4)
    (root / 'masks.yaml').write_text('cup: {phrases: [mug, Television]}\n')
    photos = [f'coco_{index:012}.png' for index in range(12)]
    captions = _write_images(root / 'captions', photos)
    lines = [
        f'{photo}\t{SENTENCES[(index + more) % 6]}\n'
        for index, photo in enumerate(photos)
        for more in (0, 1)
    ]
    (captions / 'captions.tsv').write_text(''.join(lines))
    _write_images(root / 'names', [f'n{k:08}_{name}.png' for k, name in enumerate(NAMES)])
    (root / 'words').mkdir()
    rows = np.random.default_rng(2).normal(size=(len(GEOMETRY), 6))
    np.save(root / 'words' / 'some.npy', rows.astype(np.float32))
    (root / 'words' / 'some_names.json').write_text(json.dumps(GEOMETRY))
    write_wordnet(root / 'wordnet')
    return root


def align_settings(root: Path, clip: str, out: Path) -> dict[str, Any]:
    """Return settings with all teachers, decoded from YAML; eight steps take a second."""
    source = {'split': 'train', 'unlabelled': 'unknown', 'views': 2}
    held_out = {'root': str(root / 'masks'), 'split': 'train', 'hold_out': 3}
    return {
        'name': 'mine',
        'output': str(out),
        'towers': {'image': clip, 'text': clip},
        'space': {'dim': 32, 'text_hidden': 16, 'rank': 2, 'adapted_blocks': 1},
        'views': {'size': [32, 32], 'scale': [0.5, 1.0]},
        'masks': {
            'batch_size': 2,
            'sources': [
                {
                    **source,
                    'root': str(root / 'masks'),
                    'words': str(root / 'masks.yaml'),
                    'foreign_words': 3,
                    'hold_out': 3,
                },
                {**source, 'root': str(root / 'more'), 'foreign_words': 2, 'balance': 0.3},
            ],
        },
        'sentences': {
            'root': str(root / 'captions'),
            'batch_size': 4,
            'size': [32, 32],
            'least_often': 1,
            'validate_on': 2,
            'without': [held_out],
        },
        'names': {'root': str(root / 'names'), 'batch_size': 2, 'size': [32, 32]},
        'geometry': {'root': str(root / 'words'), 'batch_size': 4},
        'synonyms': {'root': str(root / 'wordnet'), 'batch_size': 3},
        'validate': [held_out],
        'withheld': WITHHELD,
        'schedule': {'steps': 8, 'learning_rate': 0.01, 'validate_every': 4},
        'short_side': 32,
    }


def align_config(settings: dict[str, Any]) -> AlignConfig:
    """Return settings as a run has them."""
    return validated(AlignConfig, settings)


class Alignments:
    """Runs ``zegclip align`` and ``zegclip adapt``, each run in a folder below ``out``."""

    def __init__(self, teachers: Path, clip: str, out: Path) -> None:
        self.teachers, self.clip, self.out = teachers, clip, out

    def run(self, command: str, *settings: str) -> int:
        """Return the exit code of a command with some settings, perhaps ``--resume``."""
        path = self.out / 'align.yaml'
        path.write_text(yaml.safe_dump(align_settings(self.teachers, self.clip, self.out)))
        return main([command, '--config', str(path), *settings])

    def file(self, name: str = 'mine') -> Path:
        """Return the file of a run."""
        return self.out / name / f'{name}.safetensors'

    def weights(self, name: str = 'mine') -> dict[str, Any]:
        """Return the tensors in the file of a run."""
        return load_file(self.file(name))

    def assert_same(self, one: str, other: str) -> None:
        """Compare the files of two runs bit for bit."""
        first, second = self.weights(one), self.weights(other)
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert torch.equal(value, second[name]), name


def updates(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those of a file's weights that are updates of the image tower."""
    return {name: value for name, value in weights.items() if name.startswith('low_rank.')}
