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
"""Views as the published code draws them: against slow statements of the same rules in NumPy."""

import colorsys
from pathlib import Path
import re

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from torchvision import tv_tensors
import yaml
from zegclip_core.data import views
from zegclip_core.data.folder import Sample
from zegclip_core.data.views import (
    asked_classes,
    distorted,
    padded,
    random_crop,
    random_view,
    resized,
    scaled_size,
    split_indices,
    ViewConfig,
    whole_view,
)
from zegclip_core.errors import ConfigError
from zegclip_core.options import UNLABELLED
from zegclip_core.settings import validated

PLAIN = ViewConfig(size=(32, 32), pipeline='published', scale=(0.5, 2.0), jitter=0.0)


def joint(image: np.ndarray, labels: np.ndarray) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    return (
        tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
        tv_tensors.Mask(torch.from_numpy(labels)),
    )


def places(height: int, width: int) -> np.ndarray:
    """Return a picture whose red and green tell row and column."""
    rows, columns = np.indices((height, width)).astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1)


def blobs(height: int = 60, width: int = 90) -> Sample:
    """Return a picture of a bright rectangle, which is class 1, on black, which is class 0."""
    labels = np.zeros((height, width), np.uint8)
    top, bottom, left, right = height // 4, height // 2, width // 6, width // 2
    labels[top:bottom, left:right] = 1
    return Sample(np.repeat(labels[..., None] * np.uint8(255), 3, axis=2), labels, 'blobs')


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ('size', 'ratio', 'expected'),
    [
        ((480, 640), 1.0, (512, 683)),  # The shorter side becomes 512.
        ((640, 480), 1.0, (683, 512)),
        ((480, 640), 0.5, (256, 341)),
        ((375, 500), 2.0, (1024, 1365)),
        ((200, 2000), 1.0, (205, 2048)),  # A panorama: the longer side becomes 2048.
        ((512, 512), 1.999, (1023, 1023)),  # The limits are whole numbers.
    ],
)
def test_sides_grow_to_the_published_limits(
    size: tuple[int, int], ratio: float, expected: tuple[int, int]
) -> None:
    assert scaled_size(*size, 512, ratio) == expected


@given(st.integers(64, 3000), st.integers(64, 3000), st.integers(32, 1024), st.floats(0.5, 2.0))
def test_a_scaled_picture_fits_its_limits_and_reaches_one(
    height: int, width: int, short: int, ratio: float
) -> None:
    new_height, new_width = scaled_size(height, width, short, ratio)
    longest, shortest = int(4 * short * ratio), int(short * ratio)
    sides = sorted((new_height, new_width))
    assert sides[0] <= shortest
    assert sides[1] <= longest
    assert sides[0] == shortest or sides[1] == longest
    # The proportions stay, up to the rounding of either side by half a pixel.
    assert abs(new_height * width - new_width * height) <= 0.51 * (height + width)


