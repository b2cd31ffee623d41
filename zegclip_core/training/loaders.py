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
"""What is read in which order: the same for one process or many, whole or resumed."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info, IterableDataset
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.task import ValidationSet
from zegclip_core.training.view_sources import Batch, ViewSource


class BatchStream(IterableDataset[Batch]):
    """Batches of several datasets, without end.

    The views of a step are drawn for all processes and accumulated batches together, so that how
    they are shared out does not change which they are.

    Args:
        views: The datasets.
        config: Shares, batch size and seed.
        step: Steps that a resumed run has done.
        rank: Which of the processes this is.
        world: Number of processes.

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
        for position, source, indices in islice(self._order(), first, None, workers):
            yield self._views[source].batch(source, indices)._replace(position=position)

    def _order(self) -> Iterator[tuple[int, int, list[int]]]:
        """Yield number, dataset and views of each batch of this process."""
        size = self._config.schedule.batch_size
        parts = self._config.schedule.accumulate * self._world
        steps = batch_order(
            [len(views) for views in self._views],
            [source.share for source in self._config.train],
            batch_size=size * parts,
            seed=self._config.seed,
            start=self._step,
        )
        for step, (source, indices) in enumerate(steps, start=self._step):
            for part in range(self._rank, parts, self._world):
                first = part * size
                yield step * parts + part, source, indices[first:][:size]


class TrainingData(lightning.LightningDataModule):
    """The loaders of a run, made when the trainer knows its processes and the step to go on from.

    Args:
        views: What to train on.
        validation: What to validate on.
        config: The run.

    """

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
        )


def batch_order(
    sizes: Sequence[int],
    shares: Sequence[float],
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
) -> Iterator[tuple[int, list[int]]]:
    """Yield, without end, a dataset and the views of a batch.

    Every dataset is gone through in random order, round after round; the same seed gives the same
    order, and ``start`` skips the batches that a resumed run has done.

    Args:
        sizes: Number of views in a round of each dataset.
        shares: How often each dataset gives a batch, relative to the others.
        batch_size: Views of a batch, which may be more than a round has.
        seed: Seed of the order.
        start: Number of batches to skip.

    Yields:
        Index of the dataset, and numbers of its views: ``round * size + index``.

    """
    generator = torch.Generator().manual_seed(seed)
    queues = [_rounds(size, seed, source) for source, size in enumerate(sizes)]
    weights = torch.tensor(shares)
    for step in count():
        source = int(torch.multinomial(weights, 1, generator=generator))
        batch = list(islice(queues[source], batch_size))
        if step >= start:
            yield source, batch


def _rounds(size: int, seed: int, source: int) -> Iterator[int]:
    """Yield the numbers of a dataset's views, each once a round, without end."""
    generator = torch.Generator().manual_seed(seed * 1009 + source + 1)
    for begin in count(0, size):
        for index in torch.randperm(size, generator=generator).tolist():
            yield begin + index
