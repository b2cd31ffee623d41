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

A graph holds for one size of frames, one bucket of classes and a power of two of images; another
vocabulary of the bucket is copied into the recorded one's place. What is seen for the first times
runs without a graph: recording takes longer than many frames, and may never pay. All graphs share
one pool of memory: only one runs at a time, and what it returns is copied before the next one
does. Where recording fails, everything runs without graphs from then on.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
import logging
from typing import Any

import torch
from torch import Tensor
from zegclip_core.devices import is_memory_error, reason_of
from zegclip_core.engines.lean.vocabulary import LeanVocabulary

RECORD_AT = 3
"""How often frames of a kind are seen until they are recorded; that time is the last slow one."""
MEMORY_SHARE = 8
"""Graphs take at most one part in so many of the device's memory."""
GRAPH_BYTES = 2**22
"""Roughly what the driver keeps of a graph beside its tensors, in bytes; not measured."""
UNUSED_FRAMES = 1000
"""Where memory is full, a graph that was not used for so many frames makes room for others."""
RETRY_FRAMES = 1000
"""After so many further frames recording is tried again where memory was too short for it."""
KNOWN_KINDS = 256
"""Of how many kinds of frames it is known how often they were seen."""
_WARM_UPS = 2  # Kernels are compiled and chosen by the first run, which cannot be recorded.

Recordable = Callable[[Tensor, LeanVocabulary], tuple[Tensor, ...]]
"""What can be a graph: a function of images and a vocabulary, its tensors one row an image."""

logger = logging.getLogger(__name__)


def padded_count(images: int) -> int:
    """Return the least power of two that holds so many images.

    Example:
        >>> [padded_count(images) for images in (1, 2, 3, 8, 9)]
        [1, 2, 4, 8, 16]
    """
    return 1 << (images - 1).bit_length()


@dataclass
class _Recorded:
    """A graph with the places where it reads images and a vocabulary and writes what it found."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    vocabulary: LeanVocabulary
    found: tuple[Tensor, ...]
    loaded: LeanVocabulary  # What was copied to ``vocabulary`` last.
    keeps: list[Tensor]  # Further tensors that it reads, which must stay where they are.
    used: int = 0  # Number of the frame that it was used for last.

    def replay(self, images: Tensor, vocabulary: LeanVocabulary) -> tuple[Tensor, ...]:
        """Return what the recorded function does, as tensors that are the caller's."""
        self.images[: len(images)].copy_(images)
        if self.loaded is not vocabulary:
            places = self.vocabulary.tensors()
            for place, value in zip(places, vocabulary.tensors(), strict=True):
                place.copy_(value)
            self.loaded = vocabulary
        self.graph.replay()
        return tuple(tensor[: len(images)].clone() for tensor in self.found)


