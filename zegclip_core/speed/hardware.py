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
"""What is read off the device: times, memory, and the fastest that it can compute and copy."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import ctypes
from functools import partial
import gc
from pathlib import Path
import platform
import re
import time
from typing import TypeVar

import psutil
import torch
from zegclip_core.devices import DTYPES, pick_precision

T = TypeVar('T')
_MATRIX = {'cpu': 2048, 'cuda': 8192}
"""Rows and columns of the matrices to multiply: larger ones are not faster, and take longer."""
_COPIED = {'cpu': 2**28, 'cuda': 2**30}
"""Bytes to copy, many times what caches hold."""
_REPEATS = 5


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, float]:
    """Do a piece of work; return its result, and its seconds until the device was idle again."""
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda _: None
    wait(device)
    began = time.perf_counter()
    result = work()
    wait(device)
    return result, time.perf_counter() - began


def peak_growth(
    device: torch.device, work: Callable[[], object], *, slow_down: bool = True
) -> int | None:
    """Do a piece of work; return by how many bytes memory in use grew at its highest point.

    On CUDA PyTorch's allocator keeps that mark. On a CPU it is the kernel's mark of this process's
    resident memory, which Linux lets us reset; elsewhere ``None`` is returned.

    Args:
        device: Where it is done.
        work: What is done.
        slow_down: Whether it may take longer. If not, gaps between blocks count as well on a CPU.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    gc.collect()
    library = ctypes.CDLL(None)
    # Freed blocks that the allocator keeps would hide growth.
    getattr(library, 'malloc_trim', bool)(0)
    try:
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')  # proc(5): reset the mark
    except OSError:
        work()
        return None
    before = psutil.Process().memory_info().rss
    if slow_down:
        _without_gaps(getattr(library, 'mallopt', lambda *_: None), work)
    else:
        work()
    status = Path('/proc/self/status').read_text(encoding='ascii')
    mark = 1024 * int(status.partition('VmHWM:')[2].split()[0])
    return max(mark - before, 0)


def _without_gaps(set_option: Callable[[int, int], object], work: Callable[[], object]) -> None:
    """Do a piece of work with memory straight from the system, in a part of the heap of its own.

    The allocator fills gaps between blocks that stay without giving them back.
    """
    mmap_threshold, trim_threshold = -3, -1  # mallopt(3); the values are those of malloc.h.
    try:
        set_option(mmap_threshold, 2**16)
        set_option(trim_threshold, 2**17)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(work).result()
    finally:  # What the GNU C library arrives at by itself once large blocks were freed.
        set_option(mmap_threshold, 2**25)
        set_option(trim_threshold, 2**26)


def free_bytes(device: torch.device) -> int:
    """Return how many bytes of the device's memory are free."""
    if device.type == 'cuda':
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return int(psutil.virtual_memory().available)


def multiply_rates(device: torch.device, shrink: int = 1) -> dict[str, float]:
    """Return the rates of a product of large matrices, in float32 and in the best precision.

    Args:
        device: What is measured.
        shrink: What the sizes are divided by, for a rough and quick figure.

    Returns:
        10^12 operations a second by the name of the precision.
    """
    side, rates = _MATRIX[device.type] // shrink, {}
    best = pick_precision('auto', device)
    for name, dtype in DTYPES.items():
        if dtype in {torch.float32, best}:
            left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
            seconds = _fastest(device, partial(torch.mm, left, right))
            rates[name] = 2.0 * side**3 / seconds / 1e12
    return rates


def copy_rate(device: torch.device, shrink: int = 1) -> float:
    """Return the bytes that a copy reads and writes, in 10^9 a second.

    Args:
        device: What is measured.
        shrink: What the size is divided by, for a rough and quick figure.
    """
    source = torch.ones(_COPIED[device.type] // shrink, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2e-9 * len(source) / _fastest(device, partial(target.copy_, source))


def _fastest(device: torch.device, work: Callable[[], object]) -> float:
    """Return the least time that a piece of work takes, after a call that does not count [s]."""
    return min([timed(device, work)[1] for _ in range(1 + _REPEATS)][1:])


def device_name(device: torch.device) -> str:
    """Return what a device is called; of a CPU also how many threads compute."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    about = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*: (.*)', about.read_text('utf-8') if about.exists() else '')
    name = found[1].strip() if found else platform.machine()
    return f'{name}, {torch.get_num_threads()} threads'
