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
"""Mask logits of a stream are averaged along what moves, and nothing else is."""

from collections.abc import Iterator
import math

import cv2
import numpy as np
import pytest
from tiny_models import noise
import torch
from torch import Tensor
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.refinement.smoothing import LONGEST_GAP, MOST_STREAMS, TemporalSmoother
from zegclip_core.segmentation import Moment
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

GRID = (72, 96)
PIXELS = 2
"""Of a place of the grid."""
WORDS = Vocabulary.from_names(['cat', 'dog', 'tree'])


def words(vocabulary: Vocabulary = WORDS, negatives: tuple[str, ...] = ()) -> EngineVocabulary:
    rows = torch.zeros(len(vocabulary) + len(negatives))
    return EngineVocabulary(vocabulary, negatives, rows[:, None], rows, rows)


def scenery(seed: int = 0, side: int = 500) -> np.ndarray:
    """Return a large picture of blobs, uint8 ``(side, side, 3)``."""
    rough = np.random.default_rng(seed).normal(size=(side, side, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(rough, (0, 0), 6)
    return np.clip(127 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def view(picture: np.ndarray, left: int = 0, grid: tuple[int, int] = GRID) -> Tensor:
    """Return a part of a picture as steps see it, ``(1, 3, H, W)``; ``left`` in places."""
    height, width = grid[0] * PIXELS, grid[1] * PIXELS
    part = picture[:height, slice(left * PIXELS, left * PIXELS + width)]
    return torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float()


def noises(count: int, rows: int = 3, grid: tuple[int, int] = GRID) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(1, rows, *grid, generator=generator) for _ in range(count))


def smooth(
    smoother: TemporalSmoother,
    logits: Tensor,
    images: Tensor,
    seconds: float,
    stream: str = 'camera',
    vocabulary: EngineVocabulary | None = None,
) -> Tensor:
    smoother.moments = [Moment(stream, seconds)]
    return smoother(logits, vocabulary or words(), images)


def test_images_that_belong_nowhere_stay_as_they_are() -> None:
    smoother = TemporalSmoother(0.9)
    for logits in noises(3):
        assert smoother(logits, words(), view(scenery())) is logits


@pytest.mark.parametrize('share', [0.3, 0.75, 1.0])
def test_a_scene_that_stands_still_gets_the_mean(share: float) -> None:
    smoother, images = TemporalSmoother(share), view(scenery())
    mean, frames = torch.zeros(()), 0
    for number, logits in enumerate(noises(8)):
        before = logits.clone()
        found = smooth(smoother, logits, images, number / 10)
        weight = min(share, frames / (frames + 1))
        mean, frames = weight * mean + (1 - weight) * logits, frames + 1
        torch.testing.assert_close(found, mean, rtol=1e-4, atol=1e-4)
        assert torch.equal(logits, before)
    if share == 1.0:
        every = torch.cat(list(noises(8))).mean(dim=0, keepdim=True)
        torch.testing.assert_close(found, every, rtol=1e-4, atol=1e-4)


def test_logits_move_with_the_scene() -> None:
    picture, smoother = scenery(), TemporalSmoother(1.0)
    truth = torch.randn(1, 3, GRID[0], 120, generator=torch.Generator().manual_seed(5))
    truth = torch.nn.functional.avg_pool2d(truth, 5, stride=1, padding=2) * 10
    errors = []
    for number, noisy in enumerate(noises(8)):
        left = 2 * number
        expected = truth[..., slice(left, left + GRID[1])]
        found = smooth(smoother, expected + noisy, view(picture, left), number / 10)
        errors.append((found - expected)[..., 4:-16].std())
    # Of eight frames the noise is a third, where all of them show the same; the rest is the flow.
    assert errors[-1] < 0.55 * errors[0]
    standing = TemporalSmoother(1.0)
    for number, noisy in enumerate(noises(8)):
        left = 2 * number
        expected = truth[..., slice(left, left + GRID[1])]
        found = smooth(standing, expected + noisy, view(picture, 0), number / 10)
    assert (found - expected)[..., 4:-16].std() > 2 * errors[-1]


def test_what_comes_into_sight_has_its_own_logits() -> None:
    picture, smoother = scenery(), TemporalSmoother(1.0)
    one, two = noises(2)
    smooth(smoother, one, view(picture, 0), 0.0)
    found = smooth(smoother, two, view(picture, 3), 0.1)
    own = (found == two).all(dim=1)[0]
    assert own[:, -2:].float().mean() > 0.8
    assert own[8:-8, 8:-8].float().mean() < 0.05


def test_something_else_in_the_scene_has_its_own_logits() -> None:
    before, smoother = scenery(), TemporalSmoother(1.0)
    after = before.copy()
    place = slice(12 * PIXELS, 30 * PIXELS), slice(20 * PIXELS, 44 * PIXELS)
    after[place] = np.clip(before[place][::-1, ::-1].astype(int) + 60, 0, 255)
    one, two = noises(2)
    smooth(smoother, one, view(before), 0.0)
    found = smooth(smoother, two, view(after), 0.1)
    own = (found == two).all(dim=1)[0]
    assert own[16:26, 26:38].float().mean() > 0.6
    assert own[:6].float().mean() < 0.1


def test_a_change_of_exposure_is_no_cut() -> None:
    picture, smoother = scenery(), TemporalSmoother(1.0)
    one, two = noises(2)
    smooth(smoother, one, view(picture), 0.0)
    found = smooth(smoother, two, view(picture) * 0.6 + 60, 0.1)
    assert (found - (one + two) / 2).abs().median() < 0.2


OTHER = Vocabulary.from_names(['cat', 'dog', 'bus'])
FRESH = {
    'a cut': {'images': view(scenery(9))},
    'a black image': {'images': torch.zeros(view(scenery()).shape)},
    'other words': {'vocabulary': words(OTHER)},
    'a word with another phrase': {
        'vocabulary': words(
            Vocabulary.parse('[{"name": "cat", "phrases": ["kitten"]}, "dog", "tree"]')
        )
    },
    'other negatives': {
        'vocabulary': words(Vocabulary.from_names(['cat', 'dog']), ('tree',)),
    },
    'a gap': {'seconds': 0.1 + LONGEST_GAP},
    'time going backwards': {'seconds': -0.1},
    'no time at all': {'seconds': math.nan},
    'another stream': {'stream': 'rear'},
}


@pytest.mark.parametrize('change', FRESH.values(), ids=FRESH)
def test_the_mean_begins_anew_at(change: dict[str, object]) -> None:
    usual = {'images': view(scenery()), 'seconds': 0.05}
    one, two = noises(2)
    smoother = TemporalSmoother(0.9)
    smooth(smoother, one, view(scenery()), 0.0)
    assert torch.equal(smooth(smoother, two, **{**usual, **change}), two)
    smoother = TemporalSmoother(0.9)
    smooth(smoother, one, view(scenery()), 0.0)
    assert not torch.equal(smooth(smoother, two, **usual), two)


def test_the_mean_begins_anew_at_another_size() -> None:
    smoother = TemporalSmoother(0.9)
    for number, grid in enumerate([GRID, (32, 64), (4, 7), (4, 60), (1, 1), GRID]):
        (logits,) = noises(1, grid=grid)
        assert torch.equal(smooth(smoother, logits, view(scenery(), 0, grid), number / 10), logits)
        again = smooth(smoother, -logits, view(scenery(), 0, grid), number / 10 + 0.05)
        torch.testing.assert_close(again, 0 * logits, rtol=0, atol=1e-3)


def test_when_it_forgets_streams_begin_anew() -> None:
    smoother = TemporalSmoother(0.9)
    one, two = noises(2)
    smooth(smoother, one, view(scenery()), 0.0)
    smoother.forget()
    assert torch.equal(smooth(smoother, two, view(scenery()), 0.1), two)


def test_cameras_and_windows_have_a_mean_each() -> None:
    pictures = [view(scenery(seed)) for seed in range(4)]
    together, alone = TemporalSmoother(0.8), [TemporalSmoother(0.8) for _ in range(4)]
    for number in range(3):
        parts = list(noises(4))
        expected = [
            smooth(each, part * number, image, number / 10)
            for each, part, image in zip(alone, parts, pictures, strict=True)
        ]
        # Two windows of two cameras: first every camera's first window.
        together.moments = [Moment('front', number / 10), Moment('rear', number / 10)]
        found = together(torch.cat(parts) * number, words(), torch.cat(pictures))
        torch.testing.assert_close(found, torch.cat(expected))


def test_a_broken_frame_does_not_stay() -> None:
    smoother = TemporalSmoother(0.9)
    one, two, three = noises(3)
    smooth(smoother, one, view(scenery()), 0.0)
    broken = two.clone()
    broken[0, 1, 5, 5] = math.nan
    smooth(smoother, broken, view(scenery()), 0.1)
    assert torch.equal(smooth(smoother, three, view(scenery()), 0.2), three)


def test_streams_without_end_take_no_memory_without_end() -> None:
    smoother, grid = TemporalSmoother(0.9), (2, 2)
    images = view(scenery(), 0, grid)
    for number in range(3 * MOST_STREAMS):
        (logits,) = noises(1, grid=grid)
        smooth(smoother, logits, images, number / 100, stream='always')
        smooth(smoother, logits, images, number / 100, stream=f'stream {number}')
    assert len(smoother._states) == MOST_STREAMS
    assert torch.equal(smooth(smoother, -logits, images, 2.0, stream='stream 3'), -logits)
    assert not torch.equal(smooth(smoother, -logits, images, 2.0, stream='always'), -logits)


def test_a_segmenter_smooths_what_has_a_moment(tiny: str) -> None:
    calm, plain = (
        Segmenter.load(tiny, device='cpu', precision='fp32', smoothing=share, short_side=64)
        for share in (1.0, 0.0)
    )
    frames = [cv2.GaussianBlur(noise(64, 96, seed), (0, 0), 4) for seed in range(2)]
    frames[1] = cv2.addWeighted(frames[0], 0.9, frames[1], 0.1, 0.0)
    logits = [
        [
            each.segment(
                frame, WORDS, mask_logits=True, moment=Moment('a', number) if moment else None
            ).mask_logits
            for number, frame in enumerate(frames)
        ]
        for each, moment in ((plain, True), (calm, False), (calm, True))
    ]
    for one, two in zip(logits[0], logits[1], strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(logits[2][0], logits[0][0])
    assert not np.allclose(logits[2][1], logits[0][1], atol=1e-3)
    calm.release_memory()
    again = calm.segment(frames[1], WORDS, mask_logits=True, moment=Moment('a', 2.0))
    np.testing.assert_array_equal(again.mask_logits, logits[0][1])


def test_a_batch_has_a_moment_for_each_image(tiny: str) -> None:
    calm = Segmenter.load(tiny, device='cpu', precision='fp32', smoothing=1.0, mode='slide')
    images = [noise(40, 90, seed) for seed in range(2)]
    for seconds in (0.0, 0.1):
        moments = [Moment(name, seconds) for name in ('a', 'b')]
        both = calm.segment_batch(images, WORDS, moments=moments)
    swapped = calm.segment_batch(images[::-1], WORDS, moments=moments[::-1])
    for one, two in zip(both, swapped[::-1], strict=True):
        assert (one.labels == two.labels).mean() > 0.99
