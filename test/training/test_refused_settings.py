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
"""Settings of trainings and alignments that cannot do what they say are refused in one line."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.data.captions import open_captions
from zegclip_core.data.word_geometry import read_word_geometry
from zegclip_core.errors import ConfigError, DataError
from zegclip_core.settings import override, read_values, validated
from zegclip_core.training import networks
from zegclip_core.training.config import ModelConfig, SourceConfig, TowersConfig, TrainConfig

TOWERS = {'image': 'timm:a', 'text': 'package:b'}


def train(**changes: object) -> TrainConfig:
    values = {
        'name': 'x',
        'towers': TOWERS,
        'views': {'size': [32, 32]},
        'train': [{'root': 'data', 'split': 'train'}],
        'schedule': {'steps': 10},
        **changes,
    }
    return validated(TrainConfig, values)


def align(**changes: object) -> AlignConfig:
    values = {
        'name': 'x',
        'towers': TOWERS,
        'views': {'size': [32, 32]},
        'schedule': {'steps': 10},
        'names': {'root': 'photos'},
        **changes,
    }
    return validated(AlignConfig, values)


@pytest.mark.parametrize('warmup', [10, 11, 500])
def test_a_one_cycle_warm_up_as_long_as_the_run(warmup: int) -> None:
    with pytest.raises(ConfigError, match=r'schedule\.warmup to be shorter than the run'):
        train(schedule={'steps': 10, 'warmup': warmup})
    with pytest.raises(ConfigError, match=r'schedule\.warmup to be shorter than the run'):
        align(schedule={'steps': 10, 'warmup': warmup})
    train(schedule={'steps': 10, 'warmup': warmup, 'decay': 'poly'})
    train(schedule={'steps': 10, 'warmup': 9})


@pytest.mark.parametrize('layers', [[0, 0], [1, 2, 1], [3, 3, 3]])
def test_feature_layers_that_repeat(layers: list[int]) -> None:
    with pytest.raises(ConfigError, match=r'model\.feature_layers to be layers, each once'):
        train(model={'feature_layers': layers})
    with pytest.raises(ConfigError, match=r'space\.feature_layers to be layers, each once'):
        align(space={'feature_layers': layers})


@pytest.mark.parametrize('teacher', ['sentences', 'names', 'geometry', 'synonyms'])
def test_a_contrast_of_one_with_nothing(teacher: str) -> None:
    with pytest.raises(ConfigError, match=f'{teacher}.batch_size to be at least 2, but got 1'):
        align(**{teacher: {'root': 'x', 'batch_size': 1}})
    align(**{teacher: {'root': 'x', 'batch_size': 2}})


@pytest.mark.parametrize('words', [{'...': []}, {'sofa': ['12']}, {'': []}, {'!?': ['couch']}])
def test_withheld_words_without_letters(words: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigError, match='withheld to hold words, with letters'):
        align(withheld=words)


@pytest.mark.parametrize('templates', [['an old {}'], ['a {}', 'one {}']])
def test_templates_that_nothing_is_put_into(templates: list[str]) -> None:
    source = {'root': 'x', 'split': 'train', 'further_templates': templates}
    with pytest.raises(ConfigError, match='further_templates with wording varied alone'):
        validated(SourceConfig, {**source, 'wording': 'name'})
    validated(SourceConfig, source)


@pytest.mark.parametrize(
    ('theirs', 'says'),
    [
        ({'image': 'timm:a', 'text': 'package:c'}, 'towers.text to be that of m.x, package:c'),
        ({'image': 'timm:c', 'text': 'package:b'}, 'towers.image to be that of m.x, timm:c'),
        ({'text': 'open_clip:A/b'}, 'towers.text to be that of m.x, open_clip:A/b'),
        ({'image': 'timm:a', 'text': 'package:b'}, ''),
        ({'image': '', 'text': 'package:b'}, ''),
        ({'image': 'open_clip:A/file:a.pt', 'text': 'package:b'}, ''),
        ({}, ''),
    ],
)
def test_a_start_from_a_model_on_other_towers(theirs: dict[str, str], says: str) -> None:
    towers = TowersConfig(**TOWERS)
    if not says:
        networks._check_towers(towers, theirs, Path('m.x'))
        return
    with pytest.raises(ConfigError, match=says):
        networks._check_towers(towers, theirs, Path('m.x'))


def test_a_start_from_a_checkpoint_whose_record_is_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReachedError(Exception):
        """The shapes were compared."""

    def compare(network: object, shape: dict[str, object], path: Path) -> None:
        assert {name: shape[name] for name in networks._SHAPE_BEFORE} == networks._SHAPE_BEFORE
        raise ReachedError

    record = {'model': {'dim': 32}, 'towers': TOWERS}
    monkeypatch.setattr(
        networks, 'read_run_checkpoint', lambda path: {networks.RECORD: {'config': record}}
    )
    monkeypatch.setattr(networks, 'trained_weights', lambda run: {})
    monkeypatch.setattr(networks, '_check_unweighted', compare)
    with pytest.raises(ReachedError):
        networks.initialize_from(SimpleNamespace(), 'a.ckpt', {}, TowersConfig(**TOWERS))
    defaults = ModelConfig()
    assert {k: getattr(defaults, k) for k in networks._SHAPE_BEFORE} == networks._SHAPE_BEFORE


@pytest.mark.parametrize(
    'raw',
    [
        b'\xef\xbb\xbfa.jpg\tA cat.\r\nb.jpg\tA dog.\r\n',
        b'a.jpg\tA cat.\rb.jpg\tA dog.\r',
        'a.jpg\tA\u2028cat.\nb.jpg\tA\x85dog.\n'.encode(),
    ],
)
def test_captions_with_a_byte_order_mark_and_any_line_ends(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / 'images').mkdir()
    for name in ('a.jpg', 'b.jpg', '._a.jpg'):
        (tmp_path / 'images' / name).touch()
    (tmp_path / 'captions.tsv').write_bytes(raw)
    assert open_captions(tmp_path).names == ('a.jpg', 'b.jpg')


def test_names_of_embeddings_that_are_no_text_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / 'x.npy', np.ones((1, 3), np.float32))
    (tmp_path / 'x_names.json').write_bytes('["café"]'.encode('latin-1'))
    with pytest.raises(DataError, match='to be text in UTF-8'):
        read_word_geometry(tmp_path)
    (tmp_path / 'x_names.json').write_bytes('\ufeff["café"]'.encode())
    assert read_word_geometry(tmp_path) is not None


ALIASES = 'a0: &a0 [x, x]\n' + ''.join(
    f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]\n' for n in range(1, 12)
)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        (ALIASES, 'its aliases stand for more than 100000 values'),
        ('name: &a\n  name: *a\n', 'its aliases stand for more than 100000 values'),
        ('a: &a [*a]', 'its aliases stand for more than 100000 values'),
        ('[' * 5000, 'its values lie too deep in one another'),
        ('{a: ' * 5000 + '}' * 5000, 'its values lie too deep in one another'),
        ('name: 2026-13-45', 'month must be in 1..12'),
        ('steps: 0b_', 'invalid literal'),
        ('steps: ' + '9' * 5000, 'Exceeds the limit'),
    ],
)
def test_yaml_that_no_person_writes_is_refused_in_one_line_at_once(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as error:
        read_values(path)
    assert str(error.value).startswith(f'Cannot read the configuration {path}: ')
    assert len(str(error.value)) < 500
    with pytest.raises(ConfigError, match='Expected a value in YAML for a'):
        override({}, f'a={text}')


def test_aliases_and_merged_keys_of_people_are_read(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text('a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 2}\nc: [*a, *a]\n')
    one = {'x': 1, 'y': [1, 2]}
    assert read_values(path) == {'a': one, 'b': {**one, 'x': 2}, 'c': [one, one]}


def test_a_large_value_that_is_wrong_is_not_shown_as_a_whole() -> None:
    with pytest.raises(ConfigError, match='Expected seed to be an integer') as error:
        train(seed='x' * 10_000)
    assert len(str(error.value)) < 400
