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
"""Views: the crops and scales of a picture that a model is trained on, each the same every time."""

from dataclasses import dataclass
import hashlib
import json

import numpy as np
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
