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
"""A contact sheet: some images of a dataset beside their masks, in colours and by name."""

from collections.abc import Sequence

import numpy as np
from zegclip_core.data.check import CheckResult
from zegclip_core.data.folder import Pair, read_sample
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import BACKGROUND, draw_legend
from zegclip_core.images.sheets import draw_panels, Panel, sheet_width, TEXT
from zegclip_core.options import UNLABELLED
from zegclip_core.text.colors import palette_colors
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

PICTURES = 12
"""Images of each part on a sheet, at most."""
_UNLABELLED = (224, 224, 192)
"""The colour that PASCAL VOC gives to 255."""


def contact_sheet(reports: Sequence[CheckResult]) -> RgbImage:
    """Draw images from all over each part beside their masks, two such pairs in a row.

    Args:
        reports: What was found in each part, at least one with a good image.

    Returns:
        RGB, uint8 ``(H, W, 3)``.
    """
    tiles = []
    for report in reports:
        classes = report.expected.classes
        colors = palette_colors('pascal_voc', classes, [None] * len(classes))
        vocabulary = Vocabulary(tuple(map(VocabularyClass, classes, [()] * len(classes), colors)))
        step = max(-(-len(report.good) // PICTURES), 1)
        tiles += [_tile(pair, report, vocabulary) for pair in report.good[::step]]
    if len(tiles) % 2:
        tiles.append(np.empty((0, sheet_width(2), 3), np.uint8))
    rows = []
    for pair in zip(tiles[::2], tiles[1::2], strict=True):
        row = np.full((max(map(len, pair)), 2 * sheet_width(2), 3), BACKGROUND, np.uint8)
        for half, tile in zip(np.hsplit(row, 2), pair, strict=True):
            half[: len(tile)] = tile
        rows.append(row)
    return np.concatenate(rows)


def _tile(pair: Pair, report: CheckResult, vocabulary: Vocabulary) -> RgbImage:
    """Draw an image, its mask, and below them the names of its classes."""
    sample = read_sample(pair, report.expected.table)
    colors = np.full((256, 3), _UNLABELLED, np.uint8)
    colors[: len(vocabulary)] = vocabulary.colors
    panels = [Panel(sample.image, (sample.name,)), Panel(colors[sample.labels], ('mask',))]
    found = [int(index) for index in np.unique(sample.labels) if index != UNLABELLED]
    legend = draw_legend(vocabulary, indices=found, width=sheet_width(2), text_height=TEXT)
    return np.concatenate([draw_panels(panels, columns=2), legend])
