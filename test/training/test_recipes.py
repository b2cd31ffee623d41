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
"""Training configurations are found by name, wherever the package is installed."""

from pathlib import Path
import re
import subprocess
import sys

import pytest
from zegclip_core.errors import ConfigError
from zegclip_core.training import config

ROOT = Path(__file__).resolve().parents[2]


def test_a_source_checkout_has_them_beside_the_package() -> None:
    assert config.recipe_folder() == ROOT / 'config' / 'train'
    assert config.find_recipe('folder') == ROOT / 'config/train/folder.yaml'
    path = config.find_recipe('ablation/camvid')
    assert path == ROOT / 'config/train/ablation/camvid.yaml'
    assert path.is_file()
    assert {'folder', 'ablation/camvid', 'voc12-inductive'} <= set(config.recipe_names())


def test_a_file_is_taken_as_it_is() -> None:
    assert config.find_recipe('mine.yaml') == Path('mine.yaml')
    assert config.find_recipe('here/mine.yml') == Path('here/mine.yml')


@pytest.mark.parametrize('name', ['voc12', 'folder.yml/', '../zegclip', ''])
def test_another_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=f'voc12-inductive.* but got {re.escape(repr(name))}'):
        config.find_recipe(name)


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
    monkeypatch.setattr(config, '_PACKAGE', package)
    with pytest.raises(ConfigError, match='is the package installed as a whole'):
        config.find_recipe('folder')
    shared = tmp_path / 'env/share/zegclip_ros/config/train'
    (shared / 'ablation').mkdir(parents=True)
    for name in ('folder', 'ablation/camvid'):
        (shared / f'{name}.yaml').touch()
    assert config.recipe_names() == ('ablation/camvid', 'folder')
    assert config.find_recipe('folder') == shared / 'folder.yaml'


@pytest.mark.slow
def test_pip_puts_them_where_they_are_looked_for(tmp_path: Path) -> None:
    # Only what setup.py makes of config/ is needed; nothing is fetched.
    options = ('--no-index', '--no-deps', '--no-build-isolation', '--disable-pip-version-check')
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('setup.py', 'README.md', 'package.xml', 'resource', 'config', 'zegclip_core'):
        (source / name).symlink_to(ROOT / name)
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
