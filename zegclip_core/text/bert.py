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
"""BERT's encoder, of PyTorch's own layers: transformers takes seconds to import.

Reference: Devlin et al., "BERT", https://arxiv.org/abs/1810.04805.
"""

from collections.abc import Mapping
import re
from typing import Any

import torch
from torch import nn, Tensor

_NAMES = (
    (r'^embeddings\.word_embeddings\.', 'words.'),
    (r'^embeddings\.position_embeddings\.', 'positions.'),
    (r'^embeddings\.token_type_embeddings\.', 'types.'),
    (r'^embeddings\.LayerNorm\.', 'norm.'),
    (r'^encoder\.layer\.', 'layers.'),
    (r'\.attention\.output\.dense\.', '.self_attn.out_proj.'),
    (r'\.attention\.output\.LayerNorm\.', '.norm1.'),
    (r'\.intermediate\.dense\.', '.linear1.'),
    (r'\.output\.dense\.', '.linear2.'),
    (r'\.output\.LayerNorm\.', '.norm2.'),
)
_UNUSED = ('pooler.', 'embeddings.position_ids')
_QUERY = re.compile(r'(.*)\.attention\.self\.query\.(weight|bias)')


class BertEncoder(nn.Module):
    """Token ids to token embeddings.

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
        """Encode texts.

        Args:
            ids: Token ids, int64 ``(B, N)``, at most as many as there are positions.
            mask: Where a token is one of the text, bool ``(B, N)``.

        Returns:
            Embeddings ``(B, N, C)``.
        """
        places = torch.arange(ids.shape[1], device=ids.device)
        x: Tensor = self.norm(self.words(ids) + self.positions(places) + self.types.weight[0])
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~mask)
        return x


def fits(config: Mapping[str, Any]) -> bool:
    """Return whether a model's ``config.json`` describes what ``BertEncoder`` computes."""
    return (
        config.get('model_type') == 'bert'
        and config.get('hidden_act') == 'gelu'
        and config.get('position_embedding_type', 'absolute') == 'absolute'
    )


def bert_parameters(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of transformers' ``BertModel`` under the names of ``BertEncoder``."""
    found = {}
    for key, value in state_dict.items():
        query = _QUERY.fullmatch(key)
        if query is not None:
            layer, kind = query.groups()
            parts = [
                state_dict.get(f'{layer}.attention.self.{part}.{kind}', torch.empty(0))
                for part in ('query', 'key', 'value')
            ]
            name = f'{layer}.self_attn.in_proj_{kind}'
            found[_renamed(name)] = torch.cat([part for part in parts if part.numel()])
        elif '.attention.self.' not in key and not key.startswith(_UNUSED):
            found[_renamed(key)] = value
    return found


def _renamed(key: str) -> str:
    for pattern, replacement in _NAMES:
        key = re.sub(pattern, replacement, key)
    return key
