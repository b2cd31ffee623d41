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
"""Only the candidates among many classes are drawn: their logits and labels are the unpruned."""

from made_vocabularies import made_vocabulary
import pytest
from test_lean import ALL, CPU, detailed, frames, OUTPUT, size_of
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.pixels import resized
from zegclip_core.engines.lean.vocabulary import best_rows, LeanVocabulary, penalties_of
from zegclip_core.errors import ModelError
from zegclip_core.model.scoring import Windows

CLASSES = 300


def engine_of(model: str, candidates: int = 0) -> LeanEngine:
    return LeanEngine(ALL[model](), dtype=torch.float32, device=CPU, candidates=candidates)


def words(
    engine: LeanEngine, bias: float = 0.0, classes: int | None = None, threshold: float = 1.0
) -> LeanVocabulary:
    """Return a seeded vocabulary of an engine."""
    generator = torch.Generator().manual_seed(2)
    config = engine.model.network.config
    width = getattr(config, 'text_dim', config.vision.embed_dim)
    return engine.prepare(
        made_vocabulary(
            F.normalize(torch.randn((CLASSES, width), generator=generator), dim=-1),
            bias * (torch.arange(CLASSES) % 2),
            threshold * (torch.arange(CLASSES) % 4 == 0),
            classes,
        )
    )


@pytest.mark.parametrize('bias', [0.0, 0.1])
@pytest.mark.parametrize('model', ALL)
@torch.inference_mode()
def test_logits_of_the_candidates_are_those_of_the_unpruned_run(model: str, bias: float) -> None:
    engine = engine_of(model)
    asked, images = words(engine, bias), resized(frames(2, *OUTPUT), size_of(engine.model.network))
    everything = engine.model.logits(images, asked)
    found, rows = engine.model.best_logits(images, asked, 20)
    assert found.shape == (2, 20, *everything.shape[2:])
    assert not torch.equal(rows[0], rows[1])
    for image in range(2):
        assert rows[image].tolist() == sorted(set(rows[image].tolist()))
        torch.testing.assert_close(found[image], everything[image, rows[image]])


def by_hand(logits: Tensor, rows: Tensor, asked: LeanVocabulary, scoring: str) -> list[Tensor]:
    """Return labels and scores of one image's candidates, from full-size maps of each."""
    full = F.interpolate(logits[None, rows], size=OUTPUT, mode='bilinear')[0]
    scores = full.sigmoid() if scoring == 'sigmoid' else full.softmax(dim=0)
    best = (scores - asked.bias[rows].view(-1, 1, 1)).argmax(dim=0)
    score = scores.gather(0, best[None])[0]
    label = rows[best]
    labelled = (label < asked.classes) & (score >= asked.thresholds[label])
    return [label.where(labelled, 255 if asked.classes <= 254 else 65535), score]


@pytest.mark.parametrize('labelled', [None, 165])
@pytest.mark.parametrize('bias', [0.0, 0.02])
@pytest.mark.parametrize('model', ALL)
def test_labels_are_those_of_the_candidates_with_thresholds_and_negatives(
    model: str, bias: float, labelled: int | None
) -> None:
    engine = engine_of(model, 12)
    asked, pixels = words(engine, bias, labelled), frames(2, *OUTPUT)
    found = engine.run(pixels, size_of(engine.model.network), asked, OUTPUT)
    labels, scores = found.labels, found.scores
    images = resized(pixels, size_of(engine.model.network))
    with torch.inference_mode():
        logits = engine.model.logits(images, asked)
        _, rows = engine.model.best_logits(images, asked, 12)
    for image in range(2):
        scoring = engine.model.network.scoring
        expected, score = by_hand(logits[image], rows[image], asked, scoring)
        assert (labels[image].long() == expected).float().mean() > 0.999
        torch.testing.assert_close(scores[image], score, rtol=1e-4, atol=1e-4)
    is_class = labels.long() < asked.classes
    assert is_class.any()
    assert not is_class.all()
    assert labels.dtype == (torch.uint8 if labelled else torch.uint16)


