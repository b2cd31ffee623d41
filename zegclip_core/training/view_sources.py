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
"""Where a training loop gets its views from: kept with the tower's features, or drawn anew."""

from collections.abc import Sequence
from dataclasses import asdict
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm
from zegclip_core.data.folder import Pictures
from zegclip_core.data.views import random_view, view_seed, ViewConfig, whole_view
from zegclip_core.model.vit import VisionTransformer


class Batch(NamedTuple):
    """Views of one dataset.

    Attributes:
        source: Index of the dataset.
        images: RGB, uint8 ``(B, H, W, 3)``.
        labels: Class indices, uint8 ``(B, H, W)``.
        patch_tokens: The frozen tower's output, float16 ``(B, D, h, w)``, if it is kept.
        image_embedding: The frozen tower's output, float16 ``(B, D)``, if it is kept.
        position: Number of the batch in the run, over all processes; seeds what is random in it.
    """

    source: int
    images: Tensor
    labels: Tensor
    patch_tokens: Tensor | None = None
    image_embedding: Tensor | None = None
    position: int = 0


class LiveViews:
    """Views drawn anew each time, for towers whose output changes while training.

    Args:
        dataset: The images.
        indices: Which of them.
        config: How views are drawn.
        seed: Seed of the views; ``None`` gives each image once, whole.
        multiple: What the sides of whole images are multiples of, where they keep their shape.

    """

    def __init__(
        self,
        dataset: Pictures,
        indices: Sequence[int],
        config: ViewConfig,
        seed: int | None,
        *,
        multiple: int = 1,
    ) -> None:
        self._dataset = dataset
        self._indices = list(indices)
        self._config = config
        self._seed = seed
        self._multiple = multiple

    def __len__(self) -> int:
        """Return the number of images, which is that of the views of a round."""
        return len(self._indices)

    def batch(self, source: int, indices: Sequence[int]) -> Batch:
        """Return some of the views; each round has others."""
        views = []
        for number in indices:
            turn, index = divmod(number, len(self._indices))
            sample = self._dataset[self._indices[index]]
            if self._seed is None:
                views.append(whole_view(sample, self._config, multiple=self._multiple))
            else:
                seed = view_seed(self._seed, sample.name, turn)
                views.append(random_view(sample, self._config, seed))
        images, labels = zip(*views, strict=True)
        return Batch(source, torch.stack(images), torch.stack(labels))

    def pixel_counts(self, classes: int) -> Tensor:
        """Return how many labelled pixels each class has, float ``(classes,)``."""
        counts = np.zeros(256, dtype=np.int64)
        for index in self._indices:
            counts += np.bincount(self._dataset[index].labels.ravel(), minlength=256)
        return torch.from_numpy(counts[:classes]).float()


class KeptViews:
    """Views with the frozen tower's output, of which each round has the same ones.

    Args:
        arrays: ``images``, RGB uint8 ``(N, H, W, 3)``; ``labels``, uint8 ``(N, H, W)``;
            ``patch_tokens``, float16 ``(N, D, h, w)``; ``image_embeddings``, float16 ``(N, D)``.

    """

    def __init__(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self._arrays['labels'])

    def batch(self, source: int, indices: Sequence[int]) -> Batch:
        """Return some of the views; each round has the same ones."""
        chosen = [index % len(self) for index in indices]
        images, labels, tokens, embeddings = (
            torch.from_numpy(np.array(self._arrays[name][chosen]))
            for name in ('images', 'labels', 'patch_tokens', 'image_embeddings')
        )
        return Batch(source, images, labels, tokens, embeddings)

    def pixel_counts(self, classes: int) -> Tensor:
        """Return how many labelled pixels each class has, float ``(classes,)``."""
        counts = np.bincount(self._arrays['labels'].ravel(), minlength=256)
        return torch.from_numpy(counts[:classes]).float()


ViewSource = LiveViews | KeptViews
"""A dataset's views by their numbers, which go on after a round of ``len`` of them."""


