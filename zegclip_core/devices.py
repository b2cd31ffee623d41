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
"""Devices and precisions: what can be asked for, what ``auto`` means, what errors mean."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
import logging
import os
from pathlib import Path
import re

import torch
from torch import Tensor
from zegclip_core.errors import DeviceLostError, DeviceMemoryError, ModelError, ZegCLIPError
from zegclip_core.options import OPTIONS

logger = logging.getLogger(__name__)

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
"""Floating-point types by the precisions of ``zegclip_core.options`` but for ``auto``."""
_CPU_INFO = Path('/proc/cpuinfo')
_INSTRUCTIONS = {
    torch.bfloat16: (
        ('AMX_BF16', {'amx_tile', 'amx_bf16'}, 'AVX512_CORE_AMX'),
        ('AVX512_BF16', {'avx512_bf16'}, 'AVX512_CORE_BF16'),
    ),
    torch.float32: (
        ('AVX512', {'avx512f', 'avx512bw', 'avx512dq', 'avx512vl'}, 'AVX512_CORE'),
        ('AVX2', {'avx2', 'fma'}, 'AVX2'),
        ('NEON', {'asimd'}, ''),
    ),
}
"""By type, the best first: what multiplies it, the flags in Linux that say that a processor has
it, and the least level of ``ONEDNN_MAX_CPU_ISA`` that allows it."""
_LEVELS = (
    *('SSE41', 'AVX', 'AVX2', 'AVX2_VNNI', 'AVX2_VNNI_2', 'AVX512_CORE', 'AVX512_CORE_VNNI'),
    *('AVX512_CORE_BF16', 'AVX512_CORE_FP16', 'AVX512_CORE_AMX', 'AVX512_CORE_AMX_FP16'),
)
"""Levels of ``ONEDNN_MAX_CPU_ISA``, each of which allows those before it."""


_NO_MEMORY = (
    'out of memory',  # PyTorch, CUDA itself, the instantiation of a graph, Triton
    "can't allocate memory",  # PyTorch on a CPU
    'CUBLAS_STATUS_ALLOC_FAILED',
    'CUBLAS_STATUS_NOT_INITIALIZED',  # What cuBLAS says where its handle finds no room.
    'CUDNN_STATUS_ALLOC_FAILED',
    'CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED',
    'CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED',
    *('Failed to allocate memory', 'Available memory of'),  # onnxruntime
)
"""What errors for lack of memory say that are no ``torch.OutOfMemoryError``."""
_OF_DEVICE = ('CUDA error', 'CUDA failure', 'Triton Error [CUDA]', 'CUDNN_STATUS_EXECUTION_FAILED')
"""What errors of the device say, where they have no class of their own."""
_PASSING = (
    *('kernel image', 'PTX'),  # Of a driver that is older than what it is to run.
    'too many resources requested',
    'invalid argument',
    'invalid configuration argument',
    'invalid device function',
    'invalid resource handle',
    'operation not supported',
    'captur',  # Of a stream that is being recorded.
    *('CUBLAS_STATUS_NOT_SUPPORTED', 'CUBLAS_STATUS_INVALID_VALUE'),
)
"""What those say after which CUDA can still be used; any other stays until the process ends."""


def is_memory_error(error: BaseException) -> bool:
    """Return whether an error says that a device, or the host, has too little free memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(mark in str(error) for mark in _NO_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Return whether an error says that the device is of no more use to this process."""
    text = str(error)
    # A class of its own has come with PyTorch 2.8.
    of_device = isinstance(error, getattr(torch, 'AcceleratorError', ()))
    of_device = of_device or any(mark in text for mark in _OF_DEVICE)
    passes = is_memory_error(error) or any(mark in text for mark in _PASSING)
    return of_device and not passes


def is_of_device(error: BaseException) -> bool:
    """Return whether an error is about a device, not about what was computed on it."""
    return is_memory_error(error) or is_device_lost(error)


def reason_of(error: BaseException) -> str:
    """Return the part of an error's text that says what is wrong, without a full stop."""
    first = str(error).strip().partition('\n')[0].partition('. ')[0]
    return first.rstrip('.') or type(error).__name__


@contextmanager
def device_errors(device: object, needed: str) -> Iterator[None]:
    """Raise what errors say of a device as errors of this package.

    Args:
        device: What the device is called.
        needed: What the memory is needed for.

    Raises:
        DeviceLostError: If the device is of no more use to this process.
        DeviceMemoryError: If it has too little free memory.
    """
    try:
        yield
    except ZegCLIPError:
        raise
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLostError(
                f'Expected the device {device} to answer, but it failed, and only a new process '
                f'can use it: {reason_of(error)}.'
            ) from error
        if is_memory_error(error):
            raise DeviceMemoryError(
                f'Expected enough free memory on {device} for {needed}, but got: '
                f'{reason_of(error)}.'
            ) from error
        raise


class PinnedMemory:
    """Memory of the host that a CUDA device copies from and to fast, as long as there is any."""

    def __init__(self) -> None:
        """Begin with trust in it."""
        self._works = True

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a tensor of the host, pinned unless that has failed once."""
        if self._works:
            try:
                return torch.empty(shape, dtype=dtype, pin_memory=True)
            except RuntimeError as error:  # A device that is lost says so at the copy.
                self._works = False
                logger.warning(
                    'Frames take longer than they need to, as the host cannot pin memory for '
                    'their copies: %s.',
                    reason_of(error),
                )
        return torch.empty(shape, dtype=dtype)


PINNED = PinnedMemory()
"""The process's."""


def has_nvidia_gpu() -> bool:
    """Return whether this machine has a GPU of NVIDIA's, if only one that torch cannot use."""
    return torch.cuda.is_available() or any(Path('/proc/driver/nvidia/gpus').glob('*'))


def pick_device(device: str) -> torch.device:
    """Return the device that a user named.

    Args:
        device: ``auto`` (CUDA if there is any), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ModelError: If it is not known or not on this machine.
    """
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        place = torch.device(device)
    except RuntimeError:
        place = None
    if place is None or place.type not in {'cpu', 'cuda'}:
        raise ModelError(f'Expected a device of auto, cpu, cuda or cuda:N, but got {device!r}.')
    if place.type == 'cuda' and (place.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f'Expected a device of this machine, but got {device!r}: it has '
            f'{torch.cuda.device_count()} CUDA devices that torch can use.'
        )
    return place


_side_stream = lru_cache(torch.cuda.Stream)
"""Gives a device's stream for what runs beside frames: each stream has memory of its own."""


def side_stream(device: torch.device) -> AbstractContextManager[object]:
    """Return a context whose work on CUDA waits for no other stream, and no other for it."""
    if device.type != 'cuda':
        return nullcontext()
    stream: AbstractContextManager[object] = torch.cuda.stream(_side_stream(device))
    return stream


def device_guard(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which this is the current CUDA device, which kernels of Triton take."""
    return torch.cuda.device(device) if device.type == 'cuda' else nullcontext()


def pick_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the floating-point type of the model on a device.

    Args:
        precision: ``auto`` (bf16 where the device multiplies it in hardware, else fp16 on CUDA
            and fp32 on a CPU), ``fp32``, ``bf16`` or ``fp16``; of ``int8``, which OpenVINO has,
            the type of what stays a floating-point number.
        device: Where the model will run.

    Raises:
        ModelError: If it is not known, or is fp16 on a CPU.
    """
    OPTIONS['precision'].check(precision)
    if precision == 'fp16' and device.type == 'cpu':
        raise ModelError('Expected a precision of auto, fp32 or bf16 on a CPU, but got fp16.')
    if precision not in {'auto', 'int8'}:
        return DTYPES[precision]
    if device.type == 'cuda':
        with device_guard(device):
            supported = torch.cuda.is_bf16_supported(False)
        return torch.bfloat16 if supported else torch.float16
    # Without instructions for it, bf16 is slower than fp32.
    return torch.bfloat16 if cpu_instructions(torch.bfloat16) else torch.float32


def cpu_instructions(dtype: torch.dtype) -> tuple[str, ...]:
    """Return the instructions of this processor that multiply a type, the best first.

    Empty if it has none, or if ``ONEDNN_MAX_CPU_ISA`` forbids them to the library that PyTorch
    multiplies with. On x86 and ARM; of ARM's, those for bfloat16 are not counted.
    """
    flags, level = _cpu_flags(), os.environ.get('ONEDNN_MAX_CPU_ISA', '').upper()
    allowed = _LEVELS[: _LEVELS.index(level) + 1] if level in _LEVELS else (*_LEVELS, '')
    return tuple(
        name
        for name, needed, least in _INSTRUCTIONS.get(dtype, ())
        if needed <= flags and least in allowed
    )


def _cpu_flags() -> frozenset[str]:
    """Return what this processor can, in Linux's words; of another system what PyTorch knows."""
    if _CPU_INFO.exists():
        found = re.search(
            r'^(?:flags|Features)\s*:(.*)', _CPU_INFO.read_text('utf-8'), re.MULTILINE
        )
        return frozenset(found[1].split() if found else ())
    checks = {
        '_is_avx512_bf16_supported': {'avx512_bf16'},
        '_is_amx_tile_supported': {'amx_tile', 'amx_bf16'},
        '_is_avx2_supported': {'avx2', 'fma'},
        '_is_avx512_supported': {'avx512f', 'avx512bw', 'avx512dq', 'avx512vl'},
    }
    known = [flags for check, flags in checks.items() if getattr(torch.cpu, check, bool)()]
    return frozenset().union(*known)


def use_threads(threads: int | None) -> None:
    """Set how many threads compute on a CPU, in the whole process; ``None`` leaves it as it is.

    Raises:
        ModelError: If it is outside of [1, ``options.MAX_THREADS``].
    """
    OPTIONS['threads'].check(threads)
    if threads is not None:
        torch.set_num_threads(threads)
