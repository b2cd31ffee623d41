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
"""What training may know of unseen classes, and the published optimiser and schedule."""

import json
from pathlib import Path
import re
import subprocess
import sys

from benchmarks.ablation import STEPS
import pytest
import torch
from training_helpers import run_arguments
from zegclip_core.errors import ConfigError
from zegclip_core.model.vit import VisionConfig, VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.settings import validated
from zegclip_core.training import config as config_module
from zegclip_core.training.config import (
    find_recipe,
    load_config,
    recipe_folder,
    recipe_names,
    TrainConfig,
)
from zegclip_core.training.networks import make_optimizer, make_scheduler, new_network
from zegclip_core.training.run import Run
from zegclip_core.weights.image_towers import ImageTower

CONFIGS = Path(__file__).parents[2] / 'config' / 'train'
UNALIGNED = ("model.alignment=''", 'views.size=[64,64]')


def _network(config_file: str, *settings: str) -> ZegCLIP:
    """Return a small model with the parts that a configuration asks for."""
    config = load_config(CONFIGS / config_file, settings)
    vision = VisionConfig(
        patch_size=16, width=64, layers=2, heads=1, mlp_width=64, grid=(14, 14), embed_dim=32
    )
    return new_network(config, ImageTower(vision, VisionTransformer(vision).state_dict()), 32)


def _published_rate(step: int, steps: int) -> float:
    """Return mmcv's rate: poly of power 0.9 down to 1e-6, after 1500 steps of linear warm-up."""
    regular = (2e-4 - 1e-6) * (1 - step / steps) ** 0.9 + 1e-6
    if step >= 1500:
        return regular
    return regular * (1 - (1 - step / 1500) * (1 - 1e-6))


@pytest.mark.parametrize(('name', 'steps'), [('voc12', 20_000), ('coco', 80_000)])
def test_every_parameter_has_the_published_rate_and_decay(name: str, steps: int) -> None:
    config = load_config(CONFIGS / f'{name}-inductive.yaml')
    assert config.schedule.steps == steps
    assert config.schedule.batch_size * config.schedule.accumulate == 16
    network = _network(
        f'{name}-inductive.yaml', 'model.dim=32', 'model.decoder_heads=4', 'views.size=[64,64]'
    )
    optimizer = make_optimizer(network, config)
    scheduler = make_scheduler(optimizer, config.schedule)
    trained = {id(p): n for n, p in network.named_parameters() if p.requires_grad}
    found = [id(p) for group in optimizer.param_groups for p in group['params']]
    assert sorted(found) == sorted(trained)
    assert {n for n in trained.values() if n.startswith('visual.')} == {
        f'visual.{key}'
        for key in (
            'prompt_embeddings',
            'deep_prompt_embeddings',
            'prompt_proj.weight',
            'prompt_proj.bias',
            'prompt_norm.weight',
            'prompt_norm.bias',
        )
    }
    seen = {}
    for step in range(steps):
        if step in (0, 1500, steps - 1):
            seen[step] = [(g['lr'], g['weight_decay']) for g in optimizer.param_groups]
        optimizer.step()
        scheduler.step()
    assert seen[0] == [(pytest.approx(2e-10, rel=1e-6), 0.01)]
    for step, groups in seen.items():
        assert groups == [(pytest.approx(_published_rate(step, steps)), 0.01)]


def test_the_published_model_starts_as_the_release_does() -> None:
    network = _network(
        'voc12-inductive.yaml', 'model.dim=32', 'model.decoder_heads=4', 'views.size=[64,64]'
    )
    assert network.config.vision.grid == (4, 4)
    assert network.visual.positional_embedding.shape == (17, 64)
    first, second, last = network.decoder.layers
    assert torch.equal(first.linear1.weight, second.linear1.weight)
    assert torch.equal(first.multihead_attn.k.weight, last.multihead_attn.k.weight)


def test_the_five_steps_differ_in_what_the_paper_changes() -> None:
    path = CONFIGS / 'voc12-small-inductive.yaml'
    configs = [load_config(path, STEPS[step][1]) for step in ('1', '2', '3', '4', '5')]
    found = [
        (
            c.model.tower,
            c.model.prompt_tokens > 0,
            c.loss.mask_weight > 0 and c.loss.dice_weight > 0 and not c.loss.cross_entropy_weight,
            c.model.relationship_descriptor,
        )
        for c in configs
    ]
    assert found == [
        ('frozen', False, False, False),
        ('finetuned', False, False, False),
        ('frozen', True, False, False),
        ('frozen', True, True, False),
        ('frozen', True, True, True),
    ]
    for config in configs[:3]:
        assert config.loss.cross_entropy_weight == 1.0
    assert len({(c.views, c.train, c.seed, c.unseen, c.setting) for c in configs}) == 1


