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
"""Show a segmentation to people: the image in class colours, a legend, text of any script."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal
import unicodedata

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from zegclip_core.errors import ConfigError, ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

Place = Literal['auto', 'below', 'beside']

BACKGROUND = (28, 28, 28)
"""RGB of the legend's ground, on which the text is white."""
UNLABELLED_NAME = 'none of these'
"""What the legend calls the pixels that belong to no class."""
MAX_ENTRIES = 40
"""From here on a legend leaves out the classes that are not in the image."""
MIN_SIDE = 240
"""Least width of an image with its legend [px], so that the words of a tiny one can be read."""
_WEIGHT = 400
"""Of the letters: regular; bold is 600."""


def draw_overlay(
    image: RgbImage, segmentation: Segmentation, *, alpha: float = 0.5
) -> npt.NDArray[np.uint8]:
    """Tint every pixel in the colour of its class; unlabelled pixels stay as they are.

    Args:
        image: RGB uint8 ``(H, W, 3)``, 0 to 255; it is not changed.
        segmentation: What was found in it, of the same size.
        alpha: Weight of the colour in [0, 1]; 0 shows the image, 1 the colours alone.

    Returns:
        RGB uint8 ``(H, W, 3)``, a new array.

    Raises:
        ImageError: If image and segmentation differ in size.
        ConfigError: If ``alpha`` is not in [0, 1].
    """
    labels = segmentation.labels
    if image.dtype != np.uint8 or image.shape != (*labels.shape, 3):
        raise ImageError(
            f'Expected an image of shape {(*labels.shape, 3)} and type uint8 as the '
            f'segmentation has it, but got {image.shape} and {image.dtype}.'
        )
    check_alpha(alpha)
    palette = np.zeros((int(np.iinfo(labels.dtype).max) + 1, 3), dtype=np.uint8)
    palette[: len(segmentation.vocabulary)] = segmentation.vocabulary.colors
    overlay = cv2.addWeighted(image, 1.0 - alpha, palette[labels], alpha, 0.0)
    unlabelled = segmentation.unlabelled.astype(np.uint8)
    return np.asarray(cv2.copyTo(image, unlabelled, overlay), dtype=np.uint8)


