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
"""Training-free CLIP in the lean engine against the plain one, and against the softmax itself."""

from made_vocabularies import seeded_vocabulary
import pytest
from test_lean import assert_same, CPU, frames
from tiny_clips import seeded
import torch
import torch.nn.functional as F
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.vocabulary import LeanVocabulary
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.model.scoring import Windows
from zegclip_core.options import Attention, ATTENTIONS

SIZE = (24, 40)
OUTPUT = (61, 107)


def words(
    engine: PlainEngine | LeanEngine,
    rows: int,
    *,
    bias: float = 0.0,
    classes: int | None = None,
) -> EngineVocabulary:
    """Return a seeded vocabulary whose best scores are above and below their thresholds."""
    return engine.prepare(seeded_vocabulary(rows, 20, bias=bias, high=0.6, classes=classes))


def lean(attention: Attention, windows: Windows | None = None) -> LeanEngine:
    """Return a lean engine in float32 on the CPU."""
    network = seeded(attention, scale=9.0)
    return LeanEngine(network, dtype=torch.float32, device=CPU, windows=windows)


def plain(attention: Attention, windows: Windows | None = None) -> PlainEngine:
    return PlainEngine(seeded(attention, scale=9.0), windows=windows)


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_every_attention_labels_as_on_the_plain_path(attention: Attention) -> None:
    engine, other = lean(attention), plain(attention)
    for classes, size in ((1, SIZE), (12, (32, 24)), (300, SIZE)):
        pixels = frames(2, *OUTPUT)
        expected = other.run(pixels, size, words(other, classes), OUTPUT)
        assert_same(engine.run(pixels, size, words(engine, classes), OUTPUT), expected)
        labels = expected.labels.long()
        unlabelled = labels == (255 if classes <= 254 else 65535)
        assert classes == 1 or (unlabelled.any() and not unlabelled.all())


@torch.inference_mode()
def test_scores_are_the_softmax_after_upsampling() -> None:
    engine = lean('naclip')
    asked = words(engine, 12, classes=8)
    assert isinstance(asked, LeanVocabulary)
    pixels = frames(1, *SIZE)
    scores = engine.run(pixels, SIZE, asked, OUTPUT).scores
    network = seeded('naclip', scale=9.0)
    images = plain('naclip').normalised(pixels, SIZE)
    cosines = F.normalize(network.patch_tokens(images), dim=1).movedim(1, -1) @ asked.text.T
    full = F.interpolate(cosines.movedim(-1, 1), size=OUTPUT, mode='bilinear')
    expected = (9.0 * full).softmax(dim=1).amax(dim=1)
    assert 0.1 < float(expected.min()) < float(expected.max()) < 0.99
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('bias', [0.0, 0.3])
@pytest.mark.parametrize('windows', [None, Windows(24, 16)], ids=['whole', 'slide'])
def test_calibration_negatives_and_windows_are_those_of_the_plain_path(
    windows: Windows | None, bias: float
) -> None:
    engine, other = lean('naclip', windows), plain('naclip', windows)
    size, pixels = (32, 56), frames(2, *OUTPUT)
    found = engine.run(pixels, size, words(engine, 12, bias=bias, classes=7), OUTPUT)
    expected = other.run(pixels, size, words(other, 12, bias=bias, classes=7), OUTPUT)
    assert_same(found, expected)
    assert set(expected.labels.unique().tolist()) <= {*range(7), 255}
    if bias:
        unbiased = other.run(pixels, size, words(other, 12, classes=7), OUTPUT)
        assert (unbiased.labels != expected.labels).any()


def test_windows_average_cosines_before_the_softmax() -> None:
    """The mean of the softmaxes of windows is another one."""
    network, windows = seeded('naclip', scale=9.0), Windows(24, 16)
    engine = plain('naclip', windows)
    asked, pixels = words(engine, 12), frames(1, 24, 40)
    images = engine.normalised(pixels, (24, 40))
    total, count = torch.zeros(1, 12, 24, 40), torch.zeros(24, 40)
    for left in (0, 16):
        part = slice(left, left + 24)
        logits = network(images[..., part], asked.embeddings)
        total[..., part] += F.interpolate(logits, size=(24, 24), mode='bilinear')
        count[:, part] += 1
    expected = (total / count).softmax(dim=1).amax(dim=1)
    scores = engine.run(pixels, (24, 40), asked, (24, 40)).scores
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_bfloat16_mostly_agrees(attention: Attention) -> None:
    pixels = frames(1, *OUTPUT)
    exact = lean(attention)
    half = LeanEngine(seeded(attention, scale=9.0), dtype=torch.bfloat16, device=CPU)
    expected = exact.run(pixels, SIZE, words(exact, 6), OUTPUT)
    found = half.run(pixels, SIZE, words(half, 6), OUTPUT)
    assert (found.labels == expected.labels).float().mean() > 0.95


def test_tables_of_a_grid_are_kept_and_let_go_of() -> None:
    engine = lean('naclip')
    asked, pixels = words(engine, 3), frames(1, *SIZE)
    before = engine.run(pixels, SIZE, asked, SIZE)
    tables = engine.model.tower.tables()
    assert [tuple(table.shape) for table in tables] == [(16, 48), (16, 16)]
    engine.run(pixels, SIZE, asked, SIZE)
    again = engine.model.tower.tables()
    assert all(a is b for a, b in zip(tables, again, strict=True))
    engine.release_memory()
    assert not engine.model.tower.tables()
    assert torch.equal(engine.run(pixels, SIZE, asked, SIZE).labels, before.labels)
