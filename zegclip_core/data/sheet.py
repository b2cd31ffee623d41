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
"""A contact sheet: some pictures of a dataset beside their masks, in colours and by name."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.data.check import Report
from zegclip_core.data.folder import LabelTable, Pair, read_sample
from zegclip_core.images.lettering import shortened, text_width, write_text
from zegclip_core.options import UNLABELLED
from zegclip_core.text.colors import palette_colors

PICTURES = 12
"""Pictures of each part on a sheet, at most."""
_COLUMNS = 2
_WIDTH, _HEIGHT = 240, 180
"""Sides of the rectangle that a picture, or its mask, fits in [px]."""
_LINE = 20
"""Height of a line of text below them [px]."""
_UNLABELLED = (224, 224, 192)
"""The colour that PASCAL VOC gives to 255."""

Rgb = npt.NDArray[np.uint8]


def contact_sheet(reports: Sequence[Report]) -> Rgb:
    """Draw pictures from all over each part beside their masks.

    Args:
        reports: What was found in each part, at least one with a good picture.

    Returns:
        RGB, uint8 ``(H, W, 3)``.

    """
    tiles = []
    for report in reports:
        expected, step = report.expected, max(-(-len(report.good) // PICTURES), 1)
        colors = _colors(expected.classes)
        for pair in report.good[::step]:
            tiles.append(_tile(pair, expected.table, expected.classes, colors))
    tiles += [_empty()] * (-len(tiles) % _COLUMNS)
    height = max(len(tile) for tile in tiles)
    tiles = [np.pad(tile, ((0, height - len(tile)), (0, 0), (0, 0))) for tile in tiles]
    columns = [np.concatenate(tiles[column::_COLUMNS]) for column in range(_COLUMNS)]
    return np.concatenate(columns, axis=1)


def _colors(classes: Sequence[str]) -> Rgb:
    """Return a colour for each label, uint8 ``(256, 3)``."""
    colors = np.full((256, 3), _UNLABELLED, np.uint8)
    colors[: len(classes)] = palette_colors('pascal_voc', classes, [None] * len(classes))
    return colors


def _empty() -> Rgb:
    """Return a tile with nothing on it, and room for a line of text."""
    return np.zeros((_HEIGHT + _LINE, 2 * _WIDTH, 3), np.uint8)


def _tile(pair: Pair, table: LabelTable, classes: Sequence[str], colors: Rgb) -> Rgb:
    """Draw one picture, its mask, and below them its name and the names of its classes."""
    sample, tile = read_sample(pair, table), _empty()
    mask = colors[sample.labels]
    for half, image in zip(np.hsplit(tile, 2), (sample.image, mask), strict=True):
        small = _fitted(image, nearest=image is mask)
        half[: small.shape[0], : small.shape[1]] = small
    write_text(tile, shortened(sample.name, 12, 2 * _WIDTH - 8), 4, _HEIGHT + 14, 12)
    found = [int(index) for index in np.unique(sample.labels) if index != UNLABELLED]
    return np.concatenate([tile, _legend([(classes[index], colors[index]) for index in found])])


def _legend(names: Sequence[tuple[str, Rgb]]) -> Rgb:
    """Write names, each after its colour, in as many lines as they take."""
    places, left, top = [], 4, 0
    for name, _ in names:
        width = 22 + text_width(name, 12)
        if left > 4 and left + width > 2 * _WIDTH:
            left, top = 4, top + _LINE
        places.append((left, top))
        left += width
    legend = np.zeros((top + _LINE, 2 * _WIDTH, 3), np.uint8)
    for (name, color), (left, top) in zip(names, places, strict=True):
        square = legend[top:, left:]
        square[4:14, :10] = color
        write_text(legend, shortened(name, 12, 2 * _WIDTH - 24), left + 13, top + 14, 12)
    return legend


def _fitted(image: Rgb, *, nearest: bool) -> Rgb:
    """Return an image that just fits in the rectangle."""
    height, width = image.shape[:2]
    scale = min(_WIDTH / width, _HEIGHT / height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    kind = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size, interpolation=kind), dtype=np.uint8)
