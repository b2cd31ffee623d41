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
"""What is asked of the batches of a training set: words, and where they count."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import field_validator
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.data.views import present_classes
from zegclip_core.errors import ConfigError
from zegclip_core.model.losses import UNSEEN
from zegclip_core.options import UNLABELLED
from zegclip_core.settings import read_yaml, Settings, validated
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.templates import fill_template
from zegclip_core.training.config import SourceConfig

_T = TypeVar('_T')


class WordsEntry(Settings):
    """What a words file says of a class; what is left blank is empty."""

    phrases: tuple[str, ...] = ()
    """Other words for the same thing."""
    overlaps: tuple[str, ...] = ()
    """Classes of other datasets that may be true of the same pixels."""

    @field_validator('*', mode='before')
    @classmethod
    def _blank_is_empty(cls, value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
        return () if value is None else value


@dataclass(frozen=True)
class ClassWords:
    """A class of a training set: its name in the dataset, phrases for it, and what overlaps."""

    name: str
    phrases: tuple[str, ...] = ()
    overlaps: tuple[str, ...] = ()


def read_words(path: str, names: Sequence[str]) -> tuple[ClassWords, ...]:
    """Read the words of a dataset's classes from a YAML file of ``WordsEntry``; '' is none.

    A class that the file lacks has its name only.

    Raises:
        ConfigError: If the file cannot be read or holds what it must not hold.
    """
    values = read_yaml(Path(path), 'words') if path else {}
    wrong = [values] if not isinstance(values, dict) else [k for k in values if k not in names]
    if wrong:
        raise ConfigError(
            f'Expected {path} to map the classes {", ".join(names[:5])}, ... to their words, '
            f'but got {wrong[0]!r}.'
        )
    words = []
    for name in names:
        try:
            entry = validated(WordsEntry, values.get(name) or {}, name)
        except ConfigError as error:
            raise ConfigError(f'Cannot use the words {path}: {error}') from error
        words.append(ClassWords(name, entry.phrases, entry.overlaps))
    return tuple(words)


class PhraseTable:
    """Text embeddings of every phrase of a dataset, with each of the templates and averaged.

    If not ``varied``, ``sample`` draws no phrases and templates: classes go by their names.
    ``further`` are templates, such as ``an old {}``, that only ``sample`` puts phrases into.
    """

    def __init__(
        self,
        words: Sequence[ClassWords],
        encoder: TextEncoder,
        *,
        varied: bool = True,
        further: Sequence[str] = (),
    ) -> None:
        self._variants = []  # Of each class the phrases, averaged and in each template, (N, C).
        for entry in words if varied else ():
            phrases = list(dict.fromkeys((entry.name, *entry.phrases)))
            prompts = [
                fill_template(template, phrase)
                for phrase in phrases
                for template in (*encoder.templates, *further)
            ]
            averaged = encoder.encode_phrases(phrases)
            single = F.normalize(encoder.tower.encode(prompts), dim=-1)
            self._variants.append(torch.cat([averaged, single]))
        self._names = encoder.encode_classes([[entry.name] for entry in words])

    def canonical(self, indices: Sequence[int]) -> Tensor:
        """Return the embeddings of classes by their names, float32 ``(K, C)``."""
        return self._names[list(indices)]

    def sample(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Return embeddings of classes by a random phrase and template, float32 ``(K, C)``.

        Half the time a class goes by its name, averaged over the templates, as in use.
        """
        if not self._variants:
            return self.canonical(indices)
        rows = []
        for index in indices:
            if torch.rand((), generator=generator) < 0.5:
                rows.append(self._names[index])
            else:
                variants = self._variants[index]
                choice = int(torch.randint(len(variants), (), generator=generator))
                rows.append(variants[choice])
        return torch.stack(rows)


def phrase_table(
    source: SourceConfig, words: Sequence[ClassWords], encoder: TextEncoder
) -> PhraseTable:
    """Return the embeddings that the words of a training set are drawn from."""
    varied = source.wording == 'varied'
    return PhraseTable(words, encoder, varied=varied, further=source.further_templates)


@dataclass(frozen=True)
class ClassSet:
    """The classes of one training set, and which of them training must not see."""

    words: tuple[ClassWords, ...]
    table: PhraseTable
    unseen: frozenset[int] = frozenset()

    @property
    def seen(self) -> list[int]:
        """Indices of the classes that training sees."""
        return [index for index in range(len(self.words)) if index not in self.unseen]


