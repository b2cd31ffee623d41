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
"""Views: the crops and scales of an image that a model is trained on, repeatable by seed.

The published augmentation follows the rules of mmsegmentation 0.24 (Resize, RandomCrop,
RandomFlip, PhotoMetricDistortion, Pad) and mmcv 1.4 (imrescale), on torchvision's transforms v2.
"""

from collections import Counter
from collections.abc import Sequence
import hashlib
import json
import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, ValidationInfo
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F
from zegclip_core.data.folder import Sample
from zegclip_core.model.vit import IMAGENET_MEAN
from zegclip_core.options import UNLABELLED
from zegclip_core.settings import Positive, Settings

Joint = tuple[tv_tensors.Image, tv_tensors.Mask]
"""RGB, uint8 ``(3, H, W)``, and class indices, uint8 ``(H, W)``."""
LONGEST = 4
"""Longest side that a scaled image may have, by its shortest: 2048 to 512 as published."""
BRIGHTNESS = 32.0
"""Largest value added to, or taken from, all pixels."""
CONTRAST = (0.5, 1.5)
"""What all pixels are multiplied with."""
SATURATION = (0.5, 1.5)
"""What the saturation (of HSV) is multiplied with."""
HUE = 0.1
"""Largest turn of the hue, 1 being the whole circle; 18 of 180 as published."""
PADDING = tuple(round(value) for value in IMAGENET_MEAN)
"""Colour beside the image: the published code pads with 0 after normalisation."""
_TRIES = 10


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
    jitter: float = Field(default=0.4, ge=0, le=5)
    """Strength of brightness, contrast and saturation changes; 0 for none, 5 turns the hue by
    half a circle. Those of ``published`` have a fixed strength, and only 0 acts."""
    cat_max_ratio: float = Field(default=0.75, gt=0, le=1)
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
    """Return the whole image: RGB, uint8 ``(H, W, 3)``, and class indices, uint8 ``(H, W)``.

    With ``resized_crop`` it gets the size of a view; with ``published`` it keeps its proportions,
    its shorter side gets that of a view, and both are rounded to multiples of ``multiple``.
    """
    joint = _joint(sample)
    if config.pipeline == 'resized_crop':
        return _plain(v2.Resize(config.size, antialias=True)(*joint))
    sides = joint[1].shape
    factor = min(config.size) / min(sides) / multiple
    height, width = (max(round(side * factor), 1) * multiple for side in sides)
    return _plain(resized(joint, (height, width)))