@pytest.mark.parametrize(
    ('setting', 'named'),
    [
        ('model.feature_layers=[9]', r'model.feature_layers to be in \[0, 1\]'),
        ('views.size=[100,112]', 'views.size to be multiples of 16'),
    ],
)
def test_settings_that_do_not_fit_the_tower_are_named(setting: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        _network('voc12-small-inductive.yaml', *UNALIGNED, setting)


def test_a_fine_tuned_tower_is_trained_at_its_own_rate() -> None:
    settings = (*STEPS['2'][1], *UNALIGNED, 'model.dim=32', 'model.decoder_heads=4')
    config = load_config(CONFIGS / 'voc12-small-inductive.yaml', settings)
    network = _network('voc12-small-inductive.yaml', *settings)
    own, tower = make_optimizer(network, config).param_groups
    assert (own['lr'], tower['lr']) == (5e-4, pytest.approx(2e-5))
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert frozen == []
    count = len([name for name, _ in network.named_parameters() if name.startswith('visual.')])
    assert len(tower['params']) == count


def test_a_configuration_builds_on_another(tmp_path: Path) -> None:
    (tmp_path / 'mine.yaml').write_text(
        f'base: {CONFIGS / "voc12-inductive.yaml"}\nname: mine\nschedule: {{steps: 7}}\n'
    )
    config = load_config(tmp_path / 'mine.yaml')
    assert (config.name, config.schedule.steps, config.schedule.warmup) == ('mine', 7, 1500)
    (tmp_path / 'round.yaml').write_text('base: round.yaml\n')
    with pytest.raises(ConfigError, match='another file'):
        load_config(tmp_path / 'round.yaml')


def test_files_that_build_on_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'one.yaml').write_text('base: two.yaml')
    (tmp_path / 'two.yaml').write_text('base: one.yaml')
    with pytest.raises(ConfigError, match='another file'):
        load_config(tmp_path / 'one.yaml', ())


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (['unseen=[car]'], 'inductive or transductive'),
        (['setting=inductive'], 'inductive or transductive'),
        (['loss.mask_weight=0', 'loss.dice_weight=0', 'loss.cross_entropy_weight=0'], 'above 0'),
        (['name'], 'key=value'),
        (['schedule.steps=['], 'YAML'),
        (['name.first=x'], 'below it'),
        (['train.7.root=a'], 'from 0 to 0 in train.7.root'),
        (['schedule.stepz=1'], r"stop, .* in schedule, but got 'stepz' \(did you mean steps\?\)"),
        (['train.0.rot=a'], r"in train\.0, but got 'rot' \(did you mean root\?\)"),
        (['nothing_like_it=1'], r"in the configuration, but got 'nothing_like_it'\.$"),
        (['precision=8'], "precision to be '32-true', 'bf16-mixed' or '16-mixed', but got 8"),
        (['model.dim=wide'], "model.dim to be an integer, but got 'wide'"),
        (['model.dim=true'], 'model.dim to be an integer, but got True'),
        (['model.published=1'], 'model.published to be true or false, but got 1'),
        (['schedule.clip=often'], 'schedule.clip to be a number'),
        (['output=3'], 'output to be text, but got 3'),
        (['views.size=4'], 'views.size to be a list, but got 4'),
        (['views.size=[1, 2, 3]'], 'views.size to have 2 entries, but got 3'),
        (['views.size=[1]'], 'a value for views.size.1'),
        (['schedule=4'], 'schedule to be a mapping of settings, but got 4'),
        (['train=[]'], 'train to have at least 1 entries, but got 0'),
        (['train.0.unlabelled=maybe'], 'train.0.unlabelled'),
        (['schedule.accumulate=0'], 'schedule.accumulate to be at least 1'),
        (['schedule.stop=99'], 'schedule.stop to be at most'),
        (['schedule.learning_rate=.nan'], 'schedule.learning_rate to be a finite number'),
        (['loss.window=[4]'], r'loss.window to be two numbers .* but got \[4\]'),
        (['loss.dice_weight=-1'], 'loss.dice_weight to be at least 0, but got -1'),
        (['train.0.share=0'], 'train.0.share to be above 0'),
        (['train.0.further_templates=[old]'], 'exactly one {}, but got .old'),
        (['train.0.hold_out=1'], 'train.0.hold_out to be 0 or at least 2'),
        (['model.decoder_heads=5'], 'model.decoder_heads to divide'),
        (['model.detail_width=6'], 'model.detail_width to be a multiple of 8'),
        (['model.decoder_dropout=2'], 'model.decoder_dropout to be below 1, but got 2'),
        (['settings.threshold=5'], 'settings.threshold to be at most 1'),
        (['name=""'], 'name'),
        (['name=mine/second'], 'name to be a name without /'),
        (['name=..'], 'name to be a name without /'),
    ],
)
def test_settings_that_do_not_fit_are_named_in_one_line(
    tmp_path: Path, squares: Path, settings: list[str], named: str
) -> None:
    arguments = run_arguments(squares, 'open_clip:none/file:none', tmp_path)
    with pytest.raises(ConfigError, match=named) as caught:
        load_config(arguments[2], settings)
    assert '\n' not in str(caught.value)


