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
"""What the model says on its way back to the host."""

from collections.abc import Sequence
from itertools import accumulate
import math
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from zegclip_core.devices import PINNED

ALIGNMENT = 64
"""Bytes at whose multiples a tensor's place in the buffer begins."""


class Downloads:
    """Copies tensors from a CUDA device by way of pinned memory, which is kept for the next ones.

    One thread at a time.
    """

    def __init__(self) -> None:
        """Start without a buffer; the first frame makes it."""
        self._buffer: Tensor | None = None

    def __call__(self, *tensors: Tensor) -> list[npt.NDArray[Any]]:
        """Return tensors of one device as arrays, all copied before the host waits once."""
        if on_host(tensors):
            return [tensor.numpy() for tensor in tensors]
        size = sum(map(_room, tensors))
        if self._buffer is None or len(self._buffer) < size:
            self._buffer = PINNED.empty((size,), torch.uint8)
        places = places_in(self._buffer, tensors)
        for place, tensor in zip(places, tensors, strict=True):
            place.copy_(tensor, non_blocking=True)
        torch.cuda.current_stream(tensors[0].device).synchronize()
        # Copies, as the next frame comes to the same place.
        return [place.numpy().copy() for place in places]

    def clear(self) -> None:
        """Let go of the buffer."""
        self._buffer = None


def on_host(tensors: Sequence[Tensor]) -> bool:
    """Return whether all tensors are there already."""
    return all(tensor.device.type == 'cpu' for tensor in tensors)


def places_in(buffer: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return parts of a buffer, uint8, with the types and shapes of tensors, none over another."""
    starts = accumulate(map(_room, tensors), initial=0)
    return [
        buffer.narrow(0, start, tensor.nbytes).view(tensor.dtype).view(tensor.shape)
        for start, tensor in zip(starts, tensors, strict=False)
    ]


def _room(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes of a buffer."""
    return math.ceil(tensor.nbytes / ALIGNMENT) * ALIGNMENT
