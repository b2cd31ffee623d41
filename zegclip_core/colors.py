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

from collections.abc import Sequence
import colorsys
import hashlib

Color = tuple[int, int, int]

_HUES = 16
# (saturation, value) rings; bright before dark, since overlays are drawn on photos.
_RINGS = ((0.85, 1.0), (0.55, 1.0), (0.9, 0.75), (0.45, 0.8), (1.0, 0.5), (0.3, 0.95))
_GOLDEN_RATIO = 0.618034


def _palette() -> tuple[Color, ...]:
    """Return distinct RGB colours, ordered so that neighbours in the list differ in hue."""
    colors = []
    for ring, (saturation, value) in enumerate(_RINGS):
        for step in range(_HUES):
            hue = (step * _GOLDEN_RATIO + ring / (2 * _HUES)) % 1.0
            red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
            colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colors)


PALETTE = _palette()
"""The colours that are handed out first; RGB, 0 to 255."""


def _digest(name: str) -> int:
    """Return a number that depends on the name alone (``hash`` differs from run to run)."""
    return int.from_bytes(hashlib.sha256(name.casefold().encode()).digest()[:8], 'big')


def _free_color(name: str, taken: set[Color]) -> Color:
    """Return the name's colour, or the next one of the palette that nobody has."""
    start = _digest(name) % len(PALETTE)
    for step in range(len(PALETTE)):
        color = PALETTE[(start + step) % len(PALETTE)]
        if color not in taken:
            return color
    salt = 0
    while True:  # More classes than palette entries: any colour that nobody has.
        digest = _digest(f'{name}/{salt}')
        color = (64 + digest % 192, 64 + (digest >> 8) % 192, 64 + (digest >> 16) % 192)
        if color not in taken:
            return color
        salt += 1


def assign_colors(names: Sequence[str], chosen: Sequence[Color | None]) -> tuple[Color, ...]:
    """Give every class a colour of its own.

    A colour follows from the class name alone unless two names of one vocabulary want the same;
    then the later one takes the next free colour.

    Args:
        names: Class names, in the order of their ids.
        chosen: For each class the colour that the user asked for, or ``None``. Chosen colours are
            kept as they are, even if two are equal.

    Returns:
        One RGB colour a class, each component 0 to 255.
    """
    taken = {color for color in chosen if color is not None}
    colors = []
    for name, color in zip(names, chosen, strict=True):
        if color is None:
            color = _free_color(name, taken)
            taken.add(color)
        colors.append(color)
    return tuple(colors)
