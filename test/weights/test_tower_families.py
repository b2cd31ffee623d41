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
"""Towers of other families equal their own libraries', and refuse what is none of theirs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from made_vocabularies import made_vocabulary
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_towers import GRIDS, PATCH, siglip
import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.errors import TowerError
from zegclip_core.loading import load_model
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.segmenter import Segmenter
from zegclip_core.text import siglip_tower
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.image_towers import ImageTower, load_image_tower

CLOSE = {'rtol': 1e-4, 'atol': 1e-4}
TEXTS = ['a photo of a cat.', 'Bus', 'the red wall, the tree and ' * 9]
Made = Callable[..., tuple[str, nn.Module, Path]]
"""Writes a model of a grid: its name, the source's model, the file."""


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    monkeypatch.setattr(siglip_tower, 'hub_is_reachable', lambda: False)
    makers = {
        'siglip': siglip,
        'siglip2': lambda *args: siglip(*args, activation='gelu_tanh'),
    }

    def written(family: str, grid: tuple[int, int]) -> tuple[str, nn.Module, Path]:
        return makers[family](monkeypatch, tmp_path / f'{family}-{grid[0]}-{grid[1]}', grid)

    return written


FAMILIES = ['siglip', 'siglip2']


def images_of(grid: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, PATCH * grid[0], PATCH * grid[1], generator=generator)


def built(tower: ImageTower) -> VisionTransformer:
    network = VisionTransformer(tower.config)
    network.load_state_dict(tower.state_dict, strict=True)
    return network.eval()


@torch.inference_mode()
@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('family', FAMILIES)
def test_a_clip_equals_open_clip(family: str, grid: tuple[int, int], make: Made) -> None:
    name, model, path = make(family, grid)
    network = built(load_image_tower(f'open_clip:{name}/file:{path}'))
    assert network.config.grid == grid
    images = images_of(grid)
    tokens, embedding = network(images)
    torch.testing.assert_close(tokens.flatten(2).mT, patch_tokens(model, images), **CLOSE)
    torch.testing.assert_close(embedding, model.encode_image(images), **CLOSE)
    loaded = load_model(f'{name}@{path}')
    tower = loaded.text_encoder.tower
    ids = tower.tokenize(TEXTS)
    texts = tower.encode(TEXTS)
    torch.testing.assert_close(texts, model.encode_text(ids, normalize=True), **CLOSE)
    config = loaded.config
    if family.startswith('siglip'):
        found = config.scale * F.normalize(embedding, dim=-1) @ texts.T + config.offset
        torch.testing.assert_close(found, model.get_logits(images, ids)[0], **CLOSE)
        assert loaded.network.scoring == 'sigmoid'


def patch_tokens(model: nn.Module, images: Tensor) -> Tensor:
    """Return the source's patch tokens behind its last norm, projected if it has a projection."""
    trunk = model.visual.trunk
    found: Tensor = trunk.forward_features(images)
    return found[:, trunk.num_prefix_tokens :]