@pytest.mark.parametrize('ratio', [0.5, 0.77, 1.3, 2.0])
def test_pictures_are_scaled_as_opencv_does(ratio: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    labels = rng.integers(0, 5, (60, 90), dtype=np.uint8)
    height, width = scaled_size(60, 90, 48, ratio)
    found_image, found_labels = resized(joint(image, labels), (height, width))
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_allclose(found_image.permute(1, 2, 0).numpy(), image, atol=1.5)
    # Either side rounds places that lie between two pixels in its own way.
    assert (found_labels.numpy() == labels).mean() > 0.97


def part(values: np.ndarray, top: int, left: int) -> np.ndarray:
    """Return 16 x 16 pixels."""
    return values[top:][:16, left:][:, :16]


def is_mixed(labels: np.ndarray, cat_max_ratio: float) -> bool:
    """Return whether the published code would take this part."""
    shares = [np.sum(labels == value) for value in range(255)]
    return np.count_nonzero(shares) > 1 and max(shares) / sum(shares) < cat_max_ratio


def test_a_part_is_drawn_again_up_to_ten_times() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[:15, :15] = 1
    labels[:6] = UNLABELLED  # Does not count, else more parts would do.
    boxes = [(top, left) for top in range(25) for left in range(25)]
    good = {(t, k) for t, k in boxes if is_mixed(part(labels, t, k), 0.75)}
    share = len(good) / len(boxes)
    assert 0.05 < share < 0.2
    for cat_max_ratio, draws in ((0.75, 11), (1.0, 1)):
        hits = 0
        for seed in range(300):
            image, cut = random_crop(
                joint(places(40, 40), labels), (16, 16), cat_max_ratio, generator(seed)
            )
            place = (int(image[0, 0, 0]), int(image[1, 0, 0]))
            assert np.array_equal(cut, part(labels, *place))
            assert np.array_equal(image.permute(1, 2, 0), part(places(40, 40), *place))
            hits += place in good
        assert hits / 300 == pytest.approx(1 - (1 - share) ** draws, abs=0.09)


def test_every_part_can_be_drawn() -> None:
    labels = np.full((10, 12), UNLABELLED, np.uint8)
    seen = set()
    for seed in range(200):
        image, _ = random_crop(joint(places(10, 12), labels), (8, 8), 0.75, generator(seed))
        assert image.shape == (3, 8, 8)
        seen.add((int(image[0, 0, 0]), int(image[1, 0, 0])))
    assert seen == {(row, column) for row in range(3) for column in range(5)}


def test_what_is_too_small_is_padded_at_the_right_and_the_bottom() -> None:
    sample = blobs(20, 28)
    image, labels = padded(joint(sample.image, sample.labels), (32, 40))
    expected_labels = np.full((32, 40), 255, np.uint8)
    expected_labels[:20, :28] = sample.labels
    assert np.array_equal(labels, expected_labels)
    expected = np.empty((32, 40, 3), np.uint8)
    expected[:] = (124, 116, 104)
    expected[:20, :28] = sample.image
    assert np.array_equal(image.permute(1, 2, 0), expected)
    # After the published normalisation that is all but 0, which the published code pads with.
    normalised = (expected[-1, -1] - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    assert np.abs(normalised).max() < 0.01


def test_image_and_mask_stay_together_at_every_scale() -> None:
    sample, scales = blobs(), set()
    for seed in range(40):
        image, labels = random_view(sample, PLAIN, seed)
        assert image.shape == (32, 32, 3)
        assert image.dtype == labels.dtype == torch.uint8
        inside = cv2.erode((labels == 1).numpy().astype(np.uint8), np.ones((5, 5)), borderValue=1)
        outside = cv2.erode((labels == 0).numpy().astype(np.uint8), np.ones((5, 5)), borderValue=1)
        assert (image.numpy()[inside > 0] == 255).all()
        assert (image.numpy()[outside > 0] == 0).all()
        scales.add(int((labels == UNLABELLED).sum()))
    assert len(scales) > 5


@pytest.mark.parametrize(
    'config',
    [
        ViewConfig(size=(32, 32), pipeline='published', scale=(0.5, 2.0)),
        ViewConfig(size=(32, 32)),
    ],
)
def test_a_view_follows_from_its_seed_alone(config: ViewConfig) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = [random_view(blobs(), config, seed) for seed in range(12)]
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    again = [random_view(blobs(), config, seed) for seed in reversed(range(12))][::-1]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert len({image.numpy().tobytes() for image, _ in first}) == 12


def test_half_of_the_views_are_flipped() -> None:
    sample = Sample(places(32, 32), places(32, 32)[..., 1], 'places')
    config = ViewConfig(size=(32, 32), pipeline='published', scale=(1.0, 1.0), jitter=0.0)
    flipped = 0
    for seed in range(300):
        image, labels = random_view(sample, config, seed)
        assert torch.equal(image[..., 1], labels)
        assert labels[0, 0] in (0, 31)
        flipped += int(labels[0, 0]) == 31
    assert flipped / 300 == pytest.approx(0.5, abs=0.09)


def after(color: tuple[int, int, int], seed: int) -> tuple[int, ...]:
    image, _ = joint(np.full((2, 2, 3), color, np.uint8), np.zeros((2, 2), np.uint8))
    pixels = distorted(image, generator(seed))
    assert pixels.dtype == torch.uint8
    assert (pixels == pixels[:, :1, :1]).all()
    return tuple(pixels[:, 0, 0].tolist())


def test_brightness_and_contrast_have_the_published_ranges() -> None:
    # A grey pixel has no hue and no saturation to change.
    values = [after((100, 100, 100), seed) for seed in range(600)]
    assert all(red == green == blue for red, green, blue in values)
    found = np.array(values)[:, 0]
    assert (100 - 32) * 0.5 - 1 <= found.min() < 45
    assert 180 < found.max() <= (100 + 32) * 1.5
    # Neither, only brightness, only contrast, both: a quarter each.
    assert np.mean(found == 100) == pytest.approx(0.25, abs=0.06)
    black = np.array([after((0, 0, 0), seed) for seed in range(600)])[:, 0]
    assert np.mean(black > 0) == pytest.approx(0.25, abs=0.06)  # Only what is added acts on it.
    assert 32 < black.max() <= 48


def only(monkeypatch: pytest.MonkeyPatch, **kept: float | tuple[float, float]) -> None:
    """Switch all changes of colour off but some."""
    off = {'BRIGHTNESS': 0.0, 'CONTRAST': (1.0, 1.0), 'SATURATION': (1.0, 1.0), 'HUE': 0.0}
    for name, value in {**off, **kept}.items():
        monkeypatch.setattr(views, name, value)


@pytest.mark.parametrize('factor', [0.5, 0.8, 1.5])
@pytest.mark.parametrize('color', [(200, 100, 50), (10, 60, 61), (0, 0, 0), (255, 0, 9)])
def test_saturation_is_that_of_hsv(
    monkeypatch: pytest.MonkeyPatch, color: tuple[int, int, int], factor: float
) -> None:
    only(monkeypatch, SATURATION=(factor, factor))
    hue, saturation, value = colorsys.rgb_to_hsv(*color)
    expected = colorsys.hsv_to_rgb(hue, min(saturation * factor, 1.0), value)
    for found in {after(color, seed) for seed in range(8)} - {color}:
        np.testing.assert_allclose(found, expected, atol=1.0)


def test_saturation_and_hue_have_the_published_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    color = (200, 120, 80)
    hue, saturation, _ = colorsys.rgb_to_hsv(*color)
    only(monkeypatch, SATURATION=views.SATURATION)
    found = [colorsys.rgb_to_hsv(*after(color, seed))[1] / saturation for seed in range(300)]
    assert 0.48 < min(found) < 0.6
    assert 1.4 < max(found) < 1.52
    monkeypatch.undo()
    only(monkeypatch, HUE=views.HUE)
    turns = [colorsys.rgb_to_hsv(*after(color, seed))[0] - hue for seed in range(300)]
    turns = [(turn + 0.5) % 1 - 0.5 for turn in turns]
    assert -0.105 < min(turns) < -0.085
    assert 0.085 < max(turns) < 0.105
    assert np.mean(np.abs(turns) < 0.001) == pytest.approx(0.5, abs=0.09)


def test_a_jitter_of_0_leaves_the_colours() -> None:
    sample = Sample(
        np.full((40, 40, 3), (200, 90, 40), np.uint8), np.zeros((40, 40), np.uint8), ''
    )
    config = ViewConfig(size=(32, 32), pipeline='published', scale=(1.0, 2.0), jitter=0.0)
    for seed in range(10):
        assert (random_view(sample, config, seed)[0] == torch.tensor([200, 90, 40])).all()
    changed = ViewConfig(size=(32, 32), pipeline='published', scale=(1.0, 2.0))
    colors = {tuple(random_view(sample, changed, seed)[0][0, 0].tolist()) for seed in range(10)}
    assert len(colors) > 5


@pytest.mark.parametrize(
    ('size', 'multiple', 'expected'),
    [((60, 90), 1, (32, 48)), ((61, 90), 1, (32, 47)), ((90, 60), 14, (42, 28)),
     ((20, 200), 16, (32, 320))],
)  # fmt: skip
def test_a_whole_picture_keeps_its_proportions(
    size: tuple[int, int], multiple: int, expected: tuple[int, int]
) -> None:
    image, labels = whole_view(blobs(*size), PLAIN, multiple=multiple)
    assert tuple(labels.shape) == expected
    assert tuple(image.shape) == (*expected, 3)
    assert ((image[..., 0] > 127) == (labels == 1)).float().mean() > 0.9


def test_a_whole_picture_of_a_resized_crop_has_the_size_of_a_view() -> None:
    image, labels = whole_view(blobs(), ViewConfig(size=(30, 40)), multiple=16)
    assert tuple(labels.shape) == (30, 40)
    assert tuple(image.shape) == (30, 40, 3)


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'size': [0, 32]}, r'views\.size\.0 to be at least 1, but got 0'),
        ({'pipeline': 'mine'}, r"views\.pipeline .*'resized_crop' or 'published', but got 'mine'"),
        ({'scale': [1.0, 0.5]}, r'views\.scale .*rising.*\[1\.0, 0\.5\]'),
        ({'scale': [0.0, 0.5]}, r'views\.scale .*above 0'),
        ({'scale': [0.5, 2.0]}, r'views\.scale .*at most 1'),
        ({'ratio': [2.0, 1.0]}, r'views\.ratio'),
        ({'jitter': -0.1}, r'views\.jitter .*at least 0, but got -0\.1'),
        ({'jitter': 5.1}, r'views\.jitter .*at most 5, but'),
        ({'cat_max_ratio': 0.0}, r'views\.cat_max_ratio .*above 0, but got 0\.0'),
        ({'cat_max_ratio': 1.1}, r'views\.cat_max_ratio .*at most 1, but got 1\.1'),
    ],
)
def test_a_setting_that_cannot_be_is_named(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        validated(ViewConfig, {'size': [32, 32], **values}, 'views')
    assert '\n' not in str(caught.value)


def test_the_page_on_datasets_shows_the_published_views() -> None:
    page = (Path(__file__).parents[2] / 'docs' / 'datasets.md').read_text('utf-8')
    (block,) = re.findall(r'^```yaml\nviews:(.*?)^```', page, re.DOTALL | re.MULTILINE)
    config = validated(ViewConfig, yaml.safe_load(block), 'views')
    assert config == ViewConfig(
        size=(512, 512), pipeline='published', scale=(0.5, 2.0), cat_max_ratio=0.75
    )
    assert config == ViewConfig(size=(512, 512), pipeline='published', scale=(0.5, 2.0))


def test_image_and_mask_of_a_resized_crop_stay_together() -> None:
    config = ViewConfig(size=(56, 70), jitter=0.0)
    for seed in range(8):
        image, labels = random_view(blobs(), config, seed)
        # Antialiasing blurs the border, so the mask is compared away from it.
        assert ((image[..., 0] > 250) & (labels == 0)).float().mean() < 0.03
        assert ((image[..., 0] < 5) & (labels == 1)).float().mean() < 0.03


def test_held_out_pictures_are_not_trained_on() -> None:
    kept, held = split_indices(11, 5, held_out=False), split_indices(11, 5, held_out=True)
    assert held == [0, 5, 10]
    assert sorted(kept + held) == list(range(11))
    assert split_indices(3, 0, held_out=False) == split_indices(3, 0, held_out=True) == [0, 1, 2]


def test_validation_asks_for_the_present_and_some_absent_classes() -> None:
    labels = torch.tensor([3, 7, 255], dtype=torch.uint8)
    asked = asked_classes(labels, 80, 5)
    assert asked[:2] == [3, 7]
    assert len(set(asked)) == 7
    assert asked == asked_classes(labels, 80, 5)
    assert sorted(asked_classes(labels, 9, -1)) == list(range(9))
