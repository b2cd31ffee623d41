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
"""Make the picture of docs/results.md: other words, as models of its experiment find them.

No class that PASCAL VOC's split withholds is on a public-domain photo of scikit-image. ``helmet``
and ``flag``, of which no mask is known to any step, and ``cup`` and ``spoon``, of which only the
alignment saw some, stand for them.
Call it with the weights of the models, each with a title: ``'(5)=runs/.../NAME.safetensors'``.
"""

from pathlib import Path
import sys

import numpy as np
from PIL import Image
from skimage import data
from zegclip_core.images.drawing import draw_legend, draw_overlay
from zegclip_core.images.sheets import draw_panels, Panel, sheet_width
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

WORDS = 'person, cat, dining table, helmet, flag, cup, spoon'
PHOTOS = (data.astronaut, data.chelsea, data.coffee)
TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'results-photos.jpg'


def main(models: list[str]) -> None:
    """Label the photos by each model, a row each, and write the picture."""
    vocabulary = Vocabulary.parse(WORDS)
    photos = [load() for load in PHOTOS]
    rows = []
    for model in models:
        title, _, file = model.partition('=')
        segmenter = Segmenter.load(file)
        words = segmenter.encode(vocabulary, threshold=0.0)
        found = [draw_overlay(photo, segmenter.segment(photo, words)) for photo in photos]
        rows.append(draw_panels([Panel(overlay) for overlay in found], title=title))
    legend = draw_legend(vocabulary, width=sheet_width(len(photos)), text_height=20)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack([*rows, legend])).save(TARGET, quality=86)


if __name__ == '__main__':
    main(sys.argv[1:])
