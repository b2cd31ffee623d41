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
"""The lean engine's kernels on CUDA that fail: what stands in for them, said once."""

from collections.abc import Iterator
from contextlib import contextmanager
import logging
from typing import Any, NoReturn

from fake_cuda import FakeCuda
import pytest
from test_lean import assert_same, clip, CPU, detailed, frames, lean, words
from test_lean_graphs import with_graphs
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend
import torch.nn.functional as F
from zegclip_core.devices import PinnedMemory
from zegclip_core.engines.lean import attention, downloads
from zegclip_core.engines.lean.attention import CudnnTrial, seeded_parts, Shape, shapes_of
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.rows import RowKernels

SIZE = (28, 42)
NO_PLAN = RuntimeError(
    'cuDNN Frontend error: [cudnn_frontend] Error: No execution plans support it.'
)
ILLEGAL = RuntimeError('CUDA error: an illegal memory access was encountered')
OUT_OF_MEMORY = torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.')
TOKENS = Shape(1, 2, 13, 15, 8)  # With two prompts, and no multiple of anything.
ATTEND = F.scaled_dot_product_attention


class Attention:
    """PyTorch's attention where cuDNN's can be wrong, slow, or refuse."""

    def __init__(self) -> None:
        self.cudnn = True
        self.fault: Exception | None = None
        self.error = 0.0
        self.seconds = {True: 1.0, False: 1.0}
        self.calls: list[tuple[bool, Any, Any]] = []

    @contextmanager
    def kernels(self, backends: list[SDPBackend]) -> Iterator[None]:
        assert SDPBackend.MATH in backends  # Another thread may need what no other kernel can.
        assert SDPBackend.CUDNN_ATTENTION not in backends
        self.cudnn = False
        yield
        self.cudnn = True

    def attend(self, query: Tensor, key: Tensor, value: Tensor, **further: object) -> Tensor:
        attn_mask: Any = further.get('attn_mask')
        self.calls.append((self.cudnn, query, attn_mask))
        if self.cudnn and self.fault is not None:
            raise self.fault
        found = ATTEND(query, key, value, attn_mask=attn_mask)
        return found + self.error * self.cudnn


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Attention]:
    made = Attention()
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(attention, 'sdpa_kernel', made.kernels)
    monkeypatch.setattr(attention, 'picks_cudnn', lambda *parts: True)
    monkeypatch.setattr(attention, 'seconds_of', lambda work, device: made.seconds[made.cudnn])
    monkeypatch.setattr(F, 'scaled_dot_product_attention', made.attend)
    yield made
    torch.backends.cuda.enable_cudnn_sdp(before)


@pytest.fixture
def trial(kernels: Attention) -> CudnnTrial:
    return CudnnTrial(torch.bfloat16, CPU)


def test_cudnn_that_agrees_and_is_as_fast_stays(
    kernels: Attention, trial: CudnnTrial, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            trial(TOKENS, TOKENS._replace(keys=13, masked=True))
    assert trial.enabled
    assert not caplog.records
    # Each shape once by cuDNN and once by others, at the model's shapes and types.
    assert [cudnn for cudnn, _, _ in kernels.calls] == [False, True, False, True]
    _, query, mask = kernels.calls[-1]
    assert query.shape == (1, 2, 13, 8)
    assert mask.shape == (13, 13)
    assert query.dtype == mask.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'fault': NO_PLAN}, 'No execution plans'),
        ({'error': 1.0}, 'disagrees'),
        ({'error': float('nan')}, 'disagrees'),
    ],
)
def test_cudnn_that_refuses_or_disagrees_is_turned_off_with_one_warning(
    kernels: Attention,
    trial: CudnnTrial,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    said: str,
) -> None:
    vars(kernels).update(changes)
    with caplog.at_level(logging.WARNING):
        trial(TOKENS, TOKENS._replace(batch=2))
    assert not trial.enabled
    (record,) = caplog.records
    assert 'not computed by cuDNN any more: ' in record.message
    assert said in record.message
    assert len(kernels.calls) == 2  # No more is tried.


def test_cudnn_that_is_slower_is_turned_off_without_a_warning(
    kernels: Attention, trial: CudnnTrial, caplog: pytest.LogCaptureFixture
) -> None:
    kernels.seconds[True] = 1.2
    with caplog.at_level(logging.WARNING):
        trial(TOKENS)
    assert not trial.enabled
    assert not caplog.records


