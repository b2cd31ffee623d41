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
"""TIPSv2 as transformers computes it: two class tokens, and a text tower of its own."""

from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from safetensors.torch import load_file, save_file
from tiny_towers import GRIDS, PATCH, tips
import torch
from torch import Tensor
import torch.nn.functional as F
from transformers import Tipsv2Config, Tipsv2Model, Tipsv2Tokenizer
from zegclip_core.errors import TowerError
from zegclip_core.loading import load_model
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.text import siglip_tower, tips_tower
from zegclip_core.weights import clip
from zegclip_core.weights.catalogue import cache_folder, tips_entries
from zegclip_core.weights.image_towers import load_image_tower
from zegclip_core.weights.tips import FILE, TIPS, TOKENIZER_FILE

CLOSE = {'rtol': 1e-4, 'atol': 1e-4}
TEXTS = ['a photo of a Cat.', 'Bus', 'the red wall, the tree and ' * 9]
Made = Callable[..., tuple[str, Tipsv2Model, Path]]
Grid = tuple[int, int]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    for module in (siglip_tower, clip):
        monkeypatch.setattr(module, 'hub_is_reachable', lambda: False)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    return lambda **given: tips(monkeypatch, tmp_path / 'tips', GRIDS[0], **given)


def pictures(grid: Grid) -> Tensor:
    """Return pixels in [0, 1], as TIPSv2 takes them."""
    generator = torch.Generator().manual_seed(2)
    return torch.rand(2, 3, PATCH * grid[0], PATCH * grid[1], generator=generator)


@torch.inference_mode()
@pytest.mark.parametrize('gated', [False, True])
@pytest.mark.parametrize('grid', [*GRIDS, (4, 4), (5, 7)])
def test_both_towers_and_the_logits_equal_transformers(
    grid: Grid, gated: bool, make: Made
) -> None:
    name, model, path = make(gated=gated)
    tower = load_image_tower(f'tips:{name}/file:{path}')
    assert (tower.config.mean, tower.config.std) == ((0.0,) * 3, (255.0,) * 3)
    network = VisionTransformer(tower.config)
    network.load_state_dict(tower.state_dict, strict=True)
    images = pictures(grid)
    tokens, embedding = network(images)
    source = model.vision_model(images)
    # Two class tokens stand first; the first is the image embedding.
    torch.testing.assert_close(tokens.flatten(2).mT, source.last_hidden_state[:, 2:], **CLOSE)
    torch.testing.assert_close(embedding, source.pooler_output, **CLOSE)
    loaded = load_model(f'{name}@{path}')
    texts = loaded.text_encoder.tower.encode(TEXTS)
    tokenizer = Tipsv2Tokenizer.from_pretrained(path.parent)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors='pt')
    inputs = {key: inputs[key] for key in ('input_ids', 'attention_mask')}
    both = model(pixel_values=images, **inputs)
    torch.testing.assert_close(texts, both.text_embeds, **CLOSE)
    logits = loaded.config.scale * F.normalize(embedding, dim=-1) @ texts.T
    torch.testing.assert_close(logits, both.logits_per_image, rtol=1e-4, atol=1e-3)


@torch.inference_mode()
def test_dense_scores_are_cosines_behind_the_value_path_of_the_last_block(make: Made) -> None:
    name, model, path = make()
    network = load_model(f'{name}@{path}').network
    assert isinstance(network, TrainingFreeCLIP)
    assert (network.scoring, network.config.attention) == ('softmax', 'maskclip')
    # The release's evaluation, written with the parts of the source.
    images, vision = pictures(GRIDS[1]), model.vision_model
    x = vision.embeddings(images)
    *others, last = vision.encoder.layer
    for block in others:
        x = block(x)
    attention = last.attention
    x = x + last.layer_scale1(attention.o_proj(attention.v_proj(last.norm1(x))))
    x = x + last.layer_scale2(last.mlp(last.norm2(x)))
    expected = vision.layernorm(x)[:, 2:]
    found = network.patch_tokens(images)
    torch.testing.assert_close(found.flatten(2).mT, expected, **CLOSE)
    text = F.normalize(torch.randn(5, found.shape[1]), dim=-1)
    cosines = F.normalize(expected, dim=-1) @ text.T / model.temperature
    torch.testing.assert_close(network(images, text).flatten(2).mT, cosines, rtol=1e-4, atol=1e-3)
    plain = load_model(f'{name}@{path}', attention='clip').network
    tokens = plain.patch_tokens(images).flatten(2).mT
    torch.testing.assert_close(tokens, vision(images).last_hidden_state[:, 2:], **CLOSE)