@torch.inference_mode()
def test_dense_tokens_of_attention_pooling_are_what_it_makes_of_each_alone(make: Made) -> None:
    name, model, path = make('siglip', GRIDS[1])
    network = load_model(f'{name}@{path}', attention='clip').network
    assert isinstance(network, TrainingFreeCLIP)
    images = images_of(GRIDS[1])
    trunk = model.visual.trunk
    tokens = trunk.forward_features(images)
    alone = [trunk.forward_head(tokens[:, [place]]) for place in range(tokens.shape[1])]
    found = network.patch_tokens(images).flatten(2).mT
    torch.testing.assert_close(found, torch.stack(alone, dim=1), **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize('attention', ['clip', 'maskclip', 'sclip', 'key_key', 'naclip'])
@pytest.mark.parametrize('family', FAMILIES)
def test_dense_without_training_is_the_same_in_lean_form(
    family: str, attention: str, make: Made
) -> None:
    name, _, path = make(family, GRIDS[1])
    loaded = load_model(f'{name}@{path}', attention=attention)
    generator = torch.Generator().manual_seed(3)
    text = torch.randn(5, loaded.text_encoder.tower.embed_dim, generator=generator)
    for size in ((48, 80), (64, 64)):
        compare_lean(loaded.network, text, size)


@torch.inference_mode()
@pytest.mark.parametrize('family', FAMILIES)
def test_prompts_attend_in_plain_and_lean_form(family: str, make: Made) -> None:
    name, _, path = make(family, GRIDS[1])
    tower = load_image_tower(f'open_clip:{name}/file:{path}')
    network = with_prompts(tower)
    changed = [part.detach().clone() for part in network.visual(images_of(GRIDS[1]))]
    network.visual.prompt_embeddings.mul_(2)
    for found, before in zip(network.visual(images_of(GRIDS[1])), changed, strict=True):
        assert (found - before).abs().max() > 1e-3
    for size in ((48, 80), (64, 64)):
        compare_lean(network, torch.randn(5, 16), size)


def with_prompts(tower: ImageTower) -> ZegCLIP:
    torch.manual_seed(6)
    vision = replace(tower.config, prompt_tokens=3)
    config = ZegCLIPConfig(vision, text_dim=16, dim=16, decoder_heads=2, projections=True)
    network = ZegCLIP(config).eval()
    lacking = network.visual.load_state_dict(tower.state_dict, strict=False)
    assert not lacking.unexpected_keys
    assert all('prompt' in key for key in lacking.missing_keys)
    return network


def compare_lean(network: nn.Module, text: Tensor, size: tuple[int, int]) -> None:
    vision = network.config.vision
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (2, 3, *size), generator=generator).float()
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (vision.mean, vision.std))
    expected = network((pixels - mean) / std, text)
    engine = LeanEngine(network, dtype=torch.float32, device=torch.device('cpu'))
    words = engine.prepare(made_vocabulary(text, torch.zeros(5), torch.zeros(5)))
    torch.testing.assert_close(engine.model.logits(pixels - 128.0, words), expected, **CLOSE)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('tower', ['image', 'text'])
def test_a_weight_too_many_or_too_few_is_named(family: str, tower: str, make: Made) -> None:
    name, _, path = make(family, GRIDS[0])
    weights = load_file(path)
    prefix = 'visual.trunk.' if tower == 'image' else 'text.'
    (first, *_) = sorted(
        key for key in weights if key.startswith(prefix) and 'norm1.w' in key
    ) or ['text.ln_final.weight']
    extra = f'{prefix}blocks.0.odd.weight'
    for changed, message in (
        ({key: value for key, value in weights.items() if key != first}, 'missing|lacks'),
        ({**weights, extra: torch.zeros(1)}, r'odd\.weight'),
    ):
        save_file(changed, path)
        with pytest.raises(TowerError, match=message) as caught:
            load_model(f'{name}@{path}')
        assert '\n' not in str(caught.value)


def test_siglip_needs_its_factor_and_offset(make: Made) -> None:
    name, _, path = make('siglip', GRIDS[0])
    weights = load_file(path)
    del weights['logit_bias']
    save_file(weights, path)
    with pytest.raises(TowerError, match='logit_scale and logit_bias'):
        load_model(f'{name}@{path}')


def test_siglip_without_its_tokenizer_says_where_it_is_had(make: Made) -> None:
    name, _, path = make('siglip', GRIDS[0])
    (path.parent / 'tokenizer.json').unlink()
    with pytest.raises(
        TowerError, match=r'tokenizer of .*fetch https.*nobody/tiny-siglip'
    ) as caught:
        load_model(f'{name}@{path}')
    assert '\n' not in str(caught.value)


def test_a_damaged_tokenizer_is_one_line(make: Made) -> None:
    name, _, path = make('siglip', GRIDS[0])
    (path.parent / 'tokenizer.json').write_text('{"version"')
    with pytest.raises(TowerError, match='Cannot read the tokenizer') as caught:
        load_model(f'{name}@{path}')
    assert '\n' not in str(caught.value)


def test_siglip_tells_what_it_cannot_read_and_what_it_would_cut(make: Made) -> None:
    name, _, path = make('siglip', GRIDS[0])
    tower = load_model(f'{name}@{path}').text_encoder.tower
    assert tower.overlong(['cat ' * 15, 'cat ' * 16]) == [False, True]
    assert tower.pieces(['red cat', 'zebra']) == [2, 0]
    assert tower.tokenize(['cat'])[0].tolist() == [6, 1, *[0] * 14]


@pytest.mark.parametrize('family', FAMILIES)
def test_a_segmenter_labels_with_it(family: str, make: Made) -> None:
    name, _, path = make(family, GRIDS[0])
    segmenter = Segmenter.load(f'{name}@{path}', device='cpu', short_side=48)
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    found = segmenter.segment(image, Vocabulary.from_names(['cat', 'bus']))
    assert found.labels.shape == (70, 90)
    assert set(np.unique(found.labels)) <= {0, 1, 255}
