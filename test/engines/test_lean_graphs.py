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
"""Graphs on a fake CUDA: what is recorded when, and what is left where recording fails."""

from functools import partial
import logging

from fake_cuda import FakeCuda
import pytest
from test_lean import assert_same, CPU, detailed, frames, lean, MODELS, words
from test_mask_logits import Smoother
import torch
from zegclip_core.engines.contract import EngineVocabulary, Prediction
from zegclip_core.engines.lean import graphs
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.graphs import GraphCache, RECORD_AT
from zegclip_core.engines.lean.vocabulary import LeanVocabulary
from zegclip_core.engines.plain import label_maps
from zegclip_core.errors import DeviceLostError
from zegclip_core.model.scoring import Windows
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

SIZE = (28, 42)
OUT_OF_MEMORY = torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.')
INVALID = RuntimeError('CUDA error: operation failed due to a previous error during capture')
ILLEGAL = RuntimeError('CUDA error: an illegal memory access was encountered')


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    made = FakeCuda()
    made.install(monkeypatch)
    return made


@pytest.fixture
def engine(cuda: FakeCuda) -> LeanEngine:
    """Return an engine on a CPU that records graphs."""
    return with_graphs(lean(detailed()))


def with_graphs(engine: LeanEngine) -> LeanEngine:
    engine._graphs = GraphCache(CPU)
    # A CPU's own way has shapes that depend on the pixels, which no graph can have.
    label_all = partial(label_maps, scoring=engine._scoring)
    engine._postprocess = label_all  # type: ignore[method-assign, assignment]
    return engine


def asked(engine: LeanEngine, classes: int = 4) -> EngineVocabulary:
    return words(engine, detailed(), classes)


def label(
    engine: LeanEngine,
    vocabulary: EngineVocabulary,
    images: int = 1,
    size: tuple[int, int] = SIZE,
    *,
    shift: int = 0,
) -> Prediction:
    pixels = frames(images, *size).roll(shift, dims=2)
    return engine.run(pixels, SIZE, vocabulary, size, mask_logits=True)


def exact(
    images: int = 1, size: tuple[int, int] = SIZE, classes: int = 4, shift: int = 0
) -> Prediction:
    plain = lean(detailed())
    return label(plain, asked(plain, classes), images, size, shift=shift)


def replays(cuda: FakeCuda) -> list[int]:
    return [graph.replays for graph in cuda.graphs]


def test_a_kind_of_frames_is_recorded_when_it_was_seen_often_enough(
    cuda: FakeCuda, engine: LeanEngine
) -> None:
    vocabulary = asked(engine)
    for turn in range(1, RECORD_AT + 3):
        found = label(engine, vocabulary, shift=turn)
        assert_same(found, exact(shift=turn))
        assert replays(cuda) == ([] if turn < RECORD_AT else [turn - RECORD_AT])


@pytest.mark.parametrize('model', MODELS)
def test_replayed_frames_are_those_of_the_plain_run_for_any_words_and_images(
    cuda: FakeCuda, model: str
) -> None:
    network = MODELS[model]()
    patch = network.config.vision.patch_size
    size, engine, plain = (4 * patch, 5 * patch), with_graphs(lean(MODELS[model]())), lean(network)
    for turn in range(3 * RECORD_AT):
        pixels = frames(1 + turn % 4, *size).roll(turn, dims=1)
        classes = (5, 9, 30)[turn % 3]
        expected = plain.run(pixels, size, words(plain, network, classes), size)
        assert_same(engine.run(pixels, size, words(engine, network, classes), size), expected)
    assert sum(replays(cuda)) > 0


def test_batches_are_padded_to_powers_of_two(cuda: FakeCuda, engine: LeanEngine) -> None:
    vocabulary = asked(engine)
    for images in (3, 4, 3, 4, 3, 4):
        found = label(engine, vocabulary, images)
        assert len(found.labels) == len(found.scores) == images
        assert_same(found, exact(images))
        torch.testing.assert_close(found.mask_logits, exact(images).mask_logits)
    assert replays(cuda) == [3]


