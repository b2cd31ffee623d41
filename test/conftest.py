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
"""What all tests share; those that need ROS are left out where there is none."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
import pytest
from zegclip_core.options import wait_without_spinning

if TYPE_CHECKING:
    from teacher_folders import Alignments
    from training_helpers import Runs

# The nodes that tests start share the cores with the tests.
wait_without_spinning()

HERE = Path(__file__).parent

# The long profile, of `make fuzz`: 1700 rounds of three messages for each of two transports are
# ten thousand messages.
settings.register_profile(
    'fuzz',
    max_examples=1700,
    phases=[Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--write-docs', action='store_true', help='put fuzz figures into the docs')


collect_ignore: list[str] = []
if find_spec('rclpy') is None:
    collect_ignore = [
        str(path.relative_to(HERE))
        for path in HERE.rglob('test_*.py')
        if 'pytest.mark.ros' in path.read_text(encoding='utf-8')
    ]


@pytest.fixture(scope='session', autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the tests' processes convert for OpenVINO out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module', autouse=True)
def domain(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep a file's nodes apart from everything else on the machine."""
    if request.node.get_closest_marker('ros') is None:
        yield
        return
    from ros_helpers import own_domain  # There may be no ROS.

    with own_domain():
        yield


@pytest.fixture(scope='module')
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small dataset to train on."""
    from training_helpers import write_squares  # Its libraries take seconds to import.

    return write_squares(tmp_path_factory.mktemp('squares'))


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a small published checkpoint, and return its path."""
    from tiny_models import write_published

    return str(write_published(tmp_path_factory.mktemp('model') / 'tiny.pth'))


@pytest.fixture(scope='module')
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a small CLIP, and return its reference."""
    from training_helpers import write_clip

    return write_clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture
def runs(squares: Path, clip: str, tmp_path: Path) -> 'Runs':
    """Return what trains on the squares with the small CLIP."""
    from training_helpers import Runs

    return Runs(squares, clip, tmp_path)


@pytest.fixture(scope='session')
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write small folders of all that an alignment learns from."""
    from teacher_folders import write_teachers

    return write_teachers(tmp_path_factory.mktemp('teachers'))


@pytest.fixture
def alignments(teachers: Path, clip: str, tmp_path: Path) -> 'Alignments':
    """Return what aligns the small CLIP's towers, none of whose runs is done."""
    from teacher_folders import Alignments

    return Alignments(teachers, clip, tmp_path)


@pytest.fixture(scope='module')
def made(teachers: Path, clip: str, tmp_path_factory: pytest.TempPathFactory) -> 'Alignments':
    """Return runs of which ``aligned``, ``adapted`` and ``again`` are done, each from the last."""
    from teacher_folders import Alignments

    runs = Alignments(teachers, clip, tmp_path_factory.mktemp('alignments'))
    assert runs.run('align', 'name=aligned') == 0
    assert runs.run('adapt', 'name=adapted', f'initialize_from={runs.file("aligned")}') == 0
    short = ('schedule.steps=4', 'schedule.validate_every=4')
    assert runs.run('align', 'name=again', f'initialize_from={runs.file("adapted")}', *short) == 0
    return runs
