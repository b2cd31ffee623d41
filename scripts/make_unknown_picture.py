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
"""Make the picture of docs/unknown.md: what threshold and negative words leave unlabelled."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import BACKGROUND, draw_legend, draw_overlay
from zegclip_core.images.lettering import write_text
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

WORDS = 'person, dog, car, tree'
NEGATIVES = ('cat', 'dining table', 'bowl')
PHOTOS = (data.astronaut, data.chelsea, data.coffee)
SIZE = (300, 250)
"""Width and height that each photo is cut to [px]."""
GAP, TITLE = 6, 34
"""Between photos, and above them [px]."""
TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'unknown.jpg'


def main() -> None:
    """Label the photos in each way, a row each, and write the picture."""
    segmenter = Segmenter.load('everyday-s')
    vocabulary = Vocabulary.parse(WORDS)
    own = segmenter.threshold
    rows = []
    for title, threshold, negatives in (
        ('no threshold', 0.0, ()),
        (f'threshold {own}, the default', own, ()),
        (f'no threshold, negatives: {", ".join(NEGATIVES)}', 0.0, NEGATIVES),
    ):
        segmenter.threshold, segmenter.negatives = threshold, negatives
        found = [draw_overlay(photo, segmenter.segment(photo, vocabulary)) for photo in photos()]
        rows += [_title(title), _joined(found)]
    width = rows[-1].shape[1]
    legend = draw_legend(vocabulary, width=width, text_height=20)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack([*rows, legend])).save(TARGET, quality=86)


def photos() -> list[RgbImage]:
    """Return the photos."""
    return [load() for load in PHOTOS]


def _title(text: str) -> RgbImage:
    """Return a line of text on the legend's ground."""
    line = _ground(TITLE, len(PHOTOS) * (SIZE[0] + GAP) - GAP)
    write_text(line, text, 8, TITLE - 11, 20)
    return line


def _joined(pictures: list[RgbImage]) -> RgbImage:
    """Return pictures side by side, each cut to ``SIZE`` around its middle."""
    parts: list[RgbImage] = []
    for picture in pictures:
        parts += [_cut(picture), _ground(SIZE[1], GAP)]
    return np.hstack(parts[:-1])


def _cut(picture: RgbImage) -> RgbImage:
    """Return a picture's middle at ``SIZE``."""
    height, width = picture.shape[:2]
    scale = max(SIZE[0] / width, SIZE[1] / height)
    size = (round(width * scale), round(height * scale))
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    left, top = (size[0] - SIZE[0]) // 2, (size[1] - SIZE[1]) // 2
    bottom, right = top + SIZE[1], left + SIZE[0]
    return np.asarray(resized[top:bottom, left:right], dtype=np.uint8)


def _ground(height: int, width: int) -> RgbImage:
    """Return an empty part of the picture."""
    return np.full((height, width, 3), BACKGROUND, dtype=np.uint8)


if __name__ == '__main__':
    main()
