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
"""The sheet of the worst pictures and the picture of the confusion matrix."""

from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from test_evaluation import CLASSES
from zegclip_core.data.folder import Sample
from zegclip_core.evaluation.evaluate import Evaluation, ImageScore
from zegclip_core.evaluation.plots import worst_sheet
from zegclip_core.images.confusion import row_shares, save_confusion
from zegclip_core.images.sheets import GAP, LINE, sheet_width, WIDTH
from zegclip_core.model.metrics import ConfusionMatrix
from zegclip_core.text.vocabulary import Vocabulary

GREY = 100
COLORS = Vocabulary.from_names(CLASSES).colors.astype(int)


class Halves:
    """Grey pictures, 80 x 60, whose left half is a road and whose right half is not labelled."""

    classes = CLASSES
    title = key = 'halves'

    def name(self, index: int) -> str:
        return f'picture {index}'

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        labels = np.zeros((60, 80), np.uint8)
        labels[:, 40:] = 255
        return Sample(np.full((60, 80, 3), GREY, np.uint8), labels, self.name(index))


def score(index: int, label: int) -> ImageScore:
    return ImageScore(index, 0.25, 0.5, np.full((60, 80), label, np.uint8))


def tinted(label: int) -> np.ndarray:
    return np.round(0.3 * GREY + 0.7 * COLORS[label])


STEP = WIDTH + GAP
TOPS = (GAP + LINE, GAP + LINE + 240 + 2 * GAP + LINE)
"""Where the images of the two rows begin, each below a line of text [px]."""


def test_each_worst_picture_stands_beside_prediction_and_truth() -> None:
    sheet = worst_sheet(Halves(), [score(1, 1), score(0, 2)]).astype(int)
    assert sheet.shape[1] == sheet_width(3)
    for top, label in zip(TOPS, (1, 2), strict=True):
        row = sheet[top + 100, GAP:]
        assert (row[100] == GREY).all()
        assert np.abs(row[STEP + 100] - tinted(label)).max() <= 1
        assert np.abs(row[2 * STEP + 60] - tinted(0)).max() <= 1
        assert (row[2 * STEP + 310] == GREY).all()
    _, legend = np.split(sheet, [TOPS[1] + 240])
    legend = legend.reshape(-1, 3)
    shown = [bool((legend == color).all(axis=1).any()) for color in COLORS]
    assert shown == [True, True, True, False]


def test_the_text_of_the_sheet_tells_pictures_and_figures_apart() -> None:
    better = ImageScore(0, 0.75, 0.5, np.ones((60, 80), np.uint8))
    scores = (score(0, 1), score(1, 1), better)
    heads = (worst_sheet(Halves(), [one])[: TOPS[0], : 3 * STEP] for one in scores)
    first, other, good = (np.split(head, 3, axis=1) for head in heads)
    name, figures, _ = range(3)
    assert (first[name] != other[name]).any()
    assert (first[figures] == other[figures]).all()
    assert (first[name] == good[name]).all()
    assert (first[figures] != good[figures]).any()


def result(counts: list, seen: tuple[str, ...] = CLASSES) -> Evaluation:
    confusion = ConfusionMatrix(len(CLASSES))
    for truth, row in enumerate(counts):
        for predicted, count in enumerate(row):
            guess = 255 if predicted == len(CLASSES) else predicted
            confusion.update(np.full(count, guess), np.full(count, truth))
    return Evaluation(confusion.compute(CLASSES, seen=seen), 1, 1.0, confusion, 0.0)


ALL_OCCUR = [[6, 2, 0, 0, 2], [0, 5, 0, 0, 0], [0, 0, 3, 1, 0], [0, 0, 0, 7, 0]]


def test_rows_are_shares_of_the_pixels_of_a_class() -> None:
    shares = row_shares(np.array([*ALL_OCCUR[:3], [0, 0, 0, 0, 0]]))
    expected = [[0.6, 0.2, 0, 0, 0.2], [0, 1, 0, 0, 0], [0, 0, 0.75, 0.25, 0], [0] * 5]
    np.testing.assert_allclose(shares, expected)


def drawn(path: Path, *arguments: object) -> np.ndarray:
    found = result(*arguments)
    save_confusion(found.confusion.matrix, found.metrics.is_seen, path)
    return np.array(Image.open(path).convert('RGB')).astype(int)


def count(pixels: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - color).max(axis=-1) <= 2).sum())


def reddish(pixels: np.ndarray) -> int:
    return int((pixels[..., 0] - pixels[..., 1:].max(axis=-1) > 60).sum())


def test_the_matrix_is_drawn_with_its_diagonal_dark_and_unseen_names_red(tmp_path: Path) -> None:
    pixels = drawn(tmp_path / 'a.png', ALL_OCCUR, CLASSES[:3])
    # The darkest blue of the colour map is a share of 1: the cells of car and sky.
    full = count(pixels, (8, 48, 107))
    cell = (2.4 * 0.19 * 110) ** 2
    assert full > 1.2 * cell
    assert reddish(pixels) > 20
    assert reddish(drawn(tmp_path / 'b.png', ALL_OCCUR)) == 0


def test_classes_that_do_not_occur_and_no_unlabelled_pixels_take_no_room(tmp_path: Path) -> None:
    everything = drawn(tmp_path / 'a.png', ALL_OCCUR)
    two = drawn(tmp_path / 'b.png', [[6, 2, 0, 0, 0], [0, 5, 0, 0, 0], [0] * 5, [0] * 5])
    assert two.shape[1] < everything.shape[1] - 60
    assert two.shape[0] < everything.shape[0] - 60
    assert drawn(tmp_path / 'c.png', [[0] * 5] * 4).shape[0] > 100


@pytest.mark.parametrize('number', [26, 171])
def test_many_classes_are_all_named(tmp_path: Path, number: int) -> None:
    names = [f'class {index}' for index in range(number)]
    confusion = ConfusionMatrix(number)
    confusion.update(np.arange(number), np.arange(number))
    save_confusion(confusion.matrix, dict.fromkeys(names, True), tmp_path / 'many.png')
    pixels = np.array(Image.open(tmp_path / 'many.png').convert('L'))
    # In the left margin every name is a line of text with light between it and the next.
    margin = (pixels[:, 25:70] < 128).any(axis=1)
    lines = np.count_nonzero(np.diff(margin.astype(int)) == 1)
    assert lines >= number
