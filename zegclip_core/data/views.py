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
"""Views: the crops and scales of a picture that a model is trained on, repeatable by seed."""

from dataclasses import dataclass
import hashlib
import json

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from zegclip_core.data.folder import IGNORED, Sample


@dataclass(frozen=True)
class ViewConfig:
    """How views are drawn.

    Attributes:
        size: ``(H, W)`` of a view, in pixels.
        scale: Smallest and largest share of the picture's area that a view shows.
        ratio: Smallest and largest width by height of what it shows.
        jitter: Strength of brightness, contrast and saturation changes; 0 for none.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (1.1, 1.6)
    jitter: float = 0.4


def _joint(sample: Sample) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    image = tv_tensors.Image(torch.from_numpy(np.array(sample.image)).permute(2, 0, 1))
    return image, tv_tensors.Mask(torch.from_numpy(np.array(sample.labels)))


def whole_view(sample: Sample, config: ViewConfig) -> tuple[Tensor, Tensor]:
    """Return the whole picture at the size of a view; results as in ``random_view``."""
    image, labels = v2.Resize(config.size, antialias=True)(*_joint(sample))
    return image.permute(1, 2, 0).contiguous(), labels.as_subclass(Tensor)


def random_view(sample: Sample, config: ViewConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a view of a picture.

    Args:
        sample: Picture and mask.
        config: How to draw.
        seed: The same seed gives the same view.

    Returns:
        RGB, uint8 ``(H, W, 3)``, and class indices, uint8 ``(H, W)``.

    """
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(config.size, config.scale, config.ratio, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(config.jitter, config.jitter, config.jitter, config.jitter / 10),
        ]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        image, labels = transform(*_joint(sample))
    return image.permute(1, 2, 0).contiguous(), labels.as_subclass(Tensor)


def present_classes(labels: Tensor) -> list[int]:
    """Return the class indices that a mask holds, sorted."""
    return [int(value) for value in torch.unique(labels) if int(value) != IGNORED]


def view_seed(seed: int, name: str, view: int) -> int:
    """Return the seed of one view of one picture, the same on every machine."""
    text = json.dumps([seed, name, view])
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) % 2**63


def split_indices(count: int, every: int, *, held_out: bool) -> list[int]:
    """Return the pictures that are kept for training or held out of it.

    Args:
        count: Number of pictures.
        every: Every n-th picture is held out; 0 holds none out.
        held_out: Whether to return those; with ``every`` 0 all are returned either way.

    """
    if every == 0:
        return list(range(count))
    return [index for index in range(count) if (index % every == 0) == held_out]


def asked_classes(labels: Tensor | npt.NDArray[np.uint8], count: int, absent: int) -> list[int]:
    """Return the classes that a validation picture is asked for.

    Args:
        labels: Class indices, uint8 of any shape.
        count: Number of classes of the dataset.
        absent: How many classes beside the present ones; -1 for all.

    Returns:
        Class indices; the absent ones are spread evenly over the dataset's classes, the same each
        time.

    """
    present = present_classes(torch.as_tensor(labels))
    others = [index for index in range(count) if index not in present]
    if 0 <= absent < len(others):
        start = sum(present) % max(len(others), 1)
        step = len(others) // absent if absent else 1
        others = [others[(start + step * k) % len(others)] for k in range(absent)]
    return present + others