class FeatureStore:
    """Computes the features of views with a frozen tower, and keeps them on disk.

    Without prompts the tower never changes, so a few hundred images in a few views each can be
    trained on for many steps at the cost of the decoder alone.

    Args:
        folder: Where the arrays are kept.
        tower: The frozen tower, on its device, in evaluation mode.
        tower_name: What it is called; part of the key that tells stored features apart.
        config: How views are drawn.

    """

    def __init__(
        self, folder: Path, tower: VisionTransformer, tower_name: str, config: ViewConfig
    ) -> None:
        self._folder = folder
        self._tower = tower
        self._name = tower_name
        self._config = config

    def views(
        self, dataset: Pictures, indices: Sequence[int], *, count: int, seed: int
    ) -> KeptViews:
        """Return views of some images; those that are on disk are not computed again.

        Args:
            dataset: The images.
            indices: Which of them.
            count: Views of each: the whole image first, then ``count - 1`` random ones.
            seed: Seed of the random ones.

        """
        parts = [
            self._name,
            self._config.model_dump(),
            asdict(self._tower.config),
            str(self._tower.conv1.weight.dtype),
            dataset.key,
            [dataset.name(index) for index in indices],
            count,
            seed,
        ]
        folder = self._folder / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        # Of several processes one computes, and the others find it done.
        with FileLock(folder / 'lock'):
            arrays = self._computed(folder, dataset, indices, count, seed)
        free = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_AVPHYS_PAGES')
        if sum(array.nbytes for array in arrays.values()) <= free / 2:
            arrays = {name: np.array(array) for name, array in arrays.items()}
        return KeptViews(arrays)

    def _computed(
        self, folder: Path, dataset: Pictures, indices: Sequence[int], count: int, seed: int
    ) -> dict[str, Any]:
        """Return the memory-mapped arrays of a set of views, all of them computed."""
        arrays = self._open(folder, len(indices) * count)
        progress = folder / 'progress.json'
        done = json.loads(progress.read_text())['done'] if progress.is_file() else 0
        jobs = [(index, view) for view in range(count) for index in indices]
        bar = tqdm(jobs[done:], f'features of {dataset.title}', len(jobs), initial=done)
        for position, (index, view) in enumerate(bar, start=done):
            sample = dataset[index]
            if view == 0:
                image, labels = whole_view(sample, self._config)
            else:
                chosen = view_seed(seed, sample.name, view)
                image, labels = random_view(sample, self._config, chosen)
            tokens, embedding = encode_views(self._tower, image.unsqueeze(0))
            arrays['images'][position] = image.numpy()
            arrays['labels'][position] = labels.numpy()
            arrays['patch_tokens'][position] = tokens[0].float().cpu().numpy()
            arrays['image_embeddings'][position] = embedding[0].float().cpu().numpy()
            progress.write_text(json.dumps({'done': position + 1}))
        for array in arrays.values():
            array.flush()
        return arrays

    def _open(self, folder: Path, count: int) -> dict[str, Any]:
        """Open the arrays of a set of views, making them if they are not there."""
        height, width = self._config.size
        patch, dim = self._tower.config.patch_size, self._tower.config.output_dim
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            'images': ((count, height, width, 3), np.uint8),
            'labels': ((count, height, width), np.uint8),
            'patch_tokens': ((count, dim, height // patch, width // patch), np.float16),
            'image_embeddings': ((count, dim), np.float16),
        }
        arrays = {}
        for name, (shape, dtype) in shapes.items():
            path = folder / f'{name}.npy'
            if path.is_file():
                arrays[name] = np.load(path, mmap_mode='r+')
            else:
                arrays[name] = np.lib.format.open_memmap(path, 'w+', dtype, shape)
        return arrays


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return RGB pixels ``(B, H, W, 3)`` as normalised float32 ``(B, 3, H, W)``."""
    pixels = images.movedim(-1, 1).float()
    shape = (1, 3, 1, 1)
    return (pixels - pixels.new_tensor(mean).view(shape)) / pixels.new_tensor(std).view(shape)


@torch.inference_mode()
def encode_views(tower: VisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tower's output for RGB uint8 images ``(B, H, W, 3)``."""
    weight = tower.conv1.weight
    batch = normalize(images.to(weight.device), tower.config.mean, tower.config.std)
    output: tuple[Tensor, Tensor] = tower(batch.to(weight.dtype))
    return output
