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
"""One step of an alignment, and the figures on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor
from torchvision.transforms.v2.functional import normalize
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.alignment.figures import Naming, Retrieval
from zegclip_core.alignment.steps import Numbered, Step
from zegclip_core.alignment.teachers import (
    GeometryTeacher,
    MaskTeacher,
    NameTeacher,
    SentenceTeacher,
    SynonymTeacher,
)
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.low_rank import PREFIX
from zegclip_core.training.batches import Batch
from zegclip_core.training.module import TrainedPart
from zegclip_core.training.networks import adamw, make_scheduler


@dataclass(frozen=True)
class Teachers:
    """Those that are switched on."""

    masks: MaskTeacher | None = None
    sentences: SentenceTeacher | None = None
    names: NameTeacher | None = None
    geometry: GeometryTeacher | None = None
    synonyms: SynonymTeacher | None = None


@dataclass(frozen=True)
class RegionSet:
    """A dataset whose regions are named: its classes as indices of the words, and its title."""

    title: str
    names: tuple[str, ...]
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Examination:
    """What the figures are measured on, in the order of the validation loaders.

    Attributes:
        sentences: Text embeddings of one sentence for each held-out image, ``(N, D)``, of the
            first loader; ``None`` if there is none.
        regions: Labelled datasets, of the other loaders.
        words: Text embeddings of all words that regions are named by, ``(K, D)``.
        withheld: Which of the words are withheld, by index.
    """

    sentences: Tensor | None
    regions: Sequence[RegionSet]
    words: Tensor
    withheld: frozenset[int]


class AlignmentTask(TrainedPart):
    """Trains projections and, if there are any, low-rank updates of the image tower."""

    network: AlignedTowers

    def __init__(
        self,
        network: AlignedTowers,
        config: AlignConfig,
        teachers: Teachers,
        examination: Examination,
    ) -> None:
        super().__init__(network, config)
        self.config = config
        self._teachers, self._examination = teachers, examination
        self._measures: list[Retrieval | Naming] = []

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return projected patch tokens and image embeddings, from kept features if there are."""
        if batch.patch_tokens is not None and batch.image_embedding is not None:
            return self.network.project(batch.patch_tokens.float(), batch.image_embedding.float())
        vision = self.network.config.vision
        pixels = batch.images.movedim(-1, 1).float()
        images = normalize(pixels, list(vision.mean), list(vision.std))
        return self.network.project(*self.network.encode_image(images))

    def training_step(self, step: Step, _: int) -> Tensor:
        """Return the sum of what the teachers ask for."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step.position)
        parts: dict[str, Tensor] = {}
        teachers = self._teachers
        if teachers.masks is not None and step.masks is not None:
            tokens, _embedding = self._encode(step.masks)
            found = teachers.masks.losses(
                self.network, tokens, step.masks.labels, step.masks.source, generator
            )
            parts |= {name: self.config.masks.weight * value for name, value in found.items()}
        if teachers.sentences is not None and step.sentences is not None:
            tokens, embedding = self._encode(step.sentences.batch)
            parts |= teachers.sentences.losses(
                self.network, tokens, embedding, step.sentences.indices, generator
            )
        if teachers.names is not None and step.names is not None:
            tokens, _embedding = self._encode(step.names.batch)
            parts |= teachers.names.losses(self.network, tokens, step.names.indices)
        if teachers.geometry is not None:
            parts |= teachers.geometry.losses(self.network, generator)
        if teachers.synonyms is not None:
            parts |= teachers.synonyms.losses(self.network, generator)
        shown = {f'train/{name}': value.detach() for name, value in parts.items()}
        self.log_dict(shown, prog_bar=True, batch_size=1)
        # A step may hold nothing to be taught, such as images without nouns.
        nothing = 0.0 * self.network.log_scale
        return nothing + sum(value.float() for value in parts.values())

    def on_validation_epoch_start(self) -> None:
        """Project the words, and begin to count."""
        examination = self._examination
        words = self.network.project_text(examination.words.to(self.device)).float()
        self._measures = []
        if examination.sentences is not None:
            text = self.network.project_text(examination.sentences.to(self.device))
            self._measures.append(Retrieval(text.float()))
        for entry in examination.regions:
            self._measures.append(Naming(entry.classes, words, examination.withheld, entry.names))

    def validation_step(self, image: Numbered, _: int, dataloader_idx: int = 0) -> None:
        """Measure one image."""
        tokens, embedding = (part.float() for part in self._encode(image.batch))
        measure = self._measures[dataloader_idx]
        # In a narrow type near scores would be equal, and count as right.
        with torch.autocast(self.device.type, enabled=False):
            if isinstance(measure, Retrieval):
                measure.update(tokens, embedding, image.indices[0])
            else:
                measure.update(self.network, tokens, image.batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log the figures."""
        titles = ['sentences'] * (self._examination.sentences is not None)
        titles += [entry.title for entry in self._examination.regions]
        for title, measure in zip(titles, self._measures, strict=True):
            named = {f'val/{title}/{name}': value for name, value in measure.figures().items()}
            self.log_dict(named, prog_bar=True)
        self.validated = self.global_step

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own union of unions
        """Return AdamW, the updates at a rate of their own, and the learning rate's course."""
        schedule, factor = self.config.schedule, self.config.space.adaptation_rate
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                rate = factor if name.startswith(PREFIX) else 1.0
                groups.setdefault(rate, []).append(parameter)
        optimizer = adamw(groups.items(), schedule)
        return self.with_course(optimizer, make_scheduler(optimizer, schedule))