def test_an_unseen_class_that_no_dataset_has_is_named(squares: Path, tmp_path: Path) -> None:
    arguments = run_arguments(squares, 'open_clip:none/file:none', tmp_path)
    config = load_config(arguments[2], ['setting=inductive', 'unseen=[green square]'])
    with pytest.raises(ConfigError, match='green square'):
        Run(config)


@pytest.mark.parametrize('name', recipe_names())
def test_a_shipped_configuration_is_valid_and_stays_itself_when_recorded(name: str) -> None:
    config = load_config(find_recipe(name))
    record = config.model_dump(by_alias=True)
    # Every default is checked as if it were given, and JSON has lists in the place of tuples.
    assert validated(TrainConfig, json.loads(json.dumps(record))) == config
    assert record['train'][0]['root'] == config.train[0].root
    assert len(record['validate']) == len(config.validation)


def test_settings_can_be_changed_by_key() -> None:
    changes = ['schedule.steps=7', 'train.1.root=/data', 'views.size=[28, 42]', 'schedule.clip=2']
    config = load_config(find_recipe('everyday-s'), changes)
    assert (config.schedule.steps, config.train[1].root) == (7, '/data')
    assert config.views.size == (28, 42)
    assert config.schedule.clip == 2.0


def test_a_missing_or_broken_configuration_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / 'broken.yaml'
    broken.write_text('a: [')
    for path in (tmp_path / 'none.yaml', broken):
        with pytest.raises(ConfigError, match=path.name) as caught:
            load_config(path)
        assert '\n' not in str(caught.value)


def test_a_source_checkout_has_the_configurations_beside_the_package() -> None:
    assert recipe_folder() == CONFIGS
    assert find_recipe('folder') == CONFIGS / 'folder.yaml'
    assert {'folder', 'voc12-small-inductive', 'voc12-inductive'} <= set(recipe_names())
    assert find_recipe('mine.yaml') == Path('mine.yaml')
    assert find_recipe('here/mine.yml') == Path('here/mine.yml')


@pytest.mark.parametrize('name', ['voc12', 'folder.yml/', '../zegclip', ''])
def test_another_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=f'voc12-inductive.* but got {re.escape(repr(name))}'):
        find_recipe(name)


@pytest.mark.parametrize(
    'packages',
    [
        'env/lib/python3.11/site-packages',  # pip, also by --user or --prefix
        'env/local/lib/python3.12/dist-packages',  # pip on Debian
        'env',  # pip --target
    ],
)
def test_an_installed_package_has_them_in_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: str
) -> None:
    package = tmp_path / packages / 'zegclip_core'
    package.mkdir(parents=True)
    monkeypatch.setattr(config_module, '_PACKAGE', package)
    with pytest.raises(ConfigError, match='is the package installed as a whole'):
        find_recipe('folder')
    shared = tmp_path / 'env/share/zegclip_ros/config/train'
    (shared / 'mine').mkdir(parents=True)
    for name in ('folder', 'mine/street'):
        (shared / f'{name}.yaml').touch()
    assert recipe_names() == ('folder', 'mine/street')
    assert find_recipe('folder') == shared / 'folder.yaml'


@pytest.mark.slow
def test_pip_puts_them_where_they_are_looked_for(tmp_path: Path) -> None:
    # Only what setup.py makes of config/ is needed; nothing is fetched.
    options = ('--no-index', '--no-deps', '--no-build-isolation', '--disable-pip-version-check')
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('setup.py', 'README.md', 'package.xml', 'resource', 'config', 'zegclip_core'):
        (source / name).symlink_to(CONFIGS.parents[1] / name)
    target = tmp_path / 'env'
    command = [sys.executable, '-m', 'pip', 'install', '--ignore-installed', '--prefix', target]
    done = subprocess.run(
        [*command, *options, source], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = target.glob('lib/python3*/site-packages')
    code = (
        f'import sys; sys.path.insert(0, {str(packages)!r}); '
        'from zegclip_core.training.config import find_recipe; '
        'print(find_recipe("voc12-inductive"))'
    )
    shown = subprocess.run(
        [sys.executable, '-Ic', code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.strip()
    assert Path(shown) == target / 'share/zegclip_ros/config/train/voc12-inductive.yaml'
    assert Path(shown).is_file()
