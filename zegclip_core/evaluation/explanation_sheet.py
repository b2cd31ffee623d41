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
"""A sheet that shows an explanation: photo, labels, the score map of each word, rivals."""

from collections.abc import Iterable, Sequence
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.evaluation.explanation import Explanation, Mask, Scores, Taken
from zegclip_core.images.drawing import BACKGROUND, draw_legend, draw_overlay
from zegclip_core.images.lettering import shortened, text_width, write_text

MAX_MAPS = 24
"""Most score maps on a sheet; those of the words with the most pixels, then the best scores."""
MAX_PAIRS = 6
"""Most pairs of rivals on a sheet."""
_COLUMNS = 3
_WIDTH, _HEIGHT = 320, 240
"""Sides of the rectangle that a picture fits in [px]."""
_GAP = 6
_LINE = 20
"""Height of a line of text [px]."""
_TEXT = 14
"""Size of the letters [px]."""
_BAR = 8
"""Height of the scale of scores below a map [px]."""
_HEAT = 0.8
"""Weight of the colours of the scores; the photo shows through."""
_WHITE = (255, 255, 255)
_NEGATIVE = (90, 90, 90)
"""RGB of negative words, which have no colour of their own."""

Rgb = npt.NDArray[np.uint8]


def explanation_sheet(explanation: Explanation) -> Rgb:
    """Draw an explanation.

    Returns:
        RGB, uint8 ``(H, W, 3)``: the photo and its labels, the score map of each word with its
        threshold as a white line, and the pairs of words that contest each other's pixels.
    """
    panels = _Panels(explanation)
    rows = shown_rows(explanation)
    pairs = list(islice(rivals(explanation), MAX_PAIRS))
    parts = [
        _heading(_title(explanation)),
        *_grid([panels.photo(), panels.labels()]),
        panels.legend(),
        _heading(_maps_title(explanation, len(rows))),
        *_grid([panels.score_map(row) for row in rows]),
        _heading(_pairs_title(bool(pairs))),
        *_grid([panels.pair(pair) for pair in pairs]),
    ]
    return np.concatenate(parts)


def shown_rows(explanation: Explanation) -> list[int]:
    """Return the rows whose maps are drawn, in their order: all classes, negatives that matter."""
    won = np.bincount(explanation.ranks[0].ravel(), minlength=len(explanation.scores))
    peaks = explanation.scores.max(axis=(1, 2))
    classes = len(explanation.vocabulary)
    rows = [row for row in range(len(won)) if row < classes or won[row]]
    order = sorted(rows, key=lambda row: (-won[row], -peaks[row]))
    return sorted(order[:MAX_MAPS])


def rivals(explanation: Explanation) -> Iterable[tuple[Taken, ...]]:
    """Yield what was taken between two words, in one or both directions, the largest first."""
    found: dict[frozenset[int], list[Taken]] = {}
    for one in explanation.taken():
        found.setdefault(frozenset({one.winner, one.loser}), []).append(one)
    pairs = sorted(found.values(), key=lambda pair: -sum(one.share for one in pair))
    return map(tuple, pairs)


def _title(explanation: Explanation) -> str:
    how = {
        'sigmoid': "each word's score is its own",
        'softmax': 'the scores of all words sum to 1',
    }[explanation.scoring]
    return f'{explanation.model}: {how}'


def _maps_title(explanation: Explanation, shown: int) -> str:
    number = len(explanation.names)
    part = '' if shown == number else f' of {shown} of the {number} words'
    return f'Scores{part} from 0 to 1; the white line is the threshold'


def _pairs_title(found: bool) -> str:
    if not found:
        return 'No word comes close to the one that won'
    return 'Taken from a word with at least half the score: share of the picture, mean lead'


