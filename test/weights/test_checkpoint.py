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
"""Checkpoints: the authors' files, ours, the way between them, and files that are no good."""

from dataclasses import replace
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import noise, published_state, write_published
import torch
from zegclip_core.cli.main import main
from zegclip_core.errors import CheckpointError, ModelError, TowerError, ZegCLIPError
from zegclip_core.loading import build_network, load_model
from zegclip_core.model.training_free import TrainingFreeConfig
from zegclip_core.model.vit import VisionConfig
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import (
    change_settings,
    load_checkpoint,
    model_metadata,
    ModelSettings,
    read_metadata,
    save_checkpoint,
)
from zegclip_core.weights.published import convert_published, load_published

WORDS = Vocabulary.from_names(['cat', 'aeroplane', 'tree'])


@pytest.fixture(scope='module')
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp('published') / 'voc.pth')


@pytest.fixture(scope='module')
def converted(published: Path) -> Path:
    target = published.with_name('ours.safetensors')
    arguments = ['convert', str(published), str(target), '--include-towers', '--seen', 'cat']
    assert main(arguments) == 0
    return target


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework='pt') as file:
        return dict(file.metadata())


def test_a_converted_checkpoint_labels_as_the_authors_file_does(
    published: Path, converted: Path
) -> None:
    theirs, ours = (Segmenter.load(str(path), precision='fp32') for path in (published, converted))
    for word in WORDS.names:
        vocabulary = Vocabulary.from_names([word])
        scores = [model.segment(noise(40, 56), vocabulary).scores for model in (theirs, ours)]
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-6)
    # 'cat' was named as seen, so its scores are lowered when the best class is chosen.
    assert theirs.encode(WORDS).bias.tolist() == [0, 0, 0]
    assert ours.encode(WORDS).bias.tolist() == pytest.approx([0.1, 0, 0])


def test_published_traps_hold_for_published_files(published: Path) -> None:
    vision = load_published(published).config.vision
    assert vision.class_embedding_twice
    assert vision.prompt_norm
    assert vision.position_resize == 'bilinear'
    assert vision.activation == 'quick_gelu'
    assert vision.mean == pytest.approx((123.675, 116.28, 103.53))
    assert vision.std == pytest.approx((58.395, 57.12, 57.375))


def test_a_converted_file_without_towers_holds_what_was_trained(
    published: Path, tmp_path: Path
) -> None:
    target = tmp_path / 'small.safetensors'
    assert main(['convert', str(published), str(target)]) == 0
    keys = set(load_file(target))
    assert {'visual.prompt_embeddings', 'visual.prompt_norm.weight'} <= keys
    assert not any(key.startswith('text_encoder') or 'resblocks' in key for key in keys)
    settings = load_checkpoint(target).settings
    assert settings.image_tower == settings.text_tower == 'open_clip:ViT-B-16/openai'


def test_a_data_parallel_prefix_and_half_precision_are_read(tmp_path: Path) -> None:
    state = {f'module.{key}': value.half() for key, value in published_state().items()}
    path = tmp_path / 'parallel.pth'
    torch.save(state, path)
    assert load_published(path).state_dict['visual.proj'].dtype == torch.float32


def test_hundred_prompts_take_the_fifteen_templates() -> None:
    assert convert_published(published_state(prompts=3)).settings.templates == 'single'
    assert convert_published(published_state(prompts=100)).settings.templates == 'coco_stuff'


def test_saving_and_loading_give_back_everything(published: Path, tmp_path: Path) -> None:
    checkpoint = load_published(published)
    path = tmp_path / 'again.safetensors'
    save_checkpoint(checkpoint, path)
    again = load_checkpoint(path)
    assert again.config == checkpoint.config
    assert again.settings == checkpoint.settings
    assert again.state_dict.keys() == checkpoint.state_dict.keys()
    for key, value in checkpoint.state_dict.items():
        assert torch.equal(again.state_dict[key], value)
    assert header(path)['format'] == 'zegclip'


def _error(path: Path) -> str:
    with pytest.raises(ZegCLIPError) as caught:
        load_model(str(path))
    text = str(caught.value)
    assert '\n' not in text
    return text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ('none.pth', 'none.safetensors'):
        assert name in _error(tmp_path / name)


def test_an_unknown_name_lists_what_is_bundled() -> None:
    with pytest.raises(ModelError, match='everyday-s'):
        load_model('no-such-model')


