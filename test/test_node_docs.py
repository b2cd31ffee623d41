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
"""Parameters, their file and docs/node.md say the same."""

import json
from pathlib import Path
import re
from types import ModuleType

import pytest
from rclpy.node import Node
from ros_helpers import FakeSegmenter, own_domain, Rig, running_ros
import yaml
from zegclip_core.vocabulary import Vocabulary
from zegclip_ros import camera_node, parameters, recorder_node
from zegclip_ros.demo import NEXT_WORDS
from zegclip_ros.topic_names import topic_token

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'config' / 'zegclip.yaml'
PAGE = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')


def shown(default: object) -> str:
    """Return a default as the table on the page shows it."""
    text = ', '.join(default) if isinstance(default, list) else str(default)
    return f'`{text}`' if text else '(empty)'


def test_the_parameter_file_holds_every_parameter_at_its_default() -> None:
    content = yaml.safe_load(CONFIG.read_text(encoding='utf-8'))
    values = content['/**']['zegclip']['ros__parameters']
    assert values == {one.name: one.default for one in parameters.DECLARATIONS}
    assert all(type(values[one.name]) is type(one.default) for one in parameters.DECLARATIONS)


def test_the_parameter_file_reaches_the_node_in_any_namespace(tmp_path: Path) -> None:
    changed = tmp_path / 'changed.yaml'
    text = CONFIG.read_text(encoding='utf-8')
    changed.write_text(text.replace('overlay_alpha: 0.5', 'overlay_alpha: 0.25'), encoding='utf-8')
    for namespace in ('', '/robot/front'):
        remap = ('-r', f'__ns:={namespace}') if namespace else ()
        with running_ros('--params-file', str(changed), *remap):
            node = Node('zegclip')
            values = parameters.NodeParameters.declare(node)
            assert values.overlay_alpha == 0.25
            assert values.vocabulary().names == tuple(values.class_names)
            node.destroy_node()


def test_the_page_lists_the_parameters_as_they_are_declared() -> None:
    rows = re.findall(r'^\| `(\w+)` \| (.*?) \| (.*?) \|$', PAGE, re.MULTILINE)
    expected = [(one.name, shown(one.default), one.description) for one in parameters.DECLARATIONS]
    assert [row for row in rows if row[0] not in {'image', 'vocabulary'}] == expected


@pytest.mark.parametrize('module', [parameters, camera_node, recorder_node])
def test_every_parameter_is_described_and_bounded_as_a_descriptor_can(module: ModuleType) -> None:
    with running_ros():
        node = Node('described')
        for one in module.DECLARATIONS:
            node.declare_parameter(one.name, one.default, one.descriptor)
            descriptor = node.describe_parameter(one.name)
            assert descriptor.description.endswith('.')
            assert descriptor.read_only is not one.live
            if isinstance(one.default, int | float):
                assert descriptor.integer_range or descriptor.floating_point_range
        node.destroy_node()


def test_the_page_lists_the_topics_as_they_are() -> None:
    rows = re.findall(
        r'^\| `([^`]+)` \| (in|out) \| `([^`]+)` \| (.*?) \|', PAGE, flags=re.MULTILINE
    )
    with own_domain(), running_ros('-p', 'class_names:=["cat"]'):
        rig = Rig(FakeSegmenter())
        found = set()
        for topic, direction, kind, wanted in rows:
            name = topic.replace('<class>', 'cat')
            full = rig.node.resolve_topic_name(name)
            look = {
                'in': rig.probe.get_subscriptions_info_by_topic,
                'out': rig.probe.get_publishers_info_by_topic,
            }[direction]
            ends = [end for end in look(full) if end.node_name == 'zegclip']
            assert [end.topic_type for end in ends] == [kind], topic
            if 'volatile' in wanted or 'transient' in wanted:
                profile = ends[0].qos_profile
                shown = (profile.reliability.name, profile.durability.name.replace('_', ' '))
                assert wanted.lower().startswith(', '.join(shown).lower()), topic
            found.add(full)
        own = rig.node.get_publisher_names_and_types_by_node('zegclip', '/')
        images = {name for name, _ in own if name.startswith('/zegclip/')}
        assert images == {name for name in found if name.startswith('/zegclip/')}
        rig.close()


def test_the_last_words_of_the_demo_are_none_that_the_model_was_trained_on() -> None:
    trained = set()
    for path in (ROOT / 'config' / 'words').glob('*.yaml'):
        for name, entry in yaml.safe_load(path.read_text(encoding='utf-8')).items():
            trained |= {name, *entry.get('phrases', [])}
    assert len(trained) > 100
    assert not set(Vocabulary.parse(NEXT_WORDS[-1]).names) & trained


def test_the_vocabulary_messages_on_the_page_are_what_they_seem() -> None:
    blocks = re.findall(r'```text\n(.*?)```', PAGE, re.DOTALL)
    examples = blocks[0].splitlines()
    assert [Vocabulary.parse(text).names for text in examples] == [
        ('person', 'traffic light', 'fire extinguisher'),
        ('person', 'traffic light'),
        ('person', 'car'),
    ]
    state = json.loads(re.findall(r'```json\n(.*?)```', PAGE, re.DOTALL)[0])
    assert set(state) == {'version', 'classes', 'stamp', 'error', 'refused'}


def test_the_topic_names_on_the_page_are_true() -> None:
    sentence = PAGE.split('**Mask topics.**')[1].split('Two names')[0]
    pairs = re.findall(r'`([^`]+)`\s+is\s+`([^`]+)`', sentence)
    assert len(pairs) == 5
    for name, token in pairs:
        assert topic_token(name) == token
