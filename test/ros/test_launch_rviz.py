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
"""The rviz layout that the launch files write, started with stand-ins for ROS 2's launch."""

from pathlib import Path
from typing import Any

from launch_stand_ins import (
    context,
    install,
    load,
    ROOT,
)
import pytest
import yaml
from zegclip_ros import parameters

pytestmark = pytest.mark.ros

PATTERN = ROOT / 'rviz' / 'zegclip.rviz'


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path)


def rviz(file: str = 'zegclip', **given: str) -> Any:  # noqa: ANN401
    return load(file)['start'](context(file, rviz='true', **given))[-1]


def layout(node: Any) -> dict[str, Any]:  # noqa: ANN401
    return yaml.safe_load(Path(node.arguments[1]).read_text(encoding='utf-8'))


def displays(node: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return layout(node)['Visualization Manager']['Displays']


def topics(shown: list[dict[str, Any]]) -> dict[str, str]:
    return {one['Name']: one['Topic']['Value'] for one in shown}


def test_rviz_starts_where_it_is_asked_for() -> None:
    assert rviz().package == 'rviz2'
    for file, nodes in (('zegclip', 1), ('multi_camera', 2)):
        assert len(load(file)['start'](context(file, rviz='false', cameras='a,b'))) == nodes
        assert len(load(file)['start'](context(file, rviz='True', cameras='a,b'))) == nodes + 1


def test_rviz_shows_the_topics_of_the_node_wherever_it_is() -> None:
    node = rviz(image_topic='/front', namespace='robot')
    assert Path(node.arguments[1]) == PATTERN
    shown = displays(node)
    # Relative, so that they follow the namespace in which rviz is started with the node.
    assert node.namespace == 'robot'
    assert topics(shown) == {
        'Camera': 'camera/image',
        'Overlay': 'zegclip/overlay',
        'Label image': 'zegclip/label_image',
        'Mask of a person': 'zegclip/masks/person',
        'Confidence': 'zegclip/confidence',
        'Points': 'zegclip/points',
    }
    assert node.remappings == [('camera/image', '/front')]
    assert 'person' in parameters.BY_NAME['class_names'].default
    wanted = {one['Name']: one['Topic']['Reliability Policy'] for one in shown}
    assert wanted.pop('Camera') == 'Best Effort'
    assert set(wanted.values()) == {'Reliable'}
    assert [one['Name'] for one in shown if not one['Enabled']] == ['Confidence', 'Points']


def test_rviz_shows_each_camera_of_one_node() -> None:
    node = rviz(cameras='front,rear', image_topic='/{camera}/raw')
    front, rear = displays(node)
    assert (front['Name'], rear['Name']) == ('front', 'rear')
    assert topics(rear['Displays']) == {
        'rear: camera': 'rear/image',
        'rear: overlay': 'zegclip/rear/overlay',
        'rear: label image': 'zegclip/rear/label_image',
        'rear: mask of a person': 'zegclip/rear/masks/person',
        'rear: confidence': 'zegclip/rear/confidence',
        'rear: points': 'zegclip/rear/points',
    }
    assert node.remappings == [('front/image', '/front/raw'), ('rear/image', '/rear/raw')]


def test_rviz_shows_the_camera_of_each_node() -> None:
    node = rviz('multi_camera', cameras='front,rear', namespace='robot')
    front, rear = displays(node)
    assert topics(front['Displays'])['front: overlay'] == 'front/zegclip/overlay'
    assert topics(rear['Displays'])['rear: camera'] == 'rear/image'
    assert node.namespace == 'robot'
    assert node.remappings == [('front/image', '/front/image'), ('rear/image', '/rear/image')]
    node = rviz('multi_camera', cameras='front', image_topic='{camera}/raw')
    # The node is in the namespace front, and so is what it calls front/raw.
    assert node.remappings == [('front/image', 'front/front/raw')]


def test_of_several_cameras_only_overlays_are_enabled_and_all_else_is_as_for_one() -> None:
    one = displays(rviz())
    node = rviz(cameras='front,rear')
    for group in displays(node):
        assert group['Class'] == 'rviz_common/Group'
        assert group['Enabled']
        for display, like in zip(group['Displays'], one, strict=True):
            assert display['Enabled'] is display['Value'] is display['Name'].endswith(': overlay')
            changed = {'Name', 'Enabled', 'Value', 'Topic'}
            assert {key: display[key] for key in display.keys() - changed} == {
                key: like[key] for key in like.keys() - changed
            }
            assert {**display['Topic'], 'Value': ''} == {**like['Topic'], 'Value': ''}


def test_every_image_in_rviz_has_a_window_of_its_own() -> None:
    for node in (rviz(), rviz(cameras='front,rear')):
        shown = displays(node)
        leaves = [leaf for one in shown for leaf in one.get('Displays', [one])]
        names = [leaf['Name'] for leaf in leaves if leaf['Class'].endswith('/Image')]
        panels = layout(node)['Window Geometry']
        closed = {name for name, panel in panels.items() if isinstance(panel, dict)}
        assert closed == {'Displays', *names}
        assert len(set(names)) == len(names) == 5 * (len(leaves) // 6)
        size = {key: value for key, value in panels.items() if key not in closed}
        sides = {'Hide Left Dock': False, 'Hide Right Dock': True}
        assert size == {'Height': 900, 'Width': 1400, **sides}


def test_rviz_layouts_of_two_namespaces_are_two_files() -> None:
    one = rviz(cameras='front', namespace='/a/b').arguments[1]
    other = rviz(cameras='rear', namespace='/a/c').arguments[1]
    assert displays(rviz(cameras='front', namespace='/a/b'))[0]['Name'] == 'front'
    assert Path(one).name != Path(other).name
