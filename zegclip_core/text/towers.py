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
"""Frozen text towers: open_clip's; sentence towers, SigLIP's and TIPSv2's have files of their own.

Every tower runs on the CPU in float32: words change rarely and their embeddings are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
import inspect
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn, Tensor
from torch.nn import functional
from zegclip_core.errors import TowerError
from zegclip_core.text.sentence_tower import BATCH_SIZE, load_sentence_tower
from zegclip_core.text.siglip_tower import check_tokens, load_tokenizer, SigLIPTextTower
from zegclip_core.text.tips_tower import load_tips_tower, TipsTextTower
from zegclip_core.weights.catalogue import is_siglip_text, unusable_text
from zegclip_core.weights.clip import clip_config, CLIPWeights, load_clip_weights, NAMES
from zegclip_core.weights.families import load_parameters, rename_weights, under, unfilled
from zegclip_core.weights.names import PAIR_KINDS, parse_reference, TowerReference

_HEAD_WIDTH = 64  # of every CLIP that OpenAI released; their files do not tell the head count


class TextTower(Protocol):
    """Turns texts into embeddings."""

    @property
    def name(self) -> str:
        """The reference that names this tower."""

    @property
    def embed_dim(self) -> int:
        """Length ``C`` of an embedding."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are, without a template.

        Returns:
            L2-normalised embeddings, float32 ``(N, C)`` on the CPU.
        """


@runtime_checkable
class MovableTower(Protocol):
    """A text tower that can compute elsewhere than on the CPU."""

    def to(self, device: torch.device) -> None:
        """Compute on another device from now on."""


@runtime_checkable
class BoundedTower(Protocol):
    """A text tower that says which texts it would cut."""

    @property
    def context_length(self) -> int:
        """Most tokens of a text, those of its ends included."""

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        """Return of each text whether it has more tokens, so that ``encode`` would cut it."""


def load_text_tower(reference: str | TowerReference) -> TextTower:
    """Load the text tower that a reference names.

    Only ``open_clip:NAME/TAG`` and ``tips:NAME/TAG`` may be downloaded, if this machine does not
    have them yet.

    Raises:
        TowerError: If the tower is not known, cannot be had, or its files do not fit.
    """
    if isinstance(reference, str):
        reference = parse_reference(reference)
    if reference.kind in PAIR_KINDS:
        check_text_tower(reference)
        return clip_text_tower(load_clip_weights(reference))
    if reference.kind == 'package':
        return load_sentence_tower(reference)
    raise TowerError(
        'Expected a text tower named open_clip:NAME/TAG, open_clip:NAME/file:PATH, the same of '
        f'tips:, or package:MODULE, but got {reference}, which has no text tower.'
    )


def clip_text_tower(
    weights: CLIPWeights,
) -> 'OpenCLIPTextTower | SigLIPTextTower | TipsTextTower':
    """Build the text tower of weights of open_clip or of TIPSv2.

    Raises:
        TowerError: If the weights do not fit, or a tokenizer of its own cannot be had.
    """
    if weights.reference.kind == 'tips':
        return load_tips_tower(weights)
    if not is_siglip_text(weights.config['text_cfg']):
        return OpenCLIPTextTower.from_weights(weights)
    # Before the weights, which take longer, as it may be missing.
    tokenizer = load_tokenizer(weights)
    model = _text_transformer(weights.config, weights.quick_gelu)
    load_parameters(model, under('text.', weights.state_dict), weights.source)
    return SigLIPTextTower(model, tokenizer, name=str(weights.reference))


def check_text_tower(reference: TowerReference) -> None:
    """Raise TowerError before any download unless a CLIP's text tower can be used."""
    config = clip_config(reference)
    reason = None if reference.kind == 'tips' else unusable_text(config)
    if reason:
        raise TowerError(
            f"Expected a CLIP with a plain text transformer or SigLIP's, but got {reference}: "
            f'{reason}, '
            'which is not supported.'
        )


