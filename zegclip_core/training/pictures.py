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
"""What a validation looks like: sample, worst and best images beside the truth, confusion."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import lightning
import numpy as np
from PIL import Image
import torch
from zegclip_core.images.confusion import save_confusion
from zegclip_core.images.sheets import Comparison, comparison_sheet
from zegclip_core.training.batches import ValidationSet
from zegclip_core.training.task import SegmentationTask

ROWS = 4
"""Images of each validation set on a sheet."""
CONFUSION, WORST, BEST = 'confusion', 'worst', 'best'
"""Ends of the names of the files that each validation writes anew."""


class ValidationPictures(lightning.Callback):
    """Draws each validation set: images with prediction, truth and names of the colours.

    ``TITLE-STEP.png`` has the same images each time. ``TITLE.worst.png`` and ``TITLE.best.png``,
    of those that the first process scored, and ``TITLE.confusion.png`` are of the last validation.

    Args:
        folder: Where to.
        validation: The sets, in the order of the loaders.
    """

    def __init__(self, folder: Path, validation: Sequence[ValidationSet]) -> None:
        self._folder = folder
        self._validation = validation

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write the files."""
        if not trainer.is_global_zero or not isinstance(pl_module, SegmentationTask):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for number, entry in enumerate(self._validation):
            step = max(len(entry.views) // ROWS, 1)
            samples = range(0, len(entry.views), step)[:ROWS]
            self._draw(pl_module, number, samples, f'{entry.title}-{trainer.global_step:06d}')
            scores = pl_module.image_scores[number]
            ranked = sorted(scores, key=scores.__getitem__)
            for indices, kind in ((ranked, WORST), (reversed(ranked), BEST)):
                chosen = list(indices)[:ROWS]
                self._draw(pl_module, number, chosen, f'{entry.title}.{kind}')
            confusion = pl_module.confusions[number]
            is_seen = {name: name in entry.seen for name in entry.classes}
            path = self._folder / f'{entry.title}.{CONFUSION}.png'
            save_confusion(confusion.matrix, is_seen, path)

    def _draw(
        self, task: SegmentationTask, number: int, indices: Iterable[int], name: str
    ) -> None:
        """Write a sheet of some images of a validation set; none, if there are none."""
        rows = [self._comparison(task, number, index) for index in indices]
        if rows:
            sheet = comparison_sheet(rows, self._validation[number].classes)
            Image.fromarray(sheet).save(self._folder / f'{name}.png')

    def _comparison(self, task: SegmentationTask, number: int, index: int) -> Comparison:
        """Label one view of a validation set."""
        batch = self._validation[number].views.batch(0, [index])
        moved = task.transfer_batch_to_device(batch, task.device, number)
        with torch.inference_mode():
            labels = task.predict_labels(moved, number)
        predicted, truth = (
            ids.cpu().numpy().astype(np.uint8) for ids in (labels, batch.labels[0])
        )
        miou = task.image_scores[number].get(index)
        figures = '' if miou is None else f'mIoU {miou:.3f}'
        return Comparison(batch.images[0].numpy(), predicted, truth, f'view {index}', figures)