def random_view(sample: Sample, config: ViewConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a view of an image, as ``whole_view``; the same seed gives the same one."""
    joint = _joint(sample)
    if config.pipeline == 'published':
        generator = torch.Generator().manual_seed(seed)
        height, width = joint[1].shape
        ratio = _uniform(config.scale, generator)
        scaled = resized(joint, scaled_size(height, width, min(config.size), ratio))
        image, labels = random_crop(scaled, config.size, config.cat_max_ratio, generator)
        if _coin(generator):
            image, labels = F.horizontal_flip(image), F.horizontal_flip(labels)
        if config.jitter > 0:
            image = distorted(image, generator)
        return _plain(padded((image, labels), config.size))
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
    return _plain((image, labels))


def scaled_size(height: int, width: int, short: int, ratio: float) -> tuple[int, int]:
    """Return the size of a scaled image, ``(H, W)``.

    It keeps its proportions and is as large as fits into ``LONGEST * short`` by ``short``, both
    times ``ratio``.
    """
    limits = int(LONGEST * short * ratio), int(short * ratio)
    factor = min(limits[0] / max(height, width), limits[1] / min(height, width))
    return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)


def resized(joint: Joint, size: tuple[int, int]) -> Joint:
    """Resize an image bilinearly, without antialiasing as OpenCV, and its mask to nearest."""
    image, labels = joint
    return F.resize(image, size, antialias=False), F.resize(labels, size)


def random_crop(
    joint: Joint, size: tuple[int, int], cat_max_ratio: float, generator: torch.Generator
) -> Joint:
    """Cut out a part of an image, at most of a size.

    Up to ten parts are drawn until one holds several classes, none of which has
    ``cat_max_ratio`` of the labelled pixels; then the next is taken as it is. With 1 the first is.
    """
    image, labels = joint
    height, width = (min(a, b) for a, b in zip(labels.shape, size, strict=True))
    rooms = labels.shape[0] - height, labels.shape[1] - width
    for tries in range(_TRIES if cat_max_ratio < 1.0 else 0, -1, -1):
        top, left = (int(torch.randint(room + 1, (), generator=generator)) for room in rooms)
        crop = F.crop(labels, top, left, height, width)
        counts = torch.bincount(crop.as_subclass(Tensor).flatten(), minlength=256)
        counts[UNLABELLED] = 0
        several = int((counts > 0).sum()) > 1
        if not tries or (several and float(counts.max() / counts.sum()) < cat_max_ratio):
            break
    return F.crop(image, top, left, height, width), crop


def distorted(image: tv_tensors.Image, generator: torch.Generator) -> tv_tensors.Image:
    """Change brightness, contrast, saturation and hue, each every second time.

    The contrast changes either first or last after the brightness. ``v2.RandomPhotometricDistort``
    goes back to the same code for SSD, but multiplies the brightness, keeps the mean where the
    contrast changes, mixes with grey for the saturation, turns the hue half as far and swaps
    channels, none of which the published code does.
    """
    if _coin(generator):
        pixels = image.float() + _uniform((-BRIGHTNESS, BRIGHTNESS), generator)
        image = tv_tensors.wrap(pixels.clamp(0, 255).to(torch.uint8), like=image)
    contrast_last = _coin(generator)
    if not contrast_last:
        image = _contrast(image, generator)
    if _coin(generator):
        pixels = image.float()
        lowest, highest = torch.aminmax(pixels, dim=0, keepdim=True)
        # Saturation may grow up to 1, the largest channel stays; grey has no distance to scale.
        most = highest / (highest - lowest).clamp(min=1.0)
        factor = most.clamp(max=_uniform(SATURATION, generator))
        pixels = highest - (highest - pixels) * factor
        image = tv_tensors.wrap(pixels.round().to(torch.uint8), like=image)
    if _coin(generator):
        image = F.adjust_hue(image, _uniform((-HUE, HUE), generator))
    return _contrast(image, generator) if contrast_last else image


def _contrast(image: tv_tensors.Image, generator: torch.Generator) -> tv_tensors.Image:
    """Multiply all pixels, perhaps; torchvision calls that brightness."""
    if _coin(generator):
        return F.adjust_brightness(image, _uniform(CONTRAST, generator))
    return image


def padded(joint: Joint, size: tuple[int, int]) -> Joint:
    """Fill an image up to a size, at the right and at the bottom; the mask with 255."""
    image, labels = joint
    beside = [0, 0, size[1] - labels.shape[1], size[0] - labels.shape[0]]
    return F.pad(image, beside, fill=list(PADDING)), F.pad(labels, beside, fill=UNLABELLED)


def _coin(generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < 0.5)


def _uniform(limits: tuple[float, float], generator: torch.Generator) -> float:
    return limits[0] + (limits[1] - limits[0]) * float(torch.rand((), generator=generator))


def present_classes(labels: Tensor) -> list[int]:
    """Return the class indices that a mask holds, sorted."""
    # One copy to the host of all of them: on a GPU each would wait for it.
    values: list[int] = torch.unique(labels).tolist()
    return [value for value in values if value != UNLABELLED]


def view_seed(seed: int, name: str, view: int) -> int:
    """Return the seed of one view of one image, the same on every machine."""
    text = json.dumps([seed, name, view])
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) % 2**63


def split_indices(count: int, every: int, *, held_out: bool) -> list[int]:
    """Return the images that are held out of training, every n-th, or the others; for 0 all."""
    return [index for index in range(count) if not every or (index % every == 0) == held_out]


def repeated(indices: Sequence[int], shown: Sequence[Sequence[int]], below: float) -> list[int]:
    """Return images, those with rare classes several times.

    Reference: Gupta et al., "LVIS", https://arxiv.org/abs/1908.03195: a class that a share ``f``
    of the images shows has the factor ``max(1, sqrt(below / f))``, an image the largest of its
    classes' factors, here rounded.

    Args:
        indices: The images.
        shown: The classes that each of them shows.
        below: Share of the images from which on a class is not rare.
    """
    counts = Counter(label for labels in shown for label in labels)
    factors = {
        label: max(1.0, math.sqrt(below * len(indices) / count)) for label, count in counts.items()
    }
    return [
        index
        for index, labels in zip(indices, shown, strict=True)
        for _ in range(round(max((factors[label] for label in labels), default=1.0)))
    ]


def asked_classes(labels: Tensor | npt.NDArray[np.uint8], count: int, absent: int) -> list[int]:
    """Return the classes, of ``count``, that a validation image is asked for.

    Beside the present ones so many absent ones, -1 for all, spread evenly and the same each time.
    """
    present = present_classes(torch.as_tensor(labels))
    others = [index for index in range(count) if index not in present]
    if 0 <= absent < len(others):
        start = sum(present) % max(len(others), 1)
        step = len(others) // absent if absent else 1
        others = [others[(start + step * k) % len(others)] for k in range(absent)]
    return present + others
