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
"""CLIP's text tower, tokenizer and image embedding equal stored outputs, from any kind of file.

Two models are tried. One is the file named by ``ZEGCLIP_CLIP_PARITY_FILE``, whose outputs come
from another implementation of CLIP. The other, with other sizes, is made here from open_clip's
own model. All sizes, names and templates are read from the files.
"""

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path

import open_clip
import pytest
from reference_files import clip_parity, open_reference, ReferenceFile
from safetensors.torch import save_file
from tiny_clips import make_reference, model_config
import torch
from torch import nn, Tensor
from zegclip_core.errors import TowerError
from zegclip_core.loading import load_model
from zegclip_core.model.scoring import resize_maps
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.text.encoder import load_text_tower, TextEncoder
from zegclip_core.text.templates import fill_template
from zegclip_core.text.towers import OpenCLIPTextTower
from zegclip_core.weights.image_towers import load_image_tower

# float32 sums in another order; the stored image embeddings have a length of about 14.
TOLERANCE = 1e-4


@pytest.fixture(scope='module', params=['given', 'made'])
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ReferenceFile:
    if request.param == 'given':
        return clip_parity()
    path = tmp_path_factory.mktemp('made') / 'made.safetensors'
    make_reference(path)
    return open_reference(path)


@pytest.fixture(scope='module')
def weights(reference: ReferenceFile) -> dict[str, Tensor]:
    """Return the whole state dict; rows of the token table that no prompt uses are made up."""
    table = torch.full((reference.config['vocab_size'], reference.config['text_width']), 9.0)
    table[reference.tensors['token_embedding.used_ids']] = reference.tensors[
        'token_embedding.used_rows'
    ]
    return {**reference.under('state_dict'), 'token_embedding.weight': table}


