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
"""Which settings a run may go on with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.errors import ConfigError
from zegclip_core.settings import override, validated
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.resuming import begun


def settings() -> dict[str, Any]:
    """Return settings of a training, decoded from YAML."""
    return {
        'name': 'mine',
        'towers': {'image': 'timm:one', 'text': 'open_clip:one'},
        'views': {'size': [32, 32]},
        'train': [{'root': 'a', 'split': 'train'}, {'root': 'b', 'split': 'train'}],
        'schedule': {'steps': 8},
        'validate': [{'root': 'a', 'split': 'val'}],
    }


def aligning() -> dict[str, Any]:
    """Return settings of an alignment, decoded from YAML."""
    shared = ('name', 'towers', 'views', 'schedule')
    own = {key: value for key, value in settings().items() if key in shared}
    more = {'synonyms': {'root': 'w'}, 'names': {'root': 'n'}, 'withheld': {'sofa': ['couch']}}
    return {**own, **more}


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """Return where a run's last checkpoint lies."""
    return tmp_path / 'last.ckpt'


def store(last: Path, config: TrainConfig | AlignConfig, without: str = '') -> None:
    """Write a checkpoint of a run after five steps, as if there had been no such setting yet."""
    dumped = config.model_dump(by_alias=True)
    dumped.pop(without, None)
    torch.save({'global_step': 5, 'zegclip': {'config': dumped}}, last)


def changed(values: dict[str, Any], *texts: str) -> dict[str, Any]:
    for text in texts:
        override(values, text)
    return values


ALLOWED = (
    *('schedule.stop=6', 'schedule.validate_every=3', 'schedule.keep=[6]', 'schedule.workers=2'),
    *('schedule.threads=1', 'devices=2', 'nodes=2', 'output=there', 'validate=[]'),
    *('settings.threshold=0.5', 'train.1.root=moved', 'validate.0.split=test'),
)


@pytest.mark.parametrize('text', ALLOWED)
def test_how_to_run_may_change_and_is_told(
    last: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    store(last, validated(TrainConfig, settings()))
    checkpoint = begun(last, validated(TrainConfig, changed(settings(), text)), resume=True)
    assert checkpoint is not None
    assert checkpoint['global_step'] == 5
    assert f'Going on with {text.partition("=")[0]}=' in caplog.text


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('schedule.learning_rate=0.1', 'schedule.learning_rate=0.1 (it was 0.0002)'),
        ('schedule.steps=9', 'schedule.steps=9 (it was 8)'),
        ('seed=1', 'seed=1 (it was 0)'),
        ('model.feature_layers=[1]', 'model.feature_layers=(1,) (it was ())'),
        ('model.alignment=x', "model.alignment=x (it was '')"),
        ('train.1.share=2', 'train.1.share=2.0 (it was 1.0)'),
        ('train=[{root: a, split: train}]', 'train=1 entries (it was 2 entries)'),
    ],
)
def test_what_changes_the_weights_is_refused_by_name(last: Path, text: str, told: str) -> None:
    store(last, validated(TrainConfig, settings()))
    other = validated(TrainConfig, changed(settings(), text, 'schedule.stop=6'))
    with pytest.raises(ConfigError) as error:
        begun(last, other, resume=True)
    # What is allowed is not among what is wrong.
    assert str(error.value).endswith(f'where data lie may change), but got {told}.')


@pytest.mark.parametrize(
    ('text', 'key'),
    [
        ("names.root=''", "names.root='' (it was n)"),
        ('withheld.sofa=[]', 'withheld='),
        ('withheld.cat=[]', 'withheld='),
        ('initialize_from=x', 'initialize_from=x'),
    ],
)
def test_a_teacher_is_neither_dropped_nor_told_other_words(
    last: Path, text: str, key: str
) -> None:
    store(last, validated(AlignConfig, aligning()))
    with pytest.raises(ConfigError) as error:
        begun(last, validated(AlignConfig, changed(aligning(), text)), resume=True)
    assert f'but got {key}' in str(error.value)


def test_a_setting_from_after_the_run_began_is_no_difference(
    last: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = validated(TrainConfig, settings())
    store(last, config, without='seed')
    assert begun(last, config, resume=True) is not None
    assert not caplog.text


def test_a_run_that_was_not_begun_begins(last: Path) -> None:
    config = validated(TrainConfig, settings())
    assert begun(last, config, resume=True) is None
    assert begun(last, config, resume=False) is None
