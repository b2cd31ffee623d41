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
"""One grammar of model names: what each form loads, from where, and how others are refused."""

from pathlib import Path
import re
import shutil

import numpy as np
import open_clip
import pytest
from tiny_clips import NAME, tiny_clip, write_tiny_clip
from tiny_models import write_published
import torch
from torch.nn import functional
from zegclip_core.cli.main import main
from zegclip_core.engines.backends import pick_backend
from zegclip_core.errors import ConfigError, ModelError, TowerError, ZegCLIPError
from zegclip_core.export import export_onnx
from zegclip_core.loading import load_model, model_path, NEGATIVES, open_checkpoint
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.options import ATTENTIONS, SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.catalogue import unusable
from zegclip_core.weights.names import (
    bundled_models,
    FORMS,
    ModelName,
    parse_model,
    TowerReference,
)

EVERYDAY = bundled_models()['everyday-s']


def clip(name: str, tag: str | None = None, path: str | None = None) -> TowerReference:
    return TowerReference('open_clip', name, tag=tag, path=path)


@pytest.mark.parametrize(
    ('text', 'file', 'tower'),
    [
        ('everyday-s', EVERYDAY, None),
        ('runs/voc.safetensors', Path('runs/voc.safetensors'), None),
        ('~/voc.pth', Path.home() / 'voc.pth', None),
        ('C.pt', Path('C.pt'), None),
        ('a/model.onnx', Path('a/model.onnx'), None),
        ('ViT-B-16/openai', None, clip('ViT-B-16', 'openai')),
        ('ViT-B/16/openai', None, clip('ViT-B-16', 'openai')),
        ('ViT-B-16@/a b/clip.bin', None, clip('ViT-B-16', path='/a b/clip.bin')),
        ('ViT-L/14@~/ViT-L-14.pt', None, clip('ViT-L-14', path='~/ViT-L-14.pt')),
        ('ViT-L/14@336px/openai', None, clip('ViT-L-14-336', 'openai')),
        ('ViT-L/14@336px@b.pt', None, clip('ViT-L-14-336', path='b.pt')),
        ('A@b@c+d.pt', None, clip('A', path='b@c+d.pt')),
        ('everyday-s+A@b', EVERYDAY, clip('A', path='b')),
        ('x/a+b.safetensors+A@c.pt', Path('x/a+b.safetensors'), clip('A', path='c.pt')),
        ('model.onnx+A@c.pt', Path('model.onnx'), clip('A', path='c.pt')),
        ('./a@b.safetensors', Path('a@b.safetensors'), None),
        ('/d/a+b@c/d.safetensors', Path('/d/a+b@c/d.safetensors'), None),
    ],
)
def test_form_of_a_name_says_what_it_is(
    text: str, file: Path | None, tower: TowerReference | None
) -> None:
    assert parse_model(text) == ModelName(text, file, tower)


@pytest.mark.parametrize(
    'text',
    [
        '',
        'everyday-x',
        'runs/best.ckpt',
        'ViT-B-16/',
        '/openai',
        'ViT-B-16@',
        '@clip.bin',
        'open_clip:ViT-B-16/openai',
        'nothing+ViT-B-16@clip.bin',
        'everyday-s+ViT-B-16/openai',
        '../ViT-B-16/openai',
        'x' * 500,
    ],
)
def test_name_of_no_form_is_refused_with_all_forms_in_one_line(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(text)
    message = str(caught.value)
    assert message.startswith(f'Expected a model to be one of everyday-s, {FORMS}, but got ')
    assert '\n' not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ('text', 'hint'),
    [
        ('ViT-B-16', 'Add a tag, such as ViT-B-16/openai.'),
        ('ViT-B/16', 'Add a tag, such as ViT-B-16/openai.'),
        ('runs/voc.SAFETENSORS', 'Endings are in small letters: .safetensors.'),
        ('voc.PTH', 'Endings are in small letters: .pth.'),
        ('runs/voc.ckpt', 'CLIP weights in a .ckpt file are used as NAME@FILE.'),
        ('ViT-B-16/', 'Add a tag, such as ViT-B-16/openai.'),
        ('ViT-B-16@', 'Add a tag, such as ViT-B-16/openai.'),
        ('ViT-L/14@336px', 'Add a tag, such as ViT-L-14-336/openai.'),
        (
            'open_clip:ViT-B-16/openai',
            'That is the form of a tower: leave out open_clip:, and write @ for /file:.',
        ),
        ('pytorch_model.bin', 'CLIP weights in a .bin file are used as NAME@FILE.'),
    ],
)
def test_a_name_that_is_nearly_right_gets_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_model(text)
    assert str(caught.value).endswith(f'but got {text!r}. {hint}')


@pytest.mark.parametrize('text', ['runs/best', 'RN50x99/openai', 'ViT-B-99/openai'])
def test_only_names_that_can_be_used_are_suggested(text: str) -> None:
    with pytest.raises(TowerError) as caught:
        load_model(text)
    message = str(caught.value)
    assert message.startswith(f'Cannot use {text!r} as CLIP without training')
    assert 'if it is a path, it must end in .safetensors, ' in message
    told = re.findall(r'[\w.-]+', message.partition('such as ')[2].partition(' but got')[0])
    assert bool(told) == text.startswith('ViT')
    assert not any(unusable(open_clip.get_model_config(name)) for name in told)


