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
"""What the samples of a soak test say: how fast memory grows, how sure that is, and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import stats

Array = npt.NDArray[np.float64]
HOUR = 3600.0


@dataclass(frozen=True)
class Trend:
    """A straight line through samples.

    Attributes:
        slope: Growth an hour.
        low: Lower end of the slope's 95 % confidence interval.
        high: Upper end.
        start: Height of the line at the time 0.
        points: Number of medians that it was fitted to.
    """

    slope: float
    low: float
    high: float
    start: float
    points: int


def medians(seconds: Array, values: Array, window: float) -> tuple[Array, Array]:
    """Return the middle and the median of each full window of time.

    Args:
        seconds: Times of the samples, growing.
        values: The samples.
        window: Length of a window in seconds.
    """
    places = np.floor((seconds - seconds[0]) / window).astype(int)
    step = float(np.median(np.diff(seconds)))  # A sample stands for the time up to the next.
    full = range(int((seconds[-1] - seconds[0] + 1.5 * step) // window))
    picked = [places == place for place in full]
    middles = np.array([seconds[pick].mean() for pick in picked if pick.any()])
    return middles, np.array([np.median(values[pick]) for pick in picked if pick.any()])


def trend(seconds: Array, values: Array, window: float = 60.0) -> Trend:
    """Fit a line to the medians of windows, and say how sure its slope is.

    Samples that follow one another closely say nearly the same, so that an interval from single
    samples would be far too narrow. Medians of a minute are about independent; and what is
    allocated for a moment only does not show in them.

    Args:
        seconds: Times of the samples, growing.
        values: The samples.
        window: Length of a window in seconds.

    Raises:
        ValueError: If there are fewer than four windows.
    """
    times, heights = medians(seconds, values, window)
    if len(times) < 4:
        raise ValueError(
            f'Expected samples of at least 4 windows of {window} s, but got {len(times)}.'
        )
    fit = stats.linregress(times, heights)
    reach = stats.t.ppf(0.975, len(times) - 2) * fit.stderr
    low, high = ((fit.slope + sign * reach) * HOUR for sign in (-1, 1))
    return Trend(fit.slope * HOUR, low, high, float(fit.intercept), len(times))


@dataclass(frozen=True)
class Curve:
    """One line of a picture.

    Attributes:
        name: What it is called in the legend.
        x: Places in minutes.
        y: Heights.
        color: RGB.
        width: Thickness in pixels.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: tuple[int, int, int]
    width: int = 2


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Return round numbers from ``low`` to ``high``."""
    raw = max(high - low, 1e-9) / most
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(part * power for part in (1, 2, 5, 10) if part * power >= raw * (1 - 1e-9))
    first = np.ceil(low / step - 1e-9)
    last = np.floor(high / step + 1e-9)
    return [float(step * place) + 0.0 for place in np.arange(first, last + 1)]


class Picture:
    """A picture of curves over minutes.

    Args:
        title: Line above it.
        x_range: First and last minute.
        y_range: Least and greatest height.
        unit: What the heights are.
    """

    SIZE = (900, 460)
    BOX = (70, 40, 880, 400)
    FINE = 2
    """It is drawn so much larger first, for smooth lines."""

    def __init__(
        self, title: str, x_range: tuple[float, float], y_range: tuple[float, float], unit: str
    ) -> None:
        self._x, self._y = x_range, y_range
        size = (self.FINE * self.SIZE[0], self.FINE * self.SIZE[1])
        self._image = Image.new('RGB', size, 'white')
        self._draw = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(14 * self.FINE)
        self._names = 0
        self._text(self.BOX[0], 14, f'{title} [{unit}]', 'lm')

    def _text(self, x: float, y: float, text: str, anchor: str) -> None:
        place = (self.FINE * x, self.FINE * y)
        self._draw.text(place, text, (60, 60, 60), self._font, anchor)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.BOX
        along = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return (
            self.FINE * (left + along * (right - left)),
            self.FINE * (bottom - up * (bottom - top)),
        )

    def shade(self, first: float, last: float, text: str) -> None:
        """Shade a time and say what it is."""
        corners = [self._place(first, self._y[1]), self._place(last, self._y[0])]
        self._draw.rectangle([*corners[0], *corners[1]], fill=(240, 240, 240))
        self._text(corners[0][0] / self.FINE + 6, self.BOX[1] + 12, text, 'lm')

    def axes(self) -> None:
        """Draw the grid and its numbers."""
        for minute in ticks(*self._x, most=12):
            self._line([(minute, self._y[0]), (minute, self._y[1])], (220, 220, 220), 1)
            x = self._place(minute, self._y[0])[0] / self.FINE
            self._text(x, self.BOX[3] + 14, f'{minute:g}', 'mm')
        for height in ticks(*self._y):
            self._line([(self._x[0], height), (self._x[1], height)], (220, 220, 220), 1)
            y = self._place(self._x[0], height)[1] / self.FINE
            self._text(self.BOX[0] - 8, y, f'{height:g}', 'rm')
        self._text((self.BOX[0] + self.BOX[2]) / 2, self.BOX[3] + 38, 'minutes', 'mm')

    def _line(
        self, points: Sequence[tuple[float, float]], color: tuple[int, int, int], width: int
    ) -> None:
        places = [self._place(*point) for point in points]
        self._draw.line(places, fill=color, width=width * self.FINE, joint='curve')

    def curve(self, curve: Curve) -> None:
        """Draw a curve and name it in the legend."""
        self._line(list(zip(curve.x, curve.y, strict=True)), curve.color, curve.width)
        x, y = self.BOX[0] + 560, self.BOX[3] - 100 + 20 * self._names
        ends = [(self.FINE * place, self.FINE * y) for place in (x, x + 26)]
        self._draw.line(ends, fill=curve.color, width=3 * self.FINE)
        self._text(x + 34, y, curve.name, 'lm')
        self._names += 1

    def save(self, path: Path) -> None:
        """Write it as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._image.resize(self.SIZE, Image.Resampling.LANCZOS).save(path, optimize=True)
