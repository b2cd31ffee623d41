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
"""What the sides have in common: one set of weights, one set of words, the same frames."""

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.data.catalog import load_spec
from zegclip_core.loading import build_network, build_text_tower, LoadedModel, open_checkpoint
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.weights.checkpoint import Checkpoint
from zegclip_core.weights.names import PUBLISHED_SUFFIXES
from zegclip_core.weights.published import convert_published, read_published_file

_WIDTH, _LAYERS, _PATCH, _GRID, _DIM, _DECODER_LAYERS = 768, 12, 16, 32, 512, 3
"""The published model: CLIP's ViT-B/16 at 512 pixels."""
_CONTRAST = 14.0
"""Factor of either side of the mask product; logits then spread over a few units."""
_SEEN = 0.75
"""Share of the classes whose scores are lowered, as in the published split of PASCAL VOC."""

_REGIONS = 24
"""Coloured regions of a frame."""

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Words:
    """What a vocabulary is to all sides, on the CPU.

    Attributes:
        embeddings: L2-normalised text embeddings, float32 ``(K, C)``.
        bias: What is subtracted from each class's score, float32 ``(K,)``.
    """

    embeddings: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Bundle:
    """A model as every side needs it.

    Attributes:
        name: What it is called.
        checkpoint: Shape, settings and weights of ours.
        encoder: Encodes words.
        published: The same weights under the published names; empty if it has no such layout.
    """

    name: str
    checkpoint: Checkpoint
    encoder: TextEncoder
    published: dict[str, Tensor]

    @property
    def prompts(self) -> int:
        """Prompt tokens in each layer."""
        return self.checkpoint.config.vision.prompt_tokens

    def loaded(self) -> LoadedModel:
        """Return the model with weights of its own, ready for a segmenter."""
        network = build_network(self.checkpoint, where=self.name)
        return LoadedModel(self.name, network, self.encoder, self.checkpoint.settings)

    def words(self, count: int) -> Words:
        """Return a vocabulary of so many classes."""
        embeddings = self.encoder.encode_classes([[name] for name in class_names(count)])
        bias = torch.zeros(count)
        bias[: int(_SEEN * count)] = self.checkpoint.settings.seen_bias
        return Words(embeddings, bias)


class SeededTower:
    """A text tower without weights: every text gets a random unit vector of its own."""

    name = 'seeded'

    def __init__(self, embed_dim: int) -> None:
        """Remember the length of the vectors."""
        self.embed_dim = embed_dim

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors, float32 ``(N, C)``, the same for the same text."""
        rows = []
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], 'big')
            generator = torch.Generator().manual_seed(seed)
            rows.append(torch.randn(self.embed_dim, generator=generator))
        return F.normalize(torch.stack(rows), dim=-1)


def class_names(count: int) -> list[str]:
    """Return distinct class names: those of COCO-Stuff, then numbered ones."""
    names = list(load_spec('coco_stuff164k').classes)
    return [*names, *(f'thing {index}' for index in range(len(names), count))][:count]


def load_bundle(model: str) -> Bundle:
    """Load a trained model by its name.

    Raises:
        ZegCLIPError: As ``zegclip_core.loading.load_model``, or if it was not trained.
    """
    path, checkpoint = open_checkpoint(model, 'to compare the sides')
    published: dict[str, Tensor] = {}
    if path.suffix in PUBLISHED_SUFFIXES:
        published = {key: value.float() for key, value in read_published_file(path).items()}
    tower = build_text_tower(checkpoint, where=str(path))
    encoder = TextEncoder(tower, checkpoint.settings.templates)
    return Bundle(model, checkpoint, encoder, published)


def seeded_bundle(prompts: int) -> Bundle:
    """Return the published model with random weights, the same every time."""
    state = seeded_state(prompts)
    checkpoint = convert_published(state)
    encoder = TextEncoder(SeededTower(checkpoint.config.text_dim), checkpoint.settings.templates)
    return Bundle('seeded ViT-B/16', checkpoint, encoder, state)


def seeded_state(prompts: int, seed: int = 0) -> dict[str, Tensor]:
    """Return random weights that let a signal pass, under the published names.

    Args:
        prompts: Prompt tokens in each layer; all other weights are the same for any number.
        seed: Of the weights.

    """
    generator = torch.Generator().manual_seed(seed)
    shapes = _backbone(0) | _decode_head() | _backbone(prompts)  # Those of the prompts last.
    state = {}
    for key, shape in shapes.items():
        if len(shape) == 1 and key != 'backbone.class_embedding':
            fill = 1.0 if key.endswith('.weight') else 0.0
            state[key] = torch.full(shape, fill)
        else:
            inputs = int(np.prod(shape[1:])) if key.endswith('weight') else shape[-1]
            scale = _factor(key) * inputs**-0.5
            state[key] = torch.randn(shape, generator=generator) * scale
    return state


def _factor(key: str) -> float:
    """Return by how much weights are larger than what keeps a signal's size.

    The ends of residual branches are small, as where CLIP's training begins, so that patches stay
    apart; the product that makes the masks is large, so that scores are not all alike.
    """
    if key.startswith('backbone.') and key.endswith(('attn.out_proj.weight', 'c_proj.weight')):
        return float((2 * _LAYERS) ** -0.5)
    last = f'decoder_1.layers.{_DECODER_LAYERS - 1}.multihead_attn.'
    return _CONTRAST if f'{last}q.weight' in key or f'{last}k.weight' in key else 1.0


def _backbone(prompts: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the image tower; without prompts those of the prompts are left out."""
    shapes: dict[str, tuple[int, ...]] = {
        'class_embedding': (_WIDTH,),
        'positional_embedding': (1 + _GRID**2, _WIDTH),
        'conv1.weight': (_WIDTH, 3, _PATCH, _PATCH),
        'proj': (_WIDTH, _DIM),
        **{f'{name}.{kind}': (_WIDTH,) for name in _NORMS for kind in ('weight', 'bias')},
        **_linear('prompt_proj', _WIDTH, _WIDTH),
    }
    for index in range(_LAYERS):
        block = f'transformer.resblocks.{index}'
        shapes |= _attention(f'{block}.attn', _WIDTH)
        shapes |= _linear(f'{block}.mlp.c_fc', _WIDTH, 4 * _WIDTH)
        shapes |= _linear(f'{block}.mlp.c_proj', 4 * _WIDTH, _WIDTH)
        for name in ('ln_1', 'ln_2'):
            shapes |= _norm(f'{block}.{name}', _WIDTH)
    if prompts:
        shapes['prompt_embeddings'] = (1, prompts, _WIDTH)
        shapes['deep_prompt_embeddings'] = (_LAYERS - 1, prompts, _WIDTH)
    return {f'backbone.{key}': shape for key, shape in shapes.items()}


