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
"""The augmentation of the published code, mmsegmentation's, on torchvision's transforms v2.

Image and mask are scaled with their aspect ratio kept, cropped together, perhaps flipped, the
image's colours are distorted, and what the picture does not fill is padded at the right and the
bottom. References: mmsegmentation 0.24 (Resize, RandomCrop, RandomFlip, PhotoMetricDistortion,
Pad) and mmcv 1.4 (imrescale), whose rules these functions follow.
"""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F
from zegclip_core.model.vit import IMAGENET_MEAN
from zegclip_core.segmentation import UNLABELLED

Joint = tuple[tv_tensors.Image, tv_tensors.Mask]
"""RGB, uint8 ``(3, H, W)``, and class indices, uint8 ``(H, W)``."""

LONGEST = 4
"""Longest side that a scaled picture may have, by its shortest: 2048 to 512 as published."""
BRIGHTNESS = 32.0
"""Largest value added to, or taken from, all pixels."""
CONTRAST = (0.5, 1.5)
"""What all pixels are multiplied with."""
SATURATION = (0.5, 1.5)
"""What the saturation (of HSV) is multiplied with."""
HUE = 0.1
"""Largest turn of the hue, 1 being the whole circle; 18 of 180 as published."""
PADDING = tuple(round(value) for value in IMAGENET_MEAN)
"""Colour beside the picture: the published code pads with 0 after normalisation."""
_TRIES = 10


def published_view(
    joint: Joint,
    size: tuple[int, int],
    scale: tuple[float, float],
    cat_max_ratio: float,
    generator: torch.Generator,
    *,
    distort: bool = True,
) -> Joint:
    """Draw a view as the published code does.

    Args:
        joint: Picture and mask.
        size: ``(H, W)`` of the view.
        scale: Smallest and largest factor on the size that a picture is scaled to.
        cat_max_ratio: Share of the labelled pixels that no class should reach.
        generator: The only source of randomness.
        distort: Whether to change colours.

    """
    image, labels = scaled(joint, min(size), _uniform(scale, generator))
    image, labels = random_crop((image, labels), size, cat_max_ratio, generator)
    if _coin(generator):
        image, labels = F.horizontal_flip(image), F.horizontal_flip(labels)
    if distort:
        image = distorted(image, generator)
    return padded((image, labels), size)


def scaled_size(height: int, width: int, short: int, ratio: float) -> tuple[int, int]:
    """Return the size of a scaled picture, ``(H, W)``.

    It keeps its proportions and is as large as fits into ``LONGEST * short`` by ``short``, both
    times ``ratio``.
    """
    limits = int(LONGEST * short * ratio), int(short * ratio)
    factor = min(limits[0] / max(height, width), limits[1] / min(height, width))
    return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)


def scaled(joint: Joint, short: int, ratio: float) -> Joint:
    """Scale a picture as ``scaled_size`` says, bilinearly, and its mask by nearest pixels."""
    height, width = joint[1].shape
    return resized(joint, scaled_size(height, width, short, ratio))


def resized(joint: Joint, size: tuple[int, int]) -> Joint:
    """Bring a picture and its mask to a size, as OpenCV does by default: without antialiasing."""
    image, labels = joint
    return F.resize(image, size, antialias=False), F.resize(labels, size)


def random_crop(
    joint: Joint, size: tuple[int, int], cat_max_ratio: float, generator: torch.Generator
) -> Joint:
    """Cut out a part of a picture, at most of a size.

    Up to ten parts are drawn until one holds several classes, none of which has
    ``cat_max_ratio`` of the labelled pixels; then the next is taken as it is. With 1 the first is.
    """
    image, labels = joint
    box = _random_box(labels, size, generator)
    for _ in range(_TRIES if cat_max_ratio < 1.0 else 0):
        if _is_mixed(F.crop(labels, *box), cat_max_ratio):
            break
        box = _random_box(labels, size, generator)
    return F.crop(image, *box), F.crop(labels, *box)


def _random_box(
    labels: Tensor, size: tuple[int, int], generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a part of a mask."""
    height, width = (min(a, b) for a, b in zip(labels.shape, size, strict=True))
    top, left = (
        int(torch.randint(room + 1, (), generator=generator))
        for room in (labels.shape[0] - height, labels.shape[1] - width)
    )
    return top, left, height, width


def _is_mixed(labels: Tensor, cat_max_ratio: float) -> bool:
    """Return whether a mask holds several classes, none with too large a share."""
    counts = torch.bincount(labels.as_subclass(Tensor).flatten(), minlength=256)
    counts[UNLABELLED] = 0
    several = int((counts > 0).sum()) > 1
    return several and float(counts.max() / counts.sum()) < cat_max_ratio


def distorted(image: tv_tensors.Image, generator: torch.Generator) -> tv_tensors.Image:
    """Change brightness, contrast, saturation and hue, each every second time.

    The contrast changes either first or last after the brightness. ``v2.RandomPhotometricDistort``
    goes back to the same code for SSD, but multiplies the brightness, keeps the mean where the
    contrast changes, mixes with grey for the saturation, turns the hue half as far and swaps
    channels, none of which the published code does.
    """
    if _coin(generator):
        image = _plus(image, _uniform((-BRIGHTNESS, BRIGHTNESS), generator))
    contrast_last = _coin(generator)
    if not contrast_last:
        image = _contrast(image, generator)
    if _coin(generator):
        image = _saturated(image, _uniform(SATURATION, generator))
    if _coin(generator):
        image = F.adjust_hue(image, _uniform((-HUE, HUE), generator))
    return _contrast(image, generator) if contrast_last else image


def _plus(image: tv_tensors.Image, value: float) -> tv_tensors.Image:
    return tv_tensors.wrap((image.float() + value).clamp(0, 255).to(torch.uint8), like=image)


def _contrast(image: tv_tensors.Image, generator: torch.Generator) -> tv_tensors.Image:
    """Multiply all pixels, perhaps; torchvision calls that brightness."""
    if _coin(generator):
        return F.adjust_brightness(image, _uniform(CONTRAST, generator))
    return image


def _saturated(image: tv_tensors.Image, factor: float) -> tv_tensors.Image:
    """Multiply the saturation of HSV, at most up to 1: the largest channel stays as it is."""
    pixels = image.float()
    lowest, highest = torch.aminmax(pixels, dim=0, keepdim=True)
    # What is grey has no distance to scale.
    most = highest / (highest - lowest).clamp(min=1.0)
    pixels = highest - (highest - pixels) * most.clamp(max=factor)
    return tv_tensors.wrap(pixels.round().to(torch.uint8), like=image)


def padded(joint: Joint, size: tuple[int, int]) -> Joint:
    """Fill a picture up to a size, at the right and at the bottom; the mask with 255."""
    image, labels = joint
    beside = [0, 0, size[1] - labels.shape[1], size[0] - labels.shape[0]]
    return F.pad(image, beside, fill=list(PADDING)), F.pad(labels, beside, fill=UNLABELLED)


def _coin(generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < 0.5)


def _uniform(limits: tuple[float, float], generator: torch.Generator) -> float:
    return limits[0] + (limits[1] - limits[0]) * float(torch.rand((), generator=generator))