class GraphCache:
    """Runs functions of images and a vocabulary as graphs, on a CUDA device.

    Attributes:
        recorded: The graphs, those used last behind the others.
        works: Whether recording has not failed yet, but for lack of memory.
    """

    def __init__(self, device: torch.device) -> None:
        """Start without a graph."""
        self.device = device
        # PyTorch's own for recording is of the device that was current when it was first used.
        self._stream = torch.cuda.Stream(device)
        self.recorded: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self.works = True
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._frames = 0
        self._pool: Any = None  # PyTorch names no type for it.
        self._held = 0
        self._most = torch.cuda.get_device_properties(device).total_memory // MEMORY_SHARE

    def clear(self) -> None:
        """Let go of all graphs and of their memory; what was seen often is recorded anew."""
        torch.cuda.synchronize(self.device)  # One may still be running.
        self.recorded.clear()
        self._pool, self._held = None, 0

    def run(
        self,
        key: Hashable,
        frame: Recordable,
        images: Tensor,
        vocabulary: LeanVocabulary,
        constants: Callable[[], list[Tensor]],
        *,
        pads: bool = True,
    ) -> tuple[Tensor, ...]:
        """Return what ``frame(images, vocabulary)`` does, as tensors that are the caller's.

        Args:
            key: Tells apart what needs graphs of their own, beside the shape of the images.
            frame: What is recorded, if it was not yet.
            images: On the device, ``(B, ...)``.
            vocabulary: On the device.
            constants: Gives, after a run, further tensors that the frame reads.
            pads: Whether a graph may be of more images than there are; else of just as many.
        """
        room = padded_count(len(images)) if pads else len(images)
        key = (key, room, *images.shape[1:])
        self._frames += 1
        if key not in self.recorded:
            if not self._is_due(key):
                return frame(images, vocabulary)
            with self._put_off_without_memory(key):
                return self._record(key, room, frame, images, vocabulary, constants)
        self.recorded.move_to_end(key)
        recorded = self.recorded[key]
        recorded.used = self._frames
        return recorded.replay(images, vocabulary)

    def _is_due(self, key: Hashable) -> bool:
        """Note that a kind of frames is seen; return whether it is to be recorded now."""
        if not self.works:
            return False
        seen = self._seen[key] = self._seen.pop(key, 0) + 1
        while len(self._seen) > KNOWN_KINDS:
            self._seen.popitem(last=False)
        return seen >= RECORD_AT and self._has_room()

    def _has_room(self) -> bool:
        """Return whether a further graph may be recorded; if one is not used any more, it may."""
        if self._held < self._most:
            return True
        oldest = next(iter(self.recorded.values()))
        if self._frames - oldest.used <= UNUSED_FRAMES:
            return False
        self.clear()  # All of them: a pool ends with its last graph.
        return True

    @contextmanager
    def _put_off_without_memory(self, key: Hashable) -> Iterator[None]:
        """Have a kind of frames run without a graph for a while if memory is short for one.

        Already the runs before the recording need more than others: of padded images, on a stream
        with memory of its own.
        """
        try:
            yield
        except Exception as error:
            if is_memory_error(error):
                self._seen[key] = RECORD_AT - RETRY_FRAMES
            raise

    def _record(
        self,
        key: Hashable,
        room: int,
        frame: Recordable,
        images: Tensor,
        vocabulary: LeanVocabulary,
        constants: Callable[[], list[Tensor]],
    ) -> tuple[Tensor, ...]:
        """Record a frame of so many images if that works; return what it gives without."""
        own_images = images.new_zeros((room, *images.shape[1:]))
        own_images[: len(images)] = images
        own_vocabulary = vocabulary.with_tensors(torch.clone)
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                eager = frame(own_images, own_vocabulary)
        current.wait_stream(self._stream)
        for tensor in eager:
            tensor.record_stream(current)
        captured = self._capture(partial(frame, own_images, own_vocabulary))
        if captured is not None:
            graph, found, grown = captured
            own = sum(tensor.nbytes for tensor in (own_images, *own_vocabulary.tensors()))
            self._held += grown + own + GRAPH_BYTES
            self.recorded[key] = _Recorded(
                graph, own_images, own_vocabulary, found, vocabulary, constants(), self._frames
            )
        return tuple(tensor[: len(images)].clone() for tensor in eager)

    def _capture(
        self, work: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], int] | None:
        """Return a graph, its results and by how many bytes the pool grew; ``None`` if it failed.

        Raises:
            Exception: If memory is short, or the device is lost.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        before = torch.cuda.current_stream(self.device)
        # Another thread may be encoding words meanwhile, which is not for this graph.
        recording = torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode='thread_local'
        )
        try:
            with recording:
                held = torch.cuda.memory_reserved(self.device)
                found = work()
                grown = torch.cuda.memory_reserved(self.device) - held
        except Exception as error:
            self._after_failure(before, error)
            return None
        return graph, found, grown

    def _after_failure(self, before: torch.cuda.Stream, error: Exception) -> None:
        """Undo what a failed recording has left, and record nothing any more.

        ``torch.cuda.graph`` leaves neither its stream nor the allocator's pool where the end of
        the recording raises (https://github.com/pytorch/pytorch/issues/180395).
        """
        torch.cuda.set_stream(before)
        end_allocation(self.device, self._pool)
        for each in (error, error.__context__):
            if each is not None and is_memory_error(each):
                raise each
        self.clear()  # Raises the error of a device that is lost.
        self.works = False
        logger.warning(
            'Frames take longer than they need to, as they cannot be recorded as CUDA graphs '
            'here: %s.',
            reason_of(error),
        )


def end_allocation(device: torch.device, pool: tuple[int, int]) -> None:
    """Tell PyTorch's allocator that nothing is recorded into a pool any more."""
    index = torch.cuda.current_device() if device.index is None else device.index
    # Under another name before PyTorch 2.8.
    names = ('_cuda_endAllocateToPool', '_cuda_endAllocateCurrentStreamToPool')
    end = next(getattr(torch._C, name) for name in names if hasattr(torch._C, name))
    with suppress(RuntimeError):  # It knows where the recording itself ended, but not the rest.
        end(index, pool)
        torch._C._cuda_releasePool(index, pool)
