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
"""A self-test: scores that say that something is wrong with the set-up, not with the method.

Users of ZegCLIP's release got mIoU near zero and no word of why, most of them from weights that
were not loaded. Untrained weights score every class alike, so that what is subtracted from the
seen ones gives nearly all pixels to the unseen ones.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from zegclip_core.evaluation.evaluate import Evaluation, LOW_SCORE

NEARLY_ALL = 0.9
"""A share of the pixels from which on a symptom is told."""
ENOUGH = 0.5
"""A label may be on nearly all pixels if it belongs on at least such a share of them."""
CHANCE = 0.02
"""Cohen's kappa up to which labels agree with the masks no better than chance."""

_WEIGHTS = 'whether the weights are trained, whole, and those of this model'
_WORDS = 'whether the words fit the classes and are in their order'


def find_symptoms(result: Evaluation) -> list[str]:
    """Return what looks wrong about an evaluation, one line each with what to check.

    Args:
        result: Scores of a whole set.

    Returns:
        No line for a model that found something, however little.
    """
    counts = result.confusion.matrix
    if not counts.sum():
        return ['The masks label no pixel of these pictures, so there is nothing to score.']
    # Share of the counted pixels by truth and by prediction, (K, K + 1); the last: unlabelled.
    shares = counts / counts.sum()
    # What is wrong in another way is no better than chance either.
    return list(_named_symptoms(result, shares)) or list(_chance(shares))


def _named_symptoms(result: Evaluation, shares: npt.NDArray[np.float64]) -> Iterator[str]:
    """Yield what is on nearly all pixels but should not be."""
    unlabelled, low = float(shares[:, -1].sum()), result.low_scores
    if unlabelled >= NEARLY_ALL:
        yield (
            f'{unlabelled:.1%} of the pixels got no label: check --threshold, below which a '
            f'pixel stays unlabelled, --negatives, whose pixels do, {_WORDS}, and {_WEIGHTS}.'
        )
    if low >= NEARLY_ALL:
        yield (
            f'The best score of {low:.1%} of the pixels is below {LOW_SCORE}, as if none of '
            f'the words were there: check {_WEIGHTS}, and {_WORDS}.'
        )
    given, true = shares[:, :-1].sum(axis=0), shares.sum(axis=1)  # (K,) each
    unseen = ~np.array(list(result.metrics.is_seen.values()))
    if given[unseen].sum() >= NEARLY_ALL and true[unseen].sum() < ENOUGH:
        yield (
            f'{given[unseen].sum():.1%} of the pixels are labelled as unseen classes, in truth '
            f'{true[unseen].sum():.1%} are: check {_WEIGHTS} (untrained ones score all classes '
            f'alike), and --seen-bias, which lowers the scores of the seen ones.'
        )
    most = int(given.argmax())
    if given[most] >= NEARLY_ALL and true[most] < ENOUGH:
        name = list(result.metrics.iou)[most]
        yield (
            f'{given[most]:.1%} of the pixels are labelled {name!r}, in truth '
            f'{true[most]:.1%} are: check {_WEIGHTS}, and {_WORDS}.'
        )


def _chance(shares: npt.NDArray[np.float64]) -> Iterator[str]:
    """Yield a line if labels and truth are as good as independent of one another."""
    true = shares.sum(axis=1)
    right, lucky = float(np.trace(shares)), float(true @ shares[:, :-1].sum(axis=0))
    if true.max() < NEARLY_ALL and right - lucky <= CHANCE * (1.0 - lucky):
        yield (
            f'The labels agree with the masks no better than chance (pixel accuracy {right:.3f}, '
            f'by chance {lucky:.3f}): check {_WEIGHTS}, {_WORDS}, and whether the masks belong '
            f'to these pictures.'
        )
