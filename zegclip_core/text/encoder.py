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
"""From words to text embeddings: templates, averaging, and a cache of phrases."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
import logging
import math

import torch
from torch import Tensor
from torch.nn import functional
from zegclip_core.devices import side_stream
from zegclip_core.errors import VocabularyError
from zegclip_core.text.negatives import competing
from zegclip_core.text.phrases import StandardForms
from zegclip_core.text.templates import fill_template, resolve_templates, SINGLE
from zegclip_core.text.towers import BoundedTower, load_text_tower, MovableTower, TextTower
from zegclip_core.text.unfamiliar import Unfamiliar, unfamiliar
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import ModelSettings

__all__ = [
    'CACHE_SIZE',
    'EncodedVocabulary',
    'TextEncoder',
    'TextTower',
    'encode_vocabulary',
    'load_text_tower',
]

logger = logging.getLogger(__name__)

CACHE_SIZE = 10_000
"""How many phrases are kept; those not used for longest leave first."""

_CHUNK = 64  # phrases whose prompts are encoded at once, so that memory stays bounded


class TextEncoder:
    """Encodes classes, each one or more phrases, with a text tower and templates.

    A phrase is put into every template, the normalised embeddings are averaged, and the mean is
    normalised again. It is then kept, so that a phrase that was used before costs nothing.

    Args:
        tower: Encodes the prompts.
        templates: A name or texts; see ``zegclip_core.text.templates.resolve_templates``.
        cache_size: How many phrases to keep, at least 1.

    Raises:
        ConfigError: If the templates are not known or not allowed.
        ValueError: If ``cache_size`` is less than 1.
    """

    def __init__(
        self,
        tower: TextTower,
        templates: str | Sequence[str] = SINGLE,
        *,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        if cache_size < 1:
            raise ValueError(f'Expected `cache_size` to be at least 1, but got {cache_size}.')
        self._tower = tower
        self._templates = resolve_templates(templates)
        self._cache_size = cache_size
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        self._encoded_phrases = 0

    @property
    def tower(self) -> TextTower:
        """The text tower."""
        return self._tower

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates that every phrase is put into."""
        return self._templates

    @property
    def embed_dim(self) -> int:
        """Length ``C`` of an embedding."""
        return self._tower.embed_dim

    @property
    def encoded_phrases(self) -> int:
        """How many phrases the tower has encoded so far; a kept phrase does not count again."""
        return self._encoded_phrases

    def to(self, device: torch.device) -> None:
        """Move the text tower to a device, if it can compute there; embeddings stay on the CPU."""
        if isinstance(self._tower, MovableTower):
            self._tower.to(device)

    def encode_classes(self, classes: Sequence[Sequence[str]]) -> Tensor:
        """Encode ``K`` classes, each at least one phrase, as the normalised means over them.

        Returns:
            L2-normalised embeddings, float32 ``(K, C)`` on the CPU.

        Raises:
            VocabularyError: If there is no class, one without phrases, or a phrase that is too
                long for the tower.
        """
        for phrases in classes:
            if isinstance(phrases, str) or not phrases:
                raise VocabularyError(
                    f'Expected a list of at least one phrase for each class, but got {phrases!r}.'
                )
        embeddings = self.encode_phrases(list(chain.from_iterable(classes)))
        parts = torch.split(embeddings, [len(phrases) for phrases in classes])
        return functional.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=-1)

    def encode_phrases(self, phrases: Sequence[str]) -> Tensor:
        """Encode phrases, each on its own: L2-normalised, float32 ``(N, C)`` on the CPU.

        Raises:
            VocabularyError: If there is no phrase, or one with more tokens than the tower reads.
        """
        if not phrases:
            raise VocabularyError('Expected at least one class, but got none.')
        # Kept apart from the cache, which may be smaller than what is asked for at once.
        known = {phrase: self._cache[phrase] for phrase in phrases if phrase in self._cache}
        missing = [phrase for phrase in dict.fromkeys(phrases) if phrase not in known]
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start:][:_CHUNK]
            known.update(zip(chunk, self._encode_new(chunk), strict=True))
        for phrase in phrases:
            if phrase not in self._cache:
                # A copy, because a row of a larger tensor would keep the whole of it alive.
                self._cache[phrase] = known[phrase].clone()
            self._cache.move_to_end(phrase)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return torch.stack([known[phrase] for phrase in phrases])

    def _encode_new(self, phrases: Sequence[str]) -> Tensor:
        """Return the ensembles of phrases that are not in the cache, float32 ``(N, C)``."""
        prompts = [
            fill_template(template, phrase) for phrase in phrases for template in self._templates
        ]
        tower = self._tower
        if isinstance(tower, BoundedTower) and any(overlong := tower.overlong(prompts)):
            phrase = phrases[overlong.index(True) // len(self._templates)]
            raise VocabularyError(
                'Expected a phrase that the model reads to its end, at most '
                f'{tower.context_length} tokens with its sentence, but got more in '
                f'{phrase[:40]!r}...: shorten it.'
            )
        embeddings = tower.encode(prompts)
        self._encoded_phrases += len(phrases)
        per_phrase = embeddings.reshape(len(phrases), len(self._templates), -1)
        return functional.normalize(per_phrase.mean(dim=1), dim=-1)


@dataclass(frozen=True, eq=False)
class EncodedVocabulary:
    """A vocabulary with its text embeddings, and what they were encoded with.

    The tensors have ``R`` rows, the classes first and then the negative words. They are on the
    CPU, from where an engine takes them without waiting for a frame.

    Attributes:
        vocabulary: The classes.
        embeddings: L2-normalised text embeddings, float32 ``(R, C)``.
        bias: Calibration of each row, float32 ``(R,)``, 0 for what was not seen in training.
        thresholds: Least score of a labelled pixel, float32 ``(R,)`` in [0, 1]; infinite for
            negative words, which are never a label.
        threshold: That of the classes without one of their own.
        negatives: Words that compete with the classes: where one of them wins, a pixel is
            unlabelled. Words that the vocabulary asks for are not among them.
        unfamiliar: The classes that the text tower cannot know, or may not.

    Raises:
        ValueError: If there is not one row for each class and negative word.
    """

    vocabulary: Vocabulary
    embeddings: Tensor
    bias: Tensor
    thresholds: Tensor
    threshold: float = 0.0
    negatives: tuple[str, ...] = ()
    unfamiliar: Unfamiliar = field(default_factory=Unfamiliar)

    def __post_init__(self) -> None:
        """Count the rows."""
        expected = len(self.vocabulary) + len(self.negatives)
        for name in ('embeddings', 'bias', 'thresholds'):
            rows = len(getattr(self, name))
            if rows != expected:
                raise ValueError(
                    f'Expected `{name}` of {expected} rows, one for each class and negative word, '
                    f'but got {rows}.'
                )


def encode_vocabulary(
    vocabulary: Vocabulary,
    encoder: TextEncoder,
    settings: ModelSettings,
    *,
    threshold: float,
    negatives: Sequence[str],
    device: torch.device,
) -> EncodedVocabulary:
    """Encode the words of a vocabulary and those that compete with it.

    Args:
        vocabulary: The classes.
        encoder: The text tower with its templates.
        settings: Those of the model: which classes it was trained on, and their bias.
        threshold: Least score of a labelled pixel, in [0, 1], for classes without their own.
        negatives: Words that compete, less those that the vocabulary asks for.
        device: Where the text tower computes.
    """
    phrases = vocabulary.encoded_phrases(settings.seen_classes)
    forms = StandardForms(settings.seen_classes)
    rivals = competing(negatives, vocabulary)
    with side_stream(device):
        embeddings = encoder.encode_classes([*phrases, *((forms.of(word),) for word in rivals)])
    strange = unfamiliar(vocabulary, encoder.tower)
    if str(strange):
        logger.warning('Words: %s', strange)
    seen = set(settings.seen_classes)
    bias = [settings.seen_bias if name in seen else 0.0 for name, *_ in phrases]
    thresholds = [
        threshold if entry.threshold is None else entry.threshold for entry in vocabulary.classes
    ]
    return EncodedVocabulary(
        vocabulary,
        embeddings,
        torch.tensor([*bias, *[0.0] * len(rivals)]),
        torch.tensor([*thresholds, *[math.inf] * len(rivals)]),
        threshold,
        rivals,
        strange,
    )
