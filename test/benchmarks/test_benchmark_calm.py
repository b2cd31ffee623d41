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
"""The benchmark of calm masks counts what it says, and its page has the table."""

from pathlib import Path

from benchmarks.calm import Clip, main, measure, OPEN, PAGE, page_text, pan, Recorder, View, ways
from benchmarks.calm_figures import boundary_scores, filled, flicker, outline, Tally
import numpy as np
import pytest
from tiny_models import noise, write_published
from zegclip_core.options import UNLABELLED
from zegclip_core.segmenter import Segmenter


def one_pixel(*classes: int) -> list[np.ndarray]:
    return [np.array([[number]], np.uint8) for number in classes]


@pytest.mark.parametrize(
    ('classes', 'expected'),
    [
        ((3, 3, 3, 3), 0.0),
        ((3, 3, 5, 5, 5, 5, 5, 5), 0.0),
        ((3, 5, 3), 1 / 2),  # The way back is a change that nothing takes back.
        ((3, 5, 3, 5), 2 / 3),
        ((3, 5, 5, 5, 5, 3), 1 / 5),
        ((3, 5, 5, 5, 5, 5, 3), 0.0),
        ((3,), 0.0),
    ],
)
def test_flicker_is_what_comes_back_within_five_frames(
    classes: tuple[int, ...], expected: float
) -> None:
    assert flicker(one_pixel(*classes)) == pytest.approx(expected)


def test_outlines_are_the_pixels_beside_others() -> None:
    region = np.zeros((7, 8), bool)
    region[1:5, 2:7] = True
    expected = region.copy()
    expected[2:4, 3:6] = False
    assert np.array_equal(outline(region), expected)
    assert not outline(np.ones((4, 4), bool)).any()  # The image's border is no outline.


def test_outlines_near_by_count_and_far_ones_do_not() -> None:
    truth = np.full((300, 400), UNLABELLED, np.uint8)  # Four pixels are near.
    truth[100:200, 100:200] = 1
    near, far = truth.copy(), truth.copy()
    near[100:200, 200:203] = 1
    far[100:200, 200:250] = 1
    assert list(boundary_scores(truth, truth)) == [1.0]
    assert list(boundary_scores(near, truth)) == [1.0]
    (score,) = boundary_scores(far, truth)
    # Of 396 pixels of the truth 100 - 2 * 4 at the right side are missed at least.
    assert 0.6 < score < 0.9
    assert list(boundary_scores(np.full_like(truth, UNLABELLED), truth)) == [0.0]


def test_unknown_pixels_get_the_nearest_class() -> None:
    truth = np.array([[1, OPEN, OPEN, OPEN, 2]], np.uint8)
    assert filled(truth, OPEN)[0, [0, 1, 3, 4]].tolist() == [1, 1, 2, 2]
    empty = np.full((3, 3), OPEN, np.uint8)
    assert filled(empty, OPEN) is empty


def test_a_tally_counts_known_pixels() -> None:
    tally = Tally(classes=2)
    truth = np.array([[0, 0, 1, UNLABELLED, 1]], np.uint8)
    labels = np.array([[0, 1, 1, UNLABELLED, 0]], np.uint8)
    tally.add(labels, truth, np.array([[True, True, True, True, False]]))
    assert tally.accuracy == pytest.approx(3 / 4)
    assert tally.mean_iou == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_a_pan_moves_image_and_truth_alike() -> None:
    photo = noise(80, 100)
    truth = np.where(photo[..., 0] > 127, 1, UNLABELLED).astype(np.uint8)
    flat = np.repeat(np.where(truth == 1, 220, 30).astype(np.uint8)[..., None], 3, axis=2)
    views = pan(View(flat, truth), np.random.default_rng(0), frames=6)
    assert len(views) == 6
    assert not np.array_equal(views[0].truth, views[-1].truth)
    for view in views:
        assert view.image.shape == (60, 75, 3)
        bright = view.image.mean(axis=-1) > 125
        assert (bright == (view.truth == 1)).mean() > 0.75


def test_every_way_is_measured(tmp_path: Path) -> None:
    recorder = Recorder()
    path = write_published(tmp_path / 'tiny.pth')
    segmenter = Segmenter.load(path, device='cpu', precision='fp32', steps=[recorder])
    views = [View(noise(40, 50, seed), noise(40, 50, seed)[..., 0] % 3) for seed in range(3)]
    work = [
        Clip('two', ('cat', 'dog', 'tree'), views),
        Clip('one', ('cat', 'dog', 'tree'), views[:1]),
    ]
    found = measure(segmenter, recorder, work)
    assert [len(one.model) for one in found.values()] == [3, 1]
    assert all(set(one.tallies) == set(ways()) for one in found.values())
    text = page_text(found, 'a device')
    assert text.count('\n| two') == text.count('\n| one') == len(ways())


def test_the_page_has_a_place_and_data_that_are_not_there_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PAGE.read_text('utf-8').count('<!-- calm:begin -->') == 1
    assert main(['--data', str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith('calm: error: Expected CamVid')
