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
"""Small datasets that lie as the published ones do: three pictures in each list."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = {'2009_1': (37, 50), '2009_2': (64, 41), '2009_3': (32, 32)}
"""Height and width of the pictures, of which no side fits the patches of the model."""


def _write_pictures(images: Path, masks: Path, values: Sequence[int]) -> None:
    """Write pictures of blotches, and masks of blocks with some values.

    A ``*`` in the names of both stands for the picture's name.
    """
    rng = np.random.default_rng(2)
    images.parent.mkdir(parents=True, exist_ok=True)
    masks.parent.mkdir(parents=True, exist_ok=True)
    for name, (height, width) in SIZES.items():
        blotches = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
        picture = Image.fromarray(blotches).resize((width, height), Image.Resampling.BILINEAR)
        picture.save(str(images).replace('*', name))
        blocks = rng.choice(values, (8, 8)).astype(np.uint8)
        labels = np.kron(blocks, np.ones((8, 8), np.uint8))[:height, :width]
        Image.fromarray(labels).save(str(masks).replace('*', name))


def _write_names(path: Path, part: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{part}{name}\n' for name in SIZES))


def write_voc(root: Path) -> Path:
    """Lay out VOC 2012 as its authors and mmsegmentation do; pot plant and TV are unseen."""
    base = root / 'VOCdevkit/VOC2012'
    for part, masks in (
        ('train', 'SegmentationClass'),
        ('aug', 'SegmentationClassAug'),
        ('val', 'SegmentationClass'),
    ):
        _write_names(base / f'ImageSets/Segmentation/{part}.txt', part)
        images = base / f'JPEGImages/{part}*.jpg'
        _write_pictures(images, base / masks / f'{part}*.png', (0, 1, 5, 16, 20, 255))
    return root


def write_context(root: Path) -> Path:
    """Lay out PASCAL Context; aeroplane and bird are unseen."""
    base = root / 'VOCdevkit/VOC2010'
    for part in ('train', 'val'):
        _write_names(base / f'ImageSets/SegmentationContext/{part}.txt', part)
        masks = base / f'SegmentationClassContext/{part}*.png'
        _write_pictures(base / f'JPEGImages/{part}*.jpg', masks, (0, 1, 2, 7, 59, 255))
    return root


def write_coco_stuff(root: Path) -> Path:
    """Lay out COCO-Stuff 164k; cow and giraffe are unseen."""
    for part in ('train2017', 'val2017'):
        masks = root / f'annotations/{part}/*_labelTrainIds.png'
        _write_pictures(root / f'images/{part}/*.jpg', masks, (0, 19, 23, 170, 255))
    return root
