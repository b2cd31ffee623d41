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
"""``benchmarks.seen_bias``: the labels of every bias in one pass, and the intervals."""

from pathlib import Path

from benchmarks.seen_bias import _counts, Bias, BIASES, NONE, PUBLISHED, Sweep, sweep
import numpy as np
import pytest
import torch
from zegclip_core.data.shapes import ShapesDataset
from zegclip_core.evaluation.evaluate import evaluate
from zegclip_core.model.metrics import ConfusionMatrix
from zegclip_core.options import SegmenterOptions, UNLABELLED
from zegclip_core.segmenter import Segmenter


def by_argmax(
    logits: torch.Tensor, truth: np.ndarray, seen: torch.Tensor, bias: Bias
) -> np.ndarray:
    """Count in the plain way: subtract, and take the best."""
    values = logits if bias.on == 'logits' else logits.sigmoid()
    best = (values - bias.amount * seen.float()[:, None, None]).argmax(0)
    matrix = ConfusionMatrix(len(logits))
    matrix.update(best.numpy(), truth)
    return matrix.matrix


def test_one_count_gives_the_matrix_of_every_bias() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 31, 23, generator=generator, dtype=torch.float64) * 3
    truth = torch.randint(0, 8, (31, 23), generator=generator).numpy().astype(np.uint8)
    truth[truth == 7] = UNLABELLED
    seen = torch.tensor([True, False, True, True, False, True, True])
    found = _counts(logits, truth, seen)
    assert found.shape == (len(BIASES), 7, 8)
    for place, bias in enumerate(BIASES):
        np.testing.assert_array_equal(found[place], by_argmax(logits, truth, seen, bias))
    assert (found[0] != found[-1]).any()


def made_of(images: list[list[list[int]]]) -> Sweep:
    """Two classes, the first one seen; the same matrix at each bias but the last."""
    counts = np.repeat(np.array(images, np.int32)[:, None], len(BIASES), axis=1)
    counts[:, -1] = [[1, 9, 0], [0, 10, 0]]
    return Sweep(('car', 'cat'), ('car',), counts)


def test_the_best_bias_is_the_least_with_the_greatest_harmonic_mean() -> None:
    one = made_of([[[9, 1, 0], [10, 0, 0]]])
    assert one.metrics(NONE).hiou == 0.0
    assert one.best('logits') == BIASES[-1]
    assert one.best('scores') == NONE
    # IoU 1 / 10 and 10 / 19.
    assert one.metrics(BIASES[-1]).hiou == pytest.approx(2 * 0.1 * (10 / 19) / (0.1 + 10 / 19))


def test_an_interval_is_that_of_the_pictures() -> None:
    same = made_of([[[8, 2, 0], [4, 6, 0]]] * 20)
    for low, high in same.intervals(NONE).values():
        assert low == pytest.approx(high)
    # Half of the pictures all right, half all wrong: with p right the seen IoU is p / (2 - p).
    mixed = made_of([[[10, 0, 0], [0, 10, 0]], [[0, 10, 0], [10, 0, 0]]] * 50)
    low, high = mixed.intervals(NONE)['miou_seen']
    # p is 0.5 +- 1.96 * 0.05.
    assert low == pytest.approx(0.402 / 1.598, abs=0.02)
    assert high == pytest.approx(0.598 / 1.402, abs=0.02)
    assert mixed.intervals(NONE) == mixed.intervals(NONE)


def test_it_is_what_evaluate_finds_and_a_file_keeps_it(tmp_path: Path) -> None:
    model = 'everyday-s'
    dataset = ShapesDataset('val')
    seen = dataset.classes[:2]
    found = sweep(model, dataset, range(3), dataset.classes, seen)
    segmenter = Segmenter.load(model, SegmenterOptions(threshold=0.0, negatives=()))
    for bias in (NONE, PUBLISHED):
        plain = evaluate(
            segmenter, dataset, range(3), seen=seen, bias=dict.fromkeys(seen, bias.amount)
        )
        matrix = found.counts[:, BIASES.index(bias)].sum(0)
        assert np.abs(matrix - plain.confusion.matrix).sum() <= 0.002 * matrix.sum()
    found.save(tmp_path / 'counts.npz')
    again = Sweep.load(tmp_path / 'counts.npz')
    assert (again.classes, again.seen) == (found.classes, found.seen)
    np.testing.assert_array_equal(again.counts, found.counts)
    assert not list(tmp_path.glob('*partial*'))