def test_what_lies_on_the_disk_does_not_change_what_a_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ('everyday-s', 'ViT-B-16/openai', 'ViT-B-16@clip.safetensors'):
        before = parse_model(name)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('')
        assert parse_model(name) == before


def test_library_goes_by_the_form_of_the_name() -> None:
    assert pick_backend(SegmenterOptions(), 'ViT-B-16@weights.onnx') == 'torch'
    assert pick_backend(SegmenterOptions(), 'runs/ViT-B-16/model.onnx') == 'onnxruntime'


@pytest.fixture(scope='module')
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp('weights') / 'open_clip_model.safetensors')


def test_clip_with_a_local_file_computes_what_open_clip_does(local: Path) -> None:
    model = tiny_clip()
    loaded = load_model(f'{NAME}@{local}', attention='clip')
    assert isinstance(loaded.network, TrainingFreeCLIP)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model.visual.output_tokens = True
    with torch.no_grad():
        tokens = model.visual(images)[1] @ model.visual.proj  # open_clip norms them as well
        actual = loaded.network.patch_tokens(images).flatten(2).transpose(1, 2)
        text = model.encode_text(open_clip.tokenize(['a photo of a bus']), normalize=True)
    torch.testing.assert_close(actual, tokens, atol=1e-4, rtol=0)
    torch.testing.assert_close(loaded.text_encoder.tower.encode(['a photo of a bus']), text)


def test_activation_of_a_file_is_that_of_the_name(local: Path) -> None:
    plain, quick = (load_model(f'{name}@{local}') for name in (NAME, f'{NAME}-quickgelu'))
    activations = [each.config.vision.activation for each in (plain, quick)]
    assert activations == ['gelu', 'quick_gelu']
    phrases = [each.text_encoder.encode_phrases(['bus']) for each in (plain, quick)]
    assert (phrases[0] - phrases[1]).abs().max() > 1e-5


def test_clip_without_training_brings_settings_of_its_own(local: Path) -> None:
    settings = load_model(f'{NAME}@{local}').settings
    assert settings.negatives == NEGATIVES
    assert (settings.short_side, settings.crop, settings.stride) == (336, 64, 32)
    assert settings.seen_classes == ()
    for attention in ATTENTIONS:
        network = load_model(f'{NAME}@{local}', attention=attention).network
        assert isinstance(network, TrainingFreeCLIP)
        assert network.config.attention == attention


def test_templates_can_be_chosen(local: Path) -> None:
    few = load_model(f'{NAME}@{local}').text_encoder
    many = load_model(f'{NAME}@{local}', templates='imagenet').text_encoder
    assert len(few.templates) < 10
    assert len(many.templates) == 80
    own = load_model(f'{NAME}@{local}', templates=['{}']).text_encoder
    mean = functional.normalize(
        own.encode_phrases([t.format('bus') for t in few.templates]).mean(0), dim=0
    )
    torch.testing.assert_close(few.encode_phrases(['bus'])[0], mean)


def test_loading_does_not_move_the_random_numbers(local: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load_model(f'{NAME}@{local}')
    assert torch.equal(torch.get_rng_state(), before)


def test_segmenter_takes_the_name(local: Path) -> None:
    segmenter = Segmenter.load(f'{NAME}@{local}', device='cpu', short_side=64)
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    found = segmenter.segment(image, Vocabulary.from_names(['cat', 'bus']))
    assert found.labels.shape == (70, 90)
    assert set(np.unique(found.labels)) <= {0, 1, 255}


def test_choice_that_there_is_not_is_refused_before_a_download(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_clip, 'download_pretrained', lambda *_: pytest.fail('tried'))
    with pytest.raises(ModelError, match="no attention for 'everyday-s', a trained model"):
        load_model('everyday-s', attention='naclip')
    with pytest.raises(ModelError, match=r"naclip, .*clip, but got 'none'"):
        load_model('ViT-B-16/openai', attention='none')  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match='none'):
        load_model('ViT-B-16/openai', templates='none')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('ViT-B-99/openai', "such as ViT-B-16.*but got 'ViT-B-99'"),
        ('runs/voc', r"but got 'runs'\. zegclip models lists the names; .*\.safetensors"),
        ('ViT-B-16/nothing', "a tag of ViT-B-16: openai, .*but got 'nothing'"),
        ('RN50/openai', 'the image tower is no ViT'),
        ('coca_ViT-B-32/laion2b_s13b_b90k', 'attentional_pool'),
        ('MobileCLIP2-S0/dfndr2b', r'timm_model_name \(fastvit'),
        ('ViT-L-14-CLIPA/datacomp1b', 'no_ln_pre'),
        ('roberta-ViT-B-32/laion2b_s12b_b32k', 'hf_model_name'),
        ('ViT-B-16@/nowhere/clip.pt', 'there is none at /nowhere/clip.pt'),
    ],
)
def test_clip_that_cannot_be_used_is_refused_before_any_download(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip, 'download_pretrained', lambda *_: pytest.fail('tried'))
    with pytest.raises(TowerError, match=message) as caught:
        load_model(name)
    assert '\n' not in str(caught.value)