_NORMS = ('ln_pre', 'ln_post', 'prompt_norm')


def _decode_head() -> dict[str, tuple[int, ...]]:
    """Return the shapes of the decoder, also of what never acts."""
    shapes = _linear('q_proj', 2 * _DIM, _DIM)
    for index in range(_DECODER_LAYERS):
        layer = f'decoder_1.layers.{index}'
        for name in ('q', 'k', 'v', 'proj'):
            shapes |= _linear(f'{layer}.multihead_attn.{name}', _DIM, _DIM)
        shapes |= _attention(f'{layer}.self_attn', _DIM)
        shapes |= _linear(f'{layer}.linear1', _DIM, 4 * _DIM)
        shapes |= _linear(f'{layer}.linear2', 4 * _DIM, _DIM)
        for name in ('norm1', 'norm2', 'norm3'):
            shapes |= _norm(f'{layer}.{name}', _DIM)
    return {f'decode_head.{key}': shape for key, shape in shapes.items()}


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def _attention(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        f'{name}.in_proj_weight': (3 * width, width),
        f'{name}.in_proj_bias': (3 * width,),
        **_linear(f'{name}.out_proj', width, width),
    }


def seeded_frames(height: int, width: int, count: int) -> list[Frame]:
    """Return RGB frames of coloured regions with clouds and grain, uint8 ``(H, W, 3)``."""
    return [_frame(height, width, np.random.default_rng(seed)) for seed in range(count)]


def _frame(height: int, width: int, rng: np.random.Generator) -> Frame:
    """Return a picture of things: the same for every size, but for its grain."""
    rows, columns = np.indices((height, width), np.float32)
    nearest = np.full((height, width), np.inf, np.float32)
    total: npt.NDArray[np.float32] = np.zeros((height, width, 3), np.float32)
    for row, column in rng.uniform(0.0, 1.0, (_REGIONS, 2)) * (height, width):
        distance = (rows - row) ** 2 + (columns - column) ** 2
        total[distance < nearest] = rng.uniform(30.0, 225.0, 3)
        nearest = np.minimum(nearest, distance)
    for cells in (4, 16, 64):
        coarse = rng.normal(0.0, 8.0, (cells, cells, 3)).astype(np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        total += np.asarray(fine, np.float32)
    total += rng.normal(0.0, 4.0, total.shape).astype(np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)