@pytest.mark.parametrize('share', [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused(
    published: Path, converted: Path, tmp_path: Path, share: float
) -> None:
    for source in (published, converted):
        data = source.read_bytes()
        cut = tmp_path / f'cut{source.suffix}'
        cut.write_bytes(data[: int(len(data) * share)])
        assert cut.name in _error(cut)


def test_a_foreign_file_is_told_by_its_keys(tmp_path: Path) -> None:
    foreign = tmp_path / 'resnet.pth'
    torch.save({'state_dict': {'layer1.weight': torch.zeros(2)}}, foreign)
    assert 'layer1.weight' in _error(foreign)
    ours = tmp_path / 'resnet.safetensors'
    save_file({'layer1.weight': torch.zeros(2)}, ours)
    assert 'layer1.weight' in _error(ours)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        """Runs code when it is unpickled."""

        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (eval, ('1/0',))

    path = tmp_path / 'evil.pth'
    torch.save({'state_dict': Evil()}, path)
    assert path.name in _error(path)


@pytest.mark.parametrize('change', ['missing', 'unexpected', 'shape'])
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change: str) -> None:
    state = published_state()
    key = 'backbone.transformer.resblocks.1.ln_2.weight'
    if change == 'missing':
        del state[key]
    elif change == 'unexpected':
        state['backbone.odd'] = torch.zeros(1)
    else:
        state[key] = torch.zeros(5)
    path = tmp_path / 'odd.pth'
    torch.save({'state_dict': state}, path)
    name = 'visual.odd' if change == 'unexpected' else key.replace('backbone', 'visual')
    text = _error(path)
    assert path.name in text
    assert name in text


def test_our_file_of_another_version_is_refused(converted: Path, tmp_path: Path) -> None:
    metadata = header(converted)
    metadata['format_version'] = '99'
    path = tmp_path / 'later.safetensors'
    save_file(load_file(converted), path, metadata=metadata)
    assert '99' in _error(path)


def test_damaged_metadata_is_refused(converted: Path, tmp_path: Path) -> None:
    metadata = header(converted)
    path = tmp_path / 'damaged.safetensors'
    for damage in ('{', '{"odd": 1}', '[]'):
        save_file(load_file(converted), path, metadata={**metadata, 'config': damage})
        assert path.name in _error(path)


def test_a_file_from_before_pooling_has_one_class_token(converted: Path, tmp_path: Path) -> None:
    metadata = header(converted)
    config = json.loads(metadata['config'])
    assert config['vision'].pop('num_prefix_tokens') == 1
    assert config['vision'].pop('pooling') == 'token'
    path = tmp_path / 'before.safetensors'
    save_file(load_file(converted), path, metadata={**metadata, 'config': json.dumps(config)})
    assert load_checkpoint(path).config == load_checkpoint(converted).config
    config['vision']['pooling'] = 'max'
    save_file(load_file(converted), path, metadata={**metadata, 'config': json.dumps(config)})
    assert 'token, avg, map' in _error(path)


def test_a_failed_write_leaves_no_file(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'file'
    folder.write_text('not a folder')
    with pytest.raises(CheckpointError, match='file'):
        save_checkpoint(load_published(published), folder / 'x.safetensors')
    assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_a_tower_of_another_shape_is_refused(published: Path, tmp_path: Path) -> None:
    checkpoint = load_published(published)
    clip = {
        key.replace('backbone.', 'visual.'): value
        for key, value in published_state().items()
        if key.startswith('backbone.') and 'prompt' not in key and 'resblocks.1' not in key
    }
    clip['token_embedding.weight'] = torch.zeros(2, 2)
    file = tmp_path / 'clip.pt'
    torch.save(clip, file)
    settings = replace(
        checkpoint.settings, image_tower=f'open_clip:ViT-B-16-quickgelu/file:{file}'
    )
    with pytest.raises(TowerError, match=r'layers|conv1|patch'):
        build_network(replace(checkpoint, settings=settings), where='the test')


def test_settings_change_and_weights_stay_to_the_bit(converted: Path, tmp_path: Path) -> None:
    narrow, changed = tmp_path / 'narrow.safetensors', tmp_path / 'changed.safetensors'
    save_checkpoint(load_checkpoint(converted), narrow, dtype=torch.float16)
    change_settings(narrow, changed, threshold=0.25, negatives=('wall',))
    before, after = load_file(narrow), load_file(changed)
    assert list(before) == list(after)
    for key, value in before.items():
        assert after[key].dtype == torch.float16
        assert torch.equal(value, after[key])
    headers = header(narrow), header(changed)
    old, new = (json.loads(each.pop('settings')) for each in headers)
    assert headers[0] == headers[1]
    assert new == {**old, 'threshold': 0.25, 'negatives': ['wall']}
    change_settings(changed, changed, threshold=old['threshold'], negatives=())
    assert load_checkpoint(changed).settings == load_checkpoint(narrow).settings


def test_settings_of_what_is_no_checkpoint_do_not_change(tmp_path: Path) -> None:
    foreign = tmp_path / 'foreign.safetensors'
    save_file({'a': torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match='a checkpoint of this project'):
        change_settings(foreign, foreign, threshold=0.5)
    with pytest.raises(CheckpointError, match='no file'):
        change_settings(tmp_path / 'none.safetensors', foreign, threshold=0.5)


def test_a_header_of_a_model_without_training_is_for_exported_files_alone(tmp_path: Path) -> None:
    vision = VisionConfig(8, 32, 2, 4, 64, (4, 4), embed_dim=16)
    metadata = model_metadata(TrainingFreeConfig(vision), ModelSettings())
    path = tmp_path / 'clip.safetensors'
    save_file({'a': torch.zeros(1)}, path, metadata=metadata)
    config, _ = read_metadata(path, metadata, [])
    assert config == TrainingFreeConfig(vision)
    with pytest.raises(CheckpointError, match='hold a trained model') as caught:
        load_checkpoint(path)
    assert '\n' not in str(caught.value)
    odd = {**json.loads(metadata['config']), 'scale': -1.0}
    with pytest.raises(CheckpointError, match='is damaged: Expected `scale`'):
        read_metadata(path, {**metadata, 'config': json.dumps(odd)}, [])
