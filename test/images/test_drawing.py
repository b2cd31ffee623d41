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
"""Overlays and legends: tinted pixels by hand, words that can be read, layouts that stay."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from zegclip_core.errors import ConfigError, ImageError
from zegclip_core.images import drawing
from zegclip_core.images.drawing import (
    BACKGROUND,
    draw_legend,
    draw_overlay,
    MAX_ENTRIES,
    overlay_with_legend,
)
from zegclip_core.options import UNLABELLED
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

TWO = Vocabulary(
    (VocabularyClass('red', color=(255, 0, 0)), VocabularyClass('blue', color=(0, 0, 255)))
)


def segmentation(labels: object, vocabulary: Vocabulary = TWO) -> Segmentation:
    array = np.asarray(labels, dtype=np.uint8)
    return Segmentation(array, np.zeros(array.shape, dtype=np.float32), vocabulary)


def plain(height: int, width: int, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_labelled_pixels_are_blended_and_unlabelled_ones_stay() -> None:
    image = plain(1, 3)
    overlay = draw_overlay(image, segmentation([[0, 1, UNLABELLED]]), alpha=0.4)
    # 0.6 x 100 + 0.4 x 255 = 162; 0.6 x 100 = 60.
    assert overlay.tolist() == [[[162, 60, 60], [60, 60, 162], [100, 100, 100]]]
    assert (overlay.dtype, image[0, 0].tolist()) == (np.uint8, [100, 100, 100])


@pytest.mark.parametrize(('alpha', 'expected'), [(0.0, [100, 100, 100]), (1.0, [255, 0, 0])])
def test_the_ends_of_alpha_show_picture_or_colour_alone(alpha: float, expected: list[int]) -> None:
    assert draw_overlay(plain(1, 1), segmentation([[0]]), alpha=alpha)[0, 0].tolist() == expected


@pytest.mark.parametrize('alpha', [-0.1, 1.5, float('nan')])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match=r'alpha to be in \[0, 1\]'):
        draw_overlay(plain(1, 1), segmentation([[0]]), alpha=alpha)


def test_an_image_of_another_size_or_type_is_refused() -> None:
    with pytest.raises(ImageError, match=r'\(2, 2, 3\).*but got \(2, 3, 3\)'):
        draw_overlay(plain(2, 3), segmentation([[0, 0], [0, 0]]))
    with pytest.raises(ImageError, match=r'but got .* float64'):
        draw_overlay(np.zeros((1, 1, 3)), segmentation([[0]]))


def test_images_that_are_not_contiguous_are_tinted_as_well() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8) % 2
    flipped = draw_overlay(wide[:, ::-1], segmentation(labels[:, ::-1]))
    assert np.array_equal(flipped[:, ::-1], draw_overlay(wide, segmentation(labels)))


def test_the_legend_shows_every_colour_and_writes_words() -> None:
    legend = draw_legend(TWO, {'red': 0.25, 'blue': 0.75}, width=400)
    assert legend.shape[1] == 400
    for color in (*TWO.colors.tolist(), BACKGROUND):
        assert (legend == color).all(axis=2).any()
    # Letters are white; without them the legend is colours and ground.
    assert (legend == 255).all(axis=2).sum() > 50


def test_the_upper_left_part_is_the_overlay_wherever_the_legend_stands() -> None:
    image = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    found = segmentation(np.arange(120000).reshape(300, 400) % 2)
    below = overlay_with_legend(image, found, place='below')
    beside = overlay_with_legend(image, found, place='beside')
    assert below.shape[0] > 300
    assert below.shape[1] == 400
    assert beside.shape[1] > 400
    for picture in (below, beside):
        assert np.array_equal(picture[:300, :400], draw_overlay(image, found))


def test_wide_pictures_get_the_legend_below_and_high_ones_beside() -> None:
    wide = overlay_with_legend(plain(300, 600), segmentation(np.zeros((300, 600))))
    high = overlay_with_legend(plain(600, 300), segmentation(np.zeros((600, 300))))
    assert wide.shape[:2] > (300, 600)
    assert wide.shape[1] == 600
    assert high.shape[0] == 600
    assert high.shape[1] > 300


@pytest.mark.parametrize('size', [(1, 1), (1, 500), (500, 1), (2, 3000)])
def test_extreme_pictures_get_a_legend_too(size: tuple[int, int]) -> None:
    picture = overlay_with_legend(plain(*size), segmentation(np.zeros(size)))
    assert (picture == 255).all(axis=2).sum() > 50


def test_a_video_frame_keeps_its_size_whatever_is_in_it() -> None:
    many = Vocabulary.from_names(f'thing {number}' for number in range(MAX_ENTRIES + 20))
    none = segmentation(np.full((90, 160), UNLABELLED), many)
    all_of_them = segmentation(np.arange(90 * 160).reshape(90, 160) % len(many), many)
    sizes = {
        overlay_with_legend(plain(90, 160), found, every_class=True).shape
        for found in (none, all_of_them)
    }
    assert len(sizes) == 1
    assert (
        overlay_with_legend(plain(90, 160), none).shape[0]
        < overlay_with_legend(plain(90, 160), all_of_them).shape[0]
    )


@pytest.mark.parametrize(
    'name', ['café', '日本の本', 'кошка', '😀😀', 'عربى', 'a' * 200, '%s{}\\']
)
def test_any_name_can_be_drawn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary.from_names([name, 'cat'])
    assert draw_legend(vocabulary, width=300).shape[1] == 300
    # Also with a library that has no font of its own for it.
    monkeypatch.setattr(drawing, '_unicode_face', lambda: None)
    assert draw_legend(vocabulary, width=300).shape[1] == 300


def test_the_two_fonts_write_a_name_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        image = np.zeros((40, 200, 3), dtype=np.uint8)
        drawing.write_text(image, 'cat', left=50, baseline=25, height=16)
        rows, columns = np.nonzero(image[..., 0])
        assert rows.min() >= 25 - 16
        assert rows.max() <= 25 + 4
        assert columns.min() >= 50
        assert columns.max() <= 50 + drawing.text_width('cat', 16) + 1
        monkeypatch.setattr(drawing, '_unicode_face', lambda: None)


@given(st.text(max_size=40), st.integers(40, 400))
def test_shortened_text_fits(text: str, width: int) -> None:
    short = drawing.cut_to_width(text, 16, width)
    assert drawing.text_width(short, 16) <= width
    assert short == text or short.endswith('...')
