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

import hashlib
import json
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, ValidationInfo
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from zegclip_core.data.augment import Joint, published_view, resized
from zegclip_core.data.folder import Sample
from zegclip_core.segmentation import UNLABELLED
from zegclip_core.settings import Positive, Settings


class ViewConfig(Settings):
    """How views are drawn."""

    size: tuple[Positive, Positive]
    """``(H, W)`` of a view [px]."""
    pipeline: Literal['resized_crop', 'published'] = 'resized_crop'
    """``resized_crop`` cuts out a rectangle and stretches it to ``size``. ``published`` does as
    ZegCLIP's code: it scales the image, keeping its proportions, cuts out ``size``, changes
    colours, and fills what is too small."""
    scale: tuple[float, float] = (0.2, 1.0)
    """Of ``resized_crop``, the smallest and largest share of the image's area that a view shows;
    of ``published``, the smallest and largest factor on ``min(size)``, which the image's shorter
    side becomes (published: 0.5 and 2)."""
    ratio: tuple[float, float] = (1.1, 1.6)
    """Smallest and largest width by height of what ``resized_crop`` shows."""
    jitter: float = Field(0.4, ge=0, le=5)
    """Strength of brightness, contrast and saturation changes; 0 for none, 5 turns the hue by
    half a circle. Those of ``published`` have a fixed strength, and only 0 acts."""
    cat_max_ratio: float = Field(0.75, gt=0, le=1)
    """Of ``published``, the share of the labelled pixels that no class should reach; 1 takes any
    rectangle."""

    @field_validator('scale', 'ratio')
    @classmethod
    def _rises(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        area = info.field_name == 'scale' and info.data.get('pipeline') == 'resized_crop'
        if not 0 < value[0] <= value[1] or (area and value[1] > 1):
            raise ValueError(f'two rising numbers above 0{", at most 1" if area else ""}')
        return value


def _joint(sample: Sample) -> Joint:
    image = tv_tensors.Image(torch.from_numpy(np.array(sample.image)).permute(2, 0, 1))
    return image, tv_tensors.Mask(torch.from_numpy(np.array(sample.labels)))


def _plain(joint: Joint) -> tuple[Tensor, Tensor]:
    image, labels = (part.as_subclass(Tensor) for part in joint)
    return image.permute(1, 2, 0).contiguous(), labels.contiguous()


def whole_view(sample: Sample, config: ViewConfig, *, multiple: int = 1) -> tuple[Tensor, Tensor]:
    """Return the whole picture.

    Args:
        sample: Picture and mask.
        config: How views are drawn. With ``resized_crop`` the picture gets the size of a view;
            with ``published`` it keeps its proportions, and its shorter side that of a view.
        multiple: With ``published``, what both sides are rounded to multiples of.

    Returns:
        As ``random_view``.

    """
    joint = _joint(sample)
    if config.pipeline == 'resized_crop':
        return _plain(v2.Resize(config.size, antialias=True)(*joint))
    sides = joint[1].shape
    factor = min(config.size) / min(sides) / multiple
    height, width = (max(round(side * factor), 1) * multiple for side in sides)
    return _plain(resized(joint, (height, width)))


def random_view(sample: Sample, config: ViewConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a view of a picture.

    Args:
        sample: Picture and mask.
        config: How to draw.
        seed: The same seed gives the same view.

    Returns:
        RGB, uint8 ``(H, W, 3)``, and class indices, uint8 ``(H, W)``.

    """
    if config.pipeline == 'resized_crop':
        return _plain(_resized_crop(_joint(sample), config, seed))
    view = published_view(
        _joint(sample),
        config.size,
        config.scale,
        config.cat_max_ratio,
        torch.Generator().manual_seed(seed),
        distort=config.jitter > 0,
    )
    return _plain(view)


def _resized_crop(joint: Joint, config: ViewConfig, seed: int) -> Joint:
    """Cut out a rectangle and stretch it."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(config.size, config.scale, config.ratio, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(config.jitter, config.jitter, config.jitter, config.jitter / 10),
        ]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        image, labels = transform(*joint)
    return image, labels


def present_classes(labels: Tensor) -> list[int]:
    """Return the class indices that a mask holds, sorted."""
    return [int(value) for value in torch.unique(labels) if int(value) != UNLABELLED]


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