def test_words_are_read_in_small_letters_and_cut_at_the_context_length(make: Made) -> None:
    name, _, path = make()
    tower = load_model(f'{name}@{path}').text_encoder.tower
    tokenizer = Tipsv2Tokenizer.from_pretrained(path.parent)
    texts = ['a photo of a CAT.', 'Straße  und über', '猫 of the red wall', 'é' * 90]
    ids = [tokenizer(text, truncation=True, max_length=64).input_ids for text in texts]
    assert [row.tolist() for row in tower.tokenize(texts)] == ids
    assert tower.overlong(texts) == [False, False, False, True]
    assert tower.pieces(['cat', '']) == [len(tokenizer('cat').input_ids), 0]
    embeddings = tower.encode([*texts, ''])
    assert torch.isfinite(embeddings).all()
    # A text's embedding does not depend on those beside it.
    torch.testing.assert_close(tower.encode(texts[:1]), embeddings[:1], **CLOSE)


@pytest.mark.parametrize(
    'key',
    [
        'vision_encoder.blocks.1.norm1.weight',
        'vision_encoder.register_tokens',
        'vision_encoder.cls_token',
        'text_encoder.ln_final.bias',
        'text_encoder.token_embedding.weight',
    ],
)
def test_a_weight_too_few_is_named(key: str, make: Made) -> None:
    name, _, path = make()
    weights = load_file(path)
    del weights[key]
    save_file(weights, path)
    with pytest.raises(TowerError, match=r'missing|lacks|but it has|first of the') as caught:
        load_model(f'{name}@{path}')
    assert '\n' not in str(caught.value)


def test_a_weight_too_many_is_named(make: Made) -> None:
    name, _, path = make()
    weights = load_file(path)
    for key in ('vision_encoder.odd', 'text_encoder.odd', 'odd'):
        save_file({**weights, key: torch.zeros(1)}, path)
        with pytest.raises(TowerError, match='odd'):
            load_model(f'{name}@{path}')


def test_published_files_lack_the_temperature_which_the_table_has(make: Made) -> None:
    name, _, path = make()
    weights = load_file(path)
    assert load_model(f'{name}@{path}').config.scale == pytest.approx(50.0)
    del weights['temperature']
    save_file(weights, path)
    assert load_model(f'{name}@{path}').config.scale == pytest.approx(2.0)


def test_a_tag_is_taken_from_the_cache_and_else_said_where_it_is_had(make: Made) -> None:
    name, _, path = make()
    with pytest.raises(TowerError, match=f'fetch https.*/nobody/tiny-tips/.*{FILE} where'):
        load_model(f'{name}/webli')
    folder = cache_folder('nobody/tiny-tips')
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(path.read_bytes())
    with pytest.raises(TowerError, match=f'tokenizer of .*fetch .*{TOKENIZER_FILE}'):
        load_model(f'{name}/webli')
    (folder / TOKENIZER_FILE).write_bytes((path.parent / TOKENIZER_FILE).read_bytes())
    assert load_model(f'{name}/webli').settings.text_tower == f'tips:{name}/webli'
    (entry,) = (each for each in tips_entries() if each.name == f'{name}/webli')
    assert entry.path is not None
    assert entry.folder == folder


def test_what_is_missing_or_damaged_is_one_line(
    make: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, path = make()
    cases = {
        'TIPSv2-B-15/webli': r'TIPSv2, such as TIPSv2-B-14.*TIPSv2-B-15',
        'tips/webli': 'TIPSv2, such as',
        f'{name}/openai': f"Expected a tag of {name}: webli; but got 'openai'",
    }
    for model, message in cases.items():
        with pytest.raises(TowerError, match=message) as caught:
            load_model(model)
        assert '\n' not in str(caught.value)
    tokenizer = path.parent / TOKENIZER_FILE
    tokenizer.write_bytes(b'no tokenizer')
    with pytest.raises(TowerError, match='Cannot read the tokenizer'):
        load_model(f'{name}@{path}')
    monkeypatch.setattr(tips_tower, 'find_spec', lambda package: None)
    with pytest.raises(TowerError, match=r"pip install 'zegclip-ros\[tips\]'"):
        load_model(f'{name}@{path}')


def test_sizes_of_the_table_are_those_of_transformers_models() -> None:
    for name, model in TIPS.items():
        shared = {'hidden_size': model.width, 'num_attention_heads': model.heads}
        ratio = {'mlp_ratio': 4 if model.gated else model.mlp_width / model.width}
        vision = {'num_hidden_layers': model.layers, 'use_swiglu_ffn': model.gated, **ratio}
        text = {
            'num_hidden_layers': model.text_layers,
            'intermediate_size': model.text_mlp_width,
        }
        config = Tipsv2Config(vision_config=shared | vision, text_config=shared | text)
        with torch.device('meta'):
            source = Tipsv2Model(config)
        temperature = 1
        count = sum(part.numel() for part in source.parameters())
        assert count - temperature == model.parameters, name
