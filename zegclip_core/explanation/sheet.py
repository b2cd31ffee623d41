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
from typing import Any

import cv2
from matplotlib.axes import Axes
import numpy as np
from zegclip_core.explanation.explanation import Explanation, Taken
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import draw_legend, draw_overlay, shortened, text_width
from zegclip_core.images.sheets import draw_panels, Panel, sheet_width, TEXT, WIDTH

MAX_MAPS = 24
"""Most score maps on a sheet; those of the words with the most pixels, then the best scores."""
MAX_PAIRS = 6
"""Most pairs of rivals on a sheet."""
_HEAT = 0.8
"""Weight of the colours of the scores; the photo shows through."""
_NEGATIVE = (90, 90, 90)
"""RGB of negative words, which have no colour of their own."""
_SCORES = {
    'sigmoid': "each word's score is its own",
    'softmax': 'the scores of all words sum to 1',
}


def explanation_sheet(explanation: Explanation) -> RgbImage:
    """Draw an explanation.

    Returns:
        RGB, uint8 ``(H, W, 3)``: the photo and its labels, the score map of each word with its
        threshold as a white line, and the pairs of words that contest each other's pixels.
    """
    found = explanation.segmentation
    low = float(explanation.under_threshold.mean())
    labels = f'labels (none: {low:.1%} too low'
    if explanation.negatives:
        labels += f', {found.unlabelled_share - low:.1%} negative'
    overlay = draw_overlay(explanation.image, found, alpha=0.6)
    photo = [Panel(explanation.image, ('photo',)), Panel(overlay, (f'{labels})',))]
    legend = draw_legend(
        found.vocabulary,
        found.shares(),
        width=sheet_width(3),
        text_height=TEXT,
        unlabelled_share=found.unlabelled_share,
    )
    light = cv2.cvtColor(explanation.image, cv2.COLOR_RGB2GRAY)
    grey: RgbImage = np.repeat(np.asarray(light, np.uint8)[..., None], 3, axis=2)
    colors = [tuple(color) for color in explanation.vocabulary.colors.tolist()]
    colors += [_NEGATIVE] * len(explanation.negatives)
    rows, number = shown_rows(explanation), len(explanation.names)
    part = '' if len(rows) == number else f' of {len(rows)} of the {number} words'
    maps = [_score_panel(explanation, row, grey, colors[row]) for row in rows]
    pairs = [_pair_panel(explanation, pair, grey, colors) for pair in rivals(explanation)]
    taken = 'Taken from a word with at least half the score: share of the picture, mean lead'
    return np.concatenate(
        [
            draw_panels(photo, title=f'{explanation.model}: {_SCORES[explanation.scoring]}'),
            legend,
            draw_panels(maps, title=f'Scores{part} from 0 to 1; the white line is the threshold'),
            draw_panels(
                pairs, title=taken if pairs else 'No word comes close to the one that won'
            ),
        ]
    )


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
    return map(tuple, islice(pairs, MAX_PAIRS))


def _score_panel(
    explanation: Explanation, row: int, grey: RgbImage, color: tuple[int, ...]
) -> Panel:
    """Draw the scores of a word, its threshold as a line, and below them a scale."""
    scores, threshold = explanation.scores[row], float(explanation.thresholds[row])
    heat: dict[str, Any] = {'cmap': 'viridis', 'vmin': 0.0, 'vmax': 1.0, 'aspect': 'auto'}

    def paint(axes: Axes) -> None:
        axes.imshow(scores, alpha=_HEAT, **heat)
        scale = axes.inset_axes((0.0, -0.04, 1.0, 0.03))
        scale.imshow(np.linspace(0.0, 1.0, WIDTH)[None], extent=(0.0, 1.0, 0.0, 1.0), **heat)
        scale.set_axis_off()
        if np.isfinite(threshold):
            scale.axvline(threshold, color='white', linewidth=1.5)
        if scores.min() < threshold <= scores.max():
            axes.contour(scores, levels=[threshold], colors='white', linewidths=1.0)

    text = f'peak {scores.max():.2f}'
    if np.isfinite(threshold):
        text += f', threshold {threshold:.2f}'
    won = float((explanation.ranks[0] == row).mean())
    return Panel(grey, (explanation.names[row], f'{text}, best on {won:.1%}'), color, paint)


def _pair_panel(
    explanation: Explanation,
    pair: Sequence[Taken],
    grey: RgbImage,
    colors: Sequence[tuple[int, ...]],
) -> Panel:
    """Draw what two words took from one another, in the winners' colours."""
    image, lines = grey // 2, []
    for one in pair:
        image[explanation.contested(one.winner, one.loser)] = colors[one.winner]
        names = f'{explanation.names[one.winner]} from {explanation.names[one.loser]}'
        figures = f': {one.share:.1%}, by {one.margin:.2f}'
        lines.append(shortened(names, TEXT, WIDTH - text_width(figures, TEXT)) + figures)
    return Panel(image, tuple(lines))
