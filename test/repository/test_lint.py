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
"""The linters that an ament_python package is expected to pass, and the formatter.

They judge as ROS 2's own ones do, with the tools of the package index: the settings of
ament_flake8 with its plugins, pep257 in Google's convention, copyright headers, XML, mypy.
"""

from pathlib import Path
import re
import subprocess
import sys

from catkin_pkg.package import parse_package_string
from lxml import etree
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CODE = ('zegclip_core', 'zegclip_ros', 'benchmarks', 'test', 'setup.py', 'launch', 'scripts')
HEADER = (ROOT / 'setup.py').read_text(encoding='utf-8').split('"""')[0].splitlines()

pytestmark = pytest.mark.linter


def paths(*names: str) -> list[str]:
    """Return those of some paths of the repository that are there."""
    return [name for name in names if (ROOT / name).exists()]


def files(*patterns: str) -> list[Path]:
    """Return the files of the packages, tests and settings that fit any of some patterns."""
    names = ('zegclip_core', 'zegclip_ros', 'benchmarks', 'test', 'launch', 'config')
    folders = [ROOT / name for name in (*names, 'rviz', 'scripts')]
    found = [path for folder in folders for pattern in patterns for path in folder.rglob(pattern)]
    found += [path for pattern in patterns for path in ROOT.glob(pattern)]
    return sorted(set(found))


def passes(module: str, *arguments: str) -> None:
    """Run a tool of this environment over the repository and show what it finds."""
    done = subprocess.run(
        [sys.executable, '-m', module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = f'{done.stdout}\n{done.stderr}'
    assert done.returncode == 0, f'{module} found:\n{found}'


def test_ruff_check() -> None:
    passes('ruff', 'check', '--quiet', *paths(*CODE))


def test_ruff_format() -> None:
    passes('ruff', 'format', '--check', '--quiet', *paths(*CODE))


def test_flake8_as_ament_has_it() -> None:
    passes('flake8', *paths(*CODE))


@pytest.mark.parametrize(
    ('code', 'sample'),
    [
        ('A001', 'list = [1]\n'),
        ('B901', 'try:\n    x = 1\nexcept:\n    raise\n'),
        ('C400', 'x = list(y for y in [1])\n'),
        ('CNL100', 'class A:\n    def f(self):\n        pass\n'),
        ('D400', '"""No full stop"""\n'),
        ('E501', f'x = {"1" * 99}\n'),
        ('I100', 'import sys\nimport os\n'),
        ('Q000', 'x = "double"\n'),
    ],
)
def test_flake8_has_the_plugins_of_ament(tmp_path: Path, code: str, sample: str) -> None:
    (tmp_path / 'sample.py').write_text(sample)
    done = subprocess.run(
        [sys.executable, '-m', 'flake8', '--config', ROOT / 'setup.cfg', 'sample.py'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f' {code} ' in done.stdout, done.stdout + done.stderr


def test_pep257() -> None:
    passes(
        'pydocstyle',
        '--convention=google',
        '--add-ignore=D104,D105,D107',
        *paths('zegclip_core', 'zegclip_ros', 'benchmarks', 'setup.py', 'launch'),
    )


@pytest.mark.slow
def test_mypy() -> None:
    passes('mypy')


def comment_block(path: Path) -> list[str]:
    """Return the header of a file, as comment lines, without a line that names an interpreter."""
    lines = path.read_text(encoding='utf-8').splitlines()
    if lines and lines[0].startswith('#!'):
        del lines[0]
    return lines[: len(HEADER)]


def test_every_source_file_has_the_copyright_header() -> None:
    assert len(HEADER) == 13
    assert re.fullmatch(r'# Copyright \d{4} ZegCLIP-ROS contributors', HEADER[0])
    sources = files('*.py', '*.sh', '*.yaml', '*.yml', 'Makefile')
    assert len(sources) > 30
    wrong = []
    # An empty file has nothing to protect: ament_copyright passes it, and ROS makes such packages.
    for path in (path for path in sources if path.stat().st_size):
        block = comment_block(path)
        holder = re.fullmatch(r'# Copyright \d{4} ZegCLIP-ROS contributors', (block or [''])[0])
        if holder is None or block[1:] != HEADER[1:]:
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def test_the_licence_and_the_terms_of_contributions_are_the_standard_texts() -> None:
    # What ament_copyright looks for, in its words.
    licence = ' '.join((ROOT / 'LICENSE').read_text(encoding='utf-8').split())
    assert licence.startswith('Apache License Version 2.0, January 2004')
    assert 'END OF TERMS AND CONDITIONS' in licence
    contributing = ' '.join((ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8').split())
    assert contributing.startswith(
        'Any contribution that you make to this repository will be under the Apache 2 License, as '
        'dictated by that [license](http://www.apache.org/licenses/LICENSE-2.0.html): ~~~ 5. '
        'Submission of Contributions. Unless You explicitly state otherwise, any Contribution '
    )


def test_package_xml_is_valid_format_3() -> None:
    path = ROOT / 'package.xml'
    # Well-formed, with the document's own instructions.
    root = etree.parse(str(path)).getroot()
    assert root.get('format') == '3'
    warnings: list[str] = []
    # Refuses unknown and missing tags and malformed versions, names and addresses.
    package = parse_package_string(path.read_text(encoding='utf-8'), str(path), warnings=warnings)
    package.validate()
    assert warnings == []
    assert package.name == 'zegclip_ros'
    assert package.licenses == ['Apache-2.0']
    assert package.get_build_type() == 'ament_python'


def test_yaml_files_can_be_read_and_have_no_key_twice() -> None:
    class Strict(yaml.SafeLoader):
        """A loader that does not let the last of two equal keys win."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
            assert len(keys) == len(set(keys)), f'a key stands twice in {node.start_mark}'
            return super().construct_mapping(node, deep=deep)

    found = files('*.yaml', '*.yml', '*.rviz')
    for path in found:
        text = path.read_text(encoding='utf-8')
        assert yaml.load(text, Loader=Strict) is not None, path
    assert any(path.suffix == '.yaml' for path in found)


def test_launch_files_compile_and_offer_a_description() -> None:
    found = files('*.launch.py')
    assert found
    for path in found:
        code = path.read_text(encoding='utf-8')
        compile(code, str(path), 'exec')
        assert 'def generate_launch_description()' in code


def test_shell_scripts_have_no_syntax_error() -> None:
    for path in [ROOT / '.ci' / 'run', *files('*.sh')]:
        subprocess.run(['bash', '-n', str(path)], check=True)
        assert 'set -euo pipefail' in path.read_text(encoding='utf-8')
    assert (ROOT / '.ci' / 'run').stat().st_mode & 0o111


def test_no_file_is_longer_than_400_lines() -> None:
    sources = [*files('*.py')]
    long = {
        str(path.relative_to(ROOT)): count
        for path in sources
        if 'test' not in path.relative_to(ROOT).parts
        and (count := len(path.read_text(encoding='utf-8').splitlines())) > 400
    }
    assert long == {}
