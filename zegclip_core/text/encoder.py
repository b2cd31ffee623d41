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
"""From phrases to class embeddings: templates, averaging, and a cache of phrases."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional
from zegclip_core.errors import VocabularyError
from zegclip_core.text.templates import fill_template, resolve_templates, SINGLE
from zegclip_core.text.towers import BoundedTower, load_text_tower, MovableTower, TextTower

__all__ = ['CACHE_SIZE', 'TextEncoder', 'TextTower', 'load_text_tower']

CACHE_SIZE = 10_000
"""How many phrases are kept; those not used for longest leave first."""

_CHUNK = 64  # phrases whose prompts are encoded at once, so that memory stays bounded


class TextEncoder:
    """Encodes classes, each one or more phrases, with a text tower and templates.

    A phrase is put into every template, the normalised embeddings are averaged, and the mean is
    normalised again. It is then kept, so that a phrase that was used before costs nothing.

    Args:
        tower: Encodes the prompts.
        templates: The name of a set of templates, such as ``single``, or the texts themselves,
            each with exactly one ``{}``.
        cache_size: How many phrases to keep, at least 1.

    Attributes:
        tower: The text tower.
        templates: The texts that every phrase is put into.
        encoded_phrases: How many phrases the tower has encoded so far; a kept phrase does not
            count again.

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
        self.tower = tower
        self.templates = resolve_templates(templates)
        self.encoded_phrases = 0
        self._cache_size = cache_size
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def embed_dim(self) -> int:
        """Length ``C`` of an embedding."""
        return self.tower.embed_dim

    def to(self, device: torch.device) -> None:
        """Move the text tower to a device, if it can compute there; embeddings stay on the CPU."""
        if isinstance(self.tower, MovableTower):
            self.tower.to(device)

    def encode_classes(self, classes: Sequence[Sequence[str]]) -> Tensor:
        """Encode classes as the normalised means over their phrases.

        Args:
            classes: For each of the ``K`` classes its phrases, at least one each.

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
        """Encode phrases, each on its own.

        Returns:
            L2-normalised embeddings, float32 ``(N, C)`` on the CPU.

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
        count = len(self.templates)
        prompts = [
            fill_template(template, phrase) for phrase in phrases for template in self.templates
        ]
        if isinstance(self.tower, BoundedTower) and any(cut := self.tower.overlong(prompts)):
            raise VocabularyError(
                'Expected a phrase that the model reads to its end, at most '
                f'{self.tower.context_length} tokens with its sentence, but got more in '
                f'{phrases[cut.index(True) // count][:40]!r}...: shorten it.'
            )
        embeddings = self.tower.encode(prompts).reshape(len(phrases), count, -1)  # (N, T, C)
        self.encoded_phrases += len(phrases)
        return functional.normalize(embeddings.mean(dim=1), dim=-1)
