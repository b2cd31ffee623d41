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
"""Regions of pictures as features of a frozen image tower, with the words for them.

A region is all that one picture shows of one class. Features are kept on disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
import torch.nn.functional as F
from tqdm import tqdm
from zegclip_core.data.datasets import FOLDER, open_dataset
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.data.views import ViewConfig, whole_view
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.text.encoder import load_text_tower, TextEncoder
from zegclip_core.training.batches import encode_views
from zegclip_core.training.config import TowersConfig
from zegclip_core.weights.image_towers import load_image_tower

MOST_PICTURES = 128
"""Of a larger dataset only every n-th picture is used, so that none outweighs the others."""
SHORT_PATCHES = 23
"""Patches along the shorter side of a picture."""
PART = 'train'

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Encoder:
    """An image tower that is ready to use.

    Attributes:
        tokens: Returns the patch tokens ``(D, h, w)`` of an RGB picture, uint8 ``(H, W, 3)``.
        patch_size: Side of a patch, in pixels.
    """

    tokens: Callable[[Tensor], Tensor]
    patch_size: int


@dataclass(frozen=True)
class Regions:
    """``N`` regions of pictures and the ``K`` words of their datasets.

    Attributes:
        names: The words; one that several datasets have is there once.
        embeddings: Their text embeddings, ``(K, C)``.
        features: What the image tower says of the regions, ``(N, D)``.
        words: Index of the right word of each, ``(N,)``.
        sources: Index of its dataset, ``(N,)``.
        titles: Names of the datasets.
    """

    names: tuple[str, ...]
    embeddings: Floats
    features: Floats
    words: Integers
    sources: Integers
    titles: tuple[str, ...]

    def only(self, titles: Sequence[str]) -> 'Regions':
        """Return the regions of some of the datasets."""
        places = [self.titles.index(title) for title in titles]
        chosen = np.isin(self.sources, places)
        sources = np.searchsorted(np.sort(places), self.sources[chosen])
        return replace(
            self,
            features=self.features[chosen],
            words=self.words[chosen],
            sources=sources,
            titles=tuple(self.titles[place] for place in sorted(places)),
        )


@functools.cache
def load_encoder(reference: str) -> Encoder:
    """Load an image tower.

    Raises:
        TowerError: If it cannot be found or read.
    """
    loaded = load_image_tower(reference)
    tower = VisionTransformer(loaded.config).eval()
    tower.load_state_dict(loaded.state_dict)
    return Encoder(
        lambda picture: encode_views(tower, picture.unsqueeze(0))[0][0],
        loaded.config.patch_size,
    )


def region_means(tokens: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return what a picture's regions look like on average.

    Args:
        tokens: Patch tokens, ``(D, h, w)``.
        labels: Class indices, uint8 ``(H, W)``; what is not below ``classes`` is no region.
        classes: Number of classes.

    Returns:
        Classes of the regions that fill at least one patch, ``(R,)``, and their mean tokens, each
        weighted by the share of the patch that the region fills, ``(R, D)``.

    """
    one_hot = F.one_hot(labels.long().clamp(max=classes), classes + 1)[..., :classes]
    height, width = tokens.shape[1:]
    shares = F.adaptive_avg_pool2d(one_hot.permute(2, 0, 1).float(), (height, width))
    areas = shares.sum(dim=(1, 2))
    found = (areas >= 1).nonzero().flatten()
    sums = torch.einsum('rhw,dhw->rd', shares[found], tokens)
    return found, sums / areas[found].unsqueeze(1)


def dataset_regions(
    dataset: SegmentationDataset, indices: Sequence[int], encoder: Encoder
) -> tuple[Floats, Integers]:
    """Return the features of all regions of some pictures, ``(N, D)``, and their classes."""
    short = SHORT_PATCHES * encoder.patch_size
    view = ViewConfig(size=(short, short), pipeline='published')
    features, classes = [], []
    for index in tqdm(indices, desc=f'features of {dataset.title}'):
        image, labels = whole_view(dataset[index], view, multiple=encoder.patch_size)
        found, means = region_means(encoder.tokens(image), labels, len(dataset.classes))
        features.append(means.double().numpy())
        classes.append(found.numpy())
    return np.concatenate(features), np.concatenate(classes)


def kept_regions(
    dataset: SegmentationDataset, tower: str, folder: Path
) -> tuple[Floats, Integers]:
    """Return the same of a dataset; what is on disk is not computed again.

    Args:
        dataset: The pictures.
        tower: Reference of the image tower.
        folder: Where features are kept.

    Raises:
        TowerError: If the tower cannot be found or read.
        DataError: If a picture or a mask cannot be read.
    """
    indices = range(0, len(dataset), -(-len(dataset) // MOST_PICTURES))
    names = [dataset.name(index) for index in indices]
    path = folder / f'{dataset.title}-{_digest([tower, dataset.key, names, SHORT_PATCHES])}.npz'
    if not path.is_file():
        features, classes = dataset_regions(dataset, indices, load_encoder(tower))
        _save(path, features, classes)
    with np.load(path) as kept:
        return kept['features'], kept['classes']


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _save(path: Path, features: Floats, classes: Integers) -> None:
    """Write features to a file that is there only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix('.part')
    with unfinished.open('wb') as file:
        np.savez(file, features=features, classes=classes)
    os.replace(unfinished, path)


def load_regions(roots: Sequence[Path], towers: TowersConfig, folder: Path) -> Regions:
    """Return the regions of several datasets, with the text embeddings of their words.

    Args:
        roots: Their folders.
        towers: The frozen towers and the templates.
        folder: Where features are kept.

    Raises:
        ZegCLIPError: If a dataset or a tower cannot be used.
    """
    datasets = [open_dataset(root, FOLDER, PART) for root in roots]
    names = list(dict.fromkeys(name for dataset in datasets for name in dataset.classes))
    features, words, sources = [], [], []
    for source, dataset in enumerate(datasets):
        own, classes = kept_regions(dataset, towers.image, folder)
        features.append(own)
        words.append(np.array([names.index(name) for name in dataset.classes])[classes])
        sources.append(np.full(len(own), source))
    encoder = TextEncoder(load_text_tower(towers.text), towers.templates)
    return Regions(
        names=tuple(names),
        embeddings=encoder.encode_classes([[name] for name in names]).double().numpy(),
        features=np.concatenate(features),
        words=np.concatenate(words),
        sources=np.concatenate(sources),
        titles=tuple(root.name for root in roots),
    )
