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
"""The dataset ``shapes``: coloured shapes on textures, made on the fly, for tests and first steps.

Some combinations are unseen, though every colour and every shape is seen.
"""

import hashlib
from itertools import product
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.data.folder import Sample
from zegclip_core.errors import DataError
from zegclip_core.options import UNLABELLED

COLORS = MappingProxyType(
    {
        'red': (205, 35, 35),
        'green': (35, 165, 55),
        'blue': (40, 70, 215),
        'yellow': (235, 215, 45),
        'purple': (150, 45, 190),
    }
)
"""RGB by name; every shape's own colour is near it."""
SHAPES = ('circle', 'square', 'triangle', 'star')
CLASSES = tuple(f'{color} {shape}' for color, shape in product(COLORS, SHAPES))
UNSEEN = MappingProxyType(
    {
        'combinations': (
            'red triangle',
            'green circle',
            'blue star',
            'yellow square',
            'purple triangle',
        )
    }
)
"""Unseen classes by the name of the split."""
PARTS = MappingProxyType({'train': 300, 'val': 100})
"""Number of images by part."""
SIDE = 112
"""Height and width of an image, a multiple of 14 and of 16 [px]."""

_SHADE = 18
"""How far a shape's colour may lie from that of its name, in each channel."""
_NOISE = 5.0
"""Standard deviation of the noise on every pixel."""
_CELLS = 2
"""Rows and columns of places for shapes; each has room for one."""
_FILLED = 0.8
"""Share of the places that hold a shape."""


class ShapesDataset:
    """SegmentationDataset of coloured shapes, each from a seed of its own."""

    classes = CLASSES
    title = 'shapes'

    def __init__(self, part: str) -> None:
        if part not in PARTS:
            raise DataError(f'Expected a part of shapes ({", ".join(PARTS)}), but got {part!r}.')
        self.part = part

    @property
    def key(self) -> str:
        """The part and how its first image looks, which tells apart other ways to draw."""
        return f'shapes-{self.part}-{hashlib.sha256(self[0].image.tobytes()).hexdigest()}'

    def name(self, index: int) -> str:
        """Return the name of an image."""
        return f'{self.part}-{index:04d}'

    def __len__(self) -> int:
        """Return the number of images."""
        return PARTS[self.part]

    def __getitem__(self, index: int) -> Sample:
        """Draw an image."""
        if not 0 <= index < len(self):
            raise IndexError(f'Expected a picture of 0 to {len(self) - 1}, but got {index}.')
        rng = np.random.default_rng([list(PARTS).index(self.part), index])
        image, labels = _texture(rng), np.full((SIDE, SIDE), UNLABELLED, np.uint8)
        cells = rng.permutation(_CELLS**2)
        count = max(int(rng.binomial(_CELLS**2, _FILLED)), 1)
        for cell in cells[:count]:
            _draw(image, labels, np.array(divmod(int(cell), _CELLS)), rng)
        noisy = image + rng.normal(0.0, _NOISE, image.shape)
        return Sample(np.clip(noisy, 0, 255).astype(np.uint8), labels, self.name(index))


def _texture(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return grey-brown clouds with stripes, ``(H, W, 3)``."""
    clouds = np.zeros((SIDE, SIDE))
    for cells in (3, 7, 15):
        coarse = rng.normal(0.0, 30.0 / cells**0.5, (cells, cells))
        fine = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        clouds += np.asarray(fine, np.float64)
    rows, columns = np.indices((SIDE, SIDE))
    angle, period = rng.uniform(0.0, np.pi), rng.uniform(5.0, 16.0)
    wave = np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * 2 * np.pi / period)
    grey = rng.uniform(70, 190) + clouds + rng.uniform(0.0, 14.0) * wave
    return np.asarray(grey[..., None] + rng.uniform(-12.0, 12.0, 3))


def _draw(
    image: npt.NDArray[np.float64],
    labels: npt.NDArray[np.uint8],
    cell: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Draw a shape of a random class into one of the places, and its index into the mask."""
    index, room = int(rng.integers(len(CLASSES))), SIDE / _CELLS
    radius = rng.uniform(0.3, 0.48) * room
    center = (cell[::-1] + 0.5) * room + rng.uniform(-1, 1, 2) * (room / 2 - radius)
    color, shape = CLASSES[index].split()
    corners = {'circle': 48, 'square': 4, 'triangle': 3, 'star': 10}[shape]
    # Unturned, a square lies flat and the others point up.
    turn = rng.uniform(-0.3, 0.3) - np.pi / 2 + (np.pi / 4 if shape == 'square' else 0.0)
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    radii = np.full(corners, radius)
    if shape == 'star':
        radii[1::2] *= 0.45
    points = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inside = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(inside, [np.round(points).astype(np.int32)], 1)
    image[inside > 0] = np.array(COLORS[color]) + rng.uniform(-_SHADE, _SHADE, 3)
    labels[inside > 0] = index
