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
"""The text embeddings of a training set: for each class its phrases, and what overlaps with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import field_validator
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.errors import ConfigError
from zegclip_core.settings import read_yaml, Settings, validated
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.templates import fill_template


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
    """Read the words of a dataset's classes.

    Args:
        path: YAML file that maps class names to ``phrases`` and ``overlaps``; empty for none.
        names: The dataset's classes.

    Returns:
        One entry a class, in the dataset's order; a class that the file lacks has its name only.

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
    """Text embeddings of every phrase of a dataset, with each template and averaged.

    Args:
        words: The dataset's classes.
        encoder: Encodes them; its templates are used.
        varied: Whether ``sample`` draws phrases and templates; if not, classes go by their names.

    """

    def __init__(
        self, words: Sequence[ClassWords], encoder: TextEncoder, *, varied: bool = True
    ) -> None:
        self._variants = []  # Of each class the phrases, averaged and in each template, (N, C).
        for entry in words if varied else ():
            phrases = list(dict.fromkeys((entry.name, *entry.phrases)))
            prompts = [
                fill_template(template, phrase)
                for phrase in phrases
                for template in encoder.templates
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


@dataclass(frozen=True)
class ClassSet:
    """The classes of one training set.

    Attributes:
        words: What each is called.
        table: Their text embeddings.
        unseen: Indices of those that training must not see.
    """

    words: tuple[ClassWords, ...]
    table: PhraseTable
    unseen: frozenset[int] = frozenset()

    @property
    def seen(self) -> list[int]:
        """Indices of the classes that training sees."""
        return [index for index in range(len(self.words)) if index not in self.unseen]
