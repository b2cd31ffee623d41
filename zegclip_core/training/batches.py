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
"""What training reads: views, drawn anew or kept with their features, their order and loaders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from typing import Any, NamedTuple

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info, IterableDataset
from tqdm import tqdm
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.data.views import (
    present_classes,
    random_view,
    repeated,
    view_seed,
    ViewConfig,
    whole_view,
)
from zegclip_core.training.config import SourceConfig, TrainConfig, ValidationConfig
from zegclip_core.training.queries import ClassSet, PhraseTable, QueryMaker


class Batch(NamedTuple):
    """Views of one dataset, and what the frozen tower makes of them if that is kept."""

    source: int
    """Index of the dataset."""
    images: Tensor
    """RGB, uint8 ``(B, H, W, 3)``."""
    labels: Tensor
    """Class indices, uint8 ``(B, H, W)``."""
    patch_tokens: Tensor | None = None
    """float16 ``(B, D, h, w)``."""
    image_embedding: Tensor | None = None
    """float16 ``(B, D)``."""
    position: int = 0
    """Number of the batch in the run, over all processes; seeds what is random in it."""


@dataclass(frozen=True)
class LiveViews:
    """Views drawn anew each time, for towers whose output changes while training."""

    dataset: SegmentationDataset
    indices: Sequence[int]
    """Which of its images; one that is there several times is drawn as often, each time anew."""
    config: ViewConfig
    seed: int | None
    """Seed of the views; ``None`` gives each image once, whole."""
    multiple: int = 1
    """What the sides of whole images are multiples of, where they keep their shape."""

    def __len__(self) -> int:
        """Return the number of images, which is that of the views of a round."""
        return len(self.indices)

    def batch(self, source: int, indices: Sequence[int]) -> Batch:
        """Return some of the views; each round has others."""
        views = []
        for number in indices:
            turn, index = divmod(number, len(self.indices))
            sample = self.dataset[self.indices[index]]
            if self.seed is None:
                views.append(whole_view(sample, self.config, multiple=self.multiple))
            else:
                name = copy_name(sample.name, self.indices, index)
                views.append(random_view(sample, self.config, view_seed(self.seed, name, turn)))
        images, labels = zip(*views, strict=True)
        return Batch(source, torch.stack(images), torch.stack(labels))

    def pixel_counts(self, classes: int) -> Tensor:
        """Return how many labelled pixels each class has, float ``(classes,)``."""
        counts = np.zeros(256, dtype=np.int64)
        title = f'pixels of {self.dataset.title}'
        for index in tqdm(self.indices, title, disable=None):
            counts += np.bincount(self.dataset[index].labels.ravel(), minlength=256)
        return torch.from_numpy(counts[:classes]).float()


@dataclass(frozen=True)
class KeptViews:
    """Views with the frozen tower's output, of which each round has the same ones."""

    arrays: dict[str, npt.NDArray[Any]]
    """``images``, RGB uint8 ``(N, H, W, 3)``; ``labels``, uint8 ``(N, H, W)``; ``patch_tokens``,
    float16 ``(N, D, h, w)``; ``image_embeddings``, float16 ``(N, D)``."""

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.arrays['labels'])

    def batch(self, source: int, indices: Sequence[int]) -> Batch:
        """Return some of the views; each round has the same ones."""
        chosen = [index % len(self) for index in indices]
        images, labels, tokens, embeddings = (
            torch.from_numpy(np.array(self.arrays[name][chosen]))
            for name in ('images', 'labels', 'patch_tokens', 'image_embeddings')
        )
        return Batch(source, images, labels, tokens, embeddings)

    def pixel_counts(self, classes: int) -> Tensor:
        """Return how many labelled pixels each class has, float ``(classes,)``."""
        counts = np.bincount(self.arrays['labels'].ravel(), minlength=256)
        return torch.from_numpy(counts[:classes]).float()


def copy_name(name: str, indices: Sequence[int], place: int) -> str:
    """Return what the views of an image are drawn by; each of several copies has its own."""
    copies = indices[:place].count(indices[place])
    return f'{name} {copies}' if copies else name


def more_of_rare(dataset: SegmentationDataset, indices: Sequence[int], below: float) -> list[int]:
    """Return images, those with rare classes several times; ``below`` as in ``repeated``.

    With 0 each is there once, and no mask is read.
    """
    if not below:
        return list(indices)
    read = tqdm(indices, f'classes of {dataset.title}', disable=None)
    shown = [present_classes(torch.from_numpy(dataset[index].labels)) for index in read]
    return repeated(indices, shown, below)


ViewSource = LiveViews | KeptViews
"""A dataset's views by their numbers, which go on after a round of ``len`` of them."""


