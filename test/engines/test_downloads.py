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
"""What comes back to the host: on a CPU the tensors themselves, on CUDA by a kept buffer."""

import pytest
import torch
from torch import Tensor
from zegclip_core.engines.lean import downloads as module
from zegclip_core.engines.lean.downloads import ALIGNMENT, Downloads, places_in


def some() -> list[Tensor]:
    """Return tensors of several types and lengths, one without a value."""
    return [
        torch.arange(35, dtype=torch.uint8).view(1, 5, 7),
        torch.rand(1, 5, 7),
        torch.empty(1, 0, 0),
        torch.arange(6).view(2, 3).to(torch.uint16),
        torch.rand(4, 3).T,
    ]


def test_places_hold_their_tensors_and_lie_apart() -> None:
    tensors = some()
    room = len(tensors) * ALIGNMENT + sum(tensor.nbytes for tensor in tensors)
    buffer = torch.full((room,), 255, dtype=torch.uint8)
    places = places_in(buffer, tensors)
    for place, tensor in zip(places, tensors, strict=True):
        place.copy_(tensor)
    for place, tensor in zip(places, tensors, strict=True):
        assert place.dtype == tensor.dtype
        assert torch.equal(place, tensor)
        start = buffer.data_ptr()
        assert not tensor.numel() or start <= place.data_ptr() < start + room
        assert not tensor.numel() or (place.data_ptr() - start) % ALIGNMENT == 0


def test_the_buffer_is_kept_until_more_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA, but that the tensors are on the CPU and no memory is pinned."""
    made, empty = [], torch.empty

    def unpinned(size: int, *, dtype: torch.dtype, pin_memory: bool) -> Tensor:
        assert pin_memory
        made.append(size)
        return empty(size, dtype=dtype)

    monkeypatch.setattr(module, 'on_host', lambda tensors: False)
    monkeypatch.setattr(torch, 'empty', unpinned)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: torch.Stream('cpu'))
    download = Downloads()
    first, second = torch.ones(200), torch.zeros(100)
    found = download(first)
    assert (download(second, second[:0])[0] == 0).all()
    assert (found[0] == 1).all()  # It is the caller's.
    assert len(made) == 1
    assert (download(first, first)[1] == 1).all()
    assert len(made) == 2
    download.clear()
    download(second)
    assert len(made) == 3


def test_on_a_cpu_nothing_is_copied() -> None:
    tensors = some()
    for array, tensor in zip(Downloads()(*tensors), tensors, strict=True):
        assert tensor.numel() == 0 or array.ctypes.data == tensor.data_ptr()
