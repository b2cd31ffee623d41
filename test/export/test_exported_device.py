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
"""An exported model that falls to the CPU on a machine with a GPU says so."""

import logging
from pathlib import Path

import pytest
from zegclip_core.engines import onnx

onnxruntime = pytest.importorskip('onnxruntime')
CPU, CUDA = 'CPUExecutionProvider', 'CUDAExecutionProvider'


class Session:
    """As onnxruntime's, of which only the providers are asked for."""

    def __init__(self, *providers: str) -> None:
        self.providers = list(providers)

    def get_providers(self) -> list[str]:
        return self.providers


@pytest.mark.parametrize(
    ('device', 'gpu', 'available', 'used', 'said'),
    [
        ('auto', True, [CPU], [CPU], 'onnxruntime-gpu is not installed'),
        ('auto', True, [CUDA, CPU], [CPU], 'CUDAExecutionProvider could not be used'),
        ('auto', True, [CUDA, CPU], [CUDA, CPU], None),
        ('auto', False, [CPU], [CPU], None),
        ('cpu', True, [CUDA, CPU], [CPU], None),
    ],
)
def test_a_fall_to_the_cpu_is_one_warning(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    device: str,
    gpu: bool,
    available: list[str],
    used: list[str],
    said: str | None,
) -> None:
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: available)
    monkeypatch.setattr(onnx, '_open', lambda path, providers: Session(*used))
    monkeypatch.setattr(onnx, 'has_nvidia_gpu', lambda: gpu)
    with caplog.at_level(logging.WARNING):
        onnx.open_session(Path('a.onnx'), device, 'auto')
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (said is not None)
    if said is not None:
        assert messages[0].startswith('a.onnx runs on the CPU although there is a GPU: ')
        assert said in messages[0]
