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
"""Write text of any script into RGB images, with fonts that come with the libraries."""

from functools import cache
import unicodedata

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from zegclip_core.images.checks import RgbImage

Color = tuple[int, int, int]


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


def shortened(text: str, height: int, width: int) -> str:
    """Return a text cut so that it is at most ``width`` pixels wide, with dots where it is cut."""
    if text_width(text, height) <= width:
        return text
    kept = len(text)
    while kept > 1 and text_width(f'{text[:kept]}...', height) > width:
        kept -= 1
    return f'{text[:kept]}...'


_WEIGHT = 400
"""Regular; bold is 600."""


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
