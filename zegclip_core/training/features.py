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
"""Features of the frozen image tower, computed once and kept on disk.

Without prompts the tower never changes, so a few hundred pictures in a few views each can be
trained on for many steps at the cost of the decoder alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from filelock import FileLock
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm
from zegclip_core.data.folder import Pictures
from zegclip_core.data.views import random_view, view_seed, ViewConfig, whole_view
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.training.views import Batch

logger = logging.getLogger(__name__)

_PROGRESS = 'progress.json'


@dataclass(frozen=True)
class ViewSet:
    """Views of one dataset with the tower's output, as memory-mapped arrays of ``N`` views.

    Attributes:
        classes: Class names of the dataset.
        images: RGB, uint8 ``(N, H, W, 3)``.
        labels: Class indices, uint8 ``(N, H, W)``.
        patch_tokens: float16 ``(N, D, h, w)``.
        image_embeddings: float16 ``(N, D)``.
    """

    classes: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    patch_tokens: npt.NDArray[np.float16]
    image_embeddings: npt.NDArray[np.float16]

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.images)

    def batch(self, source: int, indices: Sequence[int]) -> Batch:
        """Return some of the views; each round has the same ones."""
        chosen = [index % len(self) for index in indices]
        arrays = (self.images, self.labels, self.patch_tokens, self.image_embeddings)
        images, labels, tokens, embeddings = (
            torch.from_numpy(np.array(array[chosen])) for array in arrays
        )
        return Batch(source, images, labels, tokens, embeddings)

    def pixel_counts(self, classes: int) -> Tensor:
        """Return how many labelled pixels each class has, float ``(classes,)``."""
        return torch.from_numpy(np.bincount(self.labels.ravel(), minlength=256)[:classes]).float()


class FeatureStore:
    """Computes and keeps the features of views.

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
    ) -> ViewSet:
        """Return views of some pictures; those that are on disk are not computed again.

        Args:
            dataset: The pictures.
            indices: Which of them.
            count: Views of each: the whole picture first, then ``count - 1`` random ones.
            seed: Seed of the random ones.

        """
        names = [dataset.name(index) for index in indices]
        key = _digest(
            [
                self._name,
                asdict(self._config),
                asdict(self._tower.config),
                str(self._tower.conv1.weight.dtype),
                dataset.key,
                names,
                count,
                seed,
            ]
        )
        folder = self._folder / key
        folder.mkdir(parents=True, exist_ok=True)
        # Of several processes one computes, and the others find it done.
        with FileLock(folder / 'lock'):
            arrays = self._computed(folder, dataset, indices, count, seed)
        return ViewSet(dataset.classes, **_in_memory(arrays))

    def _computed(
        self, folder: Path, dataset: Pictures, indices: Sequence[int], count: int, seed: int
    ) -> dict[str, Any]:
        """Return the arrays of a set of views, all of them computed."""
        arrays = self._open(folder, len(indices) * count)
        progress = folder / _PROGRESS
        done = json.loads(progress.read_text())['done'] if progress.is_file() else 0
        jobs = [(index, view) for view in range(count) for index in indices]
        bar = tqdm(total=len(jobs), initial=done, desc=f'features of {dataset.title}')
        for position in range(done, len(jobs)):
            index, view = jobs[position]
            self._fill(arrays, position, dataset, index, view, seed)
            progress.write_text(json.dumps({'done': position + 1}))
            bar.update()
        bar.close()
        for array in arrays.values():
            array.flush()
        return arrays

    def _open(self, folder: Path, count: int) -> dict[str, Any]:
        """Open the arrays of a set of views, making them if they are not there."""
        height, width = self._config.size
        patch = self._tower.config.patch_size
        dim = self._tower.config.output_dim
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

    def _fill(
        self,
        arrays: dict[str, Any],
        position: int,
        dataset: Pictures,
        index: int,
        view: int,
        seed: int,
    ) -> None:
        """Draw one view, encode it and store it."""
        sample = dataset[index]
        if view == 0:
            image, labels = whole_view(sample, self._config)
        else:
            image, labels = random_view(sample, self._config, view_seed(seed, sample.name, view))
        tokens, embedding = encode_views(self._tower, image.unsqueeze(0))
        arrays['images'][position] = image.numpy()
        arrays['labels'][position] = labels.numpy()
        arrays['patch_tokens'][position] = tokens[0].float().cpu().numpy()
        arrays['image_embeddings'][position] = embedding[0].float().cpu().numpy()


def _in_memory(arrays: dict[str, Any]) -> dict[str, Any]:
    """Read arrays into memory if they take less than half of what is free."""
    free = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_AVPHYS_PAGES')
    if sum(array.nbytes for array in arrays.values()) > free / 2:
        return arrays
    return {name: np.array(array) for name, array in arrays.items()}


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


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
