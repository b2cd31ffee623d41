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
"""Sheets of images with captions, and a legend of the classes on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np
import numpy.typing as npt
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import (
    BACKGROUND,
    cut_to_width,
    draw_legend,
    draw_overlay,
    write_text,
)
from zegclip_core.options import UNLABELLED
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

WIDTH, HEIGHT = 320, 240
"""Sides of the rectangle that the image of a panel fits in [px]."""
GAP = 8
"""Space between panels [px]."""
LINE = 20
"""Height of a line of text [px]."""
TEXT = 14
"""Size of the letters [px]."""
_DPI = 100
_GROUND = '#{:02x}{:02x}{:02x}'.format(*BACKGROUND)
_ALPHA = 0.7
"""Weight of the colours of the classes; the image shows through."""


@dataclass(frozen=True)
class Panel:
    """One image of a sheet.

    Attributes:
        image: RGB, uint8 ``(H, W, 3)``, of any size.
        caption: Lines of text above it; what is wider than the panel is cut.
        color: RGB of a box before the first line, 0 to 255; ``None`` for no box.
        paint: Draws over the image, on axes whose data are the image's pixels.
    """

    image: RgbImage
    caption: tuple[str, ...] = ()
    color: tuple[int, ...] | None = None
    paint: Callable[[Axes], None] | None = None


def sheet_width(columns: int) -> int:
    """Return the width of a sheet [px]."""
    return columns * (WIDTH + GAP) + GAP


def draw_panels(panels: Sequence[Panel], *, columns: int = 3, title: str = '') -> RgbImage:
    """Draw panels in rows, from left to right and from top to bottom.

    Captions are written as in the legends of overlays, in letters of any script.

    Args:
        panels: At least one, unless there is a title.
        columns: Panels in a row.
        title: A line above them; empty for none.

    Returns:
        RGB, uint8 ``(H, sheet_width(columns), 3)``.
    """
    width, bottom = sheet_width(columns), 2 * LINE if title else GAP
    places = []
    for start in range(0, len(panels), columns):
        row = panels[start:][:columns]
        top = bottom + LINE * max(len(panel.caption) for panel in row)
        sizes = [_fitted(panel.image) for panel in row]
        places += [(GAP + k * (WIDTH + GAP), top, *size) for k, size in enumerate(sizes)]
        bottom = top + max(high for _, high in sizes) + 2 * GAP
    figure = Figure((width / _DPI, bottom / _DPI), _DPI, facecolor=_GROUND)
    for panel, (left, top, wide, high) in zip(panels, places, strict=True):
        axes = figure.add_axes(
            (left / width, 1.0 - (top + high) / bottom, wide / width, high / bottom)
        )
        axes.set_axis_off()
        axes.imshow(panel.image, aspect='auto')
        if panel.paint is not None:
            panel.paint(axes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    sheet = np.ascontiguousarray(pixels[..., :3])
    write_text(sheet, cut_to_width(title, TEXT + 2, width - 2 * GAP), GAP, 26, TEXT + 2)
    for panel, (left, top, *_) in zip(panels, places, strict=True):
        _write_caption(sheet, panel, left, top)
    return sheet


def _fitted(image: RgbImage) -> tuple[int, int]:
    """Return the width and height at which an image just fits in a panel [px]."""
    height, width = image.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _write_caption(sheet: RgbImage, panel: Panel, left: int, bottom: int) -> None:
    """Write the lines of a panel's caption, the last one just above ``bottom``."""
    for number, text in enumerate(panel.caption):
        baseline = bottom - (len(panel.caption) - number) * LINE + 15
        indent = 0
        if panel.color is not None and number == 0:
            indent = TEXT + GAP
            top = baseline - 12
            sheet[top:, left:][:TEXT, :TEXT] = panel.color
        room = WIDTH - indent
        write_text(sheet, cut_to_width(text, TEXT, room), left + indent, baseline, TEXT)


@dataclass(frozen=True)
class Comparison:
    """An image with what a model says of it and what is true.

    Attributes:
        image: RGB, uint8 ``(H, W, 3)``.
        predicted: Class indices, uint8 ``(H, W)``; 255 is unlabelled.
        truth: The same of the mask.
        name: What the image is called.
        figures: How good the prediction is, in words; empty if nobody knows.
    """

    image: RgbImage
    predicted: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8]
    name: str
    figures: str = ''


def comparison_sheet(comparisons: Sequence[Comparison], classes: Sequence[str]) -> RgbImage:
    """Draw a row for each image: itself, the prediction and the truth, and below all a legend.

    Args:
        comparisons: The images, at least one.
        classes: Names by class index.

    Returns:
        RGB, uint8 ``(H, W, 3)``; its legend has the classes that occur.
    """
    vocabulary = Vocabulary.from_names(classes)
    panels, occurs = [], np.zeros(256, dtype=np.bool_)
    for each in comparisons:
        captions = (each.name, f'prediction: {each.figures}'.rstrip(': '), 'truth')
        scores = np.zeros(each.truth.shape, dtype=np.float32)
        images = [each.image]
        for labels in (each.predicted, each.truth):
            found = Segmentation(labels, scores, vocabulary)
            images.append(draw_overlay(each.image, found, alpha=_ALPHA))
            occurs[labels] = True
        panels += [Panel(*pair) for pair in zip(images, zip(captions, strict=True), strict=True)]
    occurs[UNLABELLED] = False
    shown = np.flatnonzero(occurs).tolist()
    legend = draw_legend(vocabulary, indices=shown, width=sheet_width(3), text_height=TEXT)
    return np.concatenate([draw_panels(panels), legend])
