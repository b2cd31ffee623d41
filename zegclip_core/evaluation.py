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
"""Score a segmenter on a folder of pictures and masks, exactly as it labels pictures in use."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm
from zegclip_core.data.folder import FolderDataset
from zegclip_core.data.views import asked_classes
from zegclip_core.errors import DataError
from zegclip_core.metrics import ConfusionMatrix, SegmentationMetrics
from zegclip_core.segmentation import LabelArray, UNLABELLED
from zegclip_core.segmenter import Segmenter
from zegclip_core.vocabulary import Vocabulary


@dataclass(frozen=True)
class Evaluation:
    """Scores over a set of pictures.

    Attributes:
        metrics: The figures.
        images: Number of pictures.
        seconds: Time that labelling took, without reading files, in seconds.
    """

    metrics: SegmentationMetrics
    images: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for a JSON file."""
        return {
            **self.metrics.to_dict(),
            'images': self.images,
            'seconds': round(self.seconds, 3),
        }


def parse_renames(text: str, classes: Sequence[str]) -> dict[str, str]:
    """Read other words for classes.

    Args:
        text: ``car=automobile, tree=bushes``; empty for none.
        classes: The dataset's classes.

    Raises:
        DataError: If the text has another form or names an unknown class.
    """
    renames = {}
    for part in (part.strip() for part in text.split(',') if part.strip()):
        name, equals, word = (piece.strip() for piece in part.partition('='))
        if not equals or not word or name not in classes:
            raise DataError(
                f'Expected other words as class=word with a class of {", ".join(classes)}, '
                f'but got {part!r}.'
            )
        renames[name] = word
    return renames


def evaluate(
    segmenter: Segmenter,
    dataset: FolderDataset,
    indices: Iterable[int],
    *,
    renames: Mapping[str, str] | None = None,
    absent: int = -1,
    seen: Sequence[str] | None = None,
) -> Evaluation:
    """Label pictures and compare with their masks.

    Args:
        segmenter: What to score.
        dataset: The pictures.
        indices: Which of them.
        renames: Other words to ask for, by class name.
        absent: Classes to ask for beside those in a picture; -1 asks for all.
        seen: Names of the classes that training saw; ``None`` for all.

    Returns:
        The scores; a pixel left unlabelled counts as wrong, one unlabelled in the mask not at all.

    """
    words = [(renames or {}).get(name, name) for name in dataset.classes]
    matrix = ConfusionMatrix(len(words))
    chosen, seconds = list(indices), 0.0
    for index in tqdm(chosen, desc=f'evaluating on {dataset.root.name}'):
        sample = dataset[index]
        asked = asked_classes(sample.labels, len(words), absent)
        vocabulary = Vocabulary.from_names([words[k] for k in asked])
        start = time.perf_counter()
        labels = segmenter.segment(sample.image, vocabulary).labels
        seconds += time.perf_counter() - start
        matrix.update(_dataset_ids(labels, asked), sample.labels)
    return Evaluation(matrix.compute(dataset.classes, seen=seen), len(chosen), seconds)


def _dataset_ids(labels: LabelArray, asked: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Return labels in the dataset's class indices, of which 8 bits hold all."""
    table = np.full(256, UNLABELLED, dtype=np.uint8)
    table[: len(asked)] = asked
    return table[labels]