def test_many_cameras_do_not_record_in_turn_for_ever(cuda: FakeCuda, engine: LeanEngine) -> None:
    vocabulary = asked(engine)
    for turn in range(4 * RECORD_AT):
        for images in (1, 3, 5, 6):  # As many as have a frame at the same time.
            label(engine, vocabulary, images, (28, 42 + turn % 3))
    assert len(cuda.graphs) == 3 * len({1, 4, 8})


def test_memory_bounds_the_graphs_and_what_is_used_stays(
    cuda: FakeCuda, engine: LeanEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, 'UNUSED_FRAMES', 20)
    assert engine._graphs is not None
    cuda.grown = engine._graphs._most // 2  # With the tensors, two are as many as there may be.
    vocabulary, widths = asked(engine), (42, 43, 44)
    for _ in range(10):
        for width in widths:
            assert_same(label(engine, vocabulary, size=(28, width)), exact(size=(28, width)))
    assert len(cuda.graphs) == 2
    for _ in range(30):  # The other two are not used any more.
        label(engine, vocabulary, size=(28, widths[2]))
    assert len(cuda.graphs) == 3
    assert len(engine._graphs.recorded) == 1
    assert cuda.graphs[2].replays > 0


def test_what_is_seen_once_is_not_remembered_for_ever(
    cuda: FakeCuda, engine: LeanEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, 'KNOWN_KINDS', 4)
    assert engine._graphs is not None
    for width in range(42, 60):
        label(engine, asked(engine), size=(28, width))
    assert len(engine._graphs._seen) == 4


