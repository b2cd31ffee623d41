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
"""Why an image is labelled as it is: every word's scores, and which word took what from which."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
import math
from typing import Any

import cv2
from matplotlib.axes import Axes
import numpy as np
import numpy.typing as npt
import torch
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.errors import ModelError
from zegclip_core.images.checks import check_image, RgbImage, working_size
from zegclip_core.images.drawing import cut_to_width, draw_legend, draw_overlay, text_width
from zegclip_core.images.sheets import draw_panels, Panel, sheet_width, TEXT, WIDTH
from zegclip_core.model.scoring import resize_maps, scores_of, Scoring
from zegclip_core.segmentation import label_type, LabelArray, Segmentation, unlabelled_id
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.text.vocabulary import Vocabulary

MAX_SIDE = 1024
"""Longest side of the score maps [px]."""
MAX_VALUES = 2**26
"""Most scores of all maps together; with many words the maps are smaller."""
CLOSE = 0.5
"""A runner-up with at least this part of the winner's score contests a pixel."""
LEAST = 0.0005
"""Least share of the image that two words contest to be told of."""
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

Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Taken:
    """What one word took of the pixels that another one contests.

    Attributes:
        winner: Row of the word that is there.
        loser: Row of the word that contests it.
        share: Share of the image's pixels, in [0, 1].
        score: Mean score of the winner on them.
        rival: Mean score of the loser on them.
        margin: Mean difference of what is compared: the scores less the biases.
    """

    winner: int
    loser: int
    share: float
    score: float
    rival: float
    margin: float


@dataclass(frozen=True)
class Explanation:
    """The scores of all words on an image, at the image's size or a smaller one.

    Attributes:
        model: The name that the user gave for the model.
        scoring: ``sigmoid``: each word's score is its own; ``softmax``: they sum to 1.
        image: RGB, uint8 ``(H, W, 3)``.
        vocabulary: The classes, the first rows of what follows.
        phrases: What was encoded for each class, the form of its name first.
        negatives: Words that compete and are never a label, the rows after them.
        scores: In [0, 1], float32 ``(R, H, W)``.
        bias: What is subtracted before the best is chosen, float32 ``(R,)``.
        thresholds: Least score of a labelled pixel, float32 ``(R,)``; infinite for negatives.
    """

    model: str
    scoring: Scoring
    image: npt.NDArray[np.uint8]
    vocabulary: Vocabulary
    phrases: tuple[tuple[str, ...], ...]
    negatives: tuple[str, ...]
    scores: Scores
    bias: Scores
    thresholds: Scores

    @property
    def names(self) -> tuple[str, ...]:
        """The words of the rows, with the form that was encoded where more than case differs."""
        classes = (
            name if name.lower() == form.lower() else f'{name} (as {form})'
            for name, (form, *_) in zip(self.vocabulary.names, self.phrases, strict=True)
        )
        return (*classes, *(f'{word} (negative)' for word in self.negatives))

    @cached_property
    def ranks(self) -> Ids:
        """Rows of the best and, if there are two words, the second best, int ``(2, H, W)``."""
        compared = self.scores - self.bias[:, None, None]
        best = compared.argmax(axis=0)
        if len(compared) == 1:
            return np.asarray(best[None], dtype=np.int64)
        np.put_along_axis(compared, best[None], -np.inf, axis=0)
        return np.stack([best, compared.argmax(axis=0)])

    @property
    def best(self) -> Scores:
        """The best word's score, float32 ``(H, W)``."""
        return self.at(self.ranks[0])

    def at(self, rows: Ids) -> Scores:
        """Return the score of one row a pixel, float32 ``(H, W)``, of rows ``(H, W)``."""
        return np.asarray(np.take_along_axis(self.scores, rows[None], axis=0)[0])

    @property
    def under_threshold(self) -> Mask:
        """Where the best word is a class that does not reach its threshold."""
        is_class = self.ranks[0] < len(self.vocabulary)
        return np.asarray(is_class & ~(self.best >= self.thresholds[self.ranks[0]]))

    @property
    def segmentation(self) -> Segmentation:
        """The labels, as ``Segmenter.segment`` gives them at this size."""
        kind = label_type(len(self.vocabulary))
        is_label = self.best >= self.thresholds[self.ranks[0]]
        ids = np.where(is_label, self.ranks[0], unlabelled_id(kind))
        labels: LabelArray = ids.astype(np.uint8) if kind is np.uint8 else ids.astype(np.uint16)
        return Segmentation(labels, self.best, self.vocabulary)

    def contested(self, winner: int, loser: int) -> Mask:
        """Return where a word is before another one that has at least ``CLOSE`` of its score.

        A negative word takes a pixel only from a class that would have got it.
        """
        if len(self.ranks) < 2:
            return np.zeros(self.scores.shape[1:], dtype=np.bool_)
        pair = (self.ranks[0] == winner) & (self.ranks[1] == loser) & ~self.under_threshold
        if winner >= len(self.vocabulary):
            pair &= self.scores[loser] >= self.thresholds[loser]
        return np.asarray(pair & (self.scores[loser] >= CLOSE * self.scores[winner]))

    def taken(self) -> list[Taken]:
        """Return what words took from one another, the largest share first."""
        rows = len(self.scores)
        if rows == 1:
            return []
        found = []
        for code in np.unique(self.ranks[0] * rows + self.ranks[1]).tolist():
            winner, loser = divmod(code, rows)
            where = self.contested(winner, loser)
            share = float(where.mean())
            if share >= LEAST:
                score, rival = (float(self.scores[row][where].mean()) for row in (winner, loser))
                lead = float(self.bias[loser] - self.bias[winner])
                found.append(Taken(winner, loser, share, score, rival, score - rival + lead))
        return sorted(found, key=lambda one: -one.share)


