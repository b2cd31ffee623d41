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
"""Sample images at validation: what the model says, beside what is true."""

from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
from PIL import Image
import torch
from zegclip_core.images.sheets import Comparison, comparison_sheet
from zegclip_core.training.batches import ValidationSet
from zegclip_core.training.task import SegmentationTask

ROWS = 4
"""Images of each validation set on a sheet."""


class ValidationPictures(lightning.Callback):
    """Writes a sheet for each validation set: image, prediction, truth, names of the colours.

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
                self._comparison(pl_module, number, index)
                for index in range(0, len(entry.views), step)[:ROWS]
            ]
            path = self._folder / f'{entry.title}-{trainer.global_step:06d}.png'
            Image.fromarray(comparison_sheet(rows, entry.classes)).save(path)

    def _comparison(self, task: SegmentationTask, number: int, index: int) -> Comparison:
        """Label one view of a validation set."""
        batch = self._validation[number].views.batch(0, [index])
        moved = task.transfer_batch_to_device(batch, task.device, number)
        with torch.inference_mode():
            labels = task.predict_labels(moved, number)
        predicted, truth = (
            ids.cpu().numpy().astype(np.uint8) for ids in (labels, batch.labels[0])
        )
        return Comparison(batch.images[0].numpy(), predicted, truth, f'view {index}')
