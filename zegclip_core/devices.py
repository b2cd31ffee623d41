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
"""Devices and precisions: what can be asked for, and what ``auto`` means here."""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from zegclip_core.errors import ModelError
from zegclip_core.options import OPTIONS

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
"""Floating-point types by the precisions of ``zegclip_core.options`` but for ``auto``."""


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
    checks = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    has_bf16 = any(getattr(torch.cpu, check, bool)() for check in checks)
    return torch.bfloat16 if has_bf16 else torch.float32


def use_threads(threads: int | None) -> None:
    """Set how many threads compute on a CPU, in the whole process; ``None`` leaves it as it is.

    Raises:
        ModelError: If it is outside of [1, ``options.MAX_THREADS``].
    """
    OPTIONS['threads'].check(threads)
    if threads is not None:
        torch.set_num_threads(threads)