class OpenCLIPTextTower:
    """The text tower of a CLIP model, built from open_clip's classes.

    Reference: Radford et al., "CLIP", https://arxiv.org/abs/2103.00020, section 2.4.

    Raises:
        TowerError: If the tokenizer knows more tokens than the model.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str) -> None:  # noqa: ANN401
        known = int(model.vocab_size)  # type: ignore[arg-type]
        needed = int(getattr(tokenizer, 'vocab_size', known))
        check_tokens(name, known, needed)
        self._model = model.float().eval().requires_grad_(False)
        self._mask: Tensor = model.attn_mask  # type: ignore[assignment]
        self._tokenizer = tokenizer
        self.name = name
        self.context_length = int(model.context_length)  # type: ignore[arg-type]
        self.embed_dim = int(model.output_dim)  # type: ignore[arg-type]

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        """Return of each text whether it has more tokens, so that ``encode`` would cut it."""
        longer = self._tokenizer(list(texts), context_length=self.context_length + 1)
        # The end token, which has the greatest id, stands where no text that fits has it.
        ends: list[int] = longer.argmax(dim=1).tolist()
        return [end >= self.context_length for end in ends]

    def pieces(self, texts: Iterable[str]) -> list[int]:
        """Return of each text how many tokens it has, without its ends; none is unknown."""
        ends: list[int] = self.tokenize(list(texts)).argmax(dim=1).tolist()
        return [end - 1 for end in ends]

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, int64 ``(N, L)`` with ``L`` the context length.

        A text that is too long is cut; its last token is the end token nevertheless.
        """
        tokens: Tensor = self._tokenizer(list(texts), context_length=self.context_length)
        return tokens

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are: L2-normalised embeddings, float32 ``(N, C)`` on the CPU."""
        batches = torch.split(self.tokenize(texts), BATCH_SIZE)
        features = torch.cat([self._encode_batch(batch) for batch in batches])
        return functional.normalize(features, dim=-1).cpu()

    def _encode_batch(self, tokens: Tensor) -> Tensor:
        """Return the embeddings of token ids ``(N, L)``, on the tower's device.

        No token sees those behind it, and the embedding is that of the last one, which has the
        greatest id: what only fills up the context length is left out.
        """
        length = int(tokens.argmax(dim=1).max()) + 1
        self._model.attn_mask = self._mask[:length, :length]
        features: Tensor = self._model(tokens[:, :length].to(self._mask.device))
        return features

    def to(self, device: torch.device) -> None:
        """Compute on another device from now on."""
        self._model.to(device)
        self._mask = self._mask.to(device)

    @classmethod
    def from_weights(cls, weights: CLIPWeights) -> 'OpenCLIPTextTower':
        """Build the text tower of CLIP weights; raises TowerError where they do not fit."""
        import open_clip  # takes seconds, and the bundled model never needs it

        model = _text_transformer(weights.config, weights.quick_gelu)
        load_parameters(model, under('text.', weights.state_dict), weights.source)
        tokenizer = open_clip.get_tokenizer(weights.reference.name)
        return cls(model, tokenizer, name=str(weights.reference))

    @classmethod
    def from_state_dict(
        cls,
        state_dict: Mapping[str, Tensor],
        *,
        name: str,
        heads: int | None = None,
        quick_gelu: bool = True,
    ) -> 'OpenCLIPTextTower':
        """Build a text tower whose sizes are those of the weights.

        Args:
            state_dict: Weights in OpenAI's layout, or under ``text_encoder.`` as in the files of
                ZegCLIP's authors; those of image towers and decoders are left out.
            name: What the tower is called, and how errors name the weights.
            heads: Attention heads. ``None``: one for every 64 of the width, as OpenAI's.
            quick_gelu: Whether the weights were trained with QuickGELU, as OpenAI's.

        Raises:
            TowerError: If weights are missing or do not fit together.
        """
        import open_clip

        renamed = rename_weights(state_dict, NAMES, expected=f'{name} to hold a CLIP text tower')
        tensors = under('text.', renamed)
        first = 'transformer.resblocks.0.mlp.c_fc.weight'
        needed = ('token_embedding.weight', 'positional_embedding', 'text_projection', first)
        missing = [key for key in needed if key not in tensors]
        if missing:
            raise TowerError(
                f'Expected {name} to hold a CLIP text tower, but {missing[0]} is missing.'
            )
        vocabulary, width = tensors['token_embedding.weight'].shape
        blocks = {key.split('.')[2] for key in tensors if key.startswith('transformer.resblocks.')}
        sizes = {
            'context_length': tensors['positional_embedding'].shape[0],
            'vocab_size': vocabulary,
            'width': width,
            'heads': max(width // _HEAD_WIDTH, 1) if heads is None else heads,
            'layers': len(blocks),
            'mlp_ratio': tensors[first].shape[0] / width,
        }
        config = {'embed_dim': tensors['text_projection'].shape[-1], 'text_cfg': sizes}
        model = _text_transformer(config, quick_gelu)
        load_parameters(model, tensors, name)
        return cls(model, open_clip.SimpleTokenizer(), name=name)


def _text_transformer(config: Mapping[str, Any], quick_gelu: bool) -> nn.Module:
    """Build open_clip's text transformer with random weights."""
    from open_clip import CLIPTextCfg
    from open_clip.transformer import LayerNorm, QuickGELU, TextTransformer

    settings = asdict(CLIPTextCfg(**config['text_cfg']))
    allowed = inspect.signature(TextTransformer).parameters
    sizes = {key: value for key, value in settings.items() if key in allowed}
    sizes |= {'output_tokens': False, 'output_dim': config['embed_dim']}
    activation = partial(QuickGELU if quick_gelu else nn.GELU, **(settings['act_kwargs'] or {}))
    sizes |= {
        'act_layer': activation,
        'norm_layer': partial(LayerNorm, **(settings['norm_kwargs'] or {})),
    }
    # The weights are overwritten: loading a tower must not move the caller's random numbers.
    with torch.random.fork_rng(devices=[]), unfilled():
        model: nn.Module = TextTransformer(**sizes)
    return model