@dataclass(frozen=True)
class ValidationSet:
    """Whole images to validate on, with the names of their classes."""

    config: ValidationConfig
    title: str
    """Its name in figures and files."""
    views: ViewSource
    classes: tuple[str, ...]
    table: PhraseTable
    """Text embeddings of the classes."""
    seen: tuple[str, ...]
    """Names of the classes that training sees."""


def query_makers(
    sources: Sequence[SourceConfig],
    classes: Sequence[ClassSet],
    views: Sequence[ViewSource],
    *,
    transductive: bool = False,
) -> list[QueryMaker]:
    """Return what chooses the words for the batches of each of some datasets."""
    makers = []
    for index, (source, own) in enumerate(zip(sources, classes, strict=True)):
        count = len(own.words)
        # Counting reads every mask, which takes long for a large dataset.
        counts = views[index].pixel_counts(count) if source.balance else torch.ones(count)
        others = [entry for k, entry in enumerate(classes) if k != index]
        makers.append(QueryMaker(source, own, others, counts, transductive=transductive))
    return makers


class BatchStream(IterableDataset[Batch]):
    """Batches of several datasets, without end.

    The views of a step are drawn for all processes and accumulated batches together, so that how
    they are shared out does not change which they are. ``step`` is the number of steps that a
    resumed run has done, ``rank`` the number of this process of ``world``.
    """

    def __init__(
        self, views: Sequence[ViewSource], config: TrainConfig, *, step: int, rank: int, world: int
    ) -> None:
        self._views = views
        self._config = config
        self._step, self._rank, self._world = step, rank, world

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches; of several reading processes each yields its share, in turn."""
        worker = get_worker_info()
        first, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        size = self._config.schedule.batch_size
        parts = self._config.schedule.accumulate * self._world
        steps = batch_order(
            [len(views) for views in self._views],
            [source.share for source in self._config.train],
            batch_size=size * parts,
            seed=self._config.seed,
            start=self._step,
        )
        firsts = range(self._rank * size, parts * size, self._world * size)
        batches = (
            (step * parts + begin // size, source, indices[begin:][:size])
            for step, (source, indices) in enumerate(steps, start=self._step)
            for begin in firsts
        )
        for position, source, indices in islice(batches, first, None, workers):
            yield self._views[source].batch(source, indices)._replace(position=position)


class TrainingData(lightning.LightningDataModule):
    """Loaders of a run, made when the trainer knows its processes and the step to go on from."""

    def __init__(
        self, views: Sequence[ViewSource], validation: Sequence[ValidationSet], config: TrainConfig
    ) -> None:
        super().__init__()
        self._views = views
        self._validation = validation
        self._config = config

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of training batches."""
        rank, world, step = self._place()
        return self._loader(
            BatchStream(self._views, self._config, step=step, rank=rank, world=world)
        )

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Return a loader of whole images for each set."""
        rank, world, _ = self._place()
        loaders = []
        for entry in self._validation:
            images: Any = [[index] for index in range(rank, len(entry.views), world)]
            loaders.append(self._loader(images, partial(entry.views.batch, 0)))
        return loaders

    def _place(self) -> tuple[int, int, int]:
        """Return the number of this process, that of all processes, and the steps done."""
        if self.trainer is None:
            raise RuntimeError('Expected a trainer to ask for the batches, but there is none.')
        return self.trainer.global_rank, self.trainer.world_size, self.trainer.global_step

    def _loader(
        self, dataset: Dataset[Any], draw: Callable[[Any], Batch] | None = None
    ) -> DataLoader[Batch]:
        """Return the loader of a dataset of batches, or of what batches are drawn by."""
        workers = self._config.schedule.workers
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            collate_fn=draw,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def batch_order(
    sizes: Sequence[int],
    shares: Sequence[float],
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
) -> Iterator[tuple[int, list[int]]]:
    """Yield, without end, the index of a dataset and the numbers of the views of a batch.

    Every dataset is gone through in random order, round after round of its ``sizes``, so that a
    number is ``round * size + index``; the same seed gives the same order. How often a dataset
    gives a batch is in proportion to its share. A resumed run skips the first ``start`` batches.
    """

    def rounds(size: int, source: int) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed * 1009 + source + 1)
        for begin in count(0, size):
            for index in torch.randperm(size, generator=generator).tolist():
                yield begin + index

    generator = torch.Generator().manual_seed(seed)
    queues = [rounds(size, source) for source, size in enumerate(sizes)]
    weights = torch.tensor(shares)
    for step in count():
        source = int(torch.multinomial(weights, 1, generator=generator))
        batch = list(islice(queues[source], batch_size))
        if step >= start:
            yield source, batch