@dataclass(frozen=True)
class Query:
    """What is asked of a batch: ``K`` words and where each of them counts.

    Attributes:
        text: Text embeddings, float32 ``(K, C)``.
        index: Position in the query of each class of the dataset, int64 ``(256,)``; ``UNLABELLED``
            for those that are not asked for and for unlabelled pixels, ``UNSEEN`` for those of
            which training is told only that they are unseen.
        valid: Whether word ``k`` counts in a pixel with label ``v``, bool ``(K, 256)``.
        weights: Weight of each word in the loss, float32 ``(K,)``.
        guessed: Positions of the words among which a pixel labelled ``UNSEEN`` is guessed.
    """

    text: Tensor
    index: Tensor
    valid: Tensor
    weights: Tensor
    guessed: tuple[int, ...] = ()


class QueryMaker:
    """Chooses the words for batches of one dataset, of its own classes and those of others.

    ``pixel_counts`` are the labelled pixels of each class in the training views, float ``(K,)``.
    If ``transductive``, unseen classes are asked for, their pixels being known to be of one of
    them; if not, those pixels count as unlabelled.
    """

    def __init__(
        self,
        config: SourceConfig,
        own: ClassSet,
        others: Sequence[ClassSet],
        pixel_counts: Tensor,
        *,
        transductive: bool = False,
    ) -> None:
        self._config = config
        self._own = own
        self._others = others
        self._guessed = sorted(own.unseen) if transductive else []
        seen_counts = pixel_counts.clone()
        seen_counts[sorted(own.unseen)] = 0.0
        self._weights = balance_weights(seen_counts, config.balance)
        self._foreign = [(set_, i) for set_, other in enumerate(others) for i in other.seen]

    def make(self, labels: Tensor, generator: torch.Generator) -> Query:
        """Choose words for a batch with some labels, uint8 ``(B, H, W)``."""
        present = present_classes(labels)
        seen = [i for i in present if i not in self._own.unseen]
        missing = [i for i in self._own.seen if i not in present]
        count = self._config.absent_words
        chosen = _choose(missing, len(missing) if count < 0 else count, generator)
        # A batch without any seen class still needs a word to be told that it is not there.
        if not (seen or chosen or self._guessed):
            chosen = _choose(self._own.seen, 1, generator)
        own = seen + chosen + self._guessed
        foreign = _choose(self._foreign, self._config.foreign_words, generator)
        text = [self._own.table.sample(own, generator)]
        text += [self._others[set_].table.sample([i], generator) for set_, i in foreign]
        # Own classes count in labelled pixels, and perhaps in the others; those of other datasets
        # only where they are known to be absent.
        own_valid = torch.ones(256, dtype=torch.bool)
        hidden = [] if self._guessed else sorted(self._own.unseen)
        own_valid[[UNLABELLED, *hidden]] = self._config.unlabelled == 'none_of_these'
        valid = [own_valid] * len(own)
        for set_, i in foreign:
            word, absent = self._others[set_].words[i], torch.zeros(256, dtype=torch.bool)
            for k in self._own.seen:
                known = self._own.words[k]
                clash = word.name in known.overlaps or known.name in word.overlaps
                absent[k] = not clash and word.name != known.name
            valid.append(absent)
        index = torch.full((256,), UNLABELLED, dtype=torch.int64)
        index[own] = torch.arange(len(own))
        index[self._guessed] = UNSEEN
        return Query(
            torch.cat(text),
            index,
            torch.stack(valid),
            torch.cat([self._weights[own], torch.ones(len(foreign))]),
            tuple(k for k, i in enumerate(own) if i in self._guessed),
        )


def _choose(options: Sequence[_T], count: int, generator: torch.Generator) -> list[_T]:
    """Return some of the options in random order."""
    order = torch.randperm(len(options), generator=generator)[:count]
    return [options[int(i)] for i in order]


def balance_weights(pixel_counts: Tensor, exponent: float) -> Tensor:
    """Return class weights, float ``(K,)``, that even out how many pixels classes have.

    An exponent of 0 gives ones, 1 weights in inverse proportion. Their mean over the pixels of
    all classes is 1, none is above 5, and a class without pixels has 1.
    """
    share = pixel_counts / pixel_counts.sum().clamp(min=1.0)
    weights = share.clamp(min=1e-6) ** -exponent
    weights = weights / (weights * share).sum().clamp(min=1e-6)
    return torch.where(pixel_counts > 0, weights.clamp(max=5.0), torch.ones_like(weights))
