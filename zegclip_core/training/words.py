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
"""The words of a training set: for each class its phrases, and what else may be true of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
import torch.nn.functional as F
import yaml
from zegclip_core.errors import ConfigError
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.templates import fill_template


@dataclass(frozen=True)
class ClassWords:
    """A class of a training set.

    Attributes:
        name: Its name in the dataset.
        phrases: Other words for the same thing.
        overlaps: Classes of other datasets that may be true of the same pixels.
    """

    name: str
    phrases: tuple[str, ...] = ()
    overlaps: tuple[str, ...] = ()

    @property
    def all_phrases(self) -> tuple[str, ...]:
        """The name and the other words, each once."""
        return tuple(dict.fromkeys((self.name, *self.phrases)))


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
    if not path:
        return tuple(ClassWords(name) for name in names)
    try:
        values = yaml.safe_load(Path(path).read_text('utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'Cannot read the words {path}: {reason}.') from error
    unknown = sorted(set(values or {}) - set(names))
    if not isinstance(values, Mapping) or unknown:
        raise ConfigError(
            f'Expected {path} to map the classes {", ".join(names[:5])}, ... to their words, '
            f'but got {unknown[0] if unknown else values!r}.'
        )
    return tuple(_class_words(name, values.get(name) or {}, path) for name in names)


def _class_words(name: str, entry: object, path: str) -> ClassWords:
    """Check one class of a words file."""
    if not isinstance(entry, Mapping) or set(entry) - {'phrases', 'overlaps'}:
        raise ConfigError(
            f'Expected phrases and overlaps for the class {name!r} in {path}, but got {entry!r}.'
        )
    phrases, overlaps = entry.get('phrases') or [], entry.get('overlaps') or []
    if not all(isinstance(text, str) for text in [*phrases, *overlaps]):
        raise ConfigError(f'Expected lists of words for the class {name!r} in {path}.')
    return ClassWords(name, tuple(phrases), tuple(overlaps))


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
        self._variants = [_variants(entry, encoder) for entry in words] if varied else []
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


def _variants(entry: ClassWords, encoder: TextEncoder) -> Tensor:
    """Return a class's phrases in each template and averaged over them, ``(N, C)``."""
    averaged = encoder.encode_phrases(entry.all_phrases)
    prompts = [
        fill_template(template, phrase)
        for phrase in entry.all_phrases
        for template in encoder.templates
    ]
    return torch.cat([averaged, F.normalize(encoder.tower.encode(prompts), dim=-1)])


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
