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
"""A segmenter that can be held up, whose labels are known beforehand; takes no ROS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import threading

import numpy as np
from zegclip_core.errors import DeviceMemoryError
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import label_type, Moment, Segmentation, unlabelled_id
from zegclip_core.text.vocabulary import Vocabulary

DEADLINE = 60.0
"""Seconds after which a condition that did not come true fails a test; it is not a wait."""


@dataclass(frozen=True)
class FakeEncoded:
    """A vocabulary without embeddings, with the threshold and negatives that hold for it."""

    vocabulary: Vocabulary
    threshold: float
    negatives: tuple[str, ...]


class FakeSegmenter:
    """Labels a pixel by its red value, so that tests know the answer; can be held up.

    Events: ``loading`` and ``going`` let the model finish loading and frames pass; ``busy`` and
    ``busy_loading`` are set once it is held up. ``fault``, ``load_fault`` and ``encode_fault`` are
    raised by the next frames, by warming up and by encoding. ``settings`` are threshold and
    negatives of each of ``encoded``; ``room`` is how many images its memory holds at once;
    ``prepared`` are the words, size and number of frames that it was told to prepare for.
    """

    runs_on = 'fake'
    threshold = 0.25
    negatives: tuple[str, ...] = ('wall',)

    def __init__(self) -> None:
        self.loading = threading.Event()
        self.loading.set()
        self.going = threading.Event()
        self.going.set()
        self.busy = threading.Event()
        self.busy_loading = threading.Event()
        self.encoded: list[tuple[str, ...]] = []
        self.settings: list[tuple[float, tuple[str, ...]]] = []
        self.sizes: list[tuple[int, int]] = []
        self.batches: list[int] = []
        self.scored: list[bool] = []
        self.moments: list[Moment | None] = []
        self.threads: set[str] = set()
        self.prepared: list[tuple[tuple[str, ...], tuple[int, int], int]] = []
        self.released = 0
        self.closed = 0
        self.fault: BaseException | None = None
        self.load_fault: BaseException | None = None
        self.encode_fault: Exception | None = None
        self.release_fault: Exception | None = None
        self.prepare_fault: Exception | None = None
        self.room = 32
        self.on_batch: Callable[[int], object] = lambda number: None

    def warm_up(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.busy_loading.set()
        self.loading.wait(DEADLINE)
        if self.load_fault is not None:
            raise self.load_fault

    def release_memory(self) -> None:
        self.threads.add(threading.current_thread().name)
        if self.release_fault is not None:
            raise self.release_fault
        self.released += 1

    def close(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed += 1

    def memory_bytes(self) -> int | None:
        return 7 * 2**20

    def encode(
        self,
        vocabulary: Vocabulary,
        *,
        threshold: float | None = None,
        negatives: Sequence[str] | None = None,
    ) -> FakeEncoded:
        self.threads.add(threading.current_thread().name)
        encoded = FakeEncoded(
            vocabulary,
            self.threshold if threshold is None else threshold,
            self.negatives if negatives is None else tuple(negatives),
        )
        self.encoded.append(vocabulary.names)
        self.settings.append((encoded.threshold, encoded.negatives))
        if self.encode_fault is not None:
            raise self.encode_fault
        return encoded

    def prepare_frames(
        self, vocabulary: FakeEncoded, size: tuple[int, int], batch: int = 1
    ) -> None:
        self.threads.add(threading.current_thread().name)
        if self.prepare_fault is not None:
            raise self.prepare_fault
        self.prepared.append((vocabulary.vocabulary.names, size, batch))

    def segment(
        self,
        image: RgbImage,
        vocabulary: FakeEncoded,
        *,
        scores: bool = True,
        moment: Moment | None = None,
    ) -> Segmentation:
        self.moments.append(moment)
        return self._segment([image], vocabulary, scores)[0]

    def segment_batch(
        self,
        images: Sequence[RgbImage],
        vocabulary: FakeEncoded,
        *,
        scores: bool = True,
        moments: Sequence[Moment] | None = None,
    ) -> list[Segmentation]:
        self.moments += moments or ()
        assert len(images) > 1
        assert len({image.shape for image in images}) == 1
        return self._segment(images, vocabulary, scores)

    def _segment(
        self, images: Sequence[RgbImage], encoded: FakeEncoded, scores: bool
    ) -> list[Segmentation]:
        self.batches.append(len(images))
        self.threads.add(threading.current_thread().name)
        if not self.going.is_set():
            self.busy.set()
            self.going.wait(DEADLINE)
        self.on_batch(len(self.batches))
        if len(images) > self.room:
            raise DeviceMemoryError('too large')
        if self.fault is not None:
            raise self.fault
        self.scored.append(scores)
        return [self._labelled(image, encoded.vocabulary, scores) for image in images]

    def _labelled(self, image: RgbImage, vocabulary: Vocabulary, scores: bool) -> Segmentation:
        assert image.dtype == np.uint8
        assert image.flags['C_CONTIGUOUS']
        self.sizes.append(image.shape[:2])
        red = image[:, :, 0]
        kind = label_type(len(vocabulary))
        labels = np.where(red < len(vocabulary), red, unlabelled_id(kind)).astype(kind)
        shape = labels.shape if scores else (0, 0)
        return Segmentation(labels, np.full(shape, 0.75, np.float32), vocabulary)