class _Panels:
    """Draws the parts of a sheet, each as wide as a column."""

    def __init__(self, explanation: Explanation) -> None:
        self._all = explanation
        height, width = explanation.image.shape[:2]
        scale = min(_WIDTH / width, _HEIGHT / height)
        self._size = max(round(width * scale), 1), max(round(height * scale), 1)
        kind = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
        self._small = _as_rgb(cv2.resize(explanation.image, self._size, interpolation=kind))
        grey = cv2.cvtColor(self._small, cv2.COLOR_RGB2GRAY)
        self._grey = _as_rgb(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))
        self._colors = [tuple(color) for color in explanation.vocabulary.colors.tolist()]
        self._colors += [_NEGATIVE] * len(explanation.negatives)

    def photo(self) -> Rgb:
        """Draw the photo."""
        return _panel(self._small, ['photo'])

    def labels(self) -> Rgb:
        """Draw the labels, and say why pixels have none."""
        found = self._all.segmentation
        overlay = draw_overlay(self._all.image, found, alpha=0.6)
        low = float(self._all.under_threshold.mean())
        text = f'labels (none: {low:.1%} too low'
        if self._all.negatives:
            text += f', {found.unlabelled_share - low:.1%} negative'
        small = cv2.resize(overlay, self._size, interpolation=cv2.INTER_AREA)
        return _panel(_as_rgb(small), [f'{text})'])

    def legend(self) -> Rgb:
        """Draw the colours and shares of the classes."""
        found = self._all.segmentation
        return draw_legend(
            found.vocabulary,
            found.shares(),
            width=_strip(1).shape[1],
            text_height=_TEXT,
            unlabelled_share=found.unlabelled_share,
        )

    def score_map(self, row: int) -> Rgb:
        """Draw the scores of a word, its threshold as a line, and a scale."""
        scores = np.asarray(cv2.resize(self._all.scores[row], self._size), dtype=np.float32)
        picture = _as_rgb(cv2.addWeighted(_heat(scores), _HEAT, self._grey, 1.0 - _HEAT, 0.0))
        threshold = float(self._all.thresholds[row])
        text = f'peak {self._all.scores[row].max():.2f}'
        if np.isfinite(threshold):
            _outline(picture, scores >= threshold, _WHITE)
            text += f', threshold {threshold:.2f}'
        won = float((self._all.ranks[0] == row).mean())
        text += f', best on {won:.1%}'
        picture = np.concatenate([picture, _scale(picture.shape[1], threshold)])
        return _panel(picture, [self._all.names[row], text], self._colors[row])

    def pair(self, pair: Sequence[Taken]) -> Rgb:
        """Draw what two words took from one another, in the winners' colours."""
        picture = self._grey // 2
        for one in pair:
            where = self._all.contested(one.winner, one.loser).astype(np.uint8)
            small = cv2.resize(where, self._size, interpolation=cv2.INTER_NEAREST) > 0
            picture[small] = self._colors[one.winner]
        lines = [self._line(one) for one in pair]
        return _panel(picture, [*lines, *[''] * (2 - len(lines))])

    def _line(self, one: Taken) -> str:
        """Say what a word took."""
        names = f'{self._all.names[one.winner]} from {self._all.names[one.loser]}'
        figures = f': {one.share:.1%}, by {one.margin:.2f}'
        room = _WIDTH - text_width(figures, _TEXT)
        return shortened(names, _TEXT, room) + figures


def _as_rgb(pixels: npt.ArrayLike) -> Rgb:
    return np.asarray(pixels, dtype=np.uint8)


def _strip(height: int) -> Rgb:
    """Return a row of the sheet with nothing on it."""
    strip = np.empty((height, _COLUMNS * _WIDTH + (_COLUMNS + 1) * _GAP, 3), dtype=np.uint8)
    strip[:] = BACKGROUND
    return strip


def _heading(text: str) -> Rgb:
    strip = _strip(2 * _LINE)
    write_text(strip, shortened(text, _TEXT + 2, strip.shape[1]), _GAP, round(1.4 * _LINE), 16)
    return strip


def _panel(picture: Rgb, lines: Sequence[str], color: tuple[int, ...] | None = None) -> Rgb:
    """Put lines of text above a picture, the first one behind a box of a colour if given."""
    head = len(lines) * _LINE
    panel = np.empty((head + picture.shape[0] + _GAP, _WIDTH, 3), dtype=np.uint8)
    panel[:] = BACKGROUND
    for place, text in enumerate(lines):
        left = 0
        if color is not None and not place:
            cv2.rectangle(panel, (0, 3), (_TEXT, 3 + _TEXT), color, thickness=cv2.FILLED)
            left = _TEXT + _GAP
        short = shortened(text, _TEXT, _WIDTH - left)
        write_text(panel, short, left, (place + 1) * _LINE - 5, _TEXT)
    bottom = head + picture.shape[0]
    panel[head:bottom, : picture.shape[1]] = picture
    return panel


def _grid(panels: Sequence[Rgb]) -> list[Rgb]:
    """Put panels into rows."""
    rows = []
    for start in range(0, len(panels), _COLUMNS):
        chunk = panels[start:][:_COLUMNS]
        strip = _strip(max(panel.shape[0] for panel in chunk))
        for column, panel in enumerate(chunk):
            left = _GAP + column * (_WIDTH + _GAP)
            right = left + _WIDTH
            strip[: panel.shape[0], left:right] = panel
        rows.append(strip)
    return rows


def _heat(scores: Scores) -> Rgb:
    """Return scores in [0, 1] as colours."""
    levels = (scores.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)
    return _as_rgb(cv2.cvtColor(colors, cv2.COLOR_BGR2RGB))


def _scale(width: int, threshold: float) -> Rgb:
    """Draw the colours of the scores from 0 to 1, with a mark at the threshold."""
    levels = np.linspace(0.0, 1.0, width, dtype=np.float32)
    bar = _heat(np.repeat(levels[None], _BAR, axis=0))
    if np.isfinite(threshold):
        place = round(threshold * (width - 1))
        cv2.line(bar, (place, 0), (place, _BAR - 1), _WHITE, thickness=2)
    return bar


def _outline(picture: Rgb, mask: Mask, color: tuple[int, int, int]) -> None:
    """Draw the borders of a mask."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, found, -1, color, thickness=1)
