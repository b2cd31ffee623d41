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
"""Setting up on a machine that lacks something, and what CI makes of the outcome of its steps."""

from pathlib import Path
import shutil
import subprocess

import pytest

ROOT = Path(__file__).resolve().parents[2]
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


# It fits, makes a venv with a copy of itself, and notes what is installed.
INSTALLER = """#!/bin/sh
case "$2" in
    venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    pip) for last; do :; done; echo "$last" >>installed ;;
esac
"""


@pytest.mark.parametrize(
    ('wanted', 'extras'),
    [
        (('demo',), 'ros,demo'),
        ((), 'ros,demo,train,onnx,openvino,ray,rerun,tips,web,test'),
    ],
)
def test_the_demo_installs_only_what_it_needs(
    clone: Path, wanted: tuple[str, ...], extras: str
) -> None:
    for name in ('make', 'cc'):
        program(clone, name)
    for name in ('mkdir', 'cp'):
        program(clone, name, f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n')
    program(clone, 'python3', INSTALLER)
    for _ in range(2):  # The second time all is there.
        subprocess.run(
            [clone.parent / 'bin' / 'bash', 'scripts/setup_venv.sh', *wanted],
            cwd=clone,
            env={'PATH': str(clone.parent / 'bin')},
            check=True,
        )
    assert (clone / 'installed').read_text().splitlines() == ['wheel', f'.[{extras}]', 'check']


MAKE = """#!/bin/sh
echo "make $1" >>made
case "$1" in
    test) echo '====== {closing} in 1.00s ======'; exit {tests} ;;
    demo) echo 'the table of the demo'; exit {demo} ;;
esac
"""


def run_ci(folder: Path, **outcome: object) -> tuple[int, list[str], list[str]]:
    """Run CI with a make that only tells: exit code, lines on stdout, targets made."""
    (folder / '.ci').mkdir()
    shutil.copy(ROOT / '.ci' / 'run', folder / '.ci' / 'run')
    (folder / 'bin').mkdir()
    (folder / 'bin' / 'make').write_text(MAKE.format(**outcome))
    (folder / 'bin' / 'make').chmod(0o755)
    shutil.copy(folder / 'bin' / 'make', folder / 'bin' / 'chromium')  # None is installed here.
    done = subprocess.run(
        ['bash', '.ci/run'],
        cwd=folder,
        env={'PATH': f'{folder / "bin"}:/usr/bin:/bin', 'CI': 'true'},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), (folder / 'made').read_text().splitlines()


def test_ci_runs_tests_and_demo_and_ends_with_the_closing_line(tmp_path: Path) -> None:
    code, said, made = run_ci(tmp_path, closing='9 passed, 1 skipped', tests=0, demo=0)
    assert (code, made) == (0, ['make test', 'make demo'])
    assert said[-1] == '====== 9 passed, 1 skipped in 1.00s ======'


def test_ci_fails_with_the_tests_and_spares_the_demo(tmp_path: Path) -> None:
    code, said, made = run_ci(tmp_path, closing='1 failed, 8 passed', tests=2, demo=0)
    assert (code, made) == (1, ['make test'])
    assert said[-1] == '====== 1 failed, 8 passed in 1.00s ======'


def test_ci_fails_with_the_demo(tmp_path: Path) -> None:
    code, said, _ = run_ci(tmp_path, closing='9 passed', tests=0, demo=1)
    assert code == 1
    assert said[-1] == '====== 9 passed in 1.00s ======'
