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

from collections.abc import Iterable, Sequence
import colorsys
import hashlib
from itertools import count, zip_longest

import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ConfigError

Color = tuple[int, int, int]

_HUES = 16
# (saturation, value) rings; bright before dark, since overlays are drawn on photos.
_RINGS = ((0.85, 1.0), (0.55, 1.0), (0.9, 0.75), (0.45, 0.8), (1.0, 0.5), (0.3, 0.95))
_GOLDEN_RATIO = 0.618034


def _rgb(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


PALETTE = tuple(
    _rgb(step * _GOLDEN_RATIO + ring / (2 * _HUES), saturation, value)
    for ring, (saturation, value) in enumerate(_RINGS)
    for step in range(_HUES)
)
"""The colours that are handed out first, neighbours of different hues; RGB, 0 to 255."""
MIN_DISTANCE = 0.13
"""Two colours nearer than this in OKLab look alike when they tint a photo."""
_GOOD_DISTANCE = 0.22
"""Two colours at least this far apart are told apart at a glance; taken while there are any."""
_SAME = 1e-6
"""Two colours nearer than this in OKLab are one; less than any two RGB colours are apart."""
_VIVID = 3 * _HUES
"""How many of the palette, from its start, are a name's own: the vivid ones."""


def _digest(name: str) -> int:
    """Return a number that depends on the name alone (``hash`` differs from run to run)."""
    return int.from_bytes(hashlib.sha256(name.casefold().encode()).digest()[:8], 'big')


def _oklab(colors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return RGB colours, 0 to 255, of shape ``(..., 3)`` in OKLab, where distance is as seen.

    References:
        Ottosson, "A perceptual color space for image processing",
        https://bottosson.github.io/posts/oklab.
    """
    srgb = np.asarray(colors, dtype=np.float64) / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _RGB_TO_LMS.T) @ _LMS_TO_LAB.T)


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
_PALETTE_LAB = _oklab(PALETTE)


class _Taken:
    """The colours that are given away, and how far each of the palette is from all of them."""

    def __init__(self, colors: Iterable[Color]) -> None:
        self._colors: set[Color] = set()
        self._nearest = np.full(len(PALETTE), np.inf)
        for color in colors:
            self.add(color)

    def add(self, color: Color) -> None:
        """Give a colour away."""
        self._colors.add(color)
        distance = np.linalg.norm(_PALETTE_LAB - _oklab(color), axis=1)
        self._nearest = np.minimum(self._nearest, distance)

    def pick(self, name: str) -> Color:
        """Return the name's colour, or the next one of the palette that looks different enough.

        If none does, it is the one that looks least like those given away, and past the end of
        the palette any colour that nobody has.
        """
        order = (np.arange(len(PALETTE)) + _digest(name) % _VIVID) % len(PALETTE)
        nearest = self._nearest[order]
        if nearest.max() < _SAME:
            for salt in count():
                digest = _digest(f'{name}/{salt}')
                color = (64 + digest % 192, 64 + (digest >> 8) % 192, 64 + (digest >> 16) % 192)
                if color not in self._colors:
                    return color
        for distance in (_GOOD_DISTANCE, MIN_DISTANCE):
            different = np.flatnonzero(nearest >= distance)
            if different.size:
                return PALETTE[order[different[0]]]
        return PALETTE[order[nearest.argmax()]]


def assign_colors(names: Sequence[str], chosen: Sequence[Color | None]) -> tuple[Color, ...]:
    """Give every class a colour of its own.

    A colour follows from the class name alone unless it looks like that of an earlier class of
    the vocabulary; then the later one takes the next colour that looks different. The colours
    that the user has ``chosen`` (``None`` for none) are kept, even if two are equal.
    """
    taken = _Taken(color for color in chosen if color is not None)
    colors = []
    for name, color in zip(names, chosen, strict=True):
        if color is None:
            color = taken.pick(name)
            taken.add(color)
        colors.append(color)
    return tuple(colors)


PALETTE_NAMES = ('by_name', 'color_blind', 'pascal_voc')
"""Ways to colour classes: by their names, or by their places in the vocabulary."""
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


def palette_colors(
    palette: str, names: Sequence[str], chosen: Sequence[Color | None]
) -> tuple[Color, ...]:
    """Return the colours of classes in a palette.

    Args:
        palette: ``by_name``: see ``assign_colors``. ``color_blind``: seven colours that people
            with any colour vision tell apart, in the order of the classes, then as ``by_name``.
            ``pascal_voc``: those of PASCAL VOC's devkit, in the order of the classes from 1 on.
        names: Class names, in the order of the classes.
        chosen: For each class the colour that the user asked for, which is kept, or ``None``.

    Raises:
        ConfigError: If there is no such palette.
    """
    if palette not in PALETTE_NAMES:
        raise ConfigError(
            f'Expected a palette of {", ".join(PALETTE_NAMES)}, but got {palette!r}.'
        )
    own: Sequence[Color] = _COLOR_BLIND if palette == 'color_blind' else ()
    if palette == 'pascal_voc':
        own = [_voc_color(index) for index in range(1, len(names) + 1)]
    return assign_colors(
        names, [color or place for color, place in zip_longest(chosen, own[: len(names)])]
    )


def _voc_color(index: int) -> Color:
    """Return a colour of the devkit's ``VOClabelcolormap``: the bits of the index, dealt out."""
    parts = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            parts[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return parts[0], parts[1], parts[2]
