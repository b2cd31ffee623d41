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
"""What is done in each case: methods take turns, their time and memory are taken."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import platform
import re
import statistics
import time
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
from zegclip_core.errors import DeviceMemoryError
from zegclip_core.speed.cases import Case
from zegclip_core.speed.inputs import Inputs
from zegclip_core.speed.methods import Labels, Method
from zegclip_core.speed.report import Row

T = TypeVar('T')
_LEAST_ROUNDS = 2


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        model: Name or file; ``None`` for the published shape with seeded weights.
        methods: Names of methods.
        sweeps: Names of sweeps; the base is measured in any case.
        repeats: Most calls of a method in a case that count.
        case_seconds: After so long no further round of a case begins, unless there are too few;
            a method whose first call takes as long is not called again.
        minutes: After so many no further case begins.
    """

    device: str = 'auto'
    model: str | None = None
    methods: Sequence[str] = ('literal', 'lean')
    sweeps: Sequence[str] = ()
    repeats: int = 3
    case_seconds: float = 20.0
    minutes: float = float('inf')


def measure_case(
    methods: Mapping[str, Method],
    case: Case,
    inputs: Inputs,
    device: torch.device,
    options: Options,
    notes: list[str],
) -> list[Row]:
    """Let all methods take turns, each round beginning with another.

    Args:
        methods: What is measured, by name.
        case: What is asked of them.
        inputs: The same of it.
        device: Where they run.
        options: How often and how long.
        notes: Gets a line for each method that does not fit into the memory.
    """
    labels: dict[str, Labels] = {}
    times: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    for name, method in methods.items():
        method.release()
        try:
            needed, free = method.needed_bytes(inputs), free_bytes(device)
            if needed > free:
                raise DeviceMemoryError(
                    f'needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free'
                )
            first = partial(timed, device, partial(method.label, inputs))
            (labels[name], seconds), memory[name] = peak_growth(device, first)
        except (DeviceMemoryError, MemoryError, torch.OutOfMemoryError) as error:
            reason = str(error).partition('\n')[0].partition('. ')[0]
            notes.append(f'{case}: {name} left out: {reason}')
            continue
        times[name] = [seconds] if seconds > options.case_seconds else []
    turns, began = deque(name for name, found in times.items() if not found), time.perf_counter()
    for index in range(options.repeats):
        if index >= _LEAST_ROUNDS and time.perf_counter() - began > options.case_seconds:
            break
        for name in turns:
            times[name].append(timed(device, partial(methods[name].label, inputs))[1])
        turns.rotate(-1)
    rows = []
    for name, found in times.items():
        low, high = np.percentile(found, [25, 75])
        ratios = [a / b for a, b in zip(times.get('literal', []), found, strict=False)]
        alike: dict[str, Any] = {
            f'as_{other}': float(np.mean(labels[name] == labels[other]))
            for other in ('plain', 'literal')
            if other in labels
        }
        row = Row(
            **vars(case),
            method=name,
            ms=1e3 * statistics.median(found),
            spread_ms=1e3 * float(high - low),
            runs=len(found),
            memory_mb=(methods[name].weight_bytes + memory[name]) / 1e6,
            gflop=methods[name].operations(inputs) / 1e9,
            speed_up=statistics.median(ratios) if ratios else None,
            **alike,
        )
        rows.append(row)
    return rows


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, float]:
    """Do a piece of work; return its result, and its seconds until the device was idle again."""
    synchronize = torch.cuda.synchronize if device.type == 'cuda' else lambda _: None
    synchronize(device)
    began = time.perf_counter()
    result = work()
    synchronize(device)
    return result, time.perf_counter() - began


def peak_growth(device: torch.device, work: Callable[[], T]) -> tuple[T, int]:
    """Do a piece of work; return its result, and by how many bytes memory in use grew at most.

    On CUDA it is what PyTorch's allocator notes; on a CPU this process's resident memory,
    looked at every millisecond.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        return work(), torch.cuda.max_memory_allocated(device) - before
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
    return int(psutil.virtual_memory().available)


def device_name(device: torch.device) -> str:
    """Return what a device is called; of a CPU also how many threads compute."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    about = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*: (.*)', about.read_text('utf-8') if about.exists() else '')
    name = found[1].strip() if found else platform.machine()
    return f'{name}, {torch.get_num_threads()} threads'
