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
"""Score a segmenter on images with masks, exactly as it labels images in use."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.data.views import asked_classes
from zegclip_core.model.metrics import ConfusionMatrix, SegmentationMetrics
from zegclip_core.options import UNLABELLED
from zegclip_core.segmentation import Segmentation
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

LOW_SCORE = 0.05
"""A best score below this says that the model finds none of the words in a pixel."""
NEARLY_ALL = 0.9
"""A share of the pixels from which on a symptom is told."""
ENOUGH = 0.5
"""A label may be on nearly all pixels if it belongs on at least such a share of them."""
CHANCE = 0.02
"""Cohen's kappa up to which labels agree with the masks no better than chance."""

_WEIGHTS = 'whether the weights are trained, whole, and those of this model'
_WORDS = 'whether the words fit the classes and are in their order'


@dataclass(frozen=True)
class ImageScore:
    """How well one image was labelled.

    Attributes:
        index: Its place in the dataset.
        miou: Mean IoU over the classes that its mask holds.
        pixel_accuracy: Share of its labelled pixels that got their class.
        labels: What the model said, as class indices of the dataset, uint8 ``(H, W)``.
    """

    index: int
    miou: float
    pixel_accuracy: float
    labels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Evaluation:
    """Scores over a set of images.

    Attributes:
        metrics: The figures.
        images: Number of images.
        seconds: Time that labelling took, without reading files, in seconds.
        confusion: The pixel counts that the figures come from.
        low_scores: Share of the counted pixels whose best score is below ``LOW_SCORE``; nan if no
            pixel was counted.
        worst: The images with the least mean IoU, the worst first, as many as were asked for.
        best: Those with the greatest, the best first, as many as were asked for.
        painted: Of each distractor, by name, the share of all pixels of the images that got it,
            those that the masks leave unlabelled included; nan if there was no image.
    """

    metrics: SegmentationMetrics
    images: int
    seconds: float
    confusion: ConfusionMatrix
    low_scores: float
    worst: tuple[ImageScore, ...] = ()
    best: tuple[ImageScore, ...] = ()
    painted: Mapping[str, float] = field(default_factory=dict)

    @property
    def painted_together(self) -> float:
        """Share of all pixels that any of the distractors got; 0 without distractors."""
        return math.fsum(self.painted.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for a JSON file, those of distractors if there were any."""
        figures = {
            **self.metrics.to_dict(),
            'images': self.images,
            'seconds': round(self.seconds, 3),
        }
        if self.painted:
            shares = {'together': self.painted_together, 'words': dict(self.painted)}
            figures['painted_by_absent_words'] = shares
        return figures


def evaluate(
    segmenter: Segmenter,
    dataset: SegmentationDataset,
    indices: Iterable[int],
    *,
    words: Vocabulary | None = None,
    absent: int = -1,
    distractors: Sequence[VocabularyClass] = (),
    seen: Sequence[str] | None = None,
    bias: Mapping[str, float] | None = None,
    worst: int = 0,
    best: int = 0,
) -> Evaluation:
    """Label images and compare with their masks.

    Args:
        segmenter: What to score.
        dataset: The images.
        indices: Which of them.
        words: What to ask for, one entry for each class of the dataset; ``None`` for its names.
        absent: Classes to ask for beside those in an image; -1 asks for all.
        distractors: Words that no image shows, asked for beside the classes of every image.
        seen: Names of the classes that training saw; ``None`` for all.
        bias: What is subtracted from the scores of classes, by the dataset's name of the class
            whatever it is asked for as, and of distractors, by their own names; ``None`` takes
            the model's.
        worst: How many of the worst images to return.
        best: How many of the best images to return.

    Returns:
        The scores; a pixel left unlabelled, or labelled as a distractor, counts as wrong, one
        unlabelled in the mask not at all.

    Raises:
        VocabularyError: If a distractor has the name of a class that is asked for, or all are too
            many.

    """
    asking = _Asking(segmenter, dataset.classes, words, distractors, bias)
    tally = _Tally(len(dataset.classes), [entry.name for entry in distractors], worst, best)
    chosen = list(indices)
    for index in tqdm(chosen, desc=f'evaluating on {dataset.title}'):
        sample = dataset[index]
        # Sorted, since of equal scores the first class wins: the present ones must not be first.
        asked = sorted(asked_classes(sample.labels, len(dataset.classes), absent))
        encoded = asking.encoded(asked)
        start = time.perf_counter()
        found = segmenter.segment(sample.image, encoded)
        tally.seconds += time.perf_counter() - start
        tally.add(index, found, asked, sample.labels)
    return tally.result(dataset.classes, seen, len(chosen))


class _Asking:
    """Encodes the words for some of the classes and the distractors, with the bias of each."""

    def __init__(
        self,
        segmenter: Segmenter,
        classes: Sequence[str],
        words: Vocabulary | None,
        distractors: Sequence[VocabularyClass],
        bias: Mapping[str, float] | None,
    ) -> None:
        settings = segmenter.settings
        if bias is None:
            bias = dict.fromkeys(settings.seen_classes, settings.seen_bias)
        self._segmenter = segmenter
        self._words = (words or Vocabulary.from_names(classes)).classes
        self._distractors = tuple(distractors)
        self._bias = [bias.get(name, 0.0) for name in classes]
        self._known = bias
        self._last: tuple[list[int], EncodedVocabulary] | None = None

    def encoded(self, asked: list[int]) -> EncodedVocabulary:
        """Return the words of some classes, encoded, and behind them the distractors."""
        if self._last is None or self._last[0] != asked:
            words = Vocabulary((*(self._words[k] for k in asked), *self._distractors))
            # By what a distractor is encoded as: `the Dogs` is the class dog of the training.
            own = [self._bias[k] for k in asked]
            forms, first = words.encoded_phrases(self._known), len(asked)
            own += [self._known.get(form, 0.0) for form, *_ in forms[first:]]
            plain = self._segmenter.encode(words)
            bias = plain.bias.clone()  # That of negative words stays as it is.
            bias[: len(own)] = bias.new_tensor(own)
            self._last = asked, replace(plain, bias=bias)
        return self._last[1]


class _Tally:
    """Counts pixels over the whole set."""

    def __init__(self, classes: int, distractors: Sequence[str], worst: int, best: int) -> None:
        self.seconds = 0.0
        self._confusion = ConfusionMatrix(classes)
        self._distractors = distractors
        self._painted = np.zeros(len(distractors), dtype=np.int64)
        self._pixels = 0
        self._low = 0
        self._keep = {'worst': worst, 'best': best}
        self._kept: dict[str, list[ImageScore]] = {'worst': [], 'best': []}

    def add(
        self,
        index: int,
        found: Segmentation,
        asked: Sequence[int],
        truth: npt.NDArray[np.uint8],
    ) -> None:
        """Count one image that was asked for some classes and behind them the distractors.

        One whose mask labels no pixel cannot be among the worst or best.
        """
        # One entry for each value that labels may have: distractors are no class of the dataset.
        ids = np.full(np.iinfo(found.labels.dtype).max + 1, UNLABELLED, dtype=np.uint8)
        ids[: len(asked)] = asked
        labels = ids[found.labels]
        counts = np.bincount(found.labels.ravel(), minlength=ids.size)
        first, end = len(asked), len(asked) + len(self._painted)
        self._painted += counts[first:end]
        self._pixels += labels.size
        image = ConfusionMatrix(self._confusion.num_classes)
        image.update(labels, truth)
        self._confusion.merge(image)
        known = truth != UNLABELLED
        self._low += int(np.count_nonzero(found.scores[known] < LOW_SCORE))
        miou = image.present_miou()
        if any(self._keep.values()) and not math.isnan(miou):
            self._consider(ImageScore(index, miou, image.accuracy(), labels))

    def _consider(self, score: ImageScore) -> None:
        """Keep an image if it is among the worst or best so far."""
        for kind, sign in (('worst', 1.0), ('best', -1.0)):
            several = [*self._kept[kind], score]
            several.sort(key=lambda entry: sign * entry.miou)
            self._kept[kind] = several[: self._keep[kind]]

    def result(
        self, classes: Sequence[str], seen: Sequence[str] | None, images: int
    ) -> Evaluation:
        """Return the figures of all that was counted."""
        counted = int(self._confusion.matrix.sum())
        return Evaluation(
            metrics=self._confusion.compute(classes, seen=seen),
            images=images,
            seconds=self.seconds,
            confusion=self._confusion,
            low_scores=self._low / counted if counted else float('nan'),
            worst=tuple(self._kept['worst']),
            best=tuple(self._kept['best']),
            painted={
                name: int(count) / self._pixels if self._pixels else math.nan
                for name, count in zip(self._distractors, self._painted, strict=True)
            },
        )


def find_symptoms(result: Evaluation) -> list[str]:
    """Return what looks wrong about an evaluation, one line each with what to check.

    Users of ZegCLIP's release got mIoU near zero and no word of why, most of them from weights
    that were not loaded. Untrained weights score every class alike, so that what is subtracted
    from the seen ones gives nearly all pixels to the unseen ones.
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
        what, rivals = 'no label', ''
        if result.painted:
            what, rivals = 'no class', '--distractors, which are none, '
        yield (
            f'{unlabelled:.1%} of the pixels got {what}: check {rivals}--threshold, below which a '
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
