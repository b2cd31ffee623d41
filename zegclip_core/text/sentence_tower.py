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

from collections.abc import Iterable, Mapping, Sequence
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from zegclip_core.errors import TowerError
from zegclip_core.weights.families import load_parameters, Names, rename_weights, unfilled
from zegclip_core.weights.names import package_path, TowerReference

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LAYER = 'encoder.layer.*'
BERT_NAMES: Names = {
    'embeddings.word_embeddings.*': 'words.*',
    'embeddings.position_embeddings.*': 'positions.*',
    'embeddings.token_type_embeddings.*': 'types.*',
    'embeddings.LayerNorm.*': 'norm.*',
    tuple(
        f'{_LAYER}.attention.self.{part}.*' for part in ('query', 'key', 'value')
    ): 'layers.*.self_attn.in_proj_*',
    f'{_LAYER}.attention.output.dense.*': 'layers.*.self_attn.out_proj.*',
    f'{_LAYER}.attention.output.LayerNorm.*': 'layers.*.norm1.*',
    f'{_LAYER}.intermediate.dense.*': 'layers.*.linear1.*',
    f'{_LAYER}.output.dense.*': 'layers.*.linear2.*',
    f'{_LAYER}.output.LayerNorm.*': 'layers.*.norm2.*',
    **dict.fromkeys(('pooler.**', 'embeddings.position_ids')),
}
"""Of transformers' ``BertModel``, each with that of ``BertEncoder``."""


