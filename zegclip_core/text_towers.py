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
"""Frozen text towers: open_clip's, and sentence towers that installed packages hold.

Every tower runs on the CPU in float32: words change rarely and their embeddings are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
import inspect
import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import nn, Tensor
from torch.nn import functional
from zegclip_core.clip_catalog import unusable_text
from zegclip_core.clip_weights import clip_config, CLIPWeights, load_clip_weights, load_parameters
from zegclip_core.errors import TowerError
from zegclip_core.references import package_path, parse_reference, TowerReference

BATCH_SIZE = 64
"""How many texts are encoded at once."""

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

    Args:
        reference: ``open_clip:NAME/TAG``, ``open_clip:NAME/file:PATH`` or
            ``package:MODULE[/PATH]``; see ``zegclip_core.references``. Only the first may be
            downloaded, and only if this machine does not have it yet.

    Raises:
        TowerError: If the tower is not known, cannot be had, or its files do not fit.
    """
    if isinstance(reference, str):
        reference = parse_reference(reference)
    if reference.kind == 'open_clip':
        check_text_tower(reference)
        return OpenCLIPTextTower.from_weights(load_clip_weights(reference))
    if reference.kind == 'package':
        return SentenceTower(_model_folder(reference), name=str(reference))
    raise TowerError(
        'Expected a text tower named open_clip:NAME/TAG, open_clip:NAME/file:PATH or '
        f'package:MODULE, but got {reference}, which has no text tower.'
    )


def check_text_tower(reference: TowerReference) -> None:
    """Refuse a model of open_clip whose text tower is of another kind, before any download.

    Raises:
        TowerError: If it is not supported, or there is no such model.
    """
    reason = unusable_text(clip_config(reference))
    if reason:
        raise TowerError(
            f'Expected a CLIP with a plain text transformer, but got {reference}: {reason}, '
            'which is not supported.'
        )


class OpenCLIPTextTower:
    """The text tower of a CLIP model, built from open_clip's classes.

    Reference: Radford et al., "CLIP", https://arxiv.org/abs/2103.00020, section 2.4.

    Args:
        model: open_clip's text transformer with its weights.
        tokenizer: open_clip's tokenizer for it.
        name: The reference that names this tower.

    Raises:
        TowerError: If the tokenizer knows more tokens than the model.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str) -> None:  # noqa: ANN401
        known = int(model.vocab_size)  # type: ignore[arg-type]
        needed = int(getattr(tokenizer, 'vocab_size', known))
        if known < needed:
            raise TowerError(
                f'Expected {name} to have {needed} token embeddings, but it has {known}.'
            )
        self._model = model.float().eval().requires_grad_(False)
        self._mask: Tensor = model.attn_mask  # type: ignore[assignment]
        self._tokenizer = tokenizer
        self._name = name
        self._context_length = int(model.context_length)  # type: ignore[arg-type]
        self._embed_dim = int(model.output_dim)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """The reference that names this tower."""
        return self._name

    @property
    def embed_dim(self) -> int:
        """Length ``C`` of an embedding."""
        return self._embed_dim

    @property
    def context_length(self) -> int:
        """Most tokens of a text; see ``BoundedTower``."""
        return self._context_length

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        """Return which texts would be cut; see ``BoundedTower``."""
        longer = self._tokenizer(list(texts), context_length=self._context_length + 1)
        # The end token, which has the greatest id, stands where no text that fits has it.
        ends: list[int] = longer.argmax(dim=1).tolist()
        return [end >= self._context_length for end in ends]

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, int64 ``(N, L)`` with ``L`` the context length.

        A text that is too long is cut; its last token is the end token nevertheless.
        """
        tokens: Tensor = self._tokenizer(list(texts), context_length=self._context_length)
        return tokens

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are; see ``TextTower.encode``."""
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
        """Move the tower to a device; see ``MovableTower``."""
        self._model.to(device)
        self._mask = self._mask.to(device)

    @classmethod
    def from_weights(cls, weights: CLIPWeights) -> 'OpenCLIPTextTower':
        """Build the text tower of CLIP weights.

        Raises:
            TowerError: If the weights do not fit the model.
        """
        import open_clip  # takes seconds, and the bundled model never needs it

        model = _text_transformer(weights.config, weights.quick_gelu)
        load_parameters(model, _text_keys(weights.state_dict), weights.source)
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
                ZegCLIP's authors; other entries are left out.
            name: What the tower is called, and how errors name the weights.
            heads: Attention heads. ``None``: one for every 64 of the width, as OpenAI's.
            quick_gelu: Whether the weights were trained with QuickGELU, as OpenAI's.

        Raises:
            TowerError: If weights are missing or do not fit together.
        """
        import open_clip

        published = any(key.startswith('text_encoder.') for key in state_dict)
        start = 'text_encoder.' if published else ''
        tensors = _text_keys(
            {key.removeprefix(start): t for key, t in state_dict.items() if key.startswith(start)}
        )
        config = _inferred_config(tensors, heads, name)
        model = _text_transformer(config, quick_gelu)
        load_parameters(model, tensors, name)
        return cls(model, open_clip.SimpleTokenizer(), name=name)


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
        """Most tokens of a text; see ``BoundedTower``."""
        return self._max_tokens

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        """Return which texts would be cut; see ``BoundedTower``."""
        longer = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens + 1)
        return [len(ids) > self._max_tokens for ids in longer['input_ids']]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are; see ``TextTower.encode``."""
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
        """Move the tower to a device; see ``MovableTower``."""
        self._model.to(device)


def _text_keys(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what belongs to the text tower, of weights in OpenAI's layout."""
    others = ('visual.', 'logit_scale', 'logit_bias', 'text_decoder.')
    return {key: value for key, value in state_dict.items() if not key.startswith(others)}