@pytest.mark.parametrize('place', ['fault', 'begin_fault'])
def test_a_failed_recording_gives_its_result_and_is_not_tried_again(
    cuda: FakeCuda, engine: LeanEngine, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    vocabulary, stream, tries = asked(engine), cuda.stream, list[bool]()
    cuda.on_recording = lambda: tries.append(True)
    setattr(cuda, place, INVALID)
    with caplog.at_level(logging.WARNING):
        for turn in range(RECORD_AT + 2):
            assert_same(label(engine, vocabulary, shift=turn), exact(shift=turn))
            assert cuda.stream is stream
    assert cuda.recording_into == []
    assert cuda.released == [(0, 1)]
    assert len(tries) <= 1
    assert engine._graphs is not None
    assert not engine._graphs.works
    assert engine.slow_frames == 0
    (record,) = caplog.records
    assert 'cannot be recorded as CUDA graphs here: CUDA error: operation failed' in record.message


def test_graphs_from_before_are_dropped_where_a_recording_fails(
    cuda: FakeCuda, engine: LeanEngine
) -> None:
    vocabulary = asked(engine)
    for _ in range(RECORD_AT + 1):
        label(engine, vocabulary)
    cuda.fault = INVALID
    for _ in range(RECORD_AT):
        label(engine, vocabulary, 2)
    assert engine._graphs is not None
    assert not engine._graphs.recorded
    assert_same(label(engine, vocabulary), exact())


@pytest.mark.parametrize('behind', [False, True], ids=['plain', 'behind an invalid recording'])
def test_lack_of_memory_passes_on_and_recording_is_tried_again_later(
    cuda: FakeCuda, engine: LeanEngine, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    monkeypatch.setattr(graphs, 'RETRY_FRAMES', 10)
    vocabulary, stream = asked(engine), cuda.stream

    def short() -> None:
        raise OUT_OF_MEMORY

    cuda.on_recording, cuda.fault = short, INVALID if behind else None
    for _ in range(RECORD_AT - 1):
        label(engine, vocabulary)
    with pytest.raises(torch.OutOfMemoryError):
        label(engine, vocabulary)
    assert cuda.stream is stream
    assert cuda.recording_into == []
    engine.release_memory()
    for _ in range(9):  # Which would fail again.
        assert_same(label(engine, vocabulary), exact())
    cuda.on_recording, cuda.fault = lambda: None, None
    for _ in range(3):
        assert_same(label(engine, vocabulary), exact())
    assert sum(replays(cuda)) == 2


def test_lack_of_memory_before_a_recording_costs_one_frame_and_not_all(
    cuda: FakeCuda, engine: LeanEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary, logits = asked(engine), engine.model.logits

    def short_of_memory(images: torch.Tensor, words: LeanVocabulary) -> torch.Tensor:
        if len(images) == 4:  # As many as a graph of three has.
            raise OUT_OF_MEMORY
        return logits(images, words)

    monkeypatch.setattr(engine.model, 'logits', short_of_memory)
    for _ in range(RECORD_AT - 1):
        label(engine, vocabulary, 3)
    with pytest.raises(torch.OutOfMemoryError):
        label(engine, vocabulary, 3)
    engine.release_memory()
    for _ in range(RECORD_AT + 1):
        assert_same(label(engine, vocabulary, 3), exact(3))
    assert not cuda.graphs


def test_a_device_that_is_lost_while_recording_is_not_taken_for_slow(
    cuda: FakeCuda, engine: LeanEngine, caplog: pytest.LogCaptureFixture
) -> None:
    vocabulary = asked(engine)
    cuda.fault = INVALID
    for _ in range(RECORD_AT - 1):
        label(engine, vocabulary)
    cuda.lost = ILLEGAL
    with pytest.raises(RuntimeError, match='illegal memory access'):
        label(engine, vocabulary)
    assert not caplog.records


def test_steps_see_as_many_images_as_there_are(cuda: FakeCuda) -> None:
    for windows in (None, Windows(28, 14)):
        engine, plain = with_graphs(lean(detailed(), windows)), lean(detailed(), windows)
        engine.steps, plain.steps = [Smoother()], [Smoother()]
        for _ in range(RECORD_AT + 2):
            assert_same(label(engine, asked(engine), 3), label(plain, asked(plain), 3))
    assert sum(replays(cuda)) > 0


@pytest.fixture
def segmenter(cuda: FakeCuda, tiny: str) -> Segmenter:
    made = Segmenter.load(tiny, device='cpu', precision='fp32')
    assert isinstance(made.engine, LeanEngine)
    with_graphs(made.engine)
    return made


def test_prepared_frames_only_replay(cuda: FakeCuda, segmenter: Segmenter) -> None:
    encoded = segmenter.encode(Vocabulary.from_names(['cat', 'dog']))
    segmenter.prepare_frames(encoded, (48, 64), 2)
    (graph,) = cuda.graphs
    before = graph.replays
    image = frames(1, 48, 64)[0].numpy()
    segmenter.segment_batch([image, image], encoded)
    assert graph.replays == before + 1
    assert len(cuda.graphs) == 1


def test_nothing_is_prepared_without_graphs_or_for_steps(
    cuda: FakeCuda, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = segmenter.encode(Vocabulary.from_names(['cat', 'dog']))

    def unexpected(*_: object) -> None:
        raise AssertionError('an empty image was labelled')

    monkeypatch.setattr(segmenter, 'segment_batch', unexpected)
    segmenter.engine.steps = [Smoother()]
    segmenter.prepare_frames(encoded, (48, 64))
    segmenter.engine.steps = []
    segmenter.engine._graphs = None  # type: ignore[attr-defined]
    segmenter.prepare_frames(encoded, (48, 64))


def test_a_segmenter_says_that_the_device_is_lost_while_recording(
    cuda: FakeCuda, segmenter: Segmenter
) -> None:
    image, vocabulary = frames(1, 48, 64)[0].numpy(), Vocabulary.from_names(['cat', 'dog'])
    cuda.fault, run = INVALID, lambda: segmenter.segment(image, vocabulary)
    for _ in range(RECORD_AT - 1):
        run()
    cuda.lost = ILLEGAL
    with pytest.raises(DeviceLostError, match='illegal memory access'):
        run()
