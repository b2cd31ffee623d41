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
"""Make the README's picture: public-domain photos as the bundled model labels them."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data
from zegclip_core.images.drawing import BACKGROUND, draw_legend, draw_overlay
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

WORDS = 'person, cat, cup, table, flag, helmet, car'
PHOTOS = (data.astronaut, data.chelsea, data.coffee)
HEIGHT = 300
"""Height of each photo in the picture [px]."""
TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'everyday-s.jpg'


def main() -> None:
    """Label the photos, put them in a row above one legend, and write the picture."""
    segmenter = Segmenter.load('everyday-s')
    vocabulary = Vocabulary.parse(WORDS)
    row = []
    for photo in (load() for load in PHOTOS):
        overlay = draw_overlay(photo, segmenter.segment(photo, vocabulary))
        width = round(photo.shape[1] * HEIGHT / photo.shape[0])
        row.append(cv2.resize(overlay, (width, HEIGHT), interpolation=cv2.INTER_AREA))
        row.append(np.full((HEIGHT, 6, 3), BACKGROUND, dtype=np.uint8))
    photos = np.hstack(row[:-1])
    legend = draw_legend(vocabulary, width=photos.shape[1], text_height=22)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack([photos, legend])).save(TARGET, quality=88)


if __name__ == '__main__':
    main()
