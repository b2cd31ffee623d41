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
"""What libraries say of a device: too little memory, lost for good, or neither."""

from collections.abc import Callable
import logging
from typing import Any, NoReturn

import numpy as np
import pytest
from tiny_models import noise
import torch
from zegclip_core.devices import PinnedMemory
from zegclip_core.errors import DeviceLostError, DeviceMemoryError
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

WORDS = Vocabulary.from_names(['cat', 'traffic light', 'tree'])
# Old versions of PyTorch raise plain RuntimeErrors.
ACCELERATOR: type[Exception] = getattr(torch, 'AcceleratorError', RuntimeError)
ADVICE = '\nCUDA kernel errors might be asynchronously reported at some other API call.\n'


class OrtError(Exception):
    """As onnxruntime's own, which have no base in common."""


MEMORY = [
    torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB. GPU 0 ...'),
    ACCELERATOR(f'CUDA error: out of memory{ADVICE}'),
    RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'),
    RuntimeError('CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`'),
    RuntimeError('cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED'),
    RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'),
    RuntimeError('Triton Error [CUDA]: out of memory'),
    OrtError('BFCArena::AllocateRawInternal Available memory of 8 is smaller than requested'),
]
LOST = [
    ACCELERATOR(f'CUDA error: an illegal memory access was encountered{ADVICE}'),
    RuntimeError(f'CUDA error: unspecified launch failure{ADVICE}'),
    ACCELERATOR(f'CUDA error: device-side assert triggered{ADVICE}'),
    ACCELERATOR(f'CUDA error: uncorrectable ECC error encountered{ADVICE}'),
    RuntimeError('CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`'),
    RuntimeError('cuDNN error: CUDNN_STATUS_EXECUTION_FAILED'),
    RuntimeError('Triton Error [CUDA]: an illegal memory access was encountered'),
    OrtError('CUDA failure 700: an illegal memory access was encountered ; GPU=0'),
]
NEITHER = [
    RuntimeError('mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)'),
    RuntimeError('cuDNN Frontend error: [cudnn_frontend] Error: No execution plans support it.'),
    ACCELERATOR(f'CUDA error: invalid configuration argument{ADVICE}'),
    ACCELERATOR(f'CUDA error: no kernel image is available for execution on the device{ADVICE}'),
    ACCELERATOR(f'CUDA error: too many resources requested for launch{ADVICE}'),
    RuntimeError('Triton Error [CUDA]: device kernel image is invalid'),
    RuntimeError('Triton Error [CUDA]: a PTX JIT compilation failed'),
    RuntimeError(
        'Triton Error [CUDA]: the provided PTX was compiled with an unsupported toolchain.'
    ),
    ACCELERATOR(f'CUDA error: operation not permitted when stream is capturing{ADVICE}'),
    KeyError('labels'),
]


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


@pytest.fixture(scope='module')
def loaded(tiny: str) -> Segmenter:
    return Segmenter.load(tiny, device='cpu', precision='fp32')


@pytest.fixture
def segmenter(loaded: Segmenter) -> Segmenter:
    loaded.segment(noise(64, 64), WORDS)
    return loaded


@pytest.mark.parametrize('error', MEMORY, ids=str)
def test_lack_of_memory_costs_an_image_whichever_library_says_it(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    image, released = noise(64, 64), list[bool]()
    expected = segmenter.segment(image, WORDS).labels
    with monkeypatch.context() as patch:
        patch.setattr(segmenter.engine, 'release_memory', lambda: released.append(True))
        patch.setattr(segmenter.engine, 'run', raising(error))
        with pytest.raises(DeviceMemoryError, match=r'^Expected enough free memory on cpu .*\.$'):
            segmenter.segment(image, WORDS)
    assert released == [True]
    assert np.array_equal(segmenter.segment(image, WORDS).labels, expected)


@pytest.mark.parametrize('error', LOST, ids=str)
def test_a_lost_device_is_told_from_other_faults(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(segmenter.engine, 'run', raising(error))
    with pytest.raises(DeviceLostError, match='only a new process can use it: ') as caught:
        segmenter.segment(noise(64, 64), WORDS)
    assert '\n' not in str(caught.value)
    assert str(error).partition('\n')[0] in str(caught.value)


@pytest.mark.parametrize('error', NEITHER, ids=str)
def test_other_errors_stay_what_they_are(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(segmenter.engine, 'run', raising(error))
    with pytest.raises(type(error)) as caught:
        segmenter.segment(noise(64, 64), WORDS)
    assert caught.value is error


@pytest.mark.parametrize(('error', 'kind'), [(MEMORY[2], DeviceMemoryError), (LOST[0], None)])
def test_words_and_loading_say_it_too(
    segmenter: Segmenter,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception] | None,
) -> None:
    expected = kind or DeviceLostError
    with monkeypatch.context() as patch:
        patch.setattr(segmenter.engine, 'prepare', raising(error))
        with pytest.raises(expected, match='CUDA error'):
            segmenter.encode(Vocabulary.from_names(['lamp', 'sofa']))
    with monkeypatch.context() as patch:
        patch.setattr('zegclip_core.segmenter.make_engine', raising(error))
        with pytest.raises(expected, match='CUDA error'):
            Segmenter.load(tiny, device='cpu')


def test_a_device_that_is_lost_while_memory_is_given_back_is_no_lack_of_memory(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenter.engine, 'run', raising(MEMORY[0]))
    monkeypatch.setattr(segmenter.engine, 'release_memory', raising(LOST[0]))
    with pytest.raises(DeviceLostError, match='illegal memory access'):
        segmenter.segment(noise(64, 64), WORDS)


def test_copies_go_on_without_pinned_memory_after_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, empty = list[bool](), torch.empty

    def refuse(
        *shape: Any,  # noqa: ANN401
        pin_memory: bool = False,
        **further: Any,  # noqa: ANN401
    ) -> torch.Tensor:
        asked.append(pin_memory)
        if pin_memory:
            raise MEMORY[1]
        return empty(*shape, **further)

    monkeypatch.setattr(torch, 'empty', refuse)
    memory = PinnedMemory()
    with caplog.at_level(logging.WARNING):
        for shape in ((3, 4), (5,)):
            assert memory.empty(shape, torch.uint8).shape == shape
    assert asked == [True, False, False]
    (record,) = caplog.records
    assert 'cannot pin memory' in record.getMessage()
    assert 'CUDA error: out of memory.' in record.getMessage()