def explain(
    segmenter: Segmenter, image: npt.NDArray[np.uint8], vocabulary: Vocabulary
) -> Explanation:
    """Compute the scores of all words on an image.

    Args:
        segmenter: With the plain engine and without windows.
        image: RGB, uint8 ``(H, W, 3)``.
        vocabulary: The classes to look for.

    Raises:
        ImageError: If the image has another type or shape, or no pixel.
        ModelError: If the segmenter has another path, or windows.
        VocabularyError: If the words cannot be encoded.
    """
    check_image(image)
    engine = segmenter.engine
    if not isinstance(engine, PlainEngine) or engine.windows is not None:
        raise ModelError(
            'Expected a segmenter with the plain engine that looks at the whole image, but got '
            f'the engine {segmenter.options.engine} and the mode {segmenter.options.mode}.'
        )
    encoded = segmenter.encode(vocabulary)
    maps = _mask_logits(segmenter, engine, image, engine.prepare(encoded))
    return explained(segmenter, image, encoded, maps)


def explained(
    segmenter: Segmenter,
    image: npt.NDArray[np.uint8],
    encoded: EncodedVocabulary,
    mask_logits: npt.NDArray[np.float32],
    *,
    max_side: int = MAX_SIDE,
    max_values: int = MAX_VALUES,
) -> Explanation:
    """Explain an image that was segmented, whatever engine did it.

    Args:
        segmenter: What did it; of it, what does not change is read, so any thread may ask.
        image: RGB, uint8 ``(H, W, 3)``.
        encoded: The words.
        mask_logits: Of all rows, those of negative words too, float32 ``(R, h, w)``.
        max_side: Longest side of the score maps [px].
        max_values: Most scores of all maps together.
    """
    height, width = image.shape[:2]
    longest, area = max(height, width), len(encoded.bias) * height * width
    scale = min(1.0, max_side / longest, math.sqrt(max_values / area))
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    shown = image
    if size != (height, width):
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        shown = np.asarray(small, dtype=np.uint8)
    return Explanation(
        model=segmenter.model_name,
        scoring=segmenter.scoring,
        image=shown,
        vocabulary=encoded.vocabulary,
        phrases=encoded.vocabulary.encoded_phrases(segmenter.settings.seen_classes),
        negatives=encoded.negatives,
        scores=_scores(mask_logits, size, segmenter.scoring),
        bias=encoded.bias.numpy(),
        thresholds=encoded.thresholds.numpy(),
    )


@torch.inference_mode()
def _mask_logits(
    segmenter: Segmenter,
    engine: PlainEngine,
    image: npt.NDArray[np.uint8],
    words: EngineVocabulary,
) -> npt.NDArray[np.float32]:
    """Return the mask logits of all rows, float32 ``(R, h, w)``."""
    inner = working_size(
        *image.shape[:2],
        short_side=segmenter.short_side,
        patch_size=segmenter.patch_size,
        window=None,
    )
    # A copy, since an image that was read from a file may be read-only.
    images = engine.normalised(torch.tensor(image)[None], inner)
    maps = engine.network(images, words.embeddings.to(engine.dtype))[0]
    return np.asarray(maps.float().cpu().numpy(), dtype=np.float32)


@torch.inference_mode()
def _scores(
    mask_logits: npt.NDArray[np.float32], size: tuple[int, int], scoring: Scoring
) -> Scores:
    """Return the scores of all rows without their bias, float32 ``(R, H, W)``."""
    maps, rows = torch.from_numpy(mask_logits)[None], len(mask_logits)
    everything = scores_of(
        lambda chunk: resize_maps(maps[:, chunk], size)[0],
        torch.zeros(rows),
        scoring,
        at_once=rows,
    )
    return np.asarray(everything(slice(0, rows)).numpy(), dtype=np.float32)


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
        lines.append(cut_to_width(names, TEXT, WIDTH - text_width(figures, TEXT)) + figures)
    return Panel(image, tuple(lines))
