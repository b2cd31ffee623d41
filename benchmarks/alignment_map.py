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
"""A linear map from an image tower's features to text embeddings, and words it has not seen.

The map is fitted in closed form, so that nothing depends on how well a training went.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.alignment_features import Floats, Integers, Regions
import numpy as np
import numpy.typing as npt
from zegclip_core.errors import DataError

Mask = npt.NDArray[np.bool_]

STRENGTH = 0.1
"""Of the ridge, in units of the variance of the features; the same for all words."""


@dataclass(frozen=True)
class LinearMap:
    """A map from features to text embeddings.

    Attributes:
        mean: What is subtracted from features, ``(D,)``.
        scale: What they are divided by then, ``(D,)``.
        weights: ``(D, C)``.
        centre: What the text embeddings' differences are counted from, ``(C,)``.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    centre: Floats

    def nearest(self, features: Floats, embeddings: Floats) -> Integers:
        """Return which embedding ``(K, C)`` is nearest by cosine to each feature, ``(N,)``."""
        words = embeddings - self.centre
        words = words / np.linalg.norm(words, axis=1, keepdims=True)
        # The length of what is compared with them changes no order.
        scores = (features - self.mean) / self.scale @ self.weights @ words.T
        return np.asarray(scores.argmax(axis=1))


def fit(
    features: Floats, words: Integers, embeddings: Floats, strength: float = STRENGTH
) -> LinearMap:
    """Fit a ridge regression in which all words weigh the same, however many regions they have.

    Args:
        features: Those of the regions, ``(N, D)``.
        words: Index of the right word of each, ``(N,)``.
        embeddings: Text embeddings of all words, ``(K, C)``; those without regions do not act.
        strength: Factor of the penalty.

    """
    _, position, counts = np.unique(words, return_inverse=True, return_counts=True)
    weights: Floats = 1.0 / (len(counts) * counts[position])
    mean = weights @ features
    spread: Floats = np.sqrt(weights @ (features - mean) ** 2)
    scale = np.maximum(spread, np.finfo(np.float64).tiny)
    inputs, centre = (features - mean) / scale, weights @ embeddings[words]
    weighted = (inputs * weights[:, np.newaxis]).T
    penalty = strength * np.eye(inputs.shape[1])
    solution: Floats = np.linalg.solve(
        weighted @ inputs + penalty, weighted @ (embeddings[words] - centre)
    )
    return LinearMap(mean, scale, solution, centre)


def balanced(right: Mask, words: Integers) -> float:
    """Return the share of regions that were named rightly, averaged over the words."""
    _, position, counts = np.unique(words, return_inverse=True, return_counts=True)
    shares = np.bincount(position, weights=right.astype(np.float64)) / counts
    return float(shares.mean())


@dataclass(frozen=True)
class Question:
    """Words to fit on, and words to ask for.

    Attributes:
        seen: Words that the map is fitted on.
        unseen: Words whose regions it is asked to name.
        words: All words that it may answer with.
        source: Index of the dataset whose regions are asked; ``None`` for all.
    """

    seen: tuple[int, ...]
    unseen: tuple[int, ...]
    words: tuple[int, ...]
    source: int | None = None


@dataclass(frozen=True)
class Answer:
    """Shares of regions of unseen words that were named rightly, averaged over the words.

    Attributes:
        few: With the unseen words alone to choose from.
        every: With all words to choose from.
        seen_few: As ``few``, had the words been seen, in other pictures.
        seen_every: As ``every``, likewise.
    """

    few: float
    every: float
    seen_few: float
    seen_every: float


Fold = tuple[Mask, Mask]
"""Which regions a map is fitted on, and which it names."""


def answer(regions: Regions, question: Question) -> Answer:
    """Ask a map for words that it has not seen, and for the same words had it seen them."""
    asked = _asked(regions, question)
    known = np.isin(regions.words, question.seen + question.unseen)
    later = later_halves(regions)
    halves = [(known & ~half, asked & half) for half in (later, ~later)]
    few, every = unseen_shares(regions, question)
    seen_few, seen_every = _shares(regions, halves, question, STRENGTH)
    return Answer(few, every, seen_few, seen_every)


