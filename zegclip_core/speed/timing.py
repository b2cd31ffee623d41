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
"""Times and memory of a piece of work, and on what device."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import chain
from pathlib import Path
import platform
import re
import time
from typing import TypeVar

import torch
from zegclip_core.devices import cpu_instructions

T = TypeVar('T')


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, float]:
    """Do a piece of work; return its result, and its seconds until the device was idle again.

    On CUDA they are the device's own, between events around the work.
    """
    if device.type != 'cuda':
        began = time.perf_counter()
        return work(), time.perf_counter() - began
    torch.cuda.synchronize(device)
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        result = work()
        end.record()
    torch.cuda.synchronize(device)
    return result, 1e-3 * start.elapsed_time(end)


def peak_growth(device: torch.device, work: Callable[[], T]) -> tuple[T, int]:
    """Do a piece of work; return its result, and by how many bytes memory in use grew at most.

    On CUDA it is what PyTorch's allocator takes from the device, with the pools of graphs; on a
    CPU this process's resident memory, looked at every millisecond.
    """
    if device.type == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
        return work(), torch.cuda.max_memory_reserved(device) - before
    import psutil  # Which a machine with a GPU may lack.

    process = psutil.Process()
    before = peak = process.memory_info().rss
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(work)
        while wait([call], timeout=0.001).not_done:
            peak = max(peak, process.memory_info().rss)
    return call.result(), peak - before


def free_bytes(device: torch.device) -> int:
    """Return how many bytes of the device's memory are free."""
    if device.type == 'cuda':
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    import psutil

    return int(psutil.virtual_memory().available)


def answers(device: torch.device) -> bool:
    """Return whether a device still computes; on CUDA some errors are for the whole process."""
    try:
        return float(torch.ones(1, device=device).sum()) == 1.0
    except RuntimeError:
        return False


def device_name(device: torch.device) -> str:
    """Return what a device is called; of a CPU also how many threads compute, and with what."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    about = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*: (.*)', about.read_text('utf-8') if about.exists() else '')
    name = found[1].strip() if found else platform.machine()
    best = [found[:1] for found in map(cpu_instructions, (torch.float32, torch.bfloat16))]
    return ', '.join([name, f'{torch.get_num_threads()} threads', *chain(*best)])
