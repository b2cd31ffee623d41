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
"""What Nav2's layer is given: launch file, parameter file and page agree with the node."""

from pathlib import Path
import re
from typing import Any

from launch_stand_ins import context, install, load, ROOT
import pytest
from rclpy.node import Node
from ros_helpers import running_rig, running_ros
import yaml
from zegclip_core.options import MAX_ID
from zegclip_ros.kept_ids import QUIET
from zegclip_ros.parameters import NodeParameters

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

FILE = ROOT / 'config' / 'nav2_semantic.yaml'
CONTENT = yaml.safe_load(FILE.read_text(encoding='utf-8'))
NODE = CONTENT['/**']['zegclip']['ros__parameters']
LAYER = CONTENT['local_costmap']['local_costmap']['ros__parameters']['semantic_layer']
SOURCE = LAYER['camera']
PAGE = (ROOT / 'docs' / 'nav2.md').read_text(encoding='utf-8')


def started(monkeypatch: pytest.MonkeyPatch, folder: Path, **given: str) -> Any:  # noqa: ANN401
    install(monkeypatch, folder)
    (node,) = load('nav2_semantic')['start'](context('zegclip', 'nav2_semantic', **given))
    return node


def test_the_launch_file_sets_what_the_layer_would_misread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node = started(monkeypatch, tmp_path, cloud_topic='/depth/points')
    assert node.parameters == [str(FILE), {'confidence_encoding': 'mono8', 'stable_ids': True}]
    assert ('cloud', '/depth/points') in node.remappings
    own = tmp_path / 'robot.yaml'
    own.write_text('{}', encoding='utf-8')
    node = started(monkeypatch, tmp_path, params_file=str(own), class_names='cat')
    assert node.parameters[1] == {
        **{'confidence_encoding': 'mono8', 'stable_ids': True, 'class_names': ['cat']}
    }


def test_the_node_takes_its_part_of_the_file() -> None:
    with running_ros('--params-file', str(FILE)):
        node = Node('zegclip')
        values = NodeParameters.declare(node)
        node.destroy_node()
    assert {name: getattr(values, name) for name in NODE} == NODE
    assert (values.confidence_encoding, values.output_size) == ('mono8', 'cloud')
    assert values.stable_ids


def test_the_layer_knows_the_words_of_the_node_to_the_letter() -> None:
    words = [name for kind in SOURCE['class_types'] for name in SOURCE[kind]['classes']]
    assert sorted(words) == sorted(NODE['class_names'])
    assert all(type(SOURCE[kind]['dominant_priority']) is bool for kind in SOURCE['class_types'])
    costs = [
        SOURCE[kind][key] for kind in SOURCE['class_types'] for key in ('base_cost', 'max_cost')
    ]
    assert all(type(cost) is int and 0 <= cost <= 254 for cost in costs)


def test_tiles_forget_an_id_before_another_word_may_get_it() -> None:
    assert SOURCE['tile_map_decay_time'] <= QUIET


def test_the_layer_listens_where_the_node_speaks() -> None:
    with running_rig('--params-file', str(FILE)) as rig:
        rig.until_active(*NODE['class_names'])
        own = {name for name, _ in rig.node.get_publisher_names_and_types_by_node('zegclip', '/')}
        assert {SOURCE['segmentation_topic'], SOURCE['confidence_topic']} <= own
        assert SOURCE['labels_topic'] == rig.node.resolve_topic_name('~/label_info')


def test_the_clouds_are_those_of_the_launch_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node = started(monkeypatch, tmp_path)
    assert ('cloud', SOURCE['pointcloud_topic']) in node.remappings


@pytest.mark.parametrize('way', ['class_names', 'vocabulary'])
def test_more_classes_than_a_byte_tells_apart_are_refused_in_one_line(way: str) -> None:
    many = [f'thing {number}' for number in range(255)]
    said = 'Expected at most 254 classes while stable_ids is on, so that label images stay mono8'
    with running_rig('-p', 'stable_ids:=true', '-p', 'class_names:=["cat"]') as rig:
        rig.until_active('cat')
        if way == 'class_names':
            assert rig.set_to('class_names', many).startswith(said)
            assert rig.state['classes'][0]['name'] == 'cat'
        else:
            assert rig.say(', '.join(many))['error'].startswith(said)
        assert rig.set_to('stable_ids', False) == ''
        rig.say(', '.join(many))
        rig.until(lambda: len(rig.state['classes']) == 255)
        assert rig.set_to('stable_ids', True).startswith(said)


def test_too_many_first_words_keep_the_node_from_being_configured() -> None:
    many = ', '.join(f'"thing {number}"' for number in range(255))
    with running_rig('-p', 'stable_ids:=true', '-p', f'class_names:=[{many}]') as rig:
        rig.until(lambda: rig.node.fault)
        assert rig.node.fault.startswith('Cannot configure: Expected at most 254 classes')


def test_words_keep_their_ids_in_the_node_and_label_images_have_them() -> None:
    with running_rig('-p', 'stable_ids:=true', '-p', 'class_names:=["cat", "dog"]') as rig:
        labels = rig.start_and_listen()
        rig.until_labelled(labels, red=0)
        assert set(labels.last.data) == {0}
        rig.say('cow, dog')
        rig.until_active('cow', 'dog')
        assert [one['id'] for one in rig.state['classes']] == [2, 1]
        rig.until_labelled(labels, red=0)
        assert set(labels.last.data) == {2}
        # Another palette, for one, changes no id; nor does a new model.
        assert rig.set_to('overlay_palette', 'color_blind') == ''
        rig.until(lambda: rig.state['version'] == 3)
        assert [one['id'] for one in rig.state['classes']] == [2, 1]
        said = rig.say('[{"name": "hen", "id": 0}]')['error']
        assert "'hen' is to have the id 0 of 'cat'" in said
        assert rig.say('[{"name": "hen", "id": 9}, {"name": "cow"}]')['error'].endswith(
            "every class or for none, but 'cow' has none."
        )


def test_the_page_says_what_holds() -> None:
    assert f'0 to {MAX_ID}' in PAGE
    assert f'{QUIET:.0f} s' in PAGE
    named = set(re.findall(r'`(test_\w+\.py)`', PAGE))
    assert named
    assert named <= {path.name for path in (ROOT / 'test').rglob('test_*.py')}
