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
"""Sample pictures at validation: what the model says, beside what is true."""

from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
import numpy.typing as npt
from PIL import Image
import torch
from zegclip_core.images.drawing import draw_legend, draw_overlay
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.training.task import SegmentationTask, ValidationSet

ROWS = 4
"""Pictures of each validation set on a sheet."""


class ValidationPictures(lightning.Callback):
    """Writes a sheet for each validation set: picture, prediction, truth, names of the colours.

    Args:
        folder: Where to.
        validation: The sets, in the order of the loaders.

    """

    def __init__(self, folder: Path, validation: Sequence[ValidationSet]) -> None:
        self._folder = folder
        self._validation = validation

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write the sheets."""
        if not trainer.is_global_zero or not isinstance(pl_module, SegmentationTask):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for number, entry in enumerate(self._validation):
            step = max(len(entry.views) // ROWS, 1)
            rows = [
                self._row(pl_module, number, index)
                for index in range(0, len(entry.views), step)[:ROWS]
            ]
            pictures = _stack(rows)
            legend = draw_legend(Vocabulary.from_names(entry.classes), width=pictures.shape[1])
            path = self._folder / f'{entry.title}-{trainer.global_step:06d}.png'
            Image.fromarray(np.concatenate([pictures, legend])).save(path)

    def _row(self, task: SegmentationTask, number: int, index: int) -> npt.NDArray[np.uint8]:
        """Return picture, prediction and truth side by side, RGB uint8."""
        entry = self._validation[number]
        batch = entry.views.batch(0, [index])
        image = batch.images[0].numpy()
        moved = task.transfer_batch_to_device(batch, task.device, number)
        with torch.inference_mode():
            labels = task.predict_labels(moved, number)
        vocabulary = Vocabulary.from_names(entry.classes)
        drawn = [
            draw_overlay(
                image,
                Segmentation(
                    ids.astype(np.uint8), np.zeros(ids.shape, dtype=np.float32), vocabulary
                ),
            )
            for ids in (labels.cpu().numpy(), batch.labels[0].numpy())
        ]
        return np.concatenate([image, *drawn], axis=1)


def _stack(rows: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Put rows below each other, narrow ones with black at their right."""
    width = max(row.shape[1] for row in rows)
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    )
