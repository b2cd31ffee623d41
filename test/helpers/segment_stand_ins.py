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
"""What stands in for the model of ``zegclip segment``, and inputs that it labels."""

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from PIL import Image
import pytest
import torch
from zegclip_core import segmenter
from zegclip_core.errors import ModelError
from zegclip_core.options import UNLABELLED
from zegclip_core.segmentation import Moment, Segmentation
from zegclip_core.text.vocabulary import Vocabulary


class ColorSegmenter:
    """Stands in for the model: red is class 0, blue class 1, the rest unlabelled."""

    loaded: list[dict[str, object]] = []  # noqa: RUF012 - one list, which the fixture empties

    model_name = 'colours'
    device = torch.device('cpu')
    moments: ClassVar[list[Moment | None]] = []

    @classmethod
    def load(cls, model: str, **options: object) -> 'ColorSegmenter':
        cls.moments.clear()
        cls.loaded.append({'model': model, **options})
        if model == 'unheard-of':
            raise ModelError("Expected a known model, but got 'unheard-of'.")
        return cls()

    def encode(self, vocabulary: Vocabulary) -> Vocabulary:
        return vocabulary

    def segment(
        self,
        image: np.ndarray,
        vocabulary: Vocabulary,
        *,
        moment: Moment | None = None,
        mask_logits: bool = False,
    ) -> Segmentation:
        assert not mask_logits  # Which cost time, and nobody asked for.
        self.moments.append(moment)
        labels = np.full(image.shape[:2], UNLABELLED, dtype=np.uint8)
        labels[image[..., 0] > 128] = 0
        labels[image[..., 2] > 128] = 1
        return Segmentation(labels, np.ones(labels.shape, np.float32), vocabulary)


def stand_in(monkeypatch: pytest.MonkeyPatch, model: type[ColorSegmenter]) -> None:
    """Have ``zegclip segment`` in this process take a stand-in, which needs no encoded words."""
    monkeypatch.setattr(segmenter, 'Segmenter', model)
    monkeypatch.setattr('zegclip_core.cli.segment.encode_words', lambda *_: None)


def half_red(path: Path, size: tuple[int, int] = (30, 40)) -> Path:
    """Write a picture whose left half is red and whose right half is grey."""
    pixels = np.full((*size, 3), 100, dtype=np.uint8)
    pixels[:, : size[1] // 2] = (255, 0, 0)
    Image.fromarray(pixels).save(path)
    return path


def write_video(path: Path, frames: int = 3, size: tuple[int, int] = (48, 64)) -> Path:
    """Write a red video at 12 frames a second."""
    code = cv2.VideoWriter.fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), code, 12.0, size[::-1])
    for _ in range(frames):
        writer.write(np.full((*size, 3), (0, 0, 255), dtype=np.uint8))
    writer.release()
    return path
