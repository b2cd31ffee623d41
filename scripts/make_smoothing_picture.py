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
"""Draw the picture of docs/smoothing.md: frames of a pan, without and with smoothing."""

from pathlib import Path

from benchmarks.calm import pan, RATE, View
import numpy as np
from PIL import Image
from skimage import data
from tqdm import tqdm
from zegclip_core.images.drawing import draw_overlay
from zegclip_core.segmentation import Moment
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'smoothing.jpg'
WORDS = Vocabulary.from_names(['person', 'rocket', 'flag', 'helmet', 'wall', 'chair'])
SMOOTHING = 0.7
FRAMES, SHOWN = 7, 3


def main() -> None:
    """Label the frames of a pan in both ways and draw the last ones, a row each."""
    photo = data.astronaut()
    views = pan(View(photo, np.zeros(photo.shape[:2], np.uint8)), np.random.default_rng(5), FRAMES)
    rows = []
    for share in (0.0, SMOOTHING):
        segmenter = Segmenter.load(device='cpu', smoothing=share)
        drawn = []
        for number, view in enumerate(tqdm(views)):
            moment = Moment('pan', number / RATE)
            found = segmenter.segment(view.image, WORDS, moment=moment)
            drawn.append(draw_overlay(view.image, found, alpha=0.65))
        rows.append(np.hstack(drawn[-SHOWN:]))
    Image.fromarray(np.vstack(rows)).save(TARGET, quality=86)


if __name__ == '__main__':
    main()
