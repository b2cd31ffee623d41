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

import ctypes
import gc
from pathlib import Path
from typing import Protocol

import torch

_MEGABYTE = 1e6
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # Of malloc.h.
_MEASURED_BYTES = 2**16
_USUAL_BYTES = 2**25  # What the GNU C library arrives at by itself once large blocks were freed.


class Meter(Protocol):
    """Measures one piece of work at a time."""

    def start(self) -> None:
        """Begin: from here on memory counts."""

    def stop(self) -> float | None:
        """Return the growth to the highest point since [MB]; ``None`` if it cannot be told."""


class CudaMeter:
    """Reads the peak that PyTorch's allocator keeps."""

    def __init__(self, device: torch.device) -> None:
        """Remember the device."""
        self._device = device
        self._before = 0

    def start(self) -> None:
        """Begin."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def stop(self) -> float | None:
        """Return the growth."""
        torch.cuda.synchronize(self._device)
        return (torch.cuda.max_memory_allocated(self._device) - self._before) / _MEGABYTE


class CpuMeter:
    """Reads the peak of the process's resident memory, which Linux lets us set back.

    The allocator keeps freed blocks, which would hide growth, and fills its gaps anew, which would
    add to it. So they are given back first, and blocks of any size that matters come from the
    system and go back to it for as long as is measured.
    """

    def __init__(self) -> None:
        """Find out what this system can do."""
        library = ctypes.CDLL(None)
        self._trim = getattr(library, 'malloc_trim', None)
        self._option = getattr(library, 'mallopt', None)
        self._before: int | None = None

    def start(self) -> None:
        """Begin."""
        gc.collect()
        self._from_system(_MEASURED_BYTES)
        if self._trim is not None:
            self._trim(0)
        try:
            # "5" sets the peak back to what is resident now; see proc(5).
            Path('/proc/self/clear_refs').write_text('5', encoding='ascii')
        except OSError:
            self._before = None  # No Linux, or not allowed: better no figure than a wrong one.
        else:
            self._before = _status('VmRSS')

    def stop(self) -> float | None:
        """Return the growth."""
        peak = _status('VmHWM')
        self._from_system(_USUAL_BYTES)
        if self._before is None or peak is None:
            return None
        return max(peak - self._before, 0) / _MEGABYTE

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