@pytest.mark.parametrize('fault', [ILLEGAL, OUT_OF_MEMORY])
def test_the_trial_hides_no_fault_of_the_device(
    kernels: Attention, trial: CudnnTrial, fault: Exception
) -> None:
    kernels.fault = fault
    with pytest.raises(RuntimeError) as caught:
        trial(TOKENS)
    assert caught.value is fault
    assert not trial.gives_up(fault)


@pytest.mark.parametrize(('version', 'stays'), [('12.8', False), ('12.9', True), ('13.0', True)])
def test_cudnn_of_an_old_cuda_is_not_even_tried(
    kernels: Attention, monkeypatch: pytest.MonkeyPatch, version: str, stays: bool
) -> None:
    monkeypatch.setattr(torch.version, 'cuda', version)
    trial = CudnnTrial(torch.bfloat16, CPU)
    assert trial.enabled == stays
    trial(TOKENS)
    assert bool(kernels.calls) == stays


def test_float32_and_what_pytorch_gives_to_others_is_not_tried(
    kernels: Attention, trial: CudnnTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    CudnnTrial(torch.float32, CPU)(TOKENS)
    monkeypatch.setattr(attention, 'picks_cudnn', lambda *parts: False)
    trial(TOKENS)
    assert not kernels.calls


@torch.inference_mode()
def test_the_shapes_are_those_that_the_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for network, masked in ((detailed(), False), (clip('naclip'), True)):
        seen = set[Shape]()

        def note(query: Tensor, key: Tensor, value: Tensor, **further: object) -> Tensor:
            attn_mask: Any = further.get('attn_mask')
            batch, heads, queries, dim = query.shape
            parts = key.stride(2) // (heads * dim)
            shape = Shape(batch, heads, queries, key.shape[2], dim, attn_mask is not None, parts)
            drawn, _ = seeded_parts(shape, query.dtype, query.device)
            assert [part.stride() for part in drawn] == [
                one.stride() for one in (query, key, value)
            ]
            seen.add(shape)  # noqa: B023 - called at once
            return ATTEND(query, key, value, attn_mask=attn_mask)

        engine, patch = lean(network), network.config.vision.patch_size
        size = (4 * patch, 6 * patch)
        with monkeypatch.context() as patched:
            patched.setattr(F, 'scaled_dot_product_attention', note)
            rows = 5
            if masked:
                engine.model.tower(torch.zeros(2, 3, *size))
            else:
                pixels = torch.zeros(2, *size, 3, dtype=torch.uint8)
                engine.run(pixels, size, words(engine, network, rows), size)
        assert set(shapes_of(network, 2, (4, 6), rows)) == seen


def test_a_frame_that_cudnn_refuses_is_run_again_without_it(
    kernels: Attention,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    FakeCuda().install(monkeypatch)
    engine, plain = with_graphs(lean(detailed())), lean(detailed())
    asked = words(engine, detailed(), 4)
    engine._cudnn = CudnnTrial(torch.bfloat16, CPU)
    monkeypatch.setattr(engine, '_try_attention', lambda *shape: None)
    logits = engine.model.logits

    def refuse(*arguments: Any) -> Tensor:  # noqa: ANN401
        if torch.backends.cuda.cudnn_sdp_enabled():
            raise NO_PLAN
        return logits(*arguments)

    monkeypatch.setattr(engine.model, 'logits', refuse)
    pixels = frames(1, *SIZE)
    expected = plain.run(pixels, SIZE, words(plain, detailed(), 4), SIZE)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_same(engine.run(pixels, SIZE, asked, SIZE), expected)
    assert len(caplog.records) == 1


def with_kernel(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> LeanEngine:  # noqa: ANN401
    """Return an engine on a CPU that takes a kernel for its postprocessing as on CUDA."""
    module = pytest.importorskip('zegclip_core.engines.lean.postprocess_cuda')
    monkeypatch.setattr(module, 'label_logits_in_one_kernel', kernel)
    engine = lean(detailed())
    engine._has_kernel = True
    return engine


class CompilationError(Exception):
    """As Triton's, which is no RuntimeError."""


@pytest.mark.parametrize(
    'fault', [CompilationError('at 41:12: out of registers'), RuntimeError('0 active drivers')]
)
def test_a_kernel_that_fails_at_a_frame_is_given_up_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    calls = list[bool]()

    def fail(*_: object) -> NoReturn:
        calls.append(True)
        raise fault

    engine, plain = with_kernel(monkeypatch, fail), lean(detailed())
    asked, pixels = words(engine, detailed(), 4), frames(1, *SIZE)
    engine.device = torch.device('meta')  # Any that is no CPU.
    expected = plain.run(pixels, SIZE, words(plain, detailed(), 4), SIZE)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_same(engine.run(pixels, SIZE, asked, SIZE), expected)
    assert calls == [True]
    (record,) = caplog.records
    assert str(fault) in record.message


@pytest.mark.parametrize('fault', [ILLEGAL, OUT_OF_MEMORY])
def test_a_kernel_hides_no_fault_of_the_device(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> NoReturn:
        raise fault

    engine = with_kernel(monkeypatch, fail)
    asked = words(engine, detailed(), 4)
    engine.device = torch.device('meta')
    with pytest.raises(RuntimeError) as caught:
        engine.run(frames(1, *SIZE), SIZE, asked, SIZE)
    assert caught.value is fault


@pytest.mark.parametrize(('candidates', 'counted'), [(0, [True]), (3, [True, False])])
def test_the_variants_that_frames_use_are_compiled_at_the_start(
    monkeypatch: pytest.MonkeyPatch, candidates: int, counted: list[bool]
) -> None:
    variants = list[tuple[torch.dtype, str, bool, bool]]()

    def note(logits: Tensor, size: object, vocabulary: Any, scoring: str) -> None:  # noqa: ANN401
        calibrated, used = vocabulary.calibrated, vocabulary.used
        variants.append((logits.dtype, scoring, calibrated, used is not None))

    engine = with_kernel(monkeypatch, note)
    engine.device, engine.dtype = torch.device('meta'), torch.bfloat16
    engine.candidates = candidates
    engine._try_kernel()
    assert variants == [
        (torch.bfloat16, 'sigmoid', calibrated, used)
        for calibrated in (False, True)
        for used in counted
    ]


def test_no_size_of_a_frame_makes_triton_compile_anew() -> None:
    module = pytest.importorskip('zegclip_core.engines.lean.postprocess_cuda')
    plain = {each.name for each in module._label_kernel.params if each.do_not_specialize}
    assert plain == {'classes', 'rows', 'columns', 'height', 'width', 'unlabelled'}


def test_copies_from_the_device_go_on_without_pinned_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty = torch.empty

    def refuse(*shape: Any, pin_memory: bool = False, **further: Any) -> Tensor:  # noqa: ANN401
        if pin_memory:
            raise RuntimeError('CUDA error: out of memory')
        return empty(*shape, **further)

    FakeCuda().install(monkeypatch)
    stream = type('Stream', (), {'synchronize': lambda self: None})()
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: stream)
    monkeypatch.setattr(torch, 'empty', refuse)
    monkeypatch.setattr(downloads, 'PINNED', PinnedMemory())
    monkeypatch.setattr(downloads, 'on_host', lambda tensors: False)
    labels = torch.arange(12).view(3, 4)
    (found,) = downloads.Downloads()(labels)
    assert (found == labels.numpy()).all()


def test_norms_go_on_without_a_kernel_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = pytest.importorskip('zegclip_core.engines.lean.rows_cuda')

    def refuse(*_: object, **__: object) -> NoReturn:
        raise RuntimeError('Triton Error [CUDA]: invalid argument: too many registers')

    monkeypatch.setattr(module, 'norm_in_one_kernel', refuse)
    monkeypatch.setattr(module, 'unit_in_one_kernel', refuse)
    rows, layer = RowKernels(), torch.nn.LayerNorm(8)
    rows.fused = True
    tokens, branch = torch.randn(2, 2, 3, 8)
    total = tokens + branch
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            own = tokens.clone()
            found = rows.norm(own, layer, torch.float32, branch=branch)
            assert torch.equal(found, layer(total))
            assert torch.equal(own, total)
            assert torch.equal(rows.unit(tokens, torch.float32), F.normalize(tokens, dim=-1))
    assert len(caplog.records) == 1
    assert not rows.fused


@pytest.mark.parametrize('fault', [ILLEGAL, OUT_OF_MEMORY])
def test_a_lost_device_and_lack_of_memory_are_no_fault_of_the_norms(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip('zegclip_core.engines.lean.rows_cuda')

    def refuse(*_: object, **__: object) -> NoReturn:
        raise fault

    monkeypatch.setattr(module, 'unit_in_one_kernel', refuse)
    rows = RowKernels()
    rows.fused = True
    with pytest.raises(type(fault)):
        rows.unit(torch.ones(1, 1, 4), torch.float32)
    assert rows.fused
