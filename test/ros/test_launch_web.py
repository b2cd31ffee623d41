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
"""The launch file's page: off unless asked for, and beside the node whatever that is called."""

from pathlib import Path
from typing import Any

from launch_stand_ins import context, install, load
import pytest
from zegclip_core.errors import ConfigError
from zegclip_core.web.limits import HOST, PORT
from zegclip_ros.nodes.web import DECLARATIONS

pytestmark = pytest.mark.ros


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path)


def started(**given: str) -> list[Any]:
    return list(load('zegclip')['start'](context('zegclip', **given)))


def test_the_page_is_served_if_asked_for() -> None:
    assert [node.executable for node in started()] == ['segmentation_node']
    given = {'web': 'true', 'image_topic': '/raw', 'vocabulary_topic': '/words'}
    node, page = started(**given, namespace='front')
    assert (page.executable, page.name, page.namespace) == ('web_node', 'zegclip_web', 'front')
    assert set(page.remappings) <= set(node.remappings)
    assert {('image', '/raw'), ('vocabulary', '/words')} <= set(page.remappings)
    (values,) = page.parameters
    assert set(values) - {'use_sim_time'} <= {one.name for one in DECLARATIONS}
    assert (values['host'], values['port'], values['camera']) == (HOST, PORT, '')


def test_of_several_cameras_the_first_is_shown() -> None:
    cameras = {'cameras': 'front, rear', 'image_topic': '/{camera}/raw'}
    page = started(web='True', web_host='0.0.0.0', web_port='80', **cameras)[1]
    assert page.parameters[0]['camera'] == 'front'
    assert (page.parameters[0]['host'], page.parameters[0]['port']) == ('0.0.0.0', 80)
    assert ('front/image', '/front/raw') in page.remappings


def test_of_a_node_for_each_camera_the_first_has_the_page() -> None:
    given = context('multi_camera', cameras='front, rear, left', web='true')
    groups = load('multi_camera')['start'](given)
    includes = [dict(group.args[0][0].launch_arguments) for group in groups]
    assert [one['web'] for one in includes] == ['true', 'false', 'false']


@pytest.mark.parametrize('port', ['x', '-1', '65536', '', '8e3'])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ConfigError, match=r'^Expected the argument web_port .* but got .*\.$'):
        started(web='true', web_port=port)
