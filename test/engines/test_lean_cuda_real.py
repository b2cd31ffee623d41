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
"""The lean engine on CUDA at the published shape, in bfloat16: the kernels that frames take.

Nothing of it can be shown on a CPU: graphs against eager runs at 1025 tokens with prompts, beside
another thread that uses the device, on a second device, for long, and at the end of a process.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import logging
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from test_lean import frames
import torch
from torch.nn.attention import sdpa_kernel, SDPBackend
from zegclip_core.cli.main import main
from zegclip_core.engines.lean.attention import OTHERS, seeded_parts, shapes_of
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.graphs import RECORD_AT
from zegclip_core.errors import DeviceMemoryError
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.inputs import class_names, seeded_bundle, seeded_images
from zegclip_core.text.vocabulary import Vocabulary

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]
PROMPTS = 10
SIDE = 512
HERE = Path(__file__).resolve().parent


def segmenter_on(device: str, **options: Any) -> Segmenter:  # noqa: ANN401 - of options
    """Return the published shape with seeded weights: ViT-B/16, 1025 tokens, prompts."""
    chosen = {'threshold': 0.0, 'negatives': (), 'short_side': SIDE, **options}
    return Segmenter(seeded_bundle(PROMPTS).loaded(), SegmenterOptions(device=device, **chosen))


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return segmenter_on('cuda')


@pytest.fixture(autouse=True)
def no_fallback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See that no test passes on a slower path."""
    with caplog.at_level(logging.WARNING, logger='zegclip_core'):
        yield
    assert [record.message for record in caplog.records] == []


def alike(found: np.ndarray, expected: np.ndarray, share: float) -> None:
    assert np.mean(found == expected) >= share


def vocabulary(count: int = 20) -> Vocabulary:
    return Vocabulary.from_names(class_names(count))


def graphs_of(segmenter: Segmenter) -> Any:  # noqa: ANN401 - of a test
    assert isinstance(segmenter.engine, LeanEngine)
    return segmenter.engine._graphs


@pytest.mark.parametrize('images', [1, 3])
def test_graphs_label_as_eager_runs_at_1025_tokens_with_prompts(
    segmenter: Segmenter, images: int
) -> None:
    asked = segmenter.encode(vocabulary())
    batches = [seeded_images(SIDE, SIDE, images), seeded_images(SIDE, SIDE, 2 * images)[images:]]
    segmenter.release_memory()
    graphs_of(segmenter)._seen.clear()
    eager = [segmenter.segment_batch(batch, asked) for batch in batches]  # Seen twice.
    segmenter.prepare_frames(asked, (SIDE, SIDE), images)
    assert graphs_of(segmenter).recorded
    replayed = [segmenter.segment_batch(batch, asked) for batch in batches]
    for found, expected in zip(replayed, eager, strict=True):
        for one, other in zip(found, expected, strict=True):
            alike(one.labels, other.labels, 0.995)
            np.testing.assert_allclose(one.scores, other.scores, atol=2e-2)


def test_bfloat16_labels_nearly_as_float32_on_a_cpu(segmenter: Segmenter) -> None:
    (image,) = seeded_images(SIDE, SIDE, 1)
    exact = segmenter_on('cpu', precision='fp32').segment(image, vocabulary())
    alike(segmenter.segment(image, vocabulary()).labels, exact.labels, 0.98)


def test_cudnn_and_other_kernels_agree_at_the_shapes_of_the_model(segmenter: Segmenter) -> None:
    for images in (1, 2, 4):
        for shape in shapes_of(segmenter.network, images, (32, 32), 32):
            parts, mask = seeded_parts(shape, torch.bfloat16, torch.device('cuda'))
            with sdpa_kernel(OTHERS):
                expected = torch.nn.functional.scaled_dot_product_attention(*parts, mask)
            if torch.cuda.get_device_capability() < (9, 0):
                continue
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                found = torch.nn.functional.scaled_dot_product_attention(*parts, mask)
            torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)


def test_recording_goes_on_while_the_text_tower_encodes_in_another_thread(tiny: str) -> None:
    segmenter = Segmenter.load(tiny, device='cuda')
    asked = segmenter.encode(Vocabulary.from_names(['cat', 'dog']))
    exact = Segmenter.load(tiny, device='cpu', precision='fp32')
    names = iter(f'thing number {index}' for index in range(10**6))

    def encode() -> None:
        for _ in range(30):
            segmenter.encode(Vocabulary.from_names([next(names) for _ in range(8)]))

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(encode)
        width = 64
        while not future.done():
            image = frames(1, 64, width)[0].numpy()
            for _ in range(RECORD_AT + 1):  # The third records.
                found = segmenter.segment(image, asked)
            width = 64 + (width - 63) % 32
        future.result()
    expected = exact.segment(image, exact.encode(Vocabulary.from_names(['cat', 'dog'])))
    alike(found.labels, expected.labels, 0.95)
    assert graphs_of(segmenter).works
    assert graphs_of(segmenter).recorded


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two CUDA devices')
def test_a_second_device_labels_as_the_first(segmenter: Segmenter) -> None:
    second, images = segmenter_on('cuda:1'), seeded_images(SIDE, SIDE, 2)
    assert second.runs_on == 'cuda:1'
    for _ in range(RECORD_AT + 1):
        for image in images:
            found = second.segment(image, vocabulary())
            alike(found.labels, segmenter.segment(image, vocabulary()).labels, 0.995)
    assert graphs_of(second).recorded


