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
"""The most memory that a piece of work takes on top of what was there before."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import ctypes
import gc
from pathlib import Path
from typing import Protocol

import torch

_MEGABYTE = 1e6
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # Of malloc.h.
_MEASURED_BYTES = 2**16
_USUAL_BYTES = 2**25  # What the GNU C library arrives at by itself once large blocks were freed.


Work = Callable[[], object]


class Meter(Protocol):
    """Measures one piece of work at a time."""

    def peak(self, work: Work, *, timed: bool = False) -> float | None:
        """Do the work; return the growth to its highest point [MB], ``None`` if unknown.

        Args:
            work: What to do.
            timed: Whether its time counts, so that nothing may be done that slows it down.
        """


class CudaMeter:
    """Reads the peak that PyTorch's allocator keeps."""

    def __init__(self, device: torch.device) -> None:
        """Remember the device."""
        self._device = device

    def peak(self, work: Work, *, timed: bool = False) -> float | None:
        """Do the work and return the growth."""
        del timed
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return (torch.cuda.max_memory_allocated(self._device) - before) / _MEGABYTE


class CpuMeter:
    """Reads the peak of the process's resident memory, which Linux lets us set back.

    The allocator keeps freed blocks, which hides growth, and fills gaps without giving them back,
    which adds to it. So what is free is given back first, and the work is done in a thread, whose
    part of the heap has no gaps, with blocks that come from the system and go back to it.
    """

    def __init__(self) -> None:
        """Find out what this system can do."""
        library = ctypes.CDLL(None)
        self._trim = getattr(library, 'malloc_trim', None)
        self._option = getattr(library, 'mallopt', None)

    def peak(self, work: Work, *, timed: bool = False) -> float | None:
        """Do the work and return the growth; of work that is timed, gaps are part of it."""
        gc.collect()
        if self._trim is not None:
            self._trim(0)
        before = self._set_back()
        if timed:
            work()
        else:
            self._without_gaps(work)
        peak = _status('VmHWM')
        return None if before is None or peak is None else max(peak - before, 0) / _MEGABYTE

    def _without_gaps(self, work: Work) -> None:
        """Do the work in a part of the heap of its own, with blocks from the system."""
        self._from_system(_MEASURED_BYTES)
        try:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(work).result()
        finally:
            self._from_system(_USUAL_BYTES)

    def _set_back(self) -> int | None:
        """Set the peak back to what is resident now, and return that; ``None`` if it cannot be."""
        try:
            Path('/proc/self/clear_refs').write_text('5', encoding='ascii')  # See proc(5).
        except OSError:
            return None  # No Linux, or not allowed: better no figure than a wrong one.
        return _status('VmRSS')

    def _from_system(self, least: int) -> None:
        """Take blocks of so many bytes and more from the system; see mallopt(3)."""
        if self._option is not None:
            self._option(_MMAP_THRESHOLD, least)
            self._option(_TRIM_THRESHOLD, 2 * least)


def _status(name: str) -> int | None:
    """Return an entry of this process's status in bytes; ``None`` if there is none."""
    return _kilobytes(Path('/proc/self/status'), name)


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory of a device is free; ``None`` if that cannot be told."""
    if device.type == 'cuda':
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return _kilobytes(Path('/proc/meminfo'), 'MemAvailable')


def _kilobytes(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding='ascii').splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f'{name}:')]
    return 1024 * int(found[0]) if found else None


def meter_for(device: torch.device) -> Meter:
    """Return what measures the memory of a device."""
    return CudaMeter(device) if device.type == 'cuda' else CpuMeter()
