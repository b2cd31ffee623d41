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
"""Default class colours: the same word has the same colour in every vocabulary, run and tool."""

from collections.abc import Collection, Sequence
import colorsys
import hashlib
from itertools import count

import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ConfigError

Color = tuple[int, int, int]
"""RGB, each 0 to 255."""

PALETTE_NAMES = ('by_name', 'color_blind', 'pascal_voc')
"""Ways to colour classes: by their names, or by their places in the vocabulary."""

_HUES = 16
# (saturation, value) rings; bright before dark, since overlays are drawn on photos.
_RINGS = ((0.85, 1.0), (0.55, 1.0), (0.9, 0.75), (0.45, 0.8), (1.0, 0.5), (0.3, 0.95))
_GOLDEN_RATIO = 0.618034


def _palette() -> tuple[Color, ...]:
    """Return distinct colours, ordered so that neighbours in the list differ in hue."""
    colors = []
    for ring, (saturation, value) in enumerate(_RINGS):
        for step in range(_HUES):
            hue = (step * _GOLDEN_RATIO + ring / (2 * _HUES)) % 1.0
            red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
            colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colors)


PALETTE = _palette()
"""The colours that are handed out first."""
MIN_DISTANCE = 0.13
"""Two colours nearer than this in OKLab look alike when they tint a photo."""
_GOOD_DISTANCE = 0.22
"""Two colours at least this far apart are told apart at a glance; taken while there are any."""
_SAME = 1e-6
"""Two colours nearer than this in OKLab are one; less than any two RGB colours are apart."""
_VIVID = 3 * _HUES
"""How many of the palette, from its start, are a name's own: the vivid ones."""
_COLOR_BLIND: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Okabe and Ito, "Color Universal Design", https://jfly.uni-koeln.de/color; without black."""

_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _oklab(colors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return RGB colours, 0 to 255, ``(..., 3)`` in OKLab, where distance is as seen.

    References:
        Ottosson, "A perceptual color space for image processing",
        https://bottosson.github.io/posts/oklab.
    """
    srgb = np.asarray(colors, dtype=np.float64) / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _RGB_TO_LMS.T) @ _LMS_TO_LAB.T)


_PALETTE_LAB = _oklab(PALETTE)


def _distances(color: Color) -> npt.NDArray[np.float64]:
    """Return how far each colour of the palette is from a colour, ``(P,)``."""
    return np.asarray(np.linalg.norm(_PALETTE_LAB - _oklab(color), axis=1))


def assign_colors(
    names: Sequence[str], chosen: Sequence[Color | None], palette: str = 'by_name'
) -> tuple[Color, ...]:
    """Give every class a colour of its own.

    Args:
        names: Class names, in the order of their ids.
        chosen: For each class the colour that the user asked for, or ``None``. Chosen colours are
            kept as they are, even if two are equal.
        palette: ``by_name``: a colour follows from the class name alone unless it looks like that
            of an earlier class; then the later one takes the next colour that looks different.
            ``color_blind``: seven colours that people with any colour vision tell apart, in the
            order of the ids, then by name. ``pascal_voc``: those of PASCAL VOC's devkit, in the
            order of the ids from 1 on.

    Returns:
        One colour a class.

    Raises:
        ConfigError: If there is no such palette.
    """
    if palette not in PALETTE_NAMES:
        raise ConfigError(
            f'Expected a palette of {", ".join(PALETTE_NAMES)}, but got {palette!r}.'
        )
    wanted = [color or _color_of_place(palette, place) for place, color in enumerate(chosen)]
    taken = {color for color in wanted if color is not None}
    # How far each colour of the palette is from the nearest one that is given away, (P,).
    nearest = np.full(len(PALETTE), np.inf)
    for color in taken:
        nearest = np.minimum(nearest, _distances(color))
    colors = []
    for name, own in zip(names, wanted, strict=True):
        color = own or _pick(name, nearest, taken)
        if own is None:
            taken.add(color)
            nearest = np.minimum(nearest, _distances(color))
        colors.append(color)
    return tuple(colors)


def _pick(name: str, nearest: npt.NDArray[np.float64], taken: Collection[Color]) -> Color:
    """Return the name's colour, or the next one of the palette that looks different enough.

    If none does, it is the one that looks least like those given away, and past the end of the
    palette any colour that nobody has.
    """
    order = (np.arange(len(PALETTE)) + _digest(name) % _VIVID) % len(PALETTE)
    if nearest.max() >= _SAME:
        for distance in (_GOOD_DISTANCE, MIN_DISTANCE):
            different = np.flatnonzero(nearest[order] >= distance)
            if different.size:
                return PALETTE[order[different[0]]]
        return PALETTE[order[nearest[order].argmax()]]
    digests = (_digest(f'{name}/{salt}') for salt in count())
    colors = ((64 + d % 192, 64 + (d >> 8) % 192, 64 + (d >> 16) % 192) for d in digests)
    return next(color for color in colors if color not in taken)


def _digest(name: str) -> int:
    """Return a number that depends on the name alone (``hash`` differs from run to run)."""
    return int.from_bytes(hashlib.sha256(name.casefold().encode()).digest()[:8], 'big')


def _color_of_place(palette: str, place: int) -> Color | None:
    """Return the colour that a palette has for a place in the vocabulary, if it has one."""
    if palette == 'color_blind' and place < len(_COLOR_BLIND):
        return _COLOR_BLIND[place]
    if palette != 'pascal_voc':
        return None
    # As VOClabelcolormap of the devkit: the bits of the index, dealt out to the channels.
    red, green, blue = (
        sum((place + 1 >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8))
        for channel in range(3)
    )
    return red, green, blue
