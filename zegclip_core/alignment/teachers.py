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
"""What teaches an alignment: each teacher has its texts, and a loss for the images of a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.alignment.config import GeometryConfig, SentencesConfig
from zegclip_core.alignment.texts import TextStore
from zegclip_core.data.captions import CaptionedImages, NamedImages
from zegclip_core.data.word_geometry import WordGeometry
from zegclip_core.data.wordnet import Synset
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.contrast import contrastive_loss, pooled_similarity, relational_loss
from zegclip_core.model.losses import word_cross_entropy
from zegclip_core.model.scoring import resize_maps
from zegclip_core.options import UNLABELLED
from zegclip_core.text.nouns import noun_phrases
from zegclip_core.text.withheld import Withheld
from zegclip_core.training.queries import QueryMaker

_DEFINITION = 0.3
"""How often a meaning is told by its definition in place of a word."""
_NOUN_TEMPERATURE = 0.03
"""Of the softmax over patches for a noun, which names a part of an image, not all of it."""


def draw(count: int, most: int, generator: torch.Generator) -> list[int]:
    """Return at most so many of ``count`` indices, in random order."""
    chosen: list[int] = torch.randperm(count, generator=generator)[:most].tolist()
    return chosen


def choose(options: Sequence[int], generator: torch.Generator) -> int:
    """Return one of the options."""
    return options[int(torch.randint(len(options), (), generator=generator))]


@dataclass(frozen=True)
class MaskTeacher:
    """Regions of labelled images against words; one maker for each dataset chooses its words."""

    makers: Sequence[QueryMaker]
    stride: int

    def losses(
        self,
        towers: AlignedTowers,
        patch_tokens: Tensor,
        labels: Tensor,
        source: int,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the cross-entropy over the words, of pixels that are labelled.

        Args:
            towers: What is trained.
            patch_tokens: Projected, L2-normalised ``(B, C, h, w)``.
            labels: Class indices, uint8 ``(B, H, W)``.
            source: Number of the dataset.
            generator: Draws the words.
        """
        query = self.makers[source].make(labels.cpu(), generator)
        device = patch_tokens.device
        text = towers.project_text(query.text.to(device))
        labels = labels[:, :: self.stride, :: self.stride].long()
        logits = towers.compare(patch_tokens, text).float()
        logits = resize_maps(logits, (labels.shape[1], labels.shape[2]))
        valid = query.valid.to(device)[:, labels].movedim(0, 1)
        targets = query.index.to(device)[labels]
        values = word_cross_entropy(logits, targets, valid, query.weights.to(device))
        return {'masks': values / (targets != UNLABELLED).sum().clamp(min=1)}


