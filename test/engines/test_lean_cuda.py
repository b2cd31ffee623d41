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
"""The lean engine on CUDA against the plain one on a CPU: graphs, buckets, streams, memory."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from test_lean import (
    assert_same,
    clip,
    clip_words,
    CLOSE,
    CPU,
    detailed,
    frames,
    lean,
    MODELS,
    OUTPUT,
    SIZE,
    words,
)
from test_mask_logits import Refiner, Smoother
import torch
from zegclip_core.engines.lean.downloads import Downloads
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.graphs import RECORD_AT
from zegclip_core.engines.lean.pixels import Uploads
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.model.scoring import Windows
from zegclip_core.options import Attention, ATTENTIONS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]
CUDA = torch.device('cuda')


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let convolutions compute in float32 too."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


def engine_of(model: str, **further: object) -> LeanEngine:
    return LeanEngine(
        MODELS[model](),
        dtype=torch.float32,
        device=CUDA,
        **further,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize('model', MODELS)
def test_labels_are_those_of_the_plain_path_on_a_cpu(model: str) -> None:
    network = MODELS[model]()
    plain, engine = PlainEngine(network), engine_of(model)
    patch = network.config.vision.patch_size
    for classes, bias in ((1, 0.1), (9, 0.0), (300, 0.1)):
        size, pixels = (5 * patch, 7 * patch), frames(2, 61, 83)
        expected = plain.run(pixels, size, words(plain, network, classes, bias), (61, 83))
        asked = words(engine, network, classes, bias)
        for _ in range(RECORD_AT + 1):  # The first run without a graph, the last replays.
            assert_same(engine.run(pixels, size, asked, (61, 83)), expected)


@pytest.mark.parametrize('model', MODELS)
def test_windows_are_averaged_as_on_a_cpu(model: str) -> None:
    network = MODELS[model]()
    side = 4 * network.config.vision.patch_size
    windows = Windows(side, side * 3 // 4)
    plain, engine = PlainEngine(network, windows=windows), engine_of(model, windows=windows)
    pixels, size = frames(2, 60, 100), (side, 2 * side + 3)
    expected = plain.run(pixels, size, words(plain, network, 5), (60, 100))
    assert_same(engine.run(pixels, size, words(engine, network, 5), (60, 100)), expected)


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_training_free_clip_labels_as_on_a_cpu(attention: Attention) -> None:
    size, pixels = SIZE, frames(2, *OUTPUT)
    plain = PlainEngine(clip(attention))
    engine = LeanEngine(clip(attention), dtype=torch.float32, device=CUDA)
    for classes, labelled in ((1, 1), (12, 7), (300, 300)):
        asked = [clip_words(side, classes, classes=labelled) for side in (engine, plain)]
        expected = plain.run(pixels, size, asked[1], OUTPUT)
        for _ in range(RECORD_AT + 1):  # The first run without a graph, the last replays.
            assert_same(engine.run(pixels, size, asked[0], OUTPUT), expected)


@pytest.mark.parametrize('model', MODELS)
def test_candidates_are_labelled_as_on_a_cpu(model: str) -> None:
    network = MODELS[model]()
    patch = network.config.vision.patch_size
    exact = LeanEngine(network, dtype=torch.float32, device=CPU, candidates=12)
    engine = engine_of(model, candidates=12)
    size, pixels = (5 * patch, 7 * patch), frames(2, 61, 83)
    for bias in (0.0, 0.1):
        expected = exact.run(pixels, size, words(exact, network, 300, bias), (61, 83))
        asked = words(engine, network, 300, bias)
        for _ in range(RECORD_AT + 1):
            assert_same(engine.run(pixels, size, asked, (61, 83)), expected)


@pytest.mark.parametrize('model', MODELS)
def test_mask_logits_and_steps_are_those_of_the_plain_engine_on_a_cpu(model: str) -> None:
    network = MODELS[model]()
    patch = network.config.vision.patch_size
    size, pixels = (5 * patch, 7 * patch), frames(2, 61, 83)
    for make in (None, Smoother, Refiner):
        plain, engine = PlainEngine(network), engine_of(model)
        asked = [words(each, network, 9) for each in (plain, engine)]
        plain.steps, engine.steps = ([make()] if make else [] for _ in asked)
        for _ in range(RECORD_AT + 1):  # The first run without a graph, the last replays.
            expected, found = (
                each.run(pixels, size, vocabulary, (61, 83), mask_logits=True)
                for each, vocabulary in zip((plain, engine), asked, strict=True)
            )
            assert_same(found, expected)
            torch.testing.assert_close(found.mask_logits.cpu(), expected.mask_logits, **CLOSE)


def test_another_vocabulary_of_a_bucket_needs_no_new_graph() -> None:
    engine, exact = engine_of('detailed'), lean(detailed())
    network, pixels = exact.model.network, frames(1, 56, 70)
    for classes in (5, 8, 3, 7, 6):  # Each with two biases.
        found = engine.run(pixels, (56, 70), words(engine, network, classes), (56, 70))
        expected = exact.run(pixels, (56, 70), words(exact, network, classes), (56, 70))
        assert_same(found, expected)
    assert engine._graphs is not None
    assert len(engine._graphs.recorded) == 1


def test_graphs_are_of_what_is_seen_often_and_let_go_of() -> None:
    engine = engine_of('detailed')
    asked = words(engine, detailed(), 4)
    first = engine.run(frames(1, 28, 28), (28, 28), asked, (28, 28))
    assert engine._graphs is not None
    for width in range(28, 44):
        engine.run(frames(1, 28, width), (28, 28), asked, (28, width))
    assert len(engine._graphs.recorded) == 0
    for _ in range(RECORD_AT):
        again = engine.run(frames(1, 28, 28), (28, 28), asked, (28, 28))
    assert len(engine._graphs.recorded) == 1
    assert torch.equal(again.labels, first.labels)
    held = torch.cuda.memory_reserved()
    engine.release_memory()
    torch.cuda.empty_cache()
    assert len(engine._graphs.recorded) == 0
    assert torch.cuda.memory_reserved() < held
    for _ in range(RECORD_AT):
        again = engine.run(frames(1, 28, 28), (28, 28), asked, (28, 28))
        assert torch.equal(again.labels, first.labels)


def test_what_a_frame_returned_stays_when_the_next_one_comes() -> None:
    engine = engine_of('detailed')
    asked = words(engine, detailed(), 4)
    one, two = frames(2, 28, 42)
    for _ in range(RECORD_AT):
        engine.run(two[None], (28, 42), asked, (28, 42))
    found = engine.run(one[None], (28, 42), asked, (28, 42))
    kept = found.scores.cpu()
    engine.run(two[None], (28, 42), asked, (28, 42))
    assert torch.equal(found.scores.cpu(), kept)


def test_words_are_prepared_beside_running_frames() -> None:
    engine, exact = engine_of('published'), lean(MODELS['published']())
    network = exact.model.network
    pixels, asked = frames(1, 64, 64), words(engine, network, 4)
    expected = {
        classes: exact.run(pixels, (64, 64), words(exact, network, classes), (64, 64))
        for classes in range(2, 12)
    }
    with ThreadPoolExecutor(1) as pool:
        for classes in range(2, 12):
            future = pool.submit(words, engine, network, classes)
            while not future.done():
                engine.run(pixels, (64, 64), asked, (64, 64))
            asked = future.result()
            found = engine.run(pixels, (64, 64), asked, (64, 64))
            assert_same(found, expected[classes])


def test_frames_arrive_whole_and_in_order() -> None:
    uploads = Uploads(CUDA)
    sent = [frames(1, 400 + index, 500) for index in range(6)]
    there = [uploads(each) for each in sent]
    for each, original in zip(there, sent, strict=True):
        assert each.device.type == 'cuda'
        assert torch.equal(each.cpu(), original)
    downloads = Downloads()
    back = [downloads(each, each[:, :0])[0] for each in there]  # The last is smaller, all stay.
    for array, original in zip(back, sent, strict=True):
        assert (array == original.numpy()).all()


@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float16])
def test_half_precision_mostly_agrees(kind: torch.dtype) -> None:
    network = detailed()
    exact = LeanEngine(detailed(), dtype=torch.float32, device=CPU)
    half = LeanEngine(detailed(), dtype=kind, device=CUDA)
    pixels = frames(1, 84, 112)
    expected = exact.run(pixels, (84, 112), words(exact, network, 4), (84, 112))
    found = half.run(pixels, (84, 112), words(half, network, 4), (84, 112))
    assert (found.labels.cpu() == expected.labels).float().mean() > 0.9
