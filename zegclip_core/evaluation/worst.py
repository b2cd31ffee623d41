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
"""The pictures that a model labels worst, on one sheet: picture, prediction, truth, figures."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.data.folder import Pictures
from zegclip_core.evaluation.evaluate import PictureScore
from zegclip_core.images.drawing import BACKGROUND, draw_legend, draw_overlay
from zegclip_core.images.lettering import shortened, text_width, write_text
from zegclip_core.options import UNLABELLED
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

PICTURES = 8
"""Pictures on a sheet, at most."""
_WIDTH, _HEIGHT = 320, 240
"""Sides of the rectangle that a picture fits in [px]."""
_GAP = 4
"""Space between pictures [px]."""
_LINE = 22
"""Height of the line of text above them [px]."""
_TEXT = 14
"""Size of the letters [px]."""
_ALPHA = 0.7
"""Weight of the colours of the classes; the picture shows through."""

Rgb = npt.NDArray[np.uint8]


def worst_sheet(dataset: Pictures, worst: Sequence[PictureScore]) -> Rgb:
    """Draw pictures beside what the model says of them and what is true.

    Args:
        dataset: The pictures.
        worst: Which of them, at least one, and what the model said.

    Returns:
        RGB, uint8 ``(H, W, 3)``: a row for each picture, and below them the colours of the
        classes on them.

    """
    vocabulary = Vocabulary.from_names(dataset.classes)
    rows, used = [_heading()], np.zeros(256, dtype=np.bool_)
    for score in worst:
        sample = dataset[score.index]
        text = f'mIoU {score.miou:.3f}, pixel accuracy {score.pixel_accuracy:.3f}'
        rows.append(_caption(sample.name, text))
        rows.append(_row(sample.image, (score.labels, sample.labels), vocabulary))
        used[score.labels] = used[sample.labels] = True
    return np.concatenate([*rows, _legend(vocabulary, np.flatnonzero(used))])


def _strip(height: int) -> Rgb:
    """Return a row with nothing on it."""
    strip = np.empty((height, 3 * _WIDTH + 2 * _GAP, 3), dtype=np.uint8)
    strip[:] = BACKGROUND
    return strip


def _heading() -> Rgb:
    """Draw what the columns are."""
    strip = _strip(_LINE)
    for column, text in enumerate(('picture', 'prediction', 'truth')):
        write_text(strip, text, column * (_WIDTH + _GAP) + _GAP, _LINE - 6, _TEXT)
    return strip


def _caption(name: str, figures: str) -> Rgb:
    """Draw a picture's name and, at the right, its figures."""
    strip = _strip(_LINE)
    left = strip.shape[1] - text_width(figures, _TEXT) - _GAP
    write_text(strip, shortened(name, _TEXT, left - 4 * _GAP), _GAP, _LINE - 6, _TEXT)
    write_text(strip, figures, left, _LINE - 6, _TEXT)
    return strip


def _row(image: Rgb, labels: Iterable[Rgb], vocabulary: Vocabulary) -> Rgb:
    """Draw a picture, and then it once more in the colours of each labelling."""
    height, width = image.shape[:2]
    scale = min(_WIDTH / width, _HEIGHT / height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    kind = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(image, size, interpolation=kind), dtype=np.uint8)
    strip = _strip(size[1] + _GAP)
    tinted = (_tinted(small, ids, vocabulary) for ids in labels)
    for column, picture in enumerate((small, *tinted)):
        left = column * (_WIDTH + _GAP)
        right = left + size[0]
        strip[: size[1], left:right] = picture
    return strip


def _tinted(image: Rgb, labels: Rgb, vocabulary: Vocabulary) -> Rgb:
    """Return a small picture in the colours of a labelling of the large one."""
    size = (image.shape[1], image.shape[0])
    small = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    scores = np.zeros(small.shape, dtype=np.float32)
    return draw_overlay(image, Segmentation(small, scores, vocabulary), alpha=_ALPHA)


def _legend(vocabulary: Vocabulary, labels: npt.NDArray[np.intp]) -> Rgb:
    """Draw the colours of some classes."""
    colors = vocabulary.colors.tolist()
    entries = tuple(
        VocabularyClass(vocabulary.names[k], color=colors[k]) for k in labels if k != UNLABELLED
    )
    return draw_legend(Vocabulary(entries), width=_strip(1).shape[1], text_height=_TEXT)
