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
"""CUDA graphs on a CPU: what is recorded is noted operator by operator, and replayed.

It has the faults that PyTorch has: where the end of a recording raises, the stream stays that of
the recording and the allocator goes on taking memory from its pool.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class _Recorder(TorchDispatchMode):
    """Notes every operator that runs in it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: object,
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out


class FakeGraph:
    """Runs what was recorded again, into the tensors that it gave."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, found in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                is_view = isinstance(old, Tensor) and old.data_ptr() == new.data_ptr()
                if isinstance(old, Tensor) and not is_view:
                    old.copy_(new)


class FakeStream:
    """Does nothing, but is one of several."""

    def __init__(self, device: object = None) -> None:
        self.waited: list[object] = []

    def wait_stream(self, other: object) -> None:
        self.waited.append(other)


@dataclass
class FakeCuda:
    """What stands in for ``torch.cuda``.

    ``fault`` is raised at the end of a recording, ``begin_fault`` at its begin; ``lost`` whenever
    the device is waited for. ``grown`` are bytes that a recording takes.
    """

    total: int = 2**40
    grown: int = 2**20
    fault: Exception | None = None
    begin_fault: Exception | None = None
    lost: Exception | None = None
    stream: FakeStream = field(default_factory=FakeStream)
    recording_into: list[object] = field(default_factory=list)
    released: list[object] = field(default_factory=list)
    graphs: list[FakeGraph] = field(default_factory=list)
    reserved: int = 0
    on_recording: Callable[[], object] = lambda: None

    def synchronize(self, device: object = None) -> None:
        if self.lost is not None:
            raise self.lost

    @contextmanager
    def use(self, stream: FakeStream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def graph(
        self, graph: FakeGraph, pool: object, stream: FakeStream, capture_error_mode: str
    ) -> Iterator[None]:
        assert capture_error_mode == 'thread_local'
        before, self.stream = self.stream, stream
        self.recording_into.append(pool)
        if self.begin_fault is not None:
            raise self.begin_fault
        recorder = _Recorder()
        try:
            with recorder:
                self.on_recording()
                yield
        finally:
            if self.fault is not None:
                raise self.fault  # Neither stream nor pool are put back.
            self.recording_into.remove(pool)
            self.stream = before
        graph.calls = recorder.calls
        self.graphs.append(graph)

    def memory_reserved(self, device: object) -> int:
        before = self.reserved
        if self.recording_into:
            self.reserved += self.grown
        return before

    def end_allocation(self, device: int, pool: object) -> None:
        if pool not in self.recording_into:
            raise RuntimeError('endAllocatePool: not currently recording to mempool_id')
        self.recording_into.remove(pool)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in the place of what graphs use of PyTorch."""
        patch.setattr(torch.cuda, 'Stream', FakeStream)
        patch.setattr(torch.cuda, 'CUDAGraph', FakeGraph)
        patch.setattr(torch.cuda, 'graph', self.graph)
        patch.setattr(torch.cuda, 'stream', self.use)
        patch.setattr(torch.cuda, 'current_stream', lambda device=None: self.stream)
        patch.setattr(torch.cuda, 'set_stream', lambda stream: setattr(self, 'stream', stream))
        patch.setattr(torch.cuda, 'synchronize', self.synchronize)
        patch.setattr(torch.cuda, 'current_device', lambda: 0)
        patch.setattr(torch.cuda, 'memory_reserved', self.memory_reserved)
        patch.setattr(torch.cuda, 'graph_pool_handle', lambda: (0, len(self.graphs) + 1))
        patch.setattr(
            torch.cuda,
            'get_device_properties',
            lambda device: SimpleNamespace(total_memory=self.total),
        )
        patch.setattr(torch._C, '_cuda_endAllocateToPool', self.end_allocation, raising=False)
        patch.setattr(
            torch._C,
            '_cuda_releasePool',
            lambda device, pool: self.released.append(pool),
            raising=False,
        )
        patch.setattr(Tensor, 'record_stream', lambda tensor, stream: None)
