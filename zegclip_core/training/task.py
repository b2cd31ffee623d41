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
"""The training loop's contents, on Lightning: what a step does, how validation is scored."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor
import torch.nn.functional as F
from torch.utils.data import IterableDataset
from zegclip_core.data.folder import IGNORED
from zegclip_core.data.views import asked_classes
from zegclip_core.inference import resize_maps
from zegclip_core.losses import NonExclusiveLoss
from zegclip_core.metrics import ConfusionMatrix
from zegclip_core.model import ZegCLIP
from zegclip_core.training.batches import batch_order, Query, QueryMaker
from zegclip_core.training.config import TrainConfig, ValidationConfig
from zegclip_core.training.features import normalize
from zegclip_core.training.views import Batch, Views
from zegclip_core.training.words import PhraseTable

_HIDDEN = -1e4
"""Logit of a word that does not count in a pixel, for the cross-entropy."""
_LOSS_STRIDE = 2
"""The loss looks at every second row and column of pixels."""


class BatchStream(IterableDataset[Batch]):
    """Batches of several datasets, without end.

    Args:
        views: The datasets.
        config: Shares, batch size and seed.
        start: Tells the number of batches to skip, which a resumed run has done.

    """

    def __init__(
        self, views: Sequence[Views], config: TrainConfig, start: Callable[[], int]
    ) -> None:
        self._views = views
        self._config = config
        self._start = start

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches."""
        order = batch_order(
            [len(views) for views in self._views],
            [source.share for source in self._config.train],
            batch_size=self._config.schedule.batch_size,
            seed=self._config.seed,
            start=self._start(),
        )
        for source, indices in order:
            yield self._views[source].batch(source, indices)


@dataclass(frozen=True)
class ValidationSet:
    """Whole pictures to validate on, with the names of their classes."""

    config: ValidationConfig
    views: Views
    classes: tuple[str, ...]
    table: PhraseTable


class SegmentationTask(lightning.LightningModule):
    """Trains a model and scores it.

    Args:
        network: The model.
        config: The run.
        makers: For each training set, what chooses its words.
        validation: What to validate on.

    """

    def __init__(
        self,
        network: ZegCLIP,
        config: TrainConfig,
        makers: Sequence[QueryMaker],
        validation: Sequence[ValidationSet],
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self._makers = makers
        self._validation = validation
        self._loss = NonExclusiveLoss(config.loss.mask_weight, config.loss.dice_weight)
        self._matrices: list[ConfusionMatrix] = []

    def _logits(
        self, batch: Batch, text: Tensor, window: tuple[slice, slice] | None = None
    ) -> Tensor:
        """Return mask logits of a batch, from kept features if it has them."""
        vision = self.network.config.vision
        images = normalize(batch.images, vision.mean, vision.std)
        if batch.patch_tokens is None or batch.image_embedding is None:
            tokens, embedding = self.network.visual(images)
        else:
            tokens, embedding = batch.patch_tokens.float(), batch.image_embedding.float()
        return self.network.decode(tokens, embedding, text, images, window)

    def _generator(self) -> torch.Generator:
        """Return the step's own source of randomness, the same in a resumed run."""
        seed = self.config.seed * 1_000_003 + self.global_step
        return torch.Generator().manual_seed(seed)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch."""
        generator = self._generator()
        # Dropout draws from torch's own source, which a resumed run would find elsewhere.
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        query = self._makers[batch.source].make(batch.labels, generator)
        window = self._window(batch, generator)
        noise = torch.randn(query.text.shape, generator=generator) * self.config.loss.text_noise
        text = F.normalize(query.text + noise, dim=-1).to(self.device)
        logits = self._logits(batch, text, window).float()
        labels = _crop(batch.labels, window, self.network.config.vision.patch_size)
        labels = labels[:, ::_LOSS_STRIDE, ::_LOSS_STRIDE].long()
        logits = resize_maps(logits, (labels.shape[1], labels.shape[2]))
        parts = self._losses(logits, labels, query)
        self.log_dict({f'train/{k}': v for k, v in parts.items()}, prog_bar=True)
        return torch.stack(list(parts.values())).sum()

    def _window(self, batch: Batch, generator: torch.Generator) -> tuple[slice, slice] | None:
        """Return a random window of patches, if the loss looks at one."""
        if not self.config.loss.window:
            return None
        patch = self.network.config.vision.patch_size
        parts = []
        for side, length in zip(batch.labels.shape[1:], self.config.loss.window, strict=True):
            room = max(side // patch - length, 0)
            start = int(torch.randint(room + 1, (), generator=generator))
            parts.append(slice(start, min(start + length, side // patch)))
        return parts[0], parts[1]

    def _losses(self, logits: Tensor, labels: Tensor, query: Query) -> dict[str, Tensor]:
        """Return the parts of the loss by name."""
        valid = query.valid.to(labels.device)[:, labels].movedim(0, 1)
        targets = query.index.to(labels.device)[labels]
        weights = query.weights.to(labels.device)
        nel = self._loss(logits, targets, valid=valid, class_weights=weights)
        parts = {'focal': nel.mask, 'dice': nel.dice}
        factor = self.config.loss.cross_entropy_weight
        if factor:
            shown = logits.masked_fill(~valid, _HIDDEN)
            values = F.cross_entropy(
                shown, targets, weight=weights, ignore_index=IGNORED, reduction='sum'
            )
            parts['cross_entropy'] = factor * values / (targets != IGNORED).sum().clamp(min=1)
        return parts

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._matrices = [ConfusionMatrix(len(entry.classes)) for entry in self._validation]

    def validation_step(self, batch: Batch, _: int, dataloader_idx: int = 0) -> None:
        """Count the predictions of one picture."""
        labels = self.predict_labels(batch, dataloader_idx)
        self._matrices[dataloader_idx].update(labels.cpu().numpy(), batch.labels[0].cpu().numpy())

    def predict_labels(self, batch: Batch, dataset: int) -> Tensor:
        """Return the class of every pixel of one picture, int64 ``(H, W)``, without threshold."""
        entry = self._validation[dataset]
        asked = asked_classes(batch.labels, len(entry.classes), entry.config.absent_words)
        logits = self._logits(batch, entry.table.canonical(asked).to(self.device)).float()
        best = resize_maps(logits, (batch.labels.shape[1], batch.labels.shape[2]))[0].argmax(0)
        return torch.tensor(asked, device=best.device)[best]

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        for entry, matrix in zip(self._validation, self._matrices, strict=True):
            scores = matrix.compute(entry.classes)
            name = f'val/{entry.config.root.rstrip("/").rsplit("/", 1)[-1]}'
            self.log(f'{name}/miou', scores.miou, prog_bar=True)
            self.log(f'{name}/pixel_accuracy', scores.pixel_accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own union of unions
        """Return AdamW with a warm-up and a cosine decay to nothing."""
        schedule = self.config.schedule
        trained = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        decay = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            schedule.learning_rate,
            total_steps=schedule.steps + 1,
            pct_start=schedule.warmup,
        )
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': decay, 'interval': 'step'},
        }


def _crop(labels: Tensor, window: tuple[slice, slice] | None, patch: int) -> Tensor:
    """Return the pixels of a window of patches."""
    if window is None:
        return labels
    rows, columns = (slice(part.start * patch, part.stop * patch) for part in window)
    return labels[:, rows, columns]
