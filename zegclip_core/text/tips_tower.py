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
"""TIPSv2's text tower: tokens look both ways, and their mean is the embedding.

References:
    Cao et al., "TIPSv2", https://arxiv.org/abs/2604.12012, and its release
        (https://github.com/google-deepmind/tips, Apache-2.0), whose parameter names these are.
    Kudo and Richardson, "SentencePiece", https://arxiv.org/abs/1808.06226.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
import math
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from zegclip_core.errors import TowerError
from zegclip_core.text.sentence_tower import BATCH_SIZE
from zegclip_core.text.siglip_tower import check_tokens, tokenizer_folder
from zegclip_core.weights.clip import CLIPWeights
from zegclip_core.weights.families import load_parameters, reading, under, unfilled
from zegclip_core.weights.tips import TOKENIZER_FILE

EXTRA = 'tips'
"""Of this package: brings the reader of its tokenizer."""
_SLOWEST = 10_000.0
"""Factor between the wavelengths of the first and the last of the sinusoids."""


class TipsTextModel(nn.Module):
    """Token ids to embeddings; sizes are those of a ``text_cfg``."""

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        width = sizes['width']
        self.token_embedding = nn.Embedding(sizes['vocab_size'], width)
        blocks = (
            _TextBlock(width, sizes['heads'], sizes['mlp_width']) for _ in range(sizes['layers'])
        )
        # A module of its own only for the released parameter names.
        self.transformer = nn.ModuleDict({'resblocks': nn.ModuleList(blocks)})
        self.ln_final = nn.LayerNorm(width)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the means over the tokens, ``(B, C)``.

        Args:
            ids: Token ids, int64 ``(B, N)``.
            mask: Which of them are tokens, at least one of each text, bool ``(B, N)``; the
                others fill up.
        """
        width = self.token_embedding.embedding_dim
        x = self.token_embedding(ids) * math.sqrt(width)
        x = x + sinusoids(ids.shape[1], width).to(x)
        for block in self.transformer['resblocks'].children():
            x = block(x, mask)
        weights = mask[..., None].to(x)
        mean: Tensor = (self.ln_final(x) * weights).sum(dim=1) / weights.sum(dim=1)
        return mean


class _TextBlock(nn.Module):
    """A pre-norm transformer block with ReLU in its feed-forward part."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {'c_fc': nn.Linear(width, hidden), 'c_proj': nn.Linear(hidden, width)}
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the tokens ``(B, N, C)`` behind the block."""
        normal = self.ln_1(x)
        x = x + self.attn(normal, normal, normal, key_padding_mask=~mask, need_weights=False)[0]
        hidden = functional.relu(self.mlp['c_fc'](self.ln_2(x)))
        out: Tensor = x + self.mlp['c_proj'](hidden)
        return out


def sinusoids(length: int, width: int) -> Tensor:
    """Return positions, float32 ``(length, width)``: sines, then cosines, slower and slower.

    Reference: Vaswani et al., "Attention Is All You Need", https://arxiv.org/abs/1706.03762, in
    tensor2tensor's order.
    """
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32) / max(half - 1, 1)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * _SLOWEST**-steps
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    return functional.pad(table, (0, width % 2))


class TipsTextTower:
    """The text tower of a TIPSv2, on the CPU in float32 like every text tower.

    Args:
        model: With its weights.
        tokenizer: SentencePiece's processor.
        context_length: Most tokens of a text.
        name: The reference that names this tower.

    Raises:
        TowerError: If the tokenizer knows more tokens than the model.
    """

    def __init__(
        self,
        model: TipsTextModel,
        tokenizer: Any,  # noqa: ANN401 - of an optional package
        *,
        context_length: int,
        name: str,
    ) -> None:
        known, needed = model.token_embedding.num_embeddings, len(tokenizer)
        check_tokens(name, known, needed)
        self._model = model.float().eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._device = torch.device('cpu')
        self.name = name
        self.context_length = context_length
        self.embed_dim = model.token_embedding.embedding_dim

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        """Return of each text whether it has more tokens, so that ``encode`` would cut it."""
        return [len(ids) > self.context_length for ids in self._ids(texts)]

    def pieces(self, texts: Iterable[str]) -> list[int]:
        """Return of each text how many tokens it has; 0 if one is unknown."""
        unknown = self._tokenizer.unk_id()
        return [0 if unknown in ids else len(ids) for ids in self._ids(texts)]

    def _ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the token ids of texts, in small letters as it was trained; none is cut.

        A text without any is an unknown token, as the mean over none is no embedding.
        """
        ids: list[list[int]] = self._tokenizer.encode([text.lower() for text in texts])
        return [row or [self._tokenizer.unk_id()] for row in ids]

    def tokenize(self, texts: Sequence[str]) -> list[Tensor]:
        """Return the token ids of each text, int64 ``(N,)``, cut at the context length."""
        return [torch.tensor(ids[: self.context_length]) for ids in self._ids(texts)]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are: L2-normalised embeddings, float32 ``(N, C)`` on the CPU."""
        rows, found = self.tokenize(texts), []
        for start in range(0, len(rows), BATCH_SIZE):
            part = rows[start:][:BATCH_SIZE]
            lengths = torch.tensor([len(row) for row in part])
            ids = pad_sequence(part, batch_first=True).long()
            mask = torch.arange(ids.shape[1]) < lengths[:, None]
            found.append(self._model(ids.to(self._device), mask.to(self._device)))
        return functional.normalize(torch.cat(found), dim=-1).cpu()

    def to(self, device: torch.device) -> None:
        """Compute on another device from now on."""
        self._model.to(device)
        self._device = device


def load_tips_tower(weights: CLIPWeights) -> TipsTextTower:
    """Build the text tower of a TIPSv2's weights.

    Raises:
        TowerError: If the weights do not fit, or its tokenizer cannot be had or read.
    """
    sizes = weights.config['text_cfg']
    # Before the weights, which take longer, as it may be missing.
    tokenizer = _tokenizer(weights)
    with torch.random.fork_rng(devices=[]), unfilled():
        model = TipsTextModel(sizes)
    load_parameters(model, under('text.', weights.state_dict), weights.source)
    return TipsTextTower(
        model, tokenizer, context_length=sizes['context_length'], name=str(weights.reference)
    )


def _tokenizer(weights: CLIPWeights) -> Any:  # noqa: ANN401 - of an optional package
    """Return SentencePiece's processor with the tokenizer of weights."""
    if find_spec('sentencepiece') is None:
        raise TowerError(
            f'Expected the Python package sentencepiece to read the words of {weights.reference}, '
            f"but it is not installed: pip install 'zegclip-ros[{EXTRA}]'."
        )
    import sentencepiece

    path = tokenizer_folder(weights, [TOKENIZER_FILE]) / TOKENIZER_FILE
    with reading(f'the tokenizer of {weights.reference} in {path.parent}', TowerError):
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