class SentenceTeacher:
    """Sentences and the nouns in them against images.

    Args:
        captions: The images with their sentences; ``indices`` are those that are taught.
        store: Encodes texts.
        withheld: No noun is one of these words; sentences that mention one are left out only if
            ``config.of_withheld`` says so.
        config: How often nouns must occur, how many are drawn, and the parts' factors.
    """

    def __init__(
        self,
        captions: CaptionedImages,
        indices: Sequence[int],
        store: TextStore,
        withheld: Withheld,
        config: SentencesConfig,
    ) -> None:
        self._config = config
        self.sentences: list[str] = []
        self._of_image: list[range] = []
        for index in indices:
            start = len(self.sentences)
            self.sentences += kept_sentences(captions, index, withheld, config.of_withheld)
            self._of_image.append(range(start, len(self.sentences)))
        self._embeddings = store.sentences(self.sentences)
        self.nouns, self._nouns_of_image = self._find_nouns(withheld)
        self._noun_embeddings = store.phrases(self.nouns)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is taught."""
        return (*self.sentences, *self.nouns)

    def _find_nouns(self, withheld: Withheld) -> tuple[list[str], list[list[int]]]:
        """Return nouns that occur often enough, and which of them each image has."""
        nouns_of = [
            withheld.without_mentioned(noun_phrases(sentence), sentence)
            for sentence in self.sentences
        ]
        per_image = [
            sorted({noun for k in rows for noun in nouns_of[k]}) for rows in self._of_image
        ]
        counts: dict[str, int] = {}
        for nouns in per_image:
            for noun in nouns:
                counts[noun] = counts.get(noun, 0) + 1
        often = sorted(n for n, count in counts.items() if count >= self._config.least_often)
        number = {noun: k for k, noun in enumerate(often)}
        return often, [[number[n] for n in nouns if n in number] for nouns in per_image]

    def losses(
        self,
        towers: AlignedTowers,
        patch_tokens: Tensor,
        embedding: Tensor,
        indices: Sequence[int],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the contrast of images with their sentences and with their nouns.

        Args:
            towers: What is trained.
            patch_tokens: Projected, L2-normalised ``(B, C, h, w)``.
            embedding: Projected image embeddings, L2-normalised ``(B, C)``.
            indices: Which of the taught images these are.
            generator: Draws a sentence and nouns for each.
        """
        config, device, losses = self._config, patch_tokens.device, {}
        if config.weight:
            rows = [choose(self._of_image[index], generator) for index in indices]
            text = towers.project_text(self._embeddings[rows].to(device))
            same = torch.eye(len(rows), dtype=torch.bool, device=device)
            pooled = contrastive_loss(pooled_similarity(patch_tokens, text), same, towers.scale)
            whole = contrastive_loss(embedding @ text.T, same, towers.scale)
            losses['sentences'] = config.weight * (pooled + whole) / 2
        if config.noun_weight:
            losses |= self._noun_losses(towers, patch_tokens, indices, generator)
        return losses

    def _noun_losses(
        self,
        towers: AlignedTowers,
        patch_tokens: Tensor,
        indices: Sequence[int],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the contrast of images with nouns, of which an image may have several."""
        found = [set(self._nouns_of_image[index]) for index in indices]
        drawn = {
            sorted(nouns)[k]
            for nouns in found
            for k in draw(len(nouns), self._config.nouns, generator)
        }
        if not drawn:
            return {}
        order = sorted(drawn)
        device = patch_tokens.device
        positive = torch.tensor([[noun in nouns for noun in order] for nouns in found])
        text = towers.project_text(self._noun_embeddings[order].to(device))
        similarity = pooled_similarity(patch_tokens, text, _NOUN_TEMPERATURE)
        loss = contrastive_loss(similarity, positive.to(device), towers.scale)
        return {'nouns': self._config.noun_weight * loss}


def kept_sentences(
    captions: CaptionedImages, index: int, withheld: Withheld, of_withheld: str
) -> list[str]:
    """Return the sentences of an image that are taught: all, or those without withheld words."""
    sentences = captions.sentences[index]
    if of_withheld == 'keep':
        return list(sentences)
    return [sentence for sentence in sentences if not withheld.mentions(sentence)]


class NameTeacher:
    """Photos against the names of them all."""

    def __init__(
        self, images: NamedImages, indices: Sequence[int], store: TextStore, weight: float
    ) -> None:
        self.words = [images.words[index] for index in indices]
        self._distinct = sorted(set(self.words))
        self._weight = weight
        self._embeddings = store.phrases(self._distinct)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is taught."""
        return tuple(self._distinct)

    def losses(
        self, towers: AlignedTowers, patch_tokens: Tensor, indices: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return the cross-entropy over all names, of images as ``SentenceTeacher`` has them."""
        device = patch_tokens.device
        text = towers.project_text(self._embeddings.to(device))
        similarity = pooled_similarity(patch_tokens, text, _NOUN_TEMPERATURE)
        targets = torch.tensor([self._distinct.index(self.words[index]) for index in indices])
        loss = F.cross_entropy(towers.scale * similarity, targets.to(device))
        return {'names': self._weight * loss}


class GeometryTeacher:
    """The neighbours that words have in a space that has seen images."""

    def __init__(
        self,
        geometry: WordGeometry,
        store: TextStore,
        withheld: Withheld,
        config: GeometryConfig,
    ) -> None:
        self._config = config
        rows = [
            k
            for k, words in enumerate(geometry.words)
            if not any(map(withheld.is_withheld, words))
        ]
        self._teacher = torch.from_numpy(geometry.embeddings)[rows]
        # A definition that mentions a withheld word would teach it.
        self._choices = [
            [*geometry.words[k], *_told(geometry.definitions[k], withheld)] for k in rows
        ]
        self.texts = tuple(dict.fromkeys(text for texts in self._choices for text in texts))
        self._number = {text: k for k, text in enumerate(self.texts)}
        self._embeddings = store.phrases(self.texts)

    def losses(self, towers: AlignedTowers, generator: torch.Generator) -> dict[str, Tensor]:
        """Return how much the words of a random part differ in their neighbours.

        Half the time a word goes by its name, else by a synonym or its definition.
        """
        chosen = draw(len(self._choices), self._config.batch_size, generator)
        rows = [self._number[_wording(self._choices[k], generator)] for k in chosen]
        device = towers.log_scale.device
        student = towers.project_text(self._embeddings[rows].to(device))
        teacher = self._teacher[chosen].to(device)
        loss = relational_loss(student.float(), teacher, self._config.temperature)
        return {'geometry': self._config.weight * loss}


def _wording(choices: Sequence[str], generator: torch.Generator) -> str:
    if torch.rand((), generator=generator) < 0.5:
        return choices[0]
    return choices[choose(range(len(choices)), generator)]


def _told(definition: str, withheld: Withheld) -> tuple[str, ...]:
    return (definition,) if definition and not withheld.mentions(definition) else ()


class SynonymTeacher:
    """Words that mean the same lie at one place, and so does what they mean.

    Meanings with a single word, which has nothing to be told apart from, are left out.
    """

    def __init__(
        self,
        synsets: Sequence[Synset],
        store: TextStore,
        withheld: Withheld,
        *,
        weight: float,
        batch_size: int,
    ) -> None:
        self._weight, self._batch_size = weight, batch_size
        kept = [
            entry
            for entry in synsets
            if len(entry.words) > 1
            and not any(map(withheld.is_withheld, entry.words))
            and not withheld.mentions(entry.definition)
        ]
        words = list(dict.fromkeys(word for entry in kept for word in entry.words))
        self.texts = (*words, *(entry.definition for entry in kept))
        number: Mapping[str, int] = {word: k for k, word in enumerate(words)}
        self._words = [[number[word] for word in entry.words] for entry in kept]
        self._first_definition = len(words)
        # As they are: with all templates, tens of thousands of words would take long.
        self._embeddings = store.sentences(self.texts)

    def losses(self, towers: AlignedTowers, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the contrast of two wordings of each of some meanings."""
        pairs = []
        for entry in draw(len(self._words), self._batch_size, generator):
            words = self._words[entry]
            one, other = (words[k] for k in draw(len(words), 2, generator))
            if torch.rand((), generator=generator) < _DEFINITION:
                other = self._first_definition + entry
            pairs.append((one, other))
        device = towers.log_scale.device
        one_side, other_side = (
            towers.project_text(self._embeddings[list(rows)].to(device))
            for rows in zip(*pairs, strict=True)
        )
        same = torch.eye(len(pairs), dtype=torch.bool, device=device)
        loss = contrastive_loss(one_side @ other_side.T, same, towers.scale)
        return {'synonyms': self._weight * loss}