@pytest.mark.parametrize(('model', 'candidates'), [('published', 3), ('detailed', 1)])
def test_a_pixel_whose_winner_is_kept_has_the_label_of_the_unpruned_run(
    model: str, candidates: int
) -> None:
    engine, pruned, pixels = engine_of(model), engine_of(model, candidates), frames(1, *OUTPUT)
    size, asked = size_of(pruned.model.network), words(pruned, threshold=0.0)
    expected = engine.run(pixels, size, words(engine, threshold=0.0), OUTPUT)
    found = pruned.run(pixels, size, asked, OUTPUT)
    with torch.inference_mode():
        images = resized(pixels, size)
        _, rows = pruned.model.best_logits(images, asked, candidates)
    stays = torch.isin(expected.labels[0].long(), rows[0])
    assert 0.3 < stays.float().mean() < 1.0
    assert torch.equal(found.labels[0][stays].long(), expected.labels[0][stays].long())
    torch.testing.assert_close(found.scores[0][stays], expected.scores[0][stays])


@pytest.mark.parametrize('model', ALL)
def test_enough_candidates_change_nothing(model: str) -> None:
    engine, same = engine_of(model), engine_of(model, CLASSES)
    pixels, size = frames(1, *OUTPUT), size_of(engine.model.network)
    expected = engine.run(pixels, size, words(engine), OUTPUT)
    found = same.run(pixels, size, words(same), OUTPUT)
    assert torch.equal(found.labels.long(), expected.labels.long())
    assert torch.equal(found.scores, expected.scores)


def vocabulary(bias: Tensor) -> LeanVocabulary:
    """Return words of which only the bias is read."""
    rows = len(bias)
    empty = torch.zeros(rows, 1)
    encoded = made_vocabulary(empty, bias, torch.zeros(rows))
    parts = empty, bias, encoded.thresholds, empty, empty
    return LeanVocabulary(encoded.vocabulary, (), *parts, *penalties_of(bias, rows))


def test_winners_go_first_by_what_they_win_then_those_that_come_nearest() -> None:
    # Of six classes on four patches, 3 wins twice, 0 and 5 once; 2 misses by 1, 1 by 2.
    logits = torch.tensor(
        [
            [-8.0, 0, 0, 0],
            [-11.0, 1, 1, 1],
            [-10.0, 4, 2, 6],
            [-20.0, 5, 5, 0],
            [-30.0, -9, 0, -9],
            [-20.0, 0, 0, 9],
        ]
    ).view(1, 6, 2, 2)
    even = vocabulary(torch.zeros(6))
    order = [best_rows(logits, even, count)[0].tolist() for count in (1, 3, 4, 5)]
    assert order == [[3], [0, 3, 5], [0, 2, 3, 5], [0, 1, 2, 3, 5]]


def test_the_winner_is_that_of_the_calibrated_scores() -> None:
    logits = torch.tensor([[2.0], [1.0], [0.0]]).view(1, 3, 1, 1)
    assert best_rows(logits, vocabulary(torch.zeros(3)), 1).tolist() == [[0]]
    # Scores 0.88, 0.73, 0.5 less the bias.
    assert best_rows(logits, vocabulary(torch.tensor([0.5, 0.1, 0.0])), 1).tolist() == [[1]]
    room = torch.tensor([torch.inf, 0.1, 0.1])  # What stands for no class is never kept.
    padded = vocabulary(room)
    assert best_rows(logits, padded, 2).tolist() == [[1, 2]]


def test_candidates_with_sliding_windows_are_refused() -> None:
    with pytest.raises(ModelError, match='0 with sliding windows'):
        LeanEngine(
            detailed(),
            dtype=torch.float32,
            device=CPU,
            windows=Windows(56, 42),
            candidates=5,
        )
