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
"""The launch files as read without ``launch``, which is not on PyPI: names lead somewhere."""

from pathlib import Path
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from zegclip_ros import parameters

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'config' / 'zegclip.yaml'


class _Recorded(SimpleNamespace):
    """Stands in for a class of ``launch``: keeps what it was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(args=args, **kwargs)


def _launch_modules() -> dict[str, ModuleType]:
    """Return modules with the names that the launch file imports; launch is not on PyPI."""
    names = {
        'launch': ['LaunchContext', 'LaunchDescription'],
        'launch.actions': ['DeclareLaunchArgument', 'OpaqueFunction'],
        'launch.conditions': ['IfCondition'],
        'launch.substitutions': ['LaunchConfiguration'],
        'launch_ros': [],
        'launch_ros.actions': ['Node'],
    }
    modules = {}
    for name, classes in names.items():
        modules[name] = ModuleType(name)
        for one in classes:
            setattr(modules[name], one, type(one, (_Recorded,), {}))
    return modules


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, module in _launch_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    path = ROOT / 'launch' / 'zegclip.launch.py'
    namespace: dict[str, Any] = {'__file__': str(path), '__name__': 'launch_file'}
    exec(compile(path.read_text(encoding='utf-8'), str(path), 'exec'), namespace)
    return namespace


def test_launch_arguments_are_described_and_lead_to_parameters(
    launch_file: dict[str, Any],
) -> None:
    arguments = {
        action.args[0]: action
        for action in launch_file['generate_launch_description']().args[0]
        if action.args
    }
    wanted = {'image_topic', 'namespace', 'params_file', 'rviz', 'use_sim_time', 'model', 'device'}
    assert wanted <= set(arguments)
    assert all(action.description for action in arguments.values())
    assert arguments['params_file'].default_value == str(CONFIG)
    assert set(launch_file['PARAMETERS']) <= {one.name for one in parameters.DECLARATIONS}
    assert set(launch_file['PARAMETERS']) <= set(arguments)


def test_launch_starts_what_exists(launch_file: dict[str, Any]) -> None:
    given = {'class_names': 'dog, traffic light', 'use_sim_time': 'true'}
    configuration = vars(sys.modules['launch.substitutions'])['LaunchConfiguration']
    configuration.perform = lambda self, context: given.get(self.args[0], '')
    segmentation, rviz = launch_file['start_nodes'](None)
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert f"'{segmentation.executable} = zegclip_ros.segmentation_node:main'" in setup
    assert segmentation.name == 'zegclip'
    assert segmentation.parameters[1] == {'class_names': ['dog', 'traffic light']}
    assert segmentation.parameters[2] == {'use_sim_time': True}
    layout = Path(rviz.arguments[1])
    displays = yaml.safe_load(layout.read_text(encoding='utf-8'))['Visualization Manager']
    topics = [display['Topic']['Value'] for display in displays['Displays']]
    assert topics == ['/camera/image', '/zegclip/overlay', '/zegclip/label_image']