def check_alpha(alpha: float) -> None:
    """Refuse a weight of the colours that is not in [0, 1].

    Raises:
        ConfigError: If it is not.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ConfigError(f'Expected alpha to be in [0, 1], but got {alpha}.')


def draw_legend(
    vocabulary: Vocabulary,
    shares: Mapping[str, float] | None = None,
    *,
    indices: Iterable[int] | None = None,
    width: int | None = None,
    text_height: int = 18,
    unlabelled_share: float | None = None,
) -> RgbImage:
    """Draw colour, name and share of the classes, in as many columns as the width has room for.

    Args:
        vocabulary: The classes, shown in the order of their ids.
        shares: Share of the pixels in [0, 1] by class name; classes that it lacks are left out.
            ``None`` shows all names without shares.
        indices: Which classes to show; ``None`` for all.
        width: Width of the legend [px]; ``None`` makes one column as wide as it needs to be.
        text_height: Size of the letters [px].
        unlabelled_share: Share of the pixels that are of no class, shown last; ``None`` leaves
            it out.

    Returns:
        RGB uint8 ``(H, width, 3)``; the layout depends on the names, not on the shares.
    """
    colors = vocabulary.colors.tolist()
    entries = []
    for index in range(len(vocabulary)) if indices is None else indices:
        name = vocabulary.names[index]
        if shares is None or name in shares:
            share = '' if shares is None else f'{100.0 * shares[name]:.1f} %'
            entries.append(_Entry(tuple(colors[index]), name, share))
    if unlabelled_share is not None:
        entries.append(_Entry(None, UNLABELLED_NAME, f'{100.0 * unlabelled_share:.1f} %'))
    # Room for the widest share, not for the present one: frames of a video stay alike.
    widest = [f'{entry.name}  100.0 %' if entry.share else entry.name for entry in entries]
    wanted = max((text_width(text, text_height) for text in widest), default=0) + 4 * text_height
    if width is None:
        width, columns = min(wanted, 30 * text_height), 1
    else:
        columns = int(np.clip(width // max(wanted, 1), 1, max(len(entries), 1)))
    rows = max(-(-len(entries) // columns), 1)
    margin, row_height = round(0.6 * text_height), round(1.6 * text_height)
    legend = np.empty((2 * margin + rows * row_height, width, 3), dtype=np.uint8)
    legend[:] = BACKGROUND
    for place, entry in enumerate(entries):  # They fill the first column, then the next.
        column, row = divmod(place, rows)
        left, right = (edge * (width // columns) for edge in (column, column + 1))
        top = margin + row * row_height + (row_height - text_height) // 2
        entry.draw(legend, left + margin, right - margin, top, text_height)
    return legend


def overlay_with_legend(
    image: RgbImage,
    segmentation: Segmentation,
    *,
    alpha: float = 0.5,
    place: Place = 'auto',
    every_class: bool = False,
) -> RgbImage:
    """Return the overlay with a legend of the classes and their shares of the pixels.

    Args:
        image: RGB uint8 ``(H, W, 3)``, 0 to 255.
        segmentation: What was found in it, of the same size.
        alpha: Weight of the colours in [0, 1].
        place: Where the legend stands; ``'auto'`` puts it below images that are wide.
        every_class: Whether also the absent ones of more than ``MAX_ENTRIES`` classes are shown.
            Then the result's size depends on the image's size and the names alone, as a video
            needs it.

    Returns:
        RGB uint8, larger than the image, which is its upper left part.

    Raises:
        ImageError: If image and segmentation differ in size.
        ConfigError: If ``alpha`` is not in [0, 1].
    """
    overlay = draw_overlay(image, segmentation, alpha=alpha)
    height, width = overlay.shape[:2]
    shares = segmentation.shares()
    if len(shares) > MAX_ENTRIES and not every_class:
        shares = {name: share for name, share in shares.items() if share > 0.0}
    beside = place == 'beside' or (place == 'auto' and width < 1.2 * height)
    legend = draw_legend(
        segmentation.vocabulary,
        shares,
        width=None if beside else max(width, MIN_SIDE),
        text_height=int(np.clip(max(height, width) / 36, 14, 60)),
        unlabelled_share=segmentation.unlabelled_share,
    )
    sizes = np.array([overlay.shape[:2], legend.shape[:2]])
    along = 1 if beside else 0
    size = sizes.max(axis=0)
    size[along] = sizes[:, along].sum()
    joined = np.empty((*size, 3), dtype=np.uint8)
    joined[:] = BACKGROUND
    joined[:height, :width] = overlay
    rest = joined[:, width:] if beside else joined[height:]
    rest[: legend.shape[0], : legend.shape[1]] = legend
    return joined


@dataclass(frozen=True)
class _Entry:
    """One line of a legend: a colour (``None`` is an empty box), a name and a share as text."""

    color: tuple[int, int, int] | None
    name: str
    share: str

    def draw(self, legend: RgbImage, left: int, right: int, top: int, size: int) -> None:
        """Draw it between two columns of the legend's pixels, with letters of ``size``."""
        box = ((left, top), (left + size, top + size - 1))
        if self.color is not None:
            cv2.rectangle(legend, *box, self.color, thickness=cv2.FILLED)
        cv2.rectangle(legend, *box, (160, 160, 160), thickness=1)
        words, baseline = left + round(1.6 * size), top + round(0.85 * size)
        room = right - words - text_width(f'  {self.share}', size)
        write_text(legend, cut_to_width(self.name, size, room), words, baseline, size)
        write_text(legend, self.share, right - text_width(self.share, size), baseline, size)


def text_width(text: str, height: int) -> int:
    """Return how many pixels wide a text is.

    Args:
        text: One line of text.
        height: Size of the letters [px], as ``write_text`` takes it.
    """
    face = _unicode_face()
    if face is not None:
        left, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), face, height, _WEIGHT)
        return int(left + width)
    return int(np.ceil(_plain_font(height).getlength(_plain(text))))


def write_text(image: RgbImage, text: str, left: int, baseline: int, height: int) -> None:
    """Write one line of white text into an image; what lies outside of it is cut off.

    Args:
        image: RGB uint8 ``(H, W, 3)``, contiguous; changed in place.
        text: Any text. What no font has is shown as a question mark.
        left: Where the text starts [px].
        baseline: Where the letters stand, from the top [px].
        height: Size of the letters [px].
    """
    face = _unicode_face()
    if face is not None:
        cv2.putText(image, text, (left, baseline), (255, 255, 255), face, height, _WEIGHT)
        return
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    draw.text((left, baseline), _plain(text), fill='white', font=_plain_font(height), anchor='ls')
    image[:] = np.asarray(canvas)


def cut_to_width(text: str, height: int, width: int) -> str:
    """Return a text cut so that it is at most ``width`` pixels wide, with dots where it is cut."""
    if text_width(text, height) <= width:
        return text
    kept = len(text)
    while kept > 1 and text_width(f'{text[:kept]}...', height) > width:
        kept -= 1
    return f'{text[:kept]}...'


@cache
def _unicode_face() -> 'cv2.FontFace | None':
    """Return OpenCV's own font, which knows most scripts; ``None`` before OpenCV 5."""
    return cv2.FontFace('sans') if hasattr(cv2, 'FontFace') else None


@cache
def _plain_font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, which knows ASCII only."""
    return ImageFont.load_default(height)


def _plain(text: str) -> str:
    """Return a text in ASCII: accents are left out, other letters are question marks."""
    parts = unicodedata.normalize('NFKD', text)
    bare = ''.join(part for part in parts if not unicodedata.combining(part))
    return bare.encode('ascii', 'replace').decode('ascii')
