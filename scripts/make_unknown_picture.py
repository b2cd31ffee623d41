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

import numpy as np
from PIL import Image
from skimage import data
from zegclip_core.images.drawing import draw_legend, draw_overlay
from zegclip_core.images.sheets import draw_panels, Panel, sheet_width
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

WORDS = 'person, dog, car, tree'
NEGATIVES = ('cat', 'dining table', 'bowl')
PHOTOS = (data.astronaut, data.chelsea, data.coffee)
TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'unknown.jpg'


def main() -> None:
    """Label the photos in each way, a row each, and write the picture."""
    segmenter = Segmenter.load('everyday-s')
    vocabulary = Vocabulary.parse(WORDS)
    own = segmenter.threshold
    photos = [load() for load in PHOTOS]
    rows = []
    for title, threshold, negatives in (
        ('no threshold', 0.0, ()),
        (f'threshold {own}, the default', own, ()),
        (f'no threshold, negatives: {", ".join(NEGATIVES)}', 0.0, NEGATIVES),
    ):
        words = segmenter.encode(vocabulary, threshold=threshold, negatives=negatives)
        found = [draw_overlay(photo, segmenter.segment(photo, words)) for photo in photos]
        rows.append(draw_panels([Panel(overlay) for overlay in found], title=title))
    legend = draw_legend(vocabulary, width=sheet_width(3), text_height=20)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack([*rows, legend])).save(TARGET, quality=86)


if __name__ == '__main__':
    main()
