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
"""Scores a model at many seen biases in one pass, and tells how sure the figures are.

A bias is subtracted from what the model says of seen classes before the best class of a pixel is
chosen. It acts on the scores, as in ZegCLIP's release and in ``zegclip evaluate --seen-bias``, or
on the mask logits. A loss on softmaxes trains differences of logits alone, and its sigmoids may
all lie near 1, where only a bias on logits means the same to every model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm
from zegclip_core.cli._outputs import replacing
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.model.metrics import ConfusionMatrix, SegmentationMetrics
from zegclip_core.model.scoring import resize_maps
from zegclip_core.options import SegmenterOptions, UNLABELLED
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.text.vocabulary import Vocabulary

RESAMPLES = 1000
"""Draws of a bootstrap."""
INTERVAL = (2.5, 97.5)
"""Percentiles that an interval lies between."""


class Bias(NamedTuple):
    """A bias: what it acts on, ``scores`` or ``logits``, and how much it subtracts."""

    on: str
    amount: float


NONE = Bias('scores', 0.0)
PUBLISHED = Bias('scores', 0.1)
"""What the release subtracts after inductive training."""
BIASES = (
    *(Bias('scores', amount) for amount in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)),
    *(Bias('logits', amount / 2) for amount in range(1, 17)),
)
"""What is swept."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Pixels of each image, counted at each bias.

    Attributes:
        classes: The ``K`` names that were asked for.
        seen: Those of them that the bias acts on.
        counts: Confusion matrices, int32 ``(images, len(BIASES), K, K + 1)``: row = truth,
            column = prediction, the last for the unlabelled, of which there are none.
    """

    classes: tuple[str, ...]
    seen: tuple[str, ...]
    counts: npt.NDArray[np.int32]

    def metrics(self, bias: Bias) -> SegmentationMetrics:
        """Return the figures over all images at one of the biases."""
        return self._of(self.counts[:, BIASES.index(bias)].sum(axis=0, dtype=np.int64))

    def best(self, on: str) -> Bias:
        """Return the bias on scores or logits with the greatest hIoU, the least of several."""
        biases = [bias for bias in BIASES if bias.on == on or not bias.amount]
        return max(biases, key=lambda bias: (self.metrics(bias).hiou, -bias.amount))

    def intervals(self, bias: Bias, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals of seen and unseen mIoU and hIoU by a bootstrap over images.

        The images are drawn anew with replacement (Efron's percentile method): how else the
        figures of this model could have come out with other pictures of the kind.
        """
        own = self.counts[:, BIASES.index(bias)].astype(np.int64)
        draws = np.random.default_rng(seed).multinomial(
            len(own), np.full(len(own), 1.0 / len(own)), size=RESAMPLES
        )
        drawn = [self._of(np.tensordot(draw, own, axes=1)) for draw in draws]
        return {
            name: (float(low), float(high))
            for name in ('miou_seen', 'miou_unseen', 'hiou')
            for low, high in [np.nanpercentile([getattr(one, name) for one in drawn], INTERVAL)]
        }

    def _of(self, counts: npt.NDArray[np.int64]) -> SegmentationMetrics:
        return ConfusionMatrix.from_counts(counts).compute(self.classes, seen=self.seen)

    def save(self, path: Path) -> None:
        """Write it to a file, which is whole or not there."""
        with replacing(path) as partial:
            np.savez_compressed(partial, classes=self.classes, seen=self.seen, counts=self.counts)

    @classmethod
    def load(cls, path: Path) -> 'Sweep':
        """Read a file of ``save``."""
        with np.load(path) as found:
            classes, seen = (tuple(map(str, found[key])) for key in ('classes', 'seen'))
            return cls(classes, seen, found['counts'])


def sweep(
    model: str | Path,
    dataset: SegmentationDataset,
    indices: Iterable[int],
    classes: Sequence[str],
    seen: Sequence[str],
) -> Sweep:
    """Label images at each of ``BIASES``.

    Args:
        model: A trained model with a decoder.
        dataset: Images with masks.
        indices: Which of them.
        classes: What is asked for, and whose pixels count.
        seen: Those of them whose scores are lowered.
    """
    segmenter = Segmenter.load(model, SegmenterOptions(threshold=0.0, negatives=()))
    words = segmenter.encode(Vocabulary.from_names(classes))
    ids = np.full(256, UNLABELLED, np.uint8)
    ids[[dataset.classes.index(name) for name in classes]] = np.arange(len(classes))
    is_seen = torch.tensor([name in seen for name in classes])
    counts = []
    for index in tqdm(list(indices), desc=f'sweeping biases on {dataset.title}'):
        sample = dataset[index]
        logits = logits_of(segmenter, sample.image, words)
        counts.append(_counts(logits, ids[sample.labels], is_seen))
    return Sweep(tuple(classes), tuple(seen), np.stack(counts).astype(np.int32))


def logits_of(
    segmenter: Segmenter, image: npt.NDArray[np.uint8], words: EncodedVocabulary
) -> Tensor:
    """Return the mask logits of ``K`` words at the size of an image, float32 ``(K, H, W)``."""
    found = segmenter.segment(image, words, mask_logits=True).mask_logits
    return resize_maps(torch.from_numpy(found)[None], (image.shape[0], image.shape[1]))[0]


def _counts(
    logits: Tensor, truth: npt.NDArray[np.uint8], is_seen: Tensor
) -> npt.NDArray[np.int64]:
    """Return the confusion matrix at each bias of one image, ``(len(BIASES), K, K + 1)``.

    The best seen class of a pixel gives way to the best unseen one from some bias on, so that one
    count of the pixels by that place holds all matrices.
    """
    known, classes = torch.from_numpy(truth != UNLABELLED), len(logits)
    values, real = logits[:, known], truth[known.numpy()].astype(np.int64)
    (seen, first), (unseen, second) = (_best(values, part) for part in (is_seen, ~is_seen))
    found = []
    for on in ('scores', 'logits'):
        amounts = np.array([bias.amount for bias in BIASES if bias.on == on])
        lead = seen - unseen if on == 'logits' else seen.sigmoid() - unseen.sigmoid()
        stays = np.searchsorted(amounts, lead.numpy(), side='right')  # At so many biases.
        shape = (classes, classes + 1, len(amounts) + 1)
        before, after = (
            np.bincount(
                np.ravel_multi_index((real, labels.numpy(), stays), shape),
                minlength=int(np.prod(shape)),
            )
            .reshape(shape)
            .cumsum(axis=-1)
            for labels in (first, second)
        )
        found.append(before[..., -1:] - before[..., :-1] + after[..., :-1])
    return np.concatenate(found, axis=-1).transpose(2, 0, 1)


def _best(values: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
    """Return the greatest value of some of the classes at each pixel, and which class has it."""
    best, place = values[part].max(dim=0)
    return best, part.nonzero()[:, 0][place]
