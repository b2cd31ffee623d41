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
"""What was found in an image, and how the page is told of it."""

from dataclasses import dataclass
from functools import cached_property
import json
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.engines.plain import label_maps
from zegclip_core.explanation import explained, Explanation
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import Segmentation, unlabelled_id
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.web.limits import MAP_SIDE, MAP_VALUES
from zegclip_core.web.wire import levels, packed, text

_explaining = threading.Lock()
"""Held while an explanation is made, which two threads may ask for."""
_TOLD = 12
"""Most pairs of words that are told to have taken pixels from one another."""
_RANKED = 5
"""Most words that are ranked at a place."""


@dataclass(frozen=True, eq=False)
class Found:
    """The labels of an image and all that they were made of.

    Attributes:
        number: The page's count of the image.
        asked: The page's count of its request for the words.
        image: RGB, uint8 ``(H, W, 3)``, as the page shows it.
        live: Whether it is one of a stream.
        encoded: The words.
        segmentation: The labels, with the mask logits of all rows.
        seconds: How long the model took.
    """

    segmenter: Segmenter
    number: int
    asked: int
    image: RgbImage
    live: bool
    encoded: EncodedVocabulary
    segmentation: Segmentation
    seconds: float

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """Mask logits of all rows, float32 ``(R, h, w)``."""
        if self.segmentation.mask_logits is None:
            raise TypeError('Expected a segmentation with its mask logits.')
        return self.segmentation.mask_logits

    @cached_property
    def _explanation(self) -> Explanation:
        return explained(
            self.segmenter,
            self.image,
            self.encoded,
            self.logits,
            max_side=MAP_SIDE,
            max_values=MAP_VALUES,
        )

    @property
    def explanation(self) -> Explanation:
        """The scores of all words, in small, made when somebody asks."""
        with _explaining:
            return self._explanation

    def message(self, row: int | None) -> bytes:
        """Return labels, legend and, if asked, the score map of a row, for the page."""
        about, warning = self.segmentation.report(), str(self.encoded.unfamiliar)
        height, width = self.segmentation.labels.shape
        fields = {
            'image': self.number,
            'asked': self.asked,
            'live': self.live,
            'width': width,
            'height': height,
            'classes': about['classes'],
            'unlabelled': about['unlabelled']['share'],
            'negatives': list(self.encoded.negatives),
            'threshold': self.encoded.threshold,
            'seconds': round(self.seconds, 4),
            'warning': warning,
        }
        arrays: dict[str, Any] = {'labels': self.segmentation.labels}
        if row is not None and row < len(self.logits):
            fields['row'] = row
            arrays['map'] = levels(self.explanation.scores[row])
        return packed('result', fields, arrays)

    def map_message(self, row: int) -> bytes | None:
        """Return the score map of a row; ``None`` if there is no such row."""
        if not 0 <= row < len(self.logits):
            return None
        fields = {'image': self.number, 'asked': self.asked, 'row': row}
        return packed('map', fields, {'map': levels(self.explanation.scores[row])})

    def explanation_message(self) -> str:
        """Return who won from whom and by how much, as ``zegclip explain`` prints it."""
        found = self.explanation
        peaks = found.scores.max(axis=(1, 2))
        return text(
            'explanation',
            image=self.number,
            asked=self.asked,
            rows=[
                {'name': name, 'peak': round(float(peak), 4), 'threshold': _finite(threshold)}
                for name, peak, threshold in zip(found.names, peaks, found.thresholds, strict=True)
            ],
            low=round(float(found.under_threshold.mean()), 6),
            taken=[
                {key: round(value, 4) for key, value in vars(one).items()}
                for one in found.taken()[:_TOLD]
            ],
        )

    def at(self, x: float, y: float) -> dict[str, Any]:
        """Return label and ranking at a place, given in [0, 1) of width and height."""
        labels, found = self.segmentation.labels, self.explanation
        label = int(labels[_place(labels.shape, x, y)])
        row, column = _place(found.scores.shape[1:], x, y)
        scores = found.scores[:, row, column]
        order = np.argsort(-(scores - found.bias), kind='stable')[:_RANKED]
        return {
            'x': x,
            'y': y,
            'label': None if label == unlabelled_id(labels.dtype) else label,
            'ranking': [
                {
                    'row': int(one),
                    'name': found.names[one],
                    'score': round(float(scores[one]), 4),
                    'threshold': _finite(found.thresholds[one]),
                }
                for one in order
            ],
        }

    def whole(self, size: tuple[int, int]) -> Segmentation:
        """Return the labels at another size ``(H, W)``, made of the same mask logits."""
        if size == self.segmentation.labels.shape:
            return self.segmentation
        words = EngineVocabulary(
            self.encoded.vocabulary,
            self.encoded.negatives,
            self.encoded.embeddings,
            self.encoded.bias,
            self.encoded.thresholds,
        )
        with torch.inference_mode():
            maps = torch.from_numpy(self.logits)[None]
            labels, scores = label_maps(maps, size, words, scoring=self.segmenter.scoring)
        return Segmentation(labels[0].numpy(), scores[0].numpy(), self.encoded.vocabulary)

    def report(self, segmentation: Segmentation) -> bytes:
        """Return what the JSON file holds, as that of ``zegclip segment``."""
        height, width = segmentation.labels.shape
        about = {
            'width': width,
            'height': height,
            'model': self.segmenter.model_name,
            'device': str(self.segmenter.device),
            'threshold': self.encoded.threshold,
            'negatives': list(self.encoded.negatives),
            **segmentation.report(),
            'seconds': round(self.seconds, 4),
        }
        return f'{json.dumps(about, indent=2, ensure_ascii=False)}\n'.encode()


def _finite(threshold: float) -> float | None:
    """Return a threshold, ``None`` for that of a negative word."""
    return round(float(threshold), 4) if np.isfinite(threshold) else None


def _place(shape: tuple[int, ...], x: float, y: float) -> tuple[int, int]:
    """Return row and column of a place, given in [0, 1) of width and height."""
    height, width = shape[:2]
    return min(int(y * height), height - 1), min(int(x * width), width - 1)