class BertEncoder(nn.Module):
    """BERT's encoder, of PyTorch's own layers: transformers takes seconds to import.

    Reference: Devlin et al., "BERT", https://arxiv.org/abs/1810.04805.

    Args:
        config: What ``config.json`` of the model holds.

    Raises:
        KeyError: If it lacks a size.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = int(config['hidden_size']), float(config['layer_norm_eps'])
        self.width = width
        self.words = nn.Embedding(int(config['vocab_size']), width)
        self.positions = nn.Embedding(int(config['max_position_embeddings']), width)
        self.types = nn.Embedding(int(config['type_vocab_size']), width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                int(config['num_attention_heads']),
                int(config['intermediate_size']),
                dropout=0.0,
                activation='gelu',
                layer_norm_eps=eps,
                batch_first=True,
            )
            for _ in range(int(config['num_hidden_layers']))
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings ``(B, N, C)`` of token ids ``(B, N)``; ``mask`` tells the text's."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x: Tensor = self.norm(self.words(ids) + self.positions(places) + self.types.weight[0])
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~mask)
        return x


BATCH_SIZE = 64
"""How many texts a text tower of any kind encodes at once."""


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
        pooling = _read_json(folder / '1_Pooling' / 'config.json', name)
        modes = [key for key, on in pooling.items() if key.startswith('pooling_mode_') and on]
        if modes != ['pooling_mode_mean_tokens']:
            raise TowerError(
                f'Expected the sentence tower {name} to use pooling_mode_mean_tokens, '
                f'but it uses {", ".join(modes) or "none"}.'
            )
        self._model = _sentence_model(folder, name)
        self._tokenizer = _tokenizer(folder, name)
        settings = _read_json(folder / 'sentence_bert_config.json', name)
        self.context_length = int(settings.get('max_seq_length') or 256)
        self.embed_dim = self._model.width
        self.name = name

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        """Return of each text whether it has more tokens than ``encode`` takes."""
        most = self.context_length
        return [len(ids) > most for ids in self._tokens(texts, most + 1)]

    def pieces(self, texts: Iterable[str]) -> list[int]:
        """Return of each text how many tokens it has, without its ends; 0 if one is unknown."""
        unknown = self._tokenizer.token_to_id('[UNK]')
        found = self._tokens(list(texts), self.context_length)
        return [0 if unknown in ids else len(ids) - 2 for ids in found]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are: L2-normalised embeddings, float32 ``(N, C)`` on the CPU."""
        starts = range(0, len(texts), BATCH_SIZE)
        return torch.cat([self._encode_batch(texts[i:][:BATCH_SIZE]) for i in starts])

    def _encode_batch(self, texts: Sequence[str]) -> Tensor:
        """Return the mean of each text's token embeddings, L2-normalised."""
        rows = [torch.tensor(ids) for ids in self._tokens(texts, self.context_length)]
        device = next(self._model.parameters()).device
        ids = pad_sequence(rows, batch_first=True).to(device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = torch.arange(ids.shape[1], device=device) < lengths[:, None]
        hidden: Tensor = self._model(ids, mask)
        weights = mask[..., None].to(hidden.dtype)
        mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return functional.normalize(mean, dim=-1).cpu()

    def _tokens(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Return the token ids of texts, each cut after so many."""
        self._tokenizer.enable_truncation(most)
        return [found.ids for found in self._tokenizer.encode_batch(list(texts))]

    def to(self, device: torch.device) -> None:
        """Compute on another device from now on."""
        self._model.to(device)


def load_sentence_tower(reference: TowerReference) -> SentenceTower:
    """Load the sentence tower that an installed package holds, in its folder or one just below."""
    root = package_path(reference)
    for folder in [root, *sorted(path for path in root.glob('*') if path.is_dir())]:
        if (folder / 'modules.json').is_file() and (folder / 'config.json').is_file():
            return SentenceTower(folder, name=str(reference))
    raise TowerError(
        f'Expected {reference} to hold a sentence-transformers model folder (with modules.json '
        f'and config.json), but there is none in {root}.'
    )


def _tokenizer(folder: Path, name: str) -> 'Tokenizer':
    """Read the tokenizer; how long texts may be is said with each use."""
    from tokenizers import Tokenizer  # A model with another text tower needs it not.

    path = folder / 'tokenizer.json'
    _read_json(path, name)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises nothing more particular.
        raise TowerError(f'Cannot read the sentence tower {name}: {path}: {error}.') from error
    tokenizer.no_padding()
    return tokenizer


class _Transformer(nn.Module):
    """A model of transformers that is no plain BERT, called as ``BertEncoder`` is."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel  # Seconds, which a BERT does not need.

        further = {key: value for key, value in config.items() if key != 'model_type'}
        settings = AutoConfig.for_model(str(config.get('model_type')), **further)
        self.model: nn.Module = AutoModel.from_config(settings)  # type: ignore[no-untyped-call]
        self.width = int(settings.hidden_size)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings ``(B, N, C)``."""
        out: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return out


def _sentence_model(folder: Path, name: str) -> BertEncoder | _Transformer:
    """Build the transformer of a sentence model and load its weights strictly."""
    path, config = folder / 'model.safetensors', _read_json(folder / 'config.json', name)
    model: BertEncoder | _Transformer
    plain = {'model_type': 'bert', 'hidden_act': 'gelu', 'position_embedding_type': 'absolute'}
    is_bert = plain.items() <= {'position_embedding_type': 'absolute', **config}.items()
    try:
        state_dict = load_file(path)
        # The weights are overwritten: loading a tower must not move the caller's random numbers.
        with torch.random.fork_rng(devices=[]), unfilled():
            model = BertEncoder(config) if is_bert else _Transformer(config)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).strip().partition('\n')[0]
        raise TowerError(f'Cannot read the sentence tower {name}: {reason[:200]}') from error
    if isinstance(model, BertEncoder):
        renamed = rename_weights(state_dict, BERT_NAMES, expected=f'{path} to hold a BERT')
        # They stay in the mapped file, of which only the words that are looked up are read.
        load_parameters(model, renamed, str(path), assign=True)
    else:
        computed = 'embeddings.position_ids'  # Older versions of transformers stored it.
        if computed not in model.model.state_dict():
            state_dict.pop(computed, None)
        load_parameters(model.model, state_dict, str(path))
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
