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
"""SigLIP's text tower, whose tokens look both ways and whose last token counts, and its tokenizer.

References:
    Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (SigLIP),
        https://arxiv.org/abs/2303.15343.
    Tschannen et al., "SigLIP 2", https://arxiv.org/abs/2502.14786.
"""

from collections.abc import Iterable, Sequence
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional
from zegclip_core.errors import TowerError
from zegclip_core.text.sentence_tower import BATCH_SIZE
from zegclip_core.weights.catalogue import (
    cache_folder,
    cached_hub_file,
    hub_is_reachable,
    hub_url,
    TOKENIZER_FILES,
)
from zegclip_core.weights.clip import CLIPWeights
from zegclip_core.weights.families import first_line, reading

logger = logging.getLogger(__name__)


class SigLIPTextTower:
    """The text tower of a SigLIP or SigLIP 2, on the CPU in float32 like every text tower.

    Args:
        model: open_clip's text transformer with its weights.
        tokenizer: open_clip's ``HFTokenizer``.
        name: The reference that names this tower.

    Raises:
        TowerError: If the tokenizer knows more tokens than the model.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str) -> None:  # noqa: ANN401
        known, needed = int(model.vocab_size), len(tokenizer.tokenizer)  # type: ignore[arg-type]
        check_tokens(name, known, needed)
        self._model = model.float().eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._device = torch.device('cpu')
        self.name = name
        self.context_length = int(model.context_length)  # type: ignore[arg-type]
        self.embed_dim = int(model.output_dim)  # type: ignore[arg-type]

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        """Return of each text whether it has more tokens, so that ``encode`` would cut it."""
        return [len(ids) > self.context_length for ids in self._ids(texts, ends=True)]

    def pieces(self, texts: Iterable[str]) -> list[int]:
        """Return of each text how many tokens it has, without its ends; 0 if one is unknown."""
        unknown = self._tokenizer.tokenizer.unk_token_id
        found = self._ids(texts, ends=False)
        return [0 if unknown in ids else len(ids) for ids in found]

    def _ids(self, texts: Iterable[str], *, ends: bool) -> list[list[int]]:
        """Return the token ids of texts, neither cut nor filled up, with their ends or not."""
        clean = [self._tokenizer.clean_fn(text) for text in texts]
        if not clean:
            return []
        ids: list[list[int]] = self._tokenizer.tokenizer(
            clean, add_special_tokens=ends, padding=False, truncation=False
        ).input_ids
        return ids

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, int64 ``(N, L)`` filled up to the context length."""
        tokens: Tensor = self._tokenizer(list(texts), context_length=self.context_length)
        return tokens

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are: L2-normalised embeddings, float32 ``(N, C)`` on the CPU.

        What fills up the context length counts: SigLIP was trained without a mask.
        """
        batches = torch.split(self.tokenize(texts), BATCH_SIZE)
        features = torch.cat([self._model(batch.to(self._device)) for batch in batches])
        return functional.normalize(features, dim=-1).cpu()

    def to(self, device: torch.device) -> None:
        """Compute on another device from now on."""
        self._model.to(device)
        self._device = device


def load_tokenizer(weights: CLIPWeights) -> Any:  # noqa: ANN401 - open_clip's HFTokenizer
    """Return the tokenizer that belongs to SigLIP weights.

    Its files are those in the folder of a weights file of the user's, else those of the hub, which
    are downloaded once.

    Raises:
        TowerError: If it cannot be had or read.
    """
    from open_clip.tokenizer import HFTokenizer

    text = weights.config['text_cfg']
    folder = tokenizer_folder(weights, TOKENIZER_FILES)
    with reading(f'the tokenizer of {weights.reference} in {folder}', TowerError):
        return HFTokenizer(
            str(folder),
            context_length=text['context_length'],
            local_files_only=True,
            **text.get('tokenizer_kwargs', {}),
        )


def check_tokens(name: str, known: int, needed: int) -> None:
    """Refuse a text tower that has fewer token embeddings than its tokenizer has tokens.

    Raises:
        TowerError: If it has.
    """
    if known < needed:
        raise TowerError(f'Expected {name} to have {needed} token embeddings, but it has {known}.')


def tokenizer_folder(weights: CLIPWeights, names: Sequence[str]) -> Path:
    """Return the folder with the tokenizer of weights, downloaded if need be.

    That is the one of a weights file of the user's, if it has the first of the tokenizer's files,
    else one of the hub's local cache.

    Raises:
        TowerError: If it cannot be had.
    """
    folder = Path(weights.source).parent
    if weights.reference.path is not None and (folder / names[0]).is_file():
        return folder
    repository = weights.config['text_cfg']['hf_tokenizer_name']
    cached = cached_hub_file(repository, [names[0]])
    if cached is not None:
        return cached.parent
    if not hub_is_reachable():
        reason = 'is not on this machine and the model hub cannot be reached'
        raise _missing(repository, names, weights, reason)
    from huggingface_hub import hf_hub_download

    logger.info('Downloading the tokenizer of %s, once.', weights.reference)
    try:
        paths = [hf_hub_download(repository, name) for name in reversed(names)]
    except (OSError, RuntimeError, ValueError) as error:
        reason = f'cannot be downloaded ({first_line(error)})'
        raise _missing(repository, names, weights, reason) from error
    return Path(paths[0]).parent


def _missing(
    repository: str, names: Sequence[str], weights: CLIPWeights, reason: str
) -> TowerError:
    """Return the error of a tokenizer that cannot be had; says what to do."""
    files = ' and '.join(hub_url(repository, name) for name in names)
    what = 'them' if len(names) > 1 else 'it'
    return TowerError(
        f'The tokenizer of {weights.reference} {reason}: fetch {files} where there is a network, '
        f'and put {what} into the folder {cache_folder(repository)}, or beside a weights file of '
        'yours.'
    )
