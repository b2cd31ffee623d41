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
"""A watch that waits for the device before it reads the time, and exact float32."""

from collections.abc import Iterator
from contextlib import contextmanager
import time

import torch


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


class Watch:
    """Measures pieces of work on a device."""

    def __init__(self, device: torch.device) -> None:
        """Remember the device."""
        self._device = device
        self._began = 0.0

    def start(self) -> None:
        """Begin, once the device has nothing left to do."""
        wait_for(self._device)
        self._began = time.perf_counter()

    def seconds(self) -> float:
        """Return the time since the start, once the device is done."""
        wait_for(self._device)
        return time.perf_counter() - self._began


@contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply float32 as float32, without TensorFloat-32, while the context lasts."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
