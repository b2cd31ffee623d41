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
"""What a frozen tower makes of views, computed once and kept on disk."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import normalize
from tqdm import tqdm
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.data.views import random_view, view_seed, ViewConfig, whole_view
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.training.batches import copy_name, KeptViews


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return what tells a tower with some updates from others; of none nothing."""
    if not weights:
        return ''
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode() + weights[name].detach().cpu().numpy().tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class FeatureStore:
    """Computes the features of views with a frozen tower, and keeps them on disk."""

    folder: Path
    """Where they are kept."""
    tower: VisionTransformer
    """In evaluation mode; it is on a GPU only while it computes."""
    tower_name: str
    """Part of the key that tells stored features apart."""
    config: ViewConfig
    """How views are drawn."""

    def views(
        self, dataset: SegmentationDataset, indices: Sequence[int], *, count: int, seed: int
    ) -> KeptViews:
        """Return ``count`` views of each of some images: the whole one, then random ones.

        Those that are on disk are not computed again.
        """
        parts = [
            self.tower_name,
            self.config.model_dump(),
            asdict(self.tower.config),
            str(self.tower.conv1.weight.dtype),
            dataset.key,
            [dataset.name(index) for index in indices],
            count,
            seed,
        ]
        folder = self.folder / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        # Of several processes one computes, and the others find it done.
        with FileLock(folder / 'lock'):
            arrays = self._computed(folder, dataset, indices, count, seed)
        free = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_AVPHYS_PAGES')
        if sum(array.nbytes for array in arrays.values()) <= free / 2:
            arrays = {name: np.array(array) for name, array in arrays.items()}
        return KeptViews(arrays)

    @torch.inference_mode()
    def _computed(
        self,
        folder: Path,
        dataset: SegmentationDataset,
        indices: Sequence[int],
        count: int,
        seed: int,
    ) -> dict[str, Any]:
        """Return the memory-mapped arrays of a set of views, all of them computed."""
        arrays, progress = self._open(folder, len(indices) * count), folder / 'progress.json'
        done = json.loads(progress.read_text())['done'] if progress.is_file() else 0
        jobs = [(place, view) for view in range(count) for place in range(len(indices))]
        if not jobs[done:]:
            return arrays
        mean, std = list(self.tower.config.mean), list(self.tower.config.std)
        with on_own_gpu(self.tower):
            weight = self.tower.conv1.weight
            bar = tqdm(jobs[done:], f'features of {dataset.title}', len(jobs), initial=done)
            for position, (place, view) in enumerate(bar, start=done):
                sample = dataset[indices[place]]
                if view == 0:
                    image, labels = whole_view(sample, self.config)
                else:
                    chosen = view_seed(seed, copy_name(sample.name, indices, place), view)
                    image, labels = random_view(sample, self.config, chosen)
                pixels = image.to(weight.device).movedim(-1, 0)[None].float()  # (1, 3, H, W)
                tokens, embedding = self.tower(normalize(pixels, mean, std).to(weight.dtype))
                arrays['images'][position] = image.numpy()
                arrays['labels'][position] = labels.numpy()
                arrays['patch_tokens'][position] = tokens[0].float().cpu().numpy()
                arrays['image_embeddings'][position] = embedding[0].float().cpu().numpy()
                # Whole or as before: one that is cut off would end every later run.
                partial = progress.with_suffix('.part')
                partial.write_text(json.dumps({'done': position + 1}))
                partial.replace(progress)
        for array in arrays.values():
            array.flush()
        return arrays

    def _open(self, folder: Path, count: int) -> dict[str, Any]:
        """Open the arrays of a set of views, making them if they are not there."""
        height, width = self.config.size
        patch, dim = self.tower.config.patch_size, self.tower.config.output_dim
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            'images': ((count, height, width, 3), np.uint8),
            'labels': ((count, height, width), np.uint8),
            'patch_tokens': ((count, dim, height // patch, width // patch), np.float16),
            'image_embeddings': ((count, dim), np.float16),
        }
        arrays = {}
        for name, (shape, dtype) in shapes.items():
            path = folder / f'{name}.npy'
            mode = 'r+' if path.is_file() else 'w+'
            arrays[name] = np.lib.format.open_memmap(path, mode, dtype, shape)
        return arrays


@contextmanager
def on_own_gpu(tower: VisionTransformer) -> Iterator[None]:
    """Have a tower on the GPU of this process, if there is any, and on the CPU afterwards.

    Of several processes on a machine each has a GPU of its own, but only one computes.
    """
    if not torch.cuda.is_available():
        yield
        return
    rank = int(os.environ.get('LOCAL_RANK', '0'))
    try:
        with torch.inference_mode(False):  # In it, the weights would become those of no training.
            tower.to(torch.device('cuda', rank % torch.cuda.device_count()))
        yield
    finally:
        with torch.inference_mode(False):
            tower.to('cpu')
        torch.cuda.empty_cache()


def frozen_tower(
    visual: VisionTransformer, weights: Mapping[str, Tensor], precision: str
) -> VisionTransformer:
    """Return a copy of a tower to compute features with.

    Args:
        visual: The tower; it stays as it is.
        weights: What the copy is to have.
        precision: Lightning's name of the run's floating-point types, which it computes in.
    """
    half = {'bf16-mixed': torch.bfloat16, '16-mixed': torch.float16}
    frozen = type(visual)(visual.config).eval()
    frozen.load_state_dict(weights)
    return frozen.to(half.get(precision, torch.float32))