@pytest.fixture(scope='module')
def apart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return a checkpoint that holds its CLIP, the same without it, and that CLIP."""
    folder = tmp_path_factory.mktemp('apart')
    published = write_published(folder / 'voc.pth')
    whole, lean = folder / 'whole.safetensors', folder / 'lean.safetensors'
    assert main(['convert', str(published), str(whole), '--include-towers']) == 0
    assert main(['convert', str(published), str(lean)]) == 0
    frozen = torch.load(published, weights_only=True)['state_dict']
    visual = {
        key.replace('backbone.', 'visual.'): value
        for key, value in frozen.items()
        if key.startswith('backbone.') and 'prompt' not in key
    }
    text = {
        key.removeprefix('text_encoder.'): value
        for key, value in frozen.items()
        if key.startswith('text_encoder.')
    }
    clip_file = folder / 'ViT-B-16.pt'
    torch.save({**visual, **text}, clip_file)
    return whole, lean, clip_file


@pytest.fixture
def small_vit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let open_clip's ViT-B-16, which the checkpoint names, be a small one."""
    vision = {'image_size': 32, 'patch_size': 8, 'width': 64, 'layers': 2}
    text = {'context_length': 77, 'vocab_size': 49408, 'width': 64, 'heads': 1, 'layers': 2}
    config = {'embed_dim': 64, 'vision_cfg': vision, 'text_cfg': text, 'quick_gelu': True}
    monkeypatch.setattr(open_clip, 'get_model_config', lambda name: config)


def test_a_file_s_path_may_be_a_path(apart: tuple[Path, Path, Path]) -> None:
    whole = apart[0]
    found = Segmenter.load(whole, device='cpu', short_side=32)
    assert found.model_name == load_model(whole).name == str(whole)


@pytest.mark.usefixtures('small_vit')
def test_checkpoint_with_its_clip_apart_labels_as_with_it_inside(
    apart: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    whole, lean, clip_file = apart
    moved = tmp_path / 'moved.pt'
    shutil.copy(clip_file, moved)
    inside = f'{lean}+ViT-B-16-quickgelu@{moved}'
    exported = tmp_path / 'lean.onnx'
    export_onnx(inside, exported, size=(40, 56))
    moved.unlink()  # What is exported names this place.
    image = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    words = Vocabulary.from_names(['cat', 'aeroplane', 'tree'])
    first, *others = (
        Segmenter.load(
            name,
            device='cpu',
            precision='fp32',
            short_side=None if '.onnx' in name else 40,
        )
        for name in (
            str(whole),
            f'{lean}+ViT-B-16-quickgelu@{clip_file}',
            f'{exported}+ViT-B-16-quickgelu@{clip_file}',
        )
    )
    expected = first.segment(image, words)
    for segmenter in others:
        found = segmenter.segment(image, words)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        assert (found.labels == expected.labels).mean() > 0.999


def test_clip_apart_of_another_model_is_refused(apart: tuple[Path, Path, Path]) -> None:
    whole, lean, clip_file = apart
    for name, message in (
        (f'{lean}+ViT-L-14@{clip_file}', 'a tower ViT-L-14, .* names open_clip:ViT-B-16/openai'),
        (f'{whole}+ViT-B-16@{clip_file}', 'names none, as it holds them'),
        (f'everyday-s+ViT-B-16@{clip_file}', 'names package:.* and package:'),
    ):
        with pytest.raises(ZegCLIPError, match=message):
            load_model(name)


@pytest.mark.parametrize('name', ['ViT-B-16/openai', 'ViT-B-16@clip.pt', 'model.onnx'])
def test_what_needs_a_checkpoint_refuses_other_models(name: str) -> None:
    for read in (open_checkpoint, model_path):
        with pytest.raises(ModelError, match=r'Expected a trained model, .*but got'):
            read(name)


def test_what_needs_a_file_alone_refuses_one_with_its_clip_apart() -> None:
    with pytest.raises(ModelError, match=r'a checkpoint alone, such as /a/b\.pth'):
        model_path('/a/b.pth+ViT-B-16@clip.pt')


@pytest.mark.parametrize(
    'command',
    [
        ['export', '--model', 'ViT-B-16/openai', '--out', 'model.onnx'],
        ['reproduce', 'voc12-inductive', '--data', '.', '--checkpoint', 'ViT-B-16/openai'],
        ['convert', 'ViT-B-16/openai', 'out.safetensors'],
        ['benchmark', '--model', 'ViT-B-16/openai'],
    ],
)
def test_command_that_cannot_take_clip_says_so_in_a_line(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    (error,) = re.findall(r'zegclip: error: .*\n', capsys.readouterr().err)
    assert 'ViT-B-16/openai' in error
