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
"""CLIP without training by the lean engine, against the plain one and the softmax itself."""

import pytest
from test_lean import assert_same, clip, clip_words, CPU, frames, lean, OUTPUT, SIZE
import torch
import torch.nn.functional as F
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.vocabulary import LeanVocabulary
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.model.scoring import Windows
from zegclip_core.options import Attention, ATTENTIONS


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_every_attention_labels_as_on_the_plain_path(attention: Attention) -> None:
    engine, other = lean(clip(attention)), PlainEngine(clip(attention))
    for classes, size in ((1, SIZE), (12, (32, 24)), (300, SIZE)):
        pixels = frames(2, *OUTPUT)
        expected = other.run(pixels, size, clip_words(other, classes), OUTPUT)
        assert_same(engine.run(pixels, size, clip_words(engine, classes), OUTPUT), expected)
        labels = expected.labels.long()
        unlabelled = labels == (255 if classes <= 254 else 65535)
        assert classes == 1 or (unlabelled.any() and not unlabelled.all())


@torch.inference_mode()
def test_scores_are_the_softmax_after_upsampling() -> None:
    engine = lean(clip('naclip'))
    asked = clip_words(engine, 12, classes=8)
    assert isinstance(asked, LeanVocabulary)
    pixels = frames(1, *SIZE)
    scores = engine.run(pixels, SIZE, asked, OUTPUT).scores
    network = clip('naclip')
    images = PlainEngine(clip('naclip')).normalised(pixels, SIZE)
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
    engine, other = lean(clip('naclip'), windows), PlainEngine(clip('naclip'), windows=windows)
    size, pixels = (32, 56), frames(2, *OUTPUT)
    found = engine.run(pixels, size, clip_words(engine, 12, bias=bias, classes=7), OUTPUT)
    expected = other.run(pixels, size, clip_words(other, 12, bias=bias, classes=7), OUTPUT)
    assert_same(found, expected)
    assert set(expected.labels.unique().tolist()) <= {*range(7), 255}
    if bias:
        unbiased = other.run(pixels, size, clip_words(other, 12, classes=7), OUTPUT)
        assert (unbiased.labels != expected.labels).any()


def test_windows_average_cosines_before_the_softmax() -> None:
    """The mean of the softmaxes of windows is another one."""
    network, windows = clip('naclip'), Windows(24, 16)
    engine = PlainEngine(clip('naclip'), windows=windows)
    asked, pixels = clip_words(engine, 12), frames(1, 24, 40)
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
def test_every_attention_mostly_agrees_in_bfloat16(attention: Attention) -> None:
    pixels = frames(1, *OUTPUT)
    exact = lean(clip(attention))
    half = LeanEngine(clip(attention), dtype=torch.bfloat16, device=CPU)
    expected = exact.run(pixels, SIZE, clip_words(exact, 6), OUTPUT)
    found = half.run(pixels, SIZE, clip_words(half, 6), OUTPUT)
    assert (found.labels == expected.labels).float().mean() > 0.95


def test_tables_of_a_grid_are_kept_and_let_go_of() -> None:
    engine = lean(clip('naclip'))
    asked, pixels = clip_words(engine, 3), frames(1, *SIZE)
    before = engine.run(pixels, SIZE, asked, SIZE)
    tables = engine.model.tower.tables()
    assert [tuple(table.shape) for table in tables] == [(16, 48), (16, 16)]
    engine.run(pixels, SIZE, asked, SIZE)
    again = engine.model.tower.tables()
    assert all(a is b for a, b in zip(tables, again, strict=True))
    engine.release_memory()
    assert not engine.model.tower.tables()
    after = engine.run(pixels, SIZE, asked, SIZE)
    assert torch.equal(after.labels, before.labels)
    assert torch.equal(after.scores, before.scores)
