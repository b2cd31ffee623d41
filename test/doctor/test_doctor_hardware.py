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
"""What ``zegclip doctor`` says of processors, memory, GPUs and their drivers."""

from pathlib import Path

import pytest
from test_doctor import only
from zegclip_core.doctor import hardware
from zegclip_core.doctor.findings import Finding
from zegclip_core.doctor.hardware import Gpu, Graphics


@pytest.mark.parametrize(
    ('one', 'verdict', 'words'),
    [
        (hardware.instructions(['AVX2'], []), 'ok', ''),
        (hardware.instructions([], []), 'warning', 'AVX2 or NEON'),
        (hardware.threads(4, 4), 'ok', ''),
        (hardware.threads(2, 4), 'warning', 'wait for one another'),
        (hardware.threads(4, 1), 'warning', 'one thread alone'),
        (hardware.threads(1, 1), 'ok', ''),
        (hardware.memory(2**32), 'ok', ''),
        (hardware.memory(2**30), 'warning', 'runs in 2 GiB'),
    ],
)
def test_processors(one: Finding, verdict: str, words: str) -> None:
    assert one.verdict == verdict
    assert words in one.advice
    assert bool(one.advice) == bool(words)


def test_instructions_that_are_forbidden_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'SSE41')
    assert 'ONEDNN_MAX_CPU_ISA=SSE41 forbids' in hardware.instructions([], []).advice


H200 = Gpu('NVIDIA H200', (9, 0), 140 * 2**30)
WELL = Graphics(True, '580.82.07', '13.0', ('sm_75', 'sm_90', 'compute_120'), (H200,))


def test_a_gpu_that_works() -> None:
    gpu, driver = hardware.judged(WELL)
    assert gpu.value == 'NVIDIA H200, 140 GiB, compute capability 9.0'
    assert driver.value == '580.82.07; PyTorch for CUDA 13.0'
    assert {gpu.verdict, driver.verdict} == {'ok'}
    assert only(hardware.judged(Graphics(False, '', None))).verdict == 'ok'


@pytest.mark.parametrize(
    ('found', 'verdict', 'words'),
    [
        (Graphics(True, '470.1', None), 'warning', 'a PyTorch for CUDA'),
        (Graphics(True, '470.1', '13.0'), 'warning', 'too old for CUDA 13.0'),
        (Graphics(True, '', '13.0', ('sm_80',), (H200,)), 'fault', 'code for sm_80 alone'),
        (Graphics(True, '', '13.0', ('sm_100',), (H200,)), 'fault', '--device cpu'),
        (Graphics(True, '', '13.0', ('compute_80',), (H200,)), 'ok', ''),
        (Graphics(True, '', '13.0', ('sm_80',), (Gpu('A', (8, 6), 1),)), 'ok', ''),
        (Graphics(True, '', '13.0', ('sm_86',), (Gpu('A', (8, 0), 1),)), 'fault', 'sm_86'),
    ],
)
def test_gpus_that_pytorch_cannot_use(found: Graphics, verdict: str, words: str) -> None:
    one = next(hardware.judged(found))
    assert one.verdict == verdict
    assert words in one.advice


def test_a_hidden_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    one = only(hardware.judged(Graphics(True, '580.1', '13.0')))
    assert one.advice == 'CUDA_VISIBLE_DEVICES hides it: unset it.'


def test_the_driver_is_read_from_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, '_DRIVER', tmp_path / 'version')
    assert hardware._driver() == ''
    (tmp_path / 'version').write_text(
        'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build\n'
        'GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n'
    )
    assert hardware._driver() == '580.82.07'
