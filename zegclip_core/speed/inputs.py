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
"""What all methods share: one set of weights, one vocabulary, the same images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple
import zlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.loading import build_network, build_text_tower, LoadedModel, open_checkpoint
from zegclip_core.model.vit import VisionConfig
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.speed.report import Case
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import Checkpoint
from zegclip_core.weights.names import PUBLISHED_SUFFIXES
from zegclip_core.weights.published import convert_published, read_published_file

_CONTRAST = 14.0
"""Factor of either side of the mask product; logits then spread over a few units."""
_SEEN = 15
"""Classes of the seeded model whose scores are lowered, as in the split of PASCAL VOC."""
_PUBLISHED_NAMES = {
    'visual.': 'backbone.',
    'decoder.relationship.q_proj.': 'decode_head.q_proj.',
    'decoder.layers.': 'decode_head.decoder_1.layers.',
}
"""Beginnings of the parameters' names, ours and those of the published checkpoints."""

Image = npt.NDArray[np.uint8]
"""RGB, uint8 ``(H, W, 3)``."""


class Inputs(NamedTuple):
    """What all methods are given in a case."""

    images: Sequence[Image]
    vocabulary: Vocabulary
    embeddings: Tensor
    """L2-normalised text embeddings of the classes, float32 ``(K, C)``."""
    bias: Tensor
    """What is subtracted from the score of each class, float32 ``(K,)``."""


@dataclass(frozen=True)
class Bundle:
    """A model in the forms that the methods need."""

    name: str
    checkpoint: Checkpoint
    encoder: TextEncoder
    published: dict[str, Tensor]
    """The same weights under the published names; empty if it has no such layout."""
    names: Callable[[int], list[str]]
    """Gives so many class names."""

    @property
    def prompts(self) -> int:
        """Prompt tokens in each layer."""
        return self.checkpoint.config.vision.prompt_tokens

    def loaded(self) -> LoadedModel:
        """Return the model, ready for a segmenter, which changes no weight in place."""
        network = build_network(self.checkpoint, where=self.name)
        return LoadedModel(self.name, network, self.encoder, self.checkpoint.settings)

    def inputs(self, case: Case) -> Inputs:
        """Return seeded images, and as many classes as the case has."""
        names, settings = self.names(case.classes), self.checkpoint.settings
        bias = [settings.seen_bias if name in settings.seen_classes else 0.0 for name in names]
        return Inputs(
            seeded_images(case.height, case.width, case.batch),
            Vocabulary.from_names(names),
            self.encoder.encode_classes([(name,) for name in names]),
            torch.tensor(bias),
        )


class SeededTower:
    """A text tower without weights: every text gets a random unit vector of its own."""

    name = 'seeded'

    def __init__(self, embed_dim: int) -> None:
        self.embed_dim = embed_dim

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors, float32 ``(N, C)``, the same for the same text."""
        seeds = [zlib.crc32(text.encode()) for text in texts]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        rows = [torch.randn(self.embed_dim, generator=generator) for generator in generators]
        return F.normalize(torch.stack(rows), dim=-1)


def class_names(count: int) -> list[str]:
    """Return distinct class names: those of COCO-Stuff, then numbered ones."""
    # A model with seeded weights needs none of the libraries that read them.
    from zegclip_core.data.datasets import load_spec

    names = load_spec('coco_stuff164k').classes
    # Those that are numbered go on where these end.
    return [*names[:count], *islice(numbered_names(count), len(names), None)]


def numbered_names(count: int) -> list[str]:
    """Return names for what no word is needed for."""
    return [f'thing {index}' for index in range(count)]


def load_bundle(model: str) -> Bundle:
    """Load a trained model by its name."""
    path, checkpoint = open_checkpoint(model, 'to compare the methods')
    published: dict[str, Tensor] = {}
    if path.suffix in PUBLISHED_SUFFIXES:
        published = {key: value.float() for key, value in read_published_file(path).items()}
    tower = build_text_tower(checkpoint, where=str(path))
    encoder = TextEncoder(tower, checkpoint.settings.templates)
    return Bundle(model, checkpoint, encoder, published, class_names)


def seeded_bundle(prompts: int) -> Bundle:
    """Return the published model, CLIP's ViT-B/16 at 512 pixels, with seeded random weights.

    All but the prompts, so many in each layer, are the same for any number of them.
    """
    vision = VisionConfig(
        patch_size=16,
        width=768,
        layers=12,
        heads=12,
        mlp_width=3072,
        grid=(32, 32),
        embed_dim=512,
        prompt_tokens=prompts,
        prompt_norm=True,
    )
    with torch.device('meta'):
        parameters = ZegCLIP(ZegCLIPConfig(vision=vision, text_dim=512, dim=512)).state_dict()
    shapes = {}
    for name, parameter in parameters.items():
        start = next(start for start in _PUBLISHED_NAMES if name.startswith(start))
        shapes[_PUBLISHED_NAMES[start] + name.removeprefix(start)] = parameter.shape
    # The published pipeline runs all of the last decoder layer, where ours has the product alone.
    for name in [name for name in shapes if '.layers.0.' in name]:
        shapes.setdefault(name.replace('.layers.0.', '.layers.2.'), shapes[name])
    generator = torch.Generator().manual_seed(0)
    state = {
        name: _weight(name, shapes[name], generator)
        for name in sorted(shapes, key=lambda name: ('prompt_embeddings' in name, name))
    }
    checkpoint = convert_published(state)
    settings = replace(checkpoint.settings, seen_classes=tuple(numbered_names(_SEEN)))
    encoder = TextEncoder(SeededTower(checkpoint.config.text_dim), settings.templates)
    checkpoint = replace(checkpoint, settings=settings)
    return Bundle('seeded ViT-B/16', checkpoint, encoder, state, numbered_names)


def _weight(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return a weight or bias that lets a signal pass.

    The ends of residual branches are small, as where CLIP's training begins, so that patches stay
    apart; the product that makes the masks is large, so that scores are not all alike.
    """
    if len(shape) == 1 and name != 'backbone.class_embedding':
        return torch.full(shape, 1.0 if name.endswith('.weight') else 0.0)
    inputs = shape[1:].numel() if name.endswith('weight') else shape[-1]
    weight: Tensor = torch.randn(shape, generator=generator) * float(inputs) ** -0.5
    if name.startswith('backbone.') and name.endswith(('out_proj.weight', 'c_proj.weight')):
        weight *= 24**-0.5  # Two branches in each of twelve blocks.
    masks = ('layers.2.multihead_attn.q.weight', 'layers.2.multihead_attn.k.weight')
    return weight.mul_(_CONTRAST) if name.endswith(masks) else weight


def seeded_images(height: int, width: int, count: int) -> list[Image]:
    """Return images of coloured fields with clouds and grain."""
    images = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        image = _enlarged(rng.uniform(30.0, 225.0, (4, 6, 3)), height, width, 'nearest')
        for cells in (4, 16, 64):
            clouds = rng.normal(0.0, 8.0, (cells, cells, 3))
            image += _enlarged(clouds, height, width, 'bicubic')
        image += rng.normal(0.0, 4.0, image.shape)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return images


def _enlarged(
    cells: npt.NDArray[np.float64], height: int, width: int, mode: str
) -> npt.NDArray[np.float64]:
    """Bring ``(h, w, 3)`` to ``(height, width, 3)``; OpenCV is not on every machine with a GPU."""
    maps = torch.from_numpy(cells).permute(2, 0, 1)[None]
    larger = F.interpolate(maps, size=(height, width), mode=mode)[0].permute(1, 2, 0)
    return np.array(larger.numpy(), np.float64)
