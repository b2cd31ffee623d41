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
"""Every Python of a supported ROS 2: syntax and types are checked; those at hand compile it."""

from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest
from zegclip_core.doctor.software import NEWEST, OLDEST
from zegclip_ros.doctor import PYTHONS as OF_ROS
from zegclip_ros.doctor import SUPPORTED

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = tuple(f'3.{minor}' for minor in range(OLDEST[1], NEWEST[1] + 1))
FOLDERS = ('zegclip_core', 'zegclip_ros', 'launch', 'scripts', 'benchmarks')
COMPILE = """
import pathlib, sys
for path in sys.argv[1:]:
    compile(pathlib.Path(path).read_text('utf-8'), path, 'exec')
print('%d.%d' % sys.version_info[:2], len(sys.argv) - 1)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def check_syntax(python: str, *paths: str) -> subprocess.CompletedProcess[str]:
    """Return what ruff says of the syntax, and of names that a Python does not have."""
    version = f'py{python.replace(".", "")}'
    rules = ('--isolated', '--no-cache', '--select', 'E9,F', '--ignore', 'F722')
    return run(sys.executable, '-m', 'ruff', 'check', *rules, '--target-version', version, *paths)


@pytest.mark.parametrize('python', PYTHONS)
def test_the_syntax_is_that_of_every_python(python: str) -> None:
    done = check_syntax(python, *FOLDERS, 'setup.py')
    assert done.returncode == 0, done.stdout


def test_newer_syntax_would_be_found(tmp_path: Path) -> None:
    (tmp_path / 'new.py').write_text('type Pair = tuple[int, int]\n')
    assert check_syntax('3.12', str(tmp_path)).returncode == 0
    assert check_syntax('3.11', str(tmp_path)).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize('python', [PYTHONS[0], PYTHONS[-1]])
def test_the_types_are_right_in_the_oldest_and_the_newest_python(
    python: str, tmp_path: Path
) -> None:
    # The standard library of a version is known to mypy without that Python.
    options = ('--python-version', python, '--cache-dir', str(tmp_path))
    done = run(sys.executable, '-m', 'mypy', *options, 'zegclip_core', 'zegclip_ros')
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('python', PYTHONS)
def test_a_python_that_is_at_hand_compiles_everything(python: str) -> None:
    program = shutil.which(f'python{python}')
    if program is None or run(program, '--version').returncode != 0:
        pytest.skip(f'untried: there is no Python {python} on this machine')
    paths = [str(path) for name in FOLDERS for path in sorted((ROOT / name).rglob('*.py'))]
    done = run(program, '-S', '-c', COMPILE, *paths)
    assert done.stdout == f'{python} {len(paths)}\n', done.stderr


def test_the_versions_are_those_of_the_metadata_and_of_ros() -> None:
    setup = (ROOT / 'setup.py').read_text('utf-8')
    named = re.findall(r"'Programming Language :: Python :: (3\.\d+)'", setup)
    assert tuple(named) == PYTHONS
    assert f"python_requires='>={PYTHONS[0]}'" in setup
    assert all(OLDEST <= OF_ROS[name] <= NEWEST for name in SUPPORTED)
