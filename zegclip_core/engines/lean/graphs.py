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
"""CUDA graphs: a frame's hundreds of kernels recorded once and started by one call.

A graph holds for one size of frames and one bucket of classes; another vocabulary of the bucket
is copied into the recorded one's place. All graphs share one pool of memory: only one runs at a
time, and what it returns is copied before the next one does.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from zegclip_core.engines.lean.vocabulary import LeanVocabulary

KEPT_GRAPHS = 8
"""How many graphs are kept; those not used for longest leave first."""
_WARM_UPS = 2  # Kernels are compiled and chosen by the first run, which cannot be recorded.

Recordable = Callable[[Tensor, LeanVocabulary], tuple[Tensor, ...]]
"""What can be a graph: a function of images and a vocabulary."""


@dataclass
class _Recorded:
    """A graph with the places where it reads images and a vocabulary and writes what it found."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    vocabulary: LeanVocabulary
    found: tuple[Tensor, ...]
    loaded: LeanVocabulary  # What was copied to ``vocabulary`` last.
    keeps: list[Tensor]  # Further tensors that it reads, which must stay where they are.


class GraphCache:
    """Runs functions of images and a vocabulary as graphs, on a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        """Start without a graph."""
        self.device = device
        # PyTorch's own for recording is of the device that was current when it was first used.
        self._stream = torch.cuda.Stream(device)
        self.recorded: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self._pool: Any = None  # PyTorch names no type for it.

    def clear(self) -> None:
        """Let go of all graphs and of their memory."""
        torch.cuda.synchronize(self.device)  # One may still be running.
        self.recorded.clear()
        self._pool = None

    def run(
        self,
        key: Hashable,
        frame: Recordable,
        images: Tensor,
        vocabulary: LeanVocabulary,
        constants: Callable[[], list[Tensor]],
    ) -> tuple[Tensor, ...]:
        """Return what ``frame(images, vocabulary)`` does, as tensors that are the caller's.

        Args:
            key: Tells apart what needs graphs of their own.
            frame: What is recorded, if it was not yet.
            images: On the device.
            vocabulary: On the device.
            constants: Gives, after a run, further tensors that the frame reads.
        """
        if key not in self.recorded:
            while len(self.recorded) >= KEPT_GRAPHS:
                torch.cuda.synchronize(self.device)
                self.recorded.popitem(last=False)
            if not self.recorded:  # A pool ends with its last graph.
                self._pool = torch.cuda.graph_pool_handle()
            own_images, own_vocabulary = images.clone(), vocabulary.with_tensors(torch.clone)
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    frame(own_images, own_vocabulary)
            torch.cuda.current_stream(self.device).wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # Another thread may be encoding words meanwhile, which is not for this graph.
            recording = torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode='thread_local'
            )
            with recording:
                found = frame(own_images, own_vocabulary)
            self.recorded[key] = _Recorded(
                graph, own_images, own_vocabulary, found, vocabulary, constants()
            )
        self.recorded.move_to_end(key)
        recorded = self.recorded[key]
        recorded.images.copy_(images)
        if recorded.loaded is not vocabulary:
            places = recorded.vocabulary.tensors()
            for place, value in zip(places, vocabulary.tensors(), strict=True):
                place.copy_(value)
            recorded.loaded = vocabulary
        recorded.graph.replay()
        return tuple(tensor.clone() for tensor in recorded.found)
