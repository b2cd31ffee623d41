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
"""Copies between the host's memory and a CUDA device's, through pinned memory."""

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


class Uploads:
    """Copies frames to a CUDA device on a stream of its own.

    Two buffers take turns, so that one is filled while the other is still on its way.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        """Start without buffers; the first frame makes them."""
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._buffers: list[Tensor | None] = [None, None]
        self._events = [torch.cuda.Event(), torch.cuda.Event()]
        self._turn = 0

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return frames on the device; the current stream waits for them, the host does not."""
        if pixels.device.type == 'cuda':
            return pixels
        self._turn = 1 - self._turn
        done, buffer = self._events[self._turn], self._buffers[self._turn]
        done.synchronize()  # The buffer's last copy; over long ago but for a backlog.
        if buffer is None or len(buffer) < pixels.numel():
            buffer = torch.empty(pixels.numel(), dtype=torch.uint8, pin_memory=True)
            self._buffers[self._turn] = buffer
        place = buffer[: pixels.numel()].view(pixels.shape)
        place.copy_(pixels)
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            there = place.to(self.device, non_blocking=True)
            done.record(self._stream)
        current.wait_event(done)
        there.record_stream(current)
        return there

    def clear(self) -> None:
        """Let go of the buffers."""
        self._stream.synchronize()
        self._buffers = [None, None]


def to_host(*tensors: Tensor) -> list[npt.NDArray[Any]]:
    """Return tensors as arrays, all copied from a CUDA device before the host waits once."""
    if all(tensor.device.type == 'cpu' for tensor in tensors):
        return [tensor.numpy() for tensor in tensors]
    places = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for place, tensor in zip(places, tensors, strict=True):
        place.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensors[0].device).synchronize()
    # Copies, as pinned memory is scarce and nobody knows how long the arrays are kept.
    return [place.numpy().copy() for place in places]
