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
"""One training step, one validation, and which weights they change."""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F
from torchvision.transforms.v2.functional import normalize
from zegclip_core.data.views import asked_classes
from zegclip_core.model.losses import (
    count_present_classes,
    NonExclusiveLoss,
    pseudo_labels,
    word_cross_entropy,
)
from zegclip_core.model.metrics import ConfusionMatrix
from zegclip_core.model.scoring import resize_maps
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.options import UNLABELLED
from zegclip_core.training.batches import Batch, ValidationSet
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.module import TrainedPart
from zegclip_core.training.networks import make_optimizer, make_scheduler
from zegclip_core.training.queries import Query, QueryMaker

SCORE = 'val/score'
"""What the best checkpoint has most of: the mean over validation sets of hIoU, or of mIoU where
all of the classes are seen."""


class SegmentationTask(TrainedPart):
    """Trains a model and scores it; each training set has a maker that chooses its words."""

    network: ZegCLIP

    def __init__(
        self,
        network: ZegCLIP,
        config: TrainConfig,
        makers: Sequence[QueryMaker],
        validation: Sequence[ValidationSet],
    ) -> None:
        super().__init__(network, config)
        self.config = config
        self._makers = makers
        self._validation = validation
        self._loss = NonExclusiveLoss(config.loss.mask_weight, config.loss.dice_weight)
        self._divisor = 0.0
        self.confusions: list[ConfusionMatrix] = []
        """Of each validation set, after a validation those of all processes."""
        self.image_scores: list[dict[int, float]] = []
        """Of each validation set, the mean IoU over the classes in each mask, by the image's
        index: of the images that this process has scored, without those that show no class."""

    def _logits(
        self, batch: Batch, text: Tensor, window: tuple[slice, slice] | None = None
    ) -> Tensor:
        """Return mask logits of a batch, from kept features if it has them."""
        vision = self.network.config.vision
        pixels = batch.images.movedim(-1, 1).float()
        images = normalize(pixels, list(vision.mean), list(vision.std))
        if batch.patch_tokens is None or batch.image_embedding is None:
            tokens, embedding = self.network.visual(images)
        else:
            tokens, embedding = batch.patch_tokens.float(), batch.image_embedding.float()
        return self.network.decode(tokens, embedding, text, images, window)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch, not yet divided by what the step's batches hold."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + batch.position)
        # Dropout draws from torch's own source, which a resumed run would find elsewhere.
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        query = self._makers[batch.source].make(batch.labels, generator)
        patch = self.network.config.vision.patch_size
        window, labels = None, batch.labels
        if self.config.loss.window:
            parts = []
            for side, length in zip(labels.shape[1:], self.config.loss.window, strict=True):
                room = max(side // patch - length, 0)
                start = int(torch.randint(room + 1, (), generator=generator))
                parts.append(slice(start, min(start + length, side // patch)))
            window = parts[0], parts[1]
            rows, columns = (slice(part.start * patch, part.stop * patch) for part in window)
            labels = labels[:, rows, columns]
        noise = torch.randn(query.text.shape, generator=generator) * self.config.loss.text_noise
        text = F.normalize(query.text + noise, dim=-1).to(self.device)
        logits = self._logits(batch, text, window).float()
        stride = self.config.loss.stride
        labels = labels[:, ::stride, ::stride].long()
        logits = resize_maps(logits, (labels.shape[1], labels.shape[2]))
        sums, divisor = self._losses(logits, labels, query)
        shown = {f'train/{k}': v.detach() / divisor.clamp(min=1.0) for k, v in sums.items()}
        self.log_dict(shown, prog_bar=True, batch_size=len(labels))
        self._divisor += float(divisor)
        # Lightning divides by the number of accumulated batches.
        return torch.stack(list(sums.values())).sum() * self.config.schedule.accumulate

    def _losses(
        self, logits: Tensor, labels: Tensor, query: Query
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the parts of the loss as sums, by name, and what they are to be divided by."""
        targets = query.index.to(labels.device)[labels]
        if query.guessed:
            others = [k for k in range(len(query.text)) if k not in query.guessed]
            targets = pseudo_labels(targets, logits, others)
        valid = query.valid.to(labels.device)[:, labels].movedim(0, 1)
        weights = query.weights.to(labels.device)
        config = self.config.loss
        known = (targets != UNLABELLED).sum().float()
        parts, divisor = {}, known
        if config.mask_weight or config.dice_weight:
            divisor = count_present_classes(targets)
            nel = self._loss(logits, targets, valid=valid, class_weights=weights, normalizer=1.0)
            parts = {'focal': nel.mask, 'dice': nel.dice}
        if config.cross_entropy_weight:
            values = word_cross_entropy(logits, targets, valid, weights)
            parts['cross_entropy'] = (
                config.cross_entropy_weight * values / known.clamp(min=1.0) * divisor
            )
        return parts, divisor

    def on_before_optimizer_step(self, _: Any) -> None:  # noqa: ANN401 - Lightning's union
        """Divide the gradients by what the batches of the step hold, over all processes.

        The published loss is divided by the number of classes in the whole batch, which is known
        only when the last part of it was seen.
        """
        total = torch.tensor(self._divisor, device=self.device)
        # At least 1, as published, for batches in which nothing is labelled.
        divisor = max(float(self.trainer.strategy.reduce(total, reduce_op='mean')), 1.0)
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(divisor)
        self._divisor = 0.0

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self.confusions = [ConfusionMatrix(len(entry.classes)) for entry in self._validation]
        self.image_scores = [{} for _ in self._validation]

    def validation_step(self, batch: Batch, number: int, dataloader_idx: int = 0) -> None:
        """Count the predictions of one image."""
        labels, whole = self.predict_labels(batch, dataloader_idx), self.confusions[dataloader_idx]
        image = ConfusionMatrix(whole.num_classes)
        image.update(labels.cpu().numpy(), batch.labels[0].cpu().numpy())
        whole.merge(image)
        if not math.isnan(miou := image.present_miou()):
            index = self.trainer.global_rank + number * self.trainer.world_size
            self.image_scores[dataloader_idx][index] = miou

    def predict_labels(self, batch: Batch, dataset: int) -> Tensor:
        """Return the class of every pixel of one image, int64 ``(H, W)``, without threshold."""
        entry = self._validation[dataset]
        asked = asked_classes(batch.labels, len(entry.classes), entry.config.absent_words)
        logits = self._logits(batch, entry.table.canonical(asked).to(self.device)).float()
        scores = resize_maps(logits, (batch.labels.shape[1], batch.labels.shape[2]))[0].sigmoid()
        seen = [entry.classes[index] in entry.seen for index in asked]
        bias = torch.tensor(seen, device=scores.device) * self.config.settings.seen_bias
        best = (scores - bias[:, None, None]).argmax(0)
        return torch.tensor(asked, device=best.device)[best]

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        scores = []
        for number, entry in enumerate(self._validation):
            counts = torch.from_numpy(self.confusions[number].matrix).to(self.device)
            total = self.trainer.strategy.reduce(counts, reduce_op='sum').cpu().numpy()
            self.confusions[number] = ConfusionMatrix.from_counts(total)
            metrics = self.confusions[number].compute(entry.classes, seen=entry.seen)
            figures = {'miou': metrics.miou, 'pixel_accuracy': metrics.pixel_accuracy}
            if not all(metrics.is_seen.values()):
                figures['miou_seen'] = metrics.miou_seen
                figures['miou_unseen'] = metrics.miou_unseen
                figures['hiou'] = metrics.hiou
            # What does not exist, such as the mIoU of classes that no image has, is left out.
            figures = {name: value for name, value in figures.items() if not np.isnan(value)}
            scores.append(figures.get('hiou', figures.get('miou', 0.0)))
            named = {f'val/{entry.title}/{name}': value for name, value in figures.items()}
            self.log_dict(named, prog_bar=True)
        self.validated = self.global_step
        if scores:
            self.log(SCORE, float(np.mean(scores)))

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own union of unions
        """Return AdamW and the learning rate's course."""
        optimizer = make_optimizer(self.network, self.config)
        return self.with_course(optimizer, make_scheduler(optimizer, self.config.schedule))
