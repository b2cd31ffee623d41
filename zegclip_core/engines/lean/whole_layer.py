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
"""The last decoder layer with all that the method throws away, to measure what that costs."""

from torch import Tensor
from zegclip_core.model.decoder import DecoderLayer, MaskAttention


class WholeLayer:
    """Draws masks by a whole decoder layer, as the release does.

    Of that layer only the attention logits are used, so that its value and output projections and
    its feed-forward part are in no file of ours: here they have any weights.

    Args:
        attention: The two projections that are used, on their device and in their type.
        mlp_dim: Hidden width of the feed-forward part.
    """

    def __init__(self, attention: MaskAttention, mlp_dim: int) -> None:
        """Build the rest of the layer."""
        weight = attention.q.weight
        layer = DecoderLayer(weight.shape[1], attention.heads, mlp_dim, dropout=0.0)
        self._layer = layer.to(weight.device, weight.dtype).eval()
        self._projections = attention

    def __call__(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return the mask logits ``(B, K, N)`` of ``queries`` ``(B, K, C)``, as ``MaskLayer``."""
        attention = self._layer.multihead_attn
        query, key, value = (
            part.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for part in (
                self._projections.q(queries),
                self._projections.k(tokens),
                attention.v(tokens),
            )
        )
        logits = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        mixed = (logits.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        self._layer.finish(queries, attention.proj(mixed))  # Nobody asks for what it gives.
        average: Tensor = logits.mean(dim=1)
        return average
