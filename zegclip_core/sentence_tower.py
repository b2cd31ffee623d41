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
"""Frozen sentence towers, in the layout of sentence-transformers."""

from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import nn, Tensor
from torch.nn import functional
from zegclip_core.clip_weights import load_parameters
from zegclip_core.errors import TowerError
from zegclip_core.references import package_path, TowerReference

BATCH_SIZE = 64
"""How many texts a text tower of any kind encodes at once."""


def load_sentence_tower(reference: TowerReference) -> 'SentenceTower':
    """Load the sentence tower that an installed package holds.

    Raises:
        TowerError: If it is not there, or its files do not fit.
    """
    return SentenceTower(_model_folder(reference), name=str(reference))


class SentenceTower:
    """A sentence embedding model in the layout of sentence-transformers, read from a folder.

    Equal to what sentence-transformers computes, without its import time. Never uses a network.

    Reference: Reimers and Gurevych, "Sentence-BERT", https://arxiv.org/abs/1908.10084.

    Args:
        folder: Holds ``config.json``, ``model.safetensors``, ``tokenizer.json``,
            ``sentence_bert_config.json`` and ``1_Pooling/config.json``.
        name: The reference that names this tower.

    Raises:
        TowerError: If a file is missing, damaged or does not fit.
    """

    def __init__(self, folder: Path, *, name: str) -> None:
        # Imported here because a CLIP tower does not need it.
        from transformers import AutoTokenizer

        _check_mean_pooling(folder, name)
        self._model = _sentence_model(folder, name)
        # transformers makes up an empty tokenizer where this file is missing.
        _read_json(folder / 'tokenizer.json', name)
        self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        settings = _read_json(folder / 'sentence_bert_config.json', name)
        self._max_tokens = int(settings.get('max_seq_length') or 256)
        self._name = name

    @property
    def name(self) -> str:
        """The reference that names this tower."""
        return self._name

    @property
    def embed_dim(self) -> int:
        """Length ``C`` of an embedding."""
        return int(self._model.config.hidden_size)  # type: ignore[union-attr,arg-type]

    @property
    def context_length(self) -> int:
        """Most tokens of a text; see ``text_towers.BoundedTower``."""
        return self._max_tokens

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        """Return which texts would be cut; see ``text_towers.BoundedTower``."""
        longer = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens + 1)
        return [len(ids) > self._max_tokens for ids in longer['input_ids']]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are; see ``text_towers.TextTower.encode``."""
        starts = range(0, len(texts), BATCH_SIZE)
        return torch.cat([self._encode_batch(texts[i:][:BATCH_SIZE]) for i in starts])

    def _encode_batch(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors='pt',
        ).to(self._model.device)
        hidden: Tensor = self._model(**tokens).last_hidden_state
        mask = tokens['attention_mask'][..., None].to(hidden.dtype)
        return functional.normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=-1).cpu()

    def to(self, device: torch.device) -> None:
        """Move the tower to a device; see ``text_towers.MovableTower``."""
        self._model.to(device)


def _model_folder(reference: TowerReference) -> Path:
    """Return the folder of a package that holds a sentence model: itself or one just below."""
    root = package_path(reference)
    marked = [root, *sorted(path for path in root.glob('*') if path.is_dir())]
    for folder in marked:
        if (folder / 'modules.json').is_file() and (folder / 'config.json').is_file():
            return folder
    raise TowerError(
        f'Expected {reference} to hold a sentence-transformers model folder (with modules.json '
        f'and config.json), but there is none in {root}.'
    )


def _check_mean_pooling(folder: Path, name: str) -> None:
    """Raise unless the model takes the mean over tokens, which is all that is supported."""
    pooling = _read_json(folder / '1_Pooling' / 'config.json', name)
    modes = [key for key, value in pooling.items() if key.startswith('pooling_mode_') and value]
    if modes != ['pooling_mode_mean_tokens']:
        raise TowerError(
            f'Expected the sentence tower {name} to use pooling_mode_mean_tokens, '
            f'but it uses {", ".join(modes) or "none"}.'
        )


def _sentence_model(folder: Path, name: str) -> nn.Module:
    """Build the transformer of a sentence model and load its weights strictly."""
    from transformers import AutoConfig, AutoModel

    path = folder / 'model.safetensors'
    try:
        state_dict = load_file(path)
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().partition('\n')[0]
        raise TowerError(f'Cannot read the sentence tower {name}: {reason[:200]}') from error
    # The weights are overwritten: loading a tower must not move the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    # A buffer that older versions of transformers stored and that is computed now.
    if 'embeddings.position_ids' not in model.state_dict():
        state_dict.pop('embeddings.position_ids', None)
    load_parameters(model, state_dict, str(path))
    return model.float().eval().requires_grad_(False)


def _read_json(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON object from a file of a sentence model."""
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise TowerError(f'Cannot read the sentence tower {name}: {path}: {error}.') from error
    if not isinstance(value, dict):
        raise TowerError(f'Expected {path} of the tower {name} to hold an object, not {value!r}.')
    return value