def _text_transformer(config: Mapping[str, Any], quick_gelu: bool) -> nn.Module:
    """Build open_clip's text transformer with random weights."""
    from open_clip.transformer import QuickGELU, TextTransformer

    sizes = _text_sizes(config)
    activation = QuickGELU if quick_gelu else nn.GELU
    # The weights are overwritten: loading a tower must not move the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = TextTransformer(
            **sizes, output_dim=config['embed_dim'], act_layer=activation
        )
    return model


def _text_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of open_clip's text transformer."""
    from open_clip import CLIPTextCfg
    from open_clip.transformer import TextTransformer

    text_config = asdict(CLIPTextCfg(**config['text_cfg']))
    allowed = inspect.signature(TextTransformer).parameters
    sizes = {key: value for key, value in text_config.items() if key in allowed}
    sizes['output_tokens'] = False
    return sizes


def _inferred_config(
    tensors: Mapping[str, Tensor], heads: int | None, name: str
) -> dict[str, Any]:
    """Return the configuration of a text tower that fits its weights."""
    first = 'transformer.resblocks.0.mlp.c_fc.weight'
    needed = ('token_embedding.weight', 'positional_embedding', 'text_projection', first)
    missing = [key for key in needed if key not in tensors]
    if missing:
        raise TowerError(
            f'Expected {name} to hold a CLIP text tower, but {missing[0]} is missing.'
        )
    vocabulary, width = tensors['token_embedding.weight'].shape
    layers = {key.split('.')[2] for key in tensors if key.startswith('transformer.resblocks.')}
    if heads is None:
        heads = max(width // _HEAD_WIDTH, 1)
    return {
        'embed_dim': tensors['text_projection'].shape[-1],
        'text_cfg': {
            'context_length': tensors['positional_embedding'].shape[0],
            'vocab_size': vocabulary,
            'width': width,
            'heads': heads,
            'layers': len(layers),
            'mlp_ratio': tensors[first].shape[0] / width,
        },
    }


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
