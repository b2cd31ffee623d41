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
from typing import Any

import torch
from torch import nn, Tensor
from zegclip_core.weights.families import Names

_LAYER = 'encoder.layer.*'
NAMES: Names = {
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
