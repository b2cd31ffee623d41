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
"""Images with rare classes are drawn more often, each time another view."""

from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from teacher_folders import write_masks
import torch
from zegclip_core.data.folder import FolderDataset
from zegclip_core.data.views import repeated, ViewConfig
from zegclip_core.model.vit import VisionConfig, VisionTransformer
from zegclip_core.training.batches import LiveViews, more_of_rare
from zegclip_core.training.features import FeatureStore

VIEWS = ViewConfig(size=(16, 16))
COLORS = {'a': (200, 0, 0), 'b': (0, 200, 0)}


def test_images_are_repeated_by_the_factor_of_their_rarest_class() -> None:
    """Of ten images one shows 1, at a threshold of 0.9: sqrt(0.9 / 0.1) = 3 times."""
    shown = [[0, 1], *[[0]] * 8, []]
    assert repeated(range(10, 20), shown, 0.9) == [10, 10, 10, *range(11, 20)]
    # Class 0 has a share of 0.9: it is not rare, and neither is anything at 0.1.
    assert repeated(range(10), shown, 0.1) == list(range(10))
    # sqrt(0.625 / 0.1) = 2.5 is rounded to even, 2.6 up.
    assert repeated(range(10), shown, 0.625).count(0) == 2
    assert repeated(range(10), shown, 0.68).count(0) == 3


@pytest.fixture
def dataset(tmp_path: Path) -> FolderDataset:
    """Return four images of class 0, of which the last shows 1 as well."""
    root = write_masks(tmp_path / 'masks', COLORS, 4)
    for index, path in enumerate(sorted((root / 'labels' / 'train').iterdir())):
        labels = np.zeros((48, 64), np.uint8)
        labels[:20] = index == 3
        labels[20:24] = 255
        Image.fromarray(labels).save(path)
    return FolderDataset(root, 'train')


def test_masks_tell_which_images_are_rare(dataset: FolderDataset) -> None:
    assert more_of_rare(dataset, [0, 1, 2, 3], 1.0) == [0, 1, 2, 3, 3]
    assert more_of_rare(dataset, [1, 3], 0.0) == [1, 3]
    # In what is left, class 1 has a share of a half.
    assert more_of_rare(dataset, [2, 3], 0.6) == [2, 3]


def test_copies_have_live_views_of_their_own(dataset: FolderDataset) -> None:
    views = LiveViews(dataset, [0, 3, 3], VIEWS, seed=5)
    images = views.batch(0, [0, 1, 2]).images
    assert not torch.equal(images[1], images[2])
    # The first is the same as without a copy, and the next round is another.
    alone = LiveViews(dataset, [0, 3], VIEWS, seed=5).batch(0, [0, 1, 3]).images
    assert torch.equal(images[:2], alone[:2])
    assert not torch.equal(alone[1], alone[2])
    assert views.pixel_counts(2).tolist() == [44 * 64 + 2 * 24 * 64, 2 * 20 * 64]


def test_copies_have_kept_views_of_their_own(dataset: FolderDataset, tmp_path: Path) -> None:
    vision = VisionConfig(patch_size=8, width=32, layers=1, heads=1, mlp_width=32, grid=(2, 2))
    store = FeatureStore(tmp_path / 'kept', VisionTransformer(vision).eval(), 'tower', VIEWS)
    kept = store.views(dataset, [0, 3, 3], count=2, seed=5)
    assert len(kept) == 6
    images = kept.batch(0, range(6)).images  # All whole, then a random one of each.
    assert torch.equal(images[1], images[2])
    assert not torch.equal(images[4], images[5])
    alone = store.views(dataset, [0, 3], count=2, seed=5).batch(0, range(4)).images
    assert torch.equal(images[[0, 1, 3, 4]], alone)