def unseen_shares(
    regions: Regions, question: Question, strength: float = STRENGTH
) -> tuple[float, float]:
    """Return what a map makes of words that it has not seen: ``Answer.few`` and ``every``."""
    seen = np.isin(regions.words, question.seen)
    return _shares(regions, [(seen, _asked(regions, question))], question, strength)


def later_halves(regions: Regions) -> Mask:
    """Return which regions are in the later half of those of their word and dataset, ``(N,)``."""
    later = np.zeros(len(regions.words), dtype=np.bool_)
    alike = regions.words + len(regions.names) * regions.sources
    for key in np.unique(alike):
        places = np.flatnonzero(alike == key)
        half = len(places) // 2
        later[places[half:]] = True
    return later


def askable(regions: Regions, source: int | None = None) -> Integers:
    """Return the words that have regions in both halves, of a dataset or of all, in order."""
    later = later_halves(regions)
    own = np.ones_like(later) if source is None else regions.sources == source
    return np.intersect1d(regions.words[own & later], regions.words[own & ~later])


def _asked(regions: Regions, question: Question) -> Mask:
    asked = np.isin(regions.words, question.unseen)
    return asked if question.source is None else asked & (regions.sources == question.source)


def _shares(
    regions: Regions, folds: Sequence[Fold], question: Question, strength: float
) -> tuple[float, float]:
    """Return the shares named rightly among the unseen words and among all."""
    choices = np.array(question.unseen), np.array(question.words)
    named = np.full((2, len(regions.words)), -1)
    for fitted, asked in folds:
        features, words = regions.features[fitted], regions.words[fitted]
        mapping = fit(features, words, regions.embeddings, strength)
        for row, choice in zip(named, choices, strict=True):
            nearest = mapping.nearest(regions.features[asked], regions.embeddings[choice])
            row[asked] = choice[nearest]
    every = np.logical_or.reduce([asked for _, asked in folds])
    words = regions.words[every]
    few, many = (balanced(row[every] == words, words) for row in named)
    return few, many


def random_question(regions: Regions, seen: int, unseen: int, seed: int) -> Question:
    """Draw words; those of a seed are the same ones however many of the seen are wanted.

    Args:
        regions: The regions.
        seen: How many words to fit on.
        unseen: How many to ask for.
        seed: Seed of the choice.

    Raises:
        DataError: If there are too few words.
    """
    order = np.random.default_rng(seed).permutation(np.unique(regions.words))
    asked = order[np.isin(order, askable(regions))][:unseen]
    others = order[~np.isin(order, asked)][:seen]
    if len(asked) < unseen or len(others) < seen:
        raise DataError(
            f'Expected at least {seen + unseen} words with regions, {unseen} of them with '
            f'several, in {", ".join(regions.titles)}, but found {len(order)}.'
        )
    chosen = [tuple(int(word) for word in words) for words in (others, asked)]
    return Question(chosen[0], chosen[1], chosen[0] + chosen[1])


def split_question(regions: Regions, unseen: Sequence[str], source: int) -> Question:
    """Ask for a dataset's unseen words among all of its own.

    Args:
        regions: The regions; a word without any is neither fitted on nor asked for.
        unseen: Names of the words that the map does not see, in any of the datasets.
        source: Index of the dataset.

    """
    hidden = [index for index, name in enumerate(regions.names) if name in unseen]
    seen = np.setdiff1d(regions.words, hidden)
    asked = np.intersect1d(askable(regions, source), hidden)
    own = np.unique(regions.words[regions.sources == source])
    chosen = [tuple(int(word) for word in words) for words in (seen, asked, own)]
    return Question(chosen[0], chosen[1], chosen[2], source)
