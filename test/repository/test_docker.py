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
"""The Dockerfiles, which no test builds: what they copy and install is what there is."""

from fnmatch import fnmatch
from pathlib import Path
import re
import subprocess

from catkin_pkg.package import parse_package_string
import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'docker').glob('*.Dockerfile'))
DISTRIBUTIONS = ('jazzy', 'lyrical')
PACKAGE = parse_package_string((ROOT / 'package.xml').read_text('utf-8'))
NEEDED = {depend.name for depend in PACKAGE.exec_depends}
IN_BASE = {
    *('launch', 'launch_ros', 'lifecycle_msgs', 'rcl_interfaces', 'rclpy', 'ros2launch'),
    *('std_msgs', 'python3-yaml'),
}
"""What the image ros-base has, which it has to by REP 2001 and rclpy's own dependencies."""
BY_PIP = {'python3-opencv', 'python3-pil', 'python3-tqdm'}
"""What setup.py brings into the virtual environment."""
LEFT_OUT = {'rviz2'}
"""A container has no screen."""


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with what follows them, on one line each."""
    text = re.sub(r'^#.*\n', '', path.read_text('utf-8'), flags=re.MULTILINE)
    lines = [line for line in text.replace('\\\n', ' ').splitlines() if line.strip()]
    return [(word, rest) for word, _, rest in (line.partition(' ') for line in lines)]


def copied(path: Path) -> list[str]:
    """Return the files and folders of the repository that a Dockerfile copies."""
    return [
        name for word, rest in instructions(path) if word == 'COPY' for name in rest.split()[:-1]
    ]


def test_there_is_one_for_each_device() -> None:
    assert [path.name for path in FILES] == ['cpu.Dockerfile', 'cuda.Dockerfile']


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_what_is_copied_is_there_and_not_ignored(path: Path) -> None:
    names = copied(path)
    assert [name for name in names if not (ROOT / name).exists()] == []
    rules = (ROOT / '.dockerignore').read_text('utf-8').split('\n')
    kept = [rule[1:] for rule in rules if rule.startswith('!')]
    assert [name for name in names if name.split('/')[0] not in kept] == []
    assert '*' in rules
    # All that setup.py reads or installs.
    setup = (ROOT / 'setup.py').read_text('utf-8')
    folders = re.findall(r"'(\w+)'", re.findall(r'shared_files\((.*)\),', setup)[-1])
    assert len(folders) == 4
    code = {'zegclip_core', 'zegclip_ros', 'resource', 'README.md', 'package.xml', 'setup.cfg'}
    assert {*folders, *code} <= set(names)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_what_is_installed_is_what_the_package_needs(path: Path) -> None:
    text = ' '.join(rest for word, rest in instructions(path) if word == 'RUN')
    ros = {
        name.replace('-', '_') for name in re.findall(r'"ros-\$\{ROS_DISTRO\}-([a-z0-9-]+)"', text)
    }
    assert ros <= NEEDED
    assert NEEDED - ros - IN_BASE - BY_PIP - LEFT_OUT == {'python3-numpy'}
    assert ' python3-numpy ' in text
    assert f'colcon build --packages-select {PACKAGE.name}' in text
    # The wheels would hide apt's ROS 2, and another NumPy break cv_bridge.
    assert '[ros]' not in text
    assert text.count('"$numpy"') == text.count('pip install')
    code = (ROOT / 'setup.py').read_text('utf-8')
    for requirement in re.findall(r'"(torch\w*>=[\d.]+)"', text):
        assert f"'{requirement}'" in code


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_it_says_that_it_was_not_built_and_what_it_starts(path: Path) -> None:
    text = path.read_text('utf-8')
    assert 'NOT BUILT YET' in text
    assert all(name in text for name in DISTRIBUTIONS)
    (command,) = (rest for word, rest in instructions(path) if word == 'CMD')
    *_, package, launch = re.findall(r'"([^"]+)"', command)
    assert package == PACKAGE.name
    assert (ROOT / 'launch' / launch).is_file()
    assert f'docker/{path.name}' in text


def test_the_entry_point_has_no_syntax_error() -> None:
    subprocess.run(['bash', '-n', ROOT / 'docker' / 'entrypoint.sh'], check=True)


def test_nothing_of_the_environment_or_data_is_sent_to_the_builder() -> None:
    rules = (ROOT / '.dockerignore').read_text('utf-8').split()
    for name in ('.venv', 'data', '.git', 'runs', 'test'):
        assert not any(fnmatch(name, rule[1:]) for rule in rules if rule.startswith('!'))
