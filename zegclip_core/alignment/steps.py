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
"""The images of a step: views of one labelled dataset, captioned images, named photos."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, get_worker_info, IterableDataset
from zegclip_core.data.folder import Sample
from zegclip_core.options import UNLABELLED
from zegclip_core.training.batches import Batch, batch_order, ViewSource


class Pictures:
    """Images without masks, as views are drawn of: nothing in them is labelled.

    ``source`` is what ``zegclip_core.data.captions`` opens.
    """

    classes = ()

    def __init__(self, source: Any) -> None:  # noqa: ANN401 - CaptionedImages or NamedImages
        self._source = source

    @property
    def title(self) -> str:
        """The folder's own name."""
        return str(self._source.root.resolve().name)

    @property
    def key(self) -> str:
        """What tells the images from others, for caches."""
        return str(self._source.key)

    def name(self, index: int) -> str:
        """Return an image's file name."""
        return str(self._source.names[index])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._source.names)

    def __getitem__(self, index: int) -> Sample:
        """Read an image."""
        image: npt.NDArray[np.uint8] = self._source.image(index)
        labels = np.full(image.shape[:2], UNLABELLED, dtype=np.uint8)
        return Sample(image, labels, self.name(index))


class Numbered(NamedTuple):
    """Images, and which of those that are taught they are."""

    batch: Batch
    indices: list[int]


class Step(NamedTuple):
    """What the teachers look at in one step; ``position`` seeds what is random in it."""

    position: int
    masks: Batch | None = None
    sentences: Numbered | None = None
    names: Numbered | None = None


@dataclass(frozen=True)
class PictureSource:
    """Images of one teacher, so many in a step."""

    views: ViewSource
    batch_size: int

    def numbered(self, numbers: Sequence[int]) -> Numbered:
        """Return views by their numbers."""
        batch = self.views.batch(0, numbers)
        return Numbered(batch, [number % len(self.views) for number in numbers])


class StepStream(IterableDataset[Step]):
    """Steps without end."""

    def __init__(
        self,
        masks: Sequence[PictureSource],
        shares: Sequence[float],
        pictures: Mapping[str, PictureSource],
        *,
        seed: int,
    ) -> None:
        self._masks, self._shares, self._pictures = masks, shares, pictures
        self._seed, self._start, self._rank, self._world = seed, 0, 0, 1

    def placed(self, *, start: int, rank: int, world: int) -> 'StepStream':
        """Return the stream from step ``start`` on, as one of several processes sees it."""
        stream = copy(self)
        stream._start, stream._rank, stream._world = start, rank, world
        return stream

    def __iter__(self) -> Iterator[Step]:
        """Yield steps; of several reading processes each yields its share, in turn."""
        worker = get_worker_info()
        first, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        orders = {name: self._order([entry], [1.0]) for name, entry in self._pictures.items()}
        masks = self._order(self._masks, self._shares) if self._masks else None
        position = self._start
        while True:
            numbers = {name: next(order) for name, order in orders.items()}
            views = next(masks) if masks is not None else None
            if (position - self._start) % workers == first:
                # Each process draws words and sentences of its own.
                yield self._step(position * self._world + self._rank, views, numbers)
            position += 1

    def _order(
        self, sources: Sequence[PictureSource], shares: Sequence[float]
    ) -> Iterator[tuple[int, list[int]]]:
        """Return which images come in which step."""
        size = sources[0].batch_size
        order = batch_order(
            [len(entry.views) for entry in sources],
            shares,
            batch_size=size * self._world,
            seed=self._seed,
            start=self._start,
        )
        own = slice(self._rank * size, (self._rank + 1) * size)
        return ((source, numbers[own]) for source, numbers in order)

    def _step(
        self,
        position: int,
        views: tuple[int, list[int]] | None,
        numbers: Mapping[str, tuple[int, list[int]]],
    ) -> Step:
        regions = None
        if views is not None:
            source, chosen = views
            regions = self._masks[source].views.batch(source, chosen)
        shown = {
            name: self._pictures[name].numbered(chosen) for name, (_, chosen) in numbers.items()
        }
        return Step(position, regions, shown.get('sentences'), shown.get('names'))


class AlignmentData(lightning.LightningDataModule):
    """Loaders of a run, made when the trainer knows its processes and the step to go on from."""

    def __init__(
        self, stream: StepStream, validation: Sequence[PictureSource], workers: int
    ) -> None:
        super().__init__()
        self._stream, self._validation, self._workers = stream, validation, workers

    def train_dataloader(self) -> DataLoader[Step]:
        """Return the loader of steps."""
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError('Expected a trainer to ask for the steps, but there is none.')
        stream = self._stream.placed(
            start=trainer.global_step, rank=trainer.global_rank, world=trainer.world_size
        )
        return self._loader(stream)

    def val_dataloader(self) -> list[DataLoader[Numbered]]:
        """Return a loader of single images for each set; every process sees all."""
        return [self._loader(_Single(entry)) for entry in self._validation]

    def _loader(self, dataset: Any) -> DataLoader[Any]:  # noqa: ANN401 - of steps or images
        workers = self._workers
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class _Single:
    """The images of a source, one by one."""

    def __init__(self, source: PictureSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source.views)

    def __getitem__(self, index: int) -> Numbered:
        return self._source.numbered([index])
