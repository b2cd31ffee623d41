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
"""Make the README's animation: words are typed, and the masks of public-domain photos follow.

Each list of words is labelled by the bundled model as ``zegclip segment`` does it. The pace is
that of a reader, not of the model.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import BACKGROUND, draw_legend, draw_overlay, write_text
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

WORDS = ('cat', 'person', 'cup', 'table', 'flag')
PHOTOS = (data.astronaut, data.chelsea, data.coffee)
HEIGHT, GAP = 220, 6
"""Of each photo, and between two [px]."""
TEXT = 20
"""Size of the letters [px]."""
KEY, WORD, END = 90, 1000, 3500
"""How long a frame is shown: after a key, after a whole word, at the end [ms]."""
TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'typed-words.webp'


def row_of(segmenter: Segmenter, words: tuple[str, ...]) -> RgbImage:
    """Return the photos in a row, labelled with some words; without words as they are."""
    parts = []
    for photo in (load() for load in PHOTOS):
        shown = photo
        if words:
            shown = draw_overlay(photo, segmenter.segment(photo, Vocabulary.from_names(words)))
        width = round(photo.shape[1] * HEIGHT / photo.shape[0])
        parts.append(cv2.resize(shown, (width, HEIGHT), interpolation=cv2.INTER_AREA))
        parts.append(np.full((HEIGHT, GAP, 3), BACKGROUND, dtype=np.uint8))
    return np.hstack(parts[:-1])


def frame(row: RgbImage, typed: str, words: tuple[str, ...]) -> RgbImage:
    """Return the photos with what was typed below them, and the colours of the whole words."""
    width = row.shape[1]
    line = np.full((2 * TEXT, width, 3), 50, dtype=np.uint8)
    write_text(line, f'{typed}|', TEXT // 2, round(1.35 * TEXT), TEXT)
    legend = draw_legend(Vocabulary.from_names(WORDS), width=width, text_height=TEXT)
    # All words have their places from the start, one in each column; those to come are hidden.
    shown = len(words) * (width // len(WORDS))
    legend[:, shown:] = BACKGROUND
    return np.vstack([row, line, legend])


def frames(segmenter: Segmenter) -> Iterator[tuple[RgbImage, int]]:
    """Yield each frame and how long it is shown [ms]."""
    row, typed = row_of(segmenter, ()), ''
    yield frame(row, typed, ()), WORD
    for count, word in enumerate(WORDS, start=1):
        for letter in f', {word}' if typed else word:
            typed += letter
            yield frame(row, typed, WORDS[: count - 1]), KEY
        row = row_of(segmenter, WORDS[:count])
        yield frame(row, typed, WORDS[:count]), END if count == len(WORDS) else WORD


def main() -> None:
    """Write the animation."""
    images, times = zip(*frames(Segmenter.load('everyday-s')), strict=True)
    first, *others = (Image.fromarray(image) for image in images)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    first.save(
        TARGET, save_all=True, append_images=others, duration=times, loop=0, quality=70, method=4
    )
    print(f'Wrote {TARGET.name}: {len(images)} frames, {TARGET.stat().st_size / 1e3:.0f} kB.')


if __name__ == '__main__':
    main()
