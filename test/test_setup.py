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
"""Setting up on a machine that lacks something: one clear line for each thing, and no more."""

from pathlib import Path
import shutil
import subprocess

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ('constraints.txt', 'setup.py', 'setup.cfg', 'scripts', 'zegclip_core/__init__.py')
TOOLS = ('bash', 'dirname', 'sha256sum', 'cut', 'uname', 'grep', 'head', 'rm')
PYTHON = '#!/bin/sh\ncase "$2" in {passes}) exit 0;; esac\nexit 1\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of what the script reads, beside a folder of programs that has few."""
    for name in NEEDED:
        target = tmp_path / 'clone' / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target)
        else:
            shutil.copy(ROOT / name, target)
    (tmp_path / 'bin').mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / 'bin' / name).symlink_to(found)
    return tmp_path / 'clone'


def program(clone: Path, name: str, text: str = '#!/bin/sh\n') -> None:
    """Add a program to the few that are there."""
    path = clone.parent / 'bin' / name
    path.write_text(text)
    path.chmod(0o755)


def missing(clone: Path) -> list[str]:
    """Run the script and return the lines with which it refuses."""
    done = subprocess.run(
        [clone.parent / 'bin' / 'bash', 'scripts/setup_venv.sh'],
        cwd=clone,
        env={'PATH': str(clone.parent / 'bin')},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert not (clone / '.venv').exists()
    lines = done.stderr.splitlines()
    assert all(line.startswith('missing: ') for line in lines)
    return lines


def test_a_bare_machine_gets_a_line_for_each_thing(clone: Path) -> None:
    python, make, compiler = missing(clone)
    assert 'Python 3.11, 3.12 or 3.13' in python
    assert 'make' in make
    assert 'a C compiler' in compiler
    assert all('apt install' in line for line in (python, make, compiler))


def test_a_python_that_is_too_old_is_none(clone: Path) -> None:
    for name in ('make', 'cc'):
        program(clone, name)
    program(clone, 'python3', PYTHON.format(passes='nothing'))
    (line,) = missing(clone)
    assert 'Python 3.11, 3.12 or 3.13' in line


def test_a_python_without_venv_gets_the_package_that_has_it(clone: Path) -> None:
    for name in ('make', 'gcc'):
        program(clone, name)
    # The first of the names fits; only the check of its version passes.
    program(clone, 'python3', PYTHON.format(passes='nothing'))
    program(clone, 'python3.12', PYTHON.format(passes='*version_info*'))
    (line,) = missing(clone)
    assert 'python3.12' in line
    assert 'apt install python3-venv' in line
