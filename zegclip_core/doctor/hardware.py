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
"""What the model can run on: processor, memory, GPUs and their driver."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import platform
import re

import psutil
import torch
from zegclip_core.devices import cpu_instructions, has_nvidia_gpu
from zegclip_core.doctor.findings import Finding

_SECTION = 'devices'
_CPU_INFO = Path('/proc/cpuinfo')
_DRIVER = Path('/proc/driver/nvidia/version')
_NEEDED = 2 * 2**30
"""Free memory in bytes that the bundled model runs in with room to spare."""
_GIB = 2**30


def processor() -> Iterator[Finding]:
    """Yield what the processor is, what it multiplies with, how much of it is used, memory."""
    yield Finding(_SECTION, 'cpu', _cpu_name())
    yield instructions(cpu_instructions(torch.float32), cpu_instructions(torch.bfloat16))
    yield threads(len(os.sched_getaffinity(0)), torch.get_num_threads())
    yield memory(psutil.virtual_memory().available)


def _cpu_name() -> str:
    """Return what the processor is called."""
    text = _CPU_INFO.read_text('utf-8') if _CPU_INFO.exists() else ''
    found = re.search(r'^(?:model name|Model)\s*:(.*)', text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def instructions(single: Sequence[str], half: Sequence[str]) -> Finding:
    """Return the finding of what multiplies float32 and bfloat16, the best first."""
    shown = f'fp32: {", ".join(single) or "none known"}; bf16: {", ".join(half) or "none"}'
    if not single:
        advice = 'Frames take several times longer than on a processor with AVX2 or NEON.'
        level = os.environ.get('ONEDNN_MAX_CPU_ISA')
        if level:
            advice = f'ONEDNN_MAX_CPU_ISA={level} forbids what this processor may have: unset it.'
        return Finding(_SECTION, 'instructions', shown, 'warning', advice)
    return Finding(_SECTION, 'instructions', shown)


def threads(cores: int, used: int) -> Finding:
    """Return the finding of how many cores this process may use, and threads PyTorch uses."""
    limit = os.environ.get('OMP_NUM_THREADS')
    shown = f'{used} on {cores} cores' + (f', OMP_NUM_THREADS={limit}' if limit else '')
    if used > cores:
        advice = 'Threads wait for one another: unset OMP_NUM_THREADS, or set it to the cores.'
        return Finding(_SECTION, 'threads', shown, 'warning', advice)
    if used == 1 < cores:
        advice = 'On a CPU one thread alone works: unset OMP_NUM_THREADS if that is not meant.'
        return Finding(_SECTION, 'threads', shown, 'warning', advice)
    return Finding(_SECTION, 'threads', shown)


def memory(free: int) -> Finding:
    """Return the finding of the host's free memory, in bytes."""
    shown = f'{free / _GIB:.1f} GiB free'
    if free < _NEEDED:
        advice = f'Free some: the bundled model runs in {_NEEDED / _GIB:.0f} GiB.'
        return Finding(_SECTION, 'memory', shown, 'warning', advice)
    return Finding(_SECTION, 'memory', shown)


@dataclass(frozen=True)
class Gpu:
    """A GPU as PyTorch knows it: name, compute capability, memory in bytes."""

    name: str
    capability: tuple[int, int]
    total: int


@dataclass(frozen=True)
class Graphics:
    """What of GPUs is there.

    Attributes:
        present: Whether the machine has a GPU of NVIDIA's, if only one that torch cannot use.
        driver: Version of its driver; empty if it is not known.
        cuda: Version of CUDA that this PyTorch was built for; ``None`` for a CPU alone.
        built_for: Architectures that it was built for, as ``sm_90``.
        gpus: Those that PyTorch can use.
    """

    present: bool
    driver: str
    cuda: str | None
    built_for: Sequence[str] = ()
    gpus: Sequence[Gpu] = ()


def graphics() -> Iterator[Finding]:
    """Yield what GPUs there are and whether PyTorch can use them."""
    yield from judged(_look())


def _look() -> Graphics:
    """Return what of GPUs is there."""
    usable = torch.cuda.is_available()
    found = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
    return Graphics(
        present=has_nvidia_gpu(),
        driver=_driver(),
        cuda=torch.version.cuda,
        built_for=torch.cuda.get_arch_list() if usable else (),
        gpus=[Gpu(one.name, (one.major, one.minor), one.total_memory) for one in found],
    )


def _driver() -> str:
    """Return the version of NVIDIA's driver; empty if it is not loaded."""
    try:
        text = _DRIVER.read_text('utf-8')
    except OSError:
        return ''
    found = re.search(r'\b\d{3,}\.\d+(?:\.\d+)?\b', text)
    return found[0] if found else ''


def judged(found: Graphics) -> Iterator[Finding]:
    """Yield the findings of GPUs."""
    built = f'CUDA {found.cuda}' if found.cuda else 'a CPU alone'
    if not found.gpus:
        if not found.present:
            yield Finding(_SECTION, 'gpu', f'none; PyTorch for {built}')
            return
        shown = f'one that PyTorch cannot use; driver {found.driver or "unknown"}, PyTorch {built}'
        yield Finding(_SECTION, 'gpu', shown, 'warning', _why_not(found))
        return
    for index, gpu in enumerate(found.gpus):
        yield _one(f'gpu {index}', gpu, found)
    yield Finding(_SECTION, 'driver', f'{found.driver or "unknown"}; PyTorch for {built}')


def _why_not(found: Graphics) -> str:
    """Return what to do where there is a GPU that PyTorch cannot use."""
    if found.cuda is None:
        return 'Install a PyTorch for CUDA: docs/install.md, PyTorch for the GPU.'
    if os.environ.get('CUDA_VISIBLE_DEVICES') in {'', '-1'}:
        return 'CUDA_VISIBLE_DEVICES hides it: unset it.'
    return (
        f'Check that nvidia-smi works here (in a container: --gpus all); if it does, the driver '
        f'is too old for CUDA {found.cuda}: update it, or install a PyTorch for an older CUDA.'
    )


def _one(name: str, gpu: Gpu, found: Graphics) -> Finding:
    """Return the finding of a GPU that PyTorch lists."""
    major, minor = gpu.capability
    shown = f'{gpu.name}, {gpu.total / _GIB:.0f} GiB, compute capability {major}.{minor}'
    numbers = [int(text[3:]) for text in found.built_for if re.fullmatch(r'sm_\d+', text)]
    # Code runs on later minor versions of its own major one; "compute_" is compiled for any later.
    fits = any(one // 10 == major and one % 10 <= minor for one in numbers)
    later = [int(text[8:]) for text in found.built_for if re.fullmatch(r'compute_\d+', text)]
    if fits or any(one <= 10 * major + minor for one in later) or not numbers:
        return Finding(_SECTION, name, shown)
    advice = (
        f'This PyTorch has code for {", ".join(found.built_for)} alone: install one that fits, or '
        'run with --device cpu.'
    )
    return Finding(_SECTION, name, shown, 'fault', advice)