def test_batches_that_vary_label_as_single_images(segmenter: Segmenter) -> None:
    asked, images = segmenter.encode(vocabulary()), seeded_images(SIDE, SIDE, 5)
    singles = [segmenter.segment(image, asked).labels for image in images]
    for turn in range(4 * RECORD_AT):
        count = 1 + turn % 5
        found = segmenter.segment_batch(images[:count], asked)
        for one, expected in zip(found, singles, strict=False):
            alike(one.labels, expected, 0.995)
    recorded = graphs_of(segmenter).recorded.values()
    assert {len(one.images) for one in recorded} <= {1, 2, 4, 8}


def test_memory_does_not_grow_with_frames_words_and_sizes(segmenter: Segmenter) -> None:
    images = {width: seeded_images(SIDE, width, 1)[0] for width in (512, 640, 704)}

    def turn(index: int) -> None:
        asked = segmenter.encode(vocabulary(20 + index % 7))
        for image in images.values():
            for _ in range(RECORD_AT + 1):
                segmenter.segment(image, asked)

    for index in range(7):
        turn(index)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    for index in range(70):
        turn(index)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before[0] + 2**22
    assert torch.cuda.memory_reserved() <= before[1] + 2**26


def test_a_process_ends_with_graphs_that_live() -> None:
    code = (
        'import sys; sys.path[:0] = [{engines!r}, {helpers!r}]\n'
        'from test_lean_cuda_real import *\n'
        "segmenter = segmenter_on('cuda')\n"
        'segmenter.prepare_frames(segmenter.encode(vocabulary()), (SIDE, SIDE))\n'
        'assert graphs_of(segmenter).recorded\n'
    ).format(engines=str(HERE), helpers=str(HERE.parent / 'helpers'))
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ''


def test_what_is_no_number_is_no_class(segmenter: Segmenter) -> None:
    network = segmenter.network
    weight = next(parameter for name, parameter in network.named_parameters() if 'ln_post' in name)
    kept = weight.data.clone()
    asked, (image,) = segmenter.encode(vocabulary()), seeded_images(SIDE, SIDE, 1)
    segmenter.release_memory()
    try:
        weight.data.fill_(float('nan'))  # In place: a graph reads the same memory.
        for _ in range(RECORD_AT + 1):
            found = segmenter.segment(image, asked)
            assert (found.labels == 255).all()
            assert np.isnan(found.scores).all()
    finally:
        weight.data.copy_(kept)
    expected = segmenter_on('cuda').segment(image, vocabulary()).labels
    alike(segmenter.segment(image, asked).labels, expected, 0.995)


def test_a_recording_that_really_fails_leaves_a_process_that_labels(
    caplog: pytest.LogCaptureFixture,
) -> None:
    segmenter = segmenter_on('cuda')
    asked, (image,) = segmenter.encode(vocabulary()), seeded_images(SIDE, SIDE, 1)
    expected = segmenter.segment(image, asked).labels
    assert isinstance(segmenter.engine, LeanEngine)
    logits = segmenter.engine.model.logits

    def waiting(*arguments: Any) -> torch.Tensor:  # noqa: ANN401
        found = logits(*arguments)
        if torch.cuda.is_current_stream_capturing():
            found.sum().item()  # Not allowed while a stream is recorded.
        return found

    segmenter.engine.model.logits = waiting  # type: ignore[method-assign]
    for _ in range(RECORD_AT + 3):
        alike(segmenter.segment(image, asked).labels, expected, 0.995)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert not graphs_of(segmenter).works
    (record,) = caplog.records
    assert 'cannot be recorded' in record.message
    caplog.clear()
    # The allocator does not believe that a recording is under way: memory comes back.
    block = torch.empty(2**28, dtype=torch.uint8, device='cuda')
    held = torch.cuda.memory_reserved()
    del block
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= held - 2**28
    # And another model records.
    other = segmenter_on('cuda')
    other.prepare_frames(other.encode(vocabulary()), (SIDE, SIDE))
    assert graphs_of(other).recorded


def test_lack_of_memory_costs_a_frame_only(segmenter: Segmenter) -> None:
    asked, (image,) = segmenter.encode(vocabulary()), seeded_images(SIDE, SIDE, 1)
    expected = segmenter.segment(image, asked).labels
    segmenter.release_memory()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**21) / total)
    try:
        with pytest.raises(DeviceMemoryError):
            segmenter.segment_batch([image] * 8, asked)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    alike(segmenter.segment(image, asked).labels, expected, 0.995)


def test_the_sentence_tower_encodes_on_cuda_as_on_a_cpu() -> None:
    segmenter = Segmenter.load(device='cuda')  # The bundled model has one.
    exact = Segmenter.load(device='cpu', precision='fp32')
    names = Vocabulary.from_names(['cup', 'dining table', 'person'])
    found = segmenter.encode(names).embeddings.cpu()
    torch.testing.assert_close(found, exact.encode(names).embeddings, atol=1e-3, rtol=1e-3)


def test_an_exported_model_labels_on_cuda_as_on_a_cpu(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip('onnxruntime')
    if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
        pytest.skip('needs onnxruntime-gpu')
    path = tmp_path / 'model.onnx'
    assert main(['export', '--out', str(path)]) == 0
    names, image = Vocabulary.from_names(['cup', 'person']), frames(1, 64, 64)[0].numpy()
    found = Segmenter.load(path, device='cuda')
    assert found.runs_on == 'cuda:0'
    expected = Segmenter.load(path, device='cpu').segment(image, names)
    alike(found.segment(image, names).labels, expected.labels, 0.99)