@pytest.fixture(scope='module')
def names(reference: ReferenceFile, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return names under which open_clip knows the model, without and with QuickGELU."""
    folder = tmp_path_factory.mktemp('configs')
    plain = f'parity-{folder.name}'  # open_clip keeps every name it was given
    config = model_config(reference.config)
    (folder / f'{plain}.json').write_text(json.dumps(config))
    (folder / f'{plain}-quickgelu.json').write_text(json.dumps(config | {'quick_gelu': True}))
    open_clip.add_model_config(folder)
    return plain, f'{plain}-quickgelu'


class Branch(nn.Module):
    """A module that only holds parameters, to write an archive with any keys."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def put(self, key: str, value: Tensor) -> None:
        first, _, rest = key.partition('.')
        if not rest:
            self.register_parameter(first, nn.Parameter(value.clone(), requires_grad=False))
            return
        if not hasattr(self, first):
            self.add_module(first, Branch())
        self.get_submodule(first).put(rest, value)


def save_state_dict(weights: dict[str, Tensor], folder: Path) -> Path:
    path = folder / 'state_dict.pt'
    torch.save(weights, path)
    return path


def save_old_format(weights: dict[str, Tensor], folder: Path) -> Path:
    path = folder / 'old.pt'
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    return path


def save_training_checkpoint(weights: dict[str, Tensor], folder: Path) -> Path:
    path = folder / 'epoch_1.pt'
    prefixed = {f'module.{key}': value for key, value in weights.items()}
    torch.save({'epoch': 1, 'name': 'run', 'state_dict': prefixed}, path)
    return path


def save_safetensors(weights: dict[str, Tensor], folder: Path) -> Path:
    path = folder / 'open_clip_model.safetensors'
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    return path


def save_custom_text(weights: dict[str, Tensor], folder: Path) -> Path:
    """Write open_clip's other layout, with the text tower below ``text.``."""
    outside = ('visual.', 'logit_scale')
    renamed = {k if k.startswith(outside) else f'text.{k}': v for k, v in weights.items()}
    return save_safetensors(renamed, folder)


def save_jit(weights: dict[str, Tensor], folder: Path) -> Path:
    """Write a TorchScript archive with the marks that OpenAI's have."""
    root = Branch()
    for key, value in weights.items():
        root.put(key, value)
    for mark in ('input_resolution', 'context_length', 'vocab_size'):
        root.register_buffer(mark, torch.tensor(1))
    path = folder / 'archive.pt'
    torch.jit.script(root).save(str(path))
    return path


LAYOUTS = [
    save_state_dict,
    save_old_format,
    save_training_checkpoint,
    save_safetensors,
    save_custom_text,
    save_jit,
]


def prompts_of(reference: ReferenceFile) -> list[list[str]]:
    templates = reference.config['templates']
    return [
        [fill_template(t, name) for t in templates] for name in reference.config['class_names']
    ]


def check_text(tower: OpenCLIPTextTower, reference: ReferenceFile) -> None:
    """Compare token ids and both text embeddings with the stored ones."""
    expected = reference.under('expected')
    tokens = torch.stack([tower.tokenize(row) for row in prompts_of(reference)])
    assert torch.equal(tokens, expected['token_ids'])
    classes = [[name] for name in reference.config['class_names']]
    templates = reference.config['templates']
    for used, key in ((templates, 'ensemble'), (templates[:1], 'first_template')):
        actual = TextEncoder(tower, used).encode_classes(classes)
        stored = expected[f'text_embedding_{key}']
        torch.testing.assert_close(actual, stored, atol=TOLERANCE, rtol=0)


def check_image(name: str, reference: ReferenceFile) -> None:
    """Compare the image embedding, and plain CLIP's patch tokens if stored, with the stored."""
    tower = load_image_tower(name)
    # The published code's own way to other grids than the one that was trained on.
    config = replace(tower.config, position_resize='bicubic_offset')
    network = VisionTransformer(config).eval()
    network.load_state_dict(tower.state_dict)
    with torch.no_grad():
        patch_tokens, embedding = network(reference.tensors['input.image'])
    expected = reference.under('expected')
    torch.testing.assert_close(embedding, expected['image_embedding'], atol=TOLERANCE, rtol=0)
    stored = expected.get('patch_tokens.vanilla_vanilla')
    if stored is not None:
        actual = patch_tokens.flatten(2).transpose(1, 2)
        torch.testing.assert_close(actual, stored, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize('save', LAYOUTS)
def test_text_tower_and_image_embedding_equal_the_stored_ones(
    reference: ReferenceFile,
    weights: dict[str, Tensor],
    names: tuple[str, str],
    save: Callable[[dict[str, Tensor], Path], Path],
    tmp_path: Path,
) -> None:
    path = save(weights, tmp_path)
    # OpenAI's archives bring their activation; other files have that of the model's name.
    name = names[0] if save is save_jit else names[1]
    tower = load_text_tower(f'open_clip:{name}/file:{path}')
    check_text(tower, reference)
    check_image(f'open_clip:{name}/file:{path}', reference)


def check_scores(name: str, reference: ReferenceFile) -> None:
    """Compare the scores of words with NACLIP's, if stored, loading both towers by one name."""
    loaded = load_model(name, templates=reference.config['templates'])
    words = loaded.text_encoder.encode_classes([[n] for n in reference.config['class_names']])
    stored = reference.under('expected')
    # float32 sums in another order
    ensemble = stored['text_embedding_ensemble']
    torch.testing.assert_close(words, ensemble, atol=TOLERANCE, rtol=0)
    if 'naclip_scores' in stored:
        std, scale = (reference.config[key] for key in ('gaussian_std', 'logit_scale'))
        network = loaded.network
        network.config = replace(network.config, gaussian_std=std, scale=scale)
        images = reference.tensors['input.image']
        size = (images.shape[2], images.shape[3])
        scores = resize_maps(network(images, words), size).softmax(dim=1)
        torch.testing.assert_close(scores, stored['naclip_scores'], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize('save', [save_state_dict, save_custom_text, save_jit])
def test_scores_of_a_model_by_name_equal_the_stored_ones(
    reference: ReferenceFile,
    weights: dict[str, Tensor],
    names: tuple[str, str],
    save: Callable[[dict[str, Tensor], Path], Path],
    tmp_path: Path,
) -> None:
    name = names[0] if save is save_jit else names[1]
    check_scores(f'{name}@{save(weights, tmp_path)}', reference)


def test_text_tower_from_a_state_dict_equals_the_stored_one(
    reference: ReferenceFile, weights: dict[str, Tensor]
) -> None:
    heads = reference.config['text_heads']
    check_text(OpenCLIPTextTower.from_state_dict(weights, name='weights', heads=heads), reference)


def test_text_tower_from_the_layout_of_zegclip_checkpoints_equals_the_stored_one(
    reference: ReferenceFile, weights: dict[str, Tensor]
) -> None:
    published = {
        f'text_encoder.{key}': value
        for key, value in weights.items()
        if not key.startswith(('visual.', 'logit_scale'))
    }
    published['backbone.class_embedding'] = torch.zeros(3)
    heads = reference.config['text_heads']
    tower = OpenCLIPTextTower.from_state_dict(published, name='weights', heads=heads)
    check_text(tower, reference)


def test_the_activation_of_the_name_is_used(
    reference: ReferenceFile, weights: dict[str, Tensor], names: tuple[str, str], tmp_path: Path
) -> None:
    path = save_state_dict(weights, tmp_path)
    texts = [row[0] for row in prompts_of(reference)]
    gelu, quick = (load_text_tower(f'open_clip:{n}/file:{path}').encode(texts) for n in names)
    assert (gelu - quick).abs().max() > TOLERANCE


def test_half_precision_weights_are_computed_in_float32(
    reference: ReferenceFile, weights: dict[str, Tensor], names: tuple[str, str], tmp_path: Path
) -> None:
    halves = {key: value.half() for key, value in weights.items()}
    tower = load_text_tower(f'open_clip:{names[1]}/file:{save_state_dict(halves, tmp_path)}')
    encoder = TextEncoder(tower, reference.config['templates'])
    actual = encoder.encode_classes([[name] for name in reference.config['class_names']])
    assert actual.dtype == torch.float32
    # The weights are rounded to 11 bits, so only about three digits agree.
    stored = reference.tensors['expected.text_embedding_ensemble']
    torch.testing.assert_close(actual, stored, atol=2e-2, rtol=0)


def test_missing_file_is_named(names: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / 'nowhere.pt'
    with pytest.raises(TowerError, match=r'there is none at .*nowhere\.pt') as caught:
        load_text_tower(f'open_clip:{names[0]}/file:{path}')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('save', LAYOUTS)
def test_truncated_file_is_named(
    weights: dict[str, Tensor],
    names: tuple[str, str],
    save: Callable[[dict[str, Tensor], Path], Path],
    tmp_path: Path,
) -> None:
    path = save(weights, tmp_path)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1000):
        path.write_bytes(content[:length])
        with pytest.raises(TowerError, match=path.name) as caught:
            load_text_tower(f'open_clip:{names[0]}/file:{path}')
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'content',
    [
        {'model.layers.0.weight': torch.zeros(2)},
        {'state_dict': {'a': torch.zeros(1)}},
        [torch.zeros(1)],
        {},
        torch.zeros(3),
    ],
)
def test_foreign_file_is_refused_with_what_was_expected(
    names: tuple[str, str], content: object, tmp_path: Path
) -> None:
    path = tmp_path / 'foreign.pt'
    torch.save(content, path)
    with pytest.raises(TowerError, match=r'foreign\.pt.*token_embedding\.weight'):
        load_text_tower(f'open_clip:{names[0]}/file:{path}')


class Payload:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return exec, ('raise SystemExit("the file ran code")',)


def test_file_that_would_run_code_is_refused(names: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / 'evil.pt'
    torch.save({'token_embedding.weight': Payload()}, path)
    with pytest.raises(TowerError, match=r'evil\.pt.*not a file of tensors alone'):
        load_text_tower(f'open_clip:{names[0]}/file:{path}')


def test_missing_unexpected_and_misshapen_keys_are_named(
    weights: dict[str, Tensor], names: tuple[str, str], tmp_path: Path
) -> None:
    faulty = {key: value for key, value in weights.items() if key != 'ln_final.bias'}
    faulty['ln_final.scale'] = torch.zeros(1)
    faulty['text_projection'] = torch.zeros(2, 3)
    path = save_state_dict(faulty, tmp_path)
    with pytest.raises(TowerError) as caught:
        load_text_tower(f'open_clip:{names[0]}/file:{path}')
    message = str(caught.value)
    assert str(path) in message
    assert 'ln_final.bias is missing' in message
    assert 'ln_final.scale is unexpected' in message
    assert 'text_projection has shape (2, 3) instead of' in message


def test_weights_of_another_model_are_refused(
    reference: ReferenceFile, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    patch = 32 if reference.config['patch_size'] == 16 else 16
    path = save_state_dict(weights, tmp_path)
    expected = rf'weights of ViT-B-{patch}.*\(768, 3, {patch}, {patch}\)'
    with pytest.raises(TowerError, match=expected):
        load_text_tower(f'open_clip:ViT-B-{patch}/file:{path}')
