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

from importlib.util import find_spec
import json
from pathlib import Path
import re
from types import ModuleType

import pytest
from rclpy.node import Node
from ros_helpers import Rig, running_rig, running_ros
import yaml
from zegclip_core.messages.topic_names import topic_token
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros import parameters
from zegclip_ros.demo import NEXT_WORDS
from zegclip_ros.diagnostics.health import entries, Health, STAGES, Statistics
from zegclip_ros.nodes import camera as camera_node
from zegclip_ros.nodes import recorder as recorder_node
from zegclip_ros.parameters import Declaration

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'config' / 'zegclip.yaml'
PAGE = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')


def shown(default: object) -> str:
    """Return a default as the table on the page shows it."""
    text = ', '.join(default) if isinstance(default, list) else str(default)
    text = text.lower() if isinstance(default, bool) else text
    return f'`{text}`' if text else '(empty)'


def allowed(one: Declaration) -> str:
    """Return the allowed values as the table on the page shows them."""
    if one.choices:
        return ', '.join(f'`{choice}`' for choice in one.choices)
    if one.bounds:
        return f'{one.bounds[0]:g} to {one.bounds[1]:g}'
    return one.constraints or '-'


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
    rows = re.findall(
        r'^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$',
        PAGE.split('## Parameters')[1].split('\n## ')[0],
        re.MULTILINE,
    )
    assert rows == [
        (one.name, shown(one.default), allowed(one), one.change, one.description)
        for one in parameters.DECLARATIONS
    ]


def test_the_page_lists_the_keys_of_the_diagnostics() -> None:
    table = PAGE.split('## Diagnostics')[1].split('\n## ')[0]
    page = set(
        re.findall(r'`([^`]+)`', ''.join(re.findall(r'^\| (`.*?) \|', table, re.MULTILINE)))
    )
    figures = Statistics()
    figures.labelled(dict.fromkeys(STAGES, 0.0))
    told = entries(Health('', '', '', 0, 0, figures.snapshot(), {}, 0.0, None, None, None, 0, ''))
    for key in told:
        stage = key.split(' p')[0]
        assert key in page or f'{stage} ...' in page, key
    assert {key for key in page if '...' not in key} <= set(told)


@pytest.mark.parametrize('module', [parameters, camera_node, recorder_node])
def test_every_parameter_is_described_and_bounded_as_a_descriptor_can(module: ModuleType) -> None:
    with running_ros():
        node = Node('described')
        for one in module.DECLARATIONS:
            node.declare_parameter(one.name, one.default, one.descriptor)
            descriptor = node.describe_parameter(one.name)
            assert descriptor.description.endswith('.')
            assert descriptor.read_only is (one.change == 'never')
            if isinstance(one.default, int | float) and not isinstance(one.default, bool):
                assert descriptor.integer_range or descriptor.floating_point_range
        node.destroy_node()


def test_the_page_lists_the_topics_as_they_are() -> None:
    rows = re.findall(
        r'^\| `([^`]+)` \| (in|out) \| `([^`]+)` \| (.*?) \|', PAGE, flags=re.MULTILINE
    )
    found: set[str] = set()
    for transport in ('raw', 'compressed'):
        arguments = ('-p', 'class_names:=["cat"]', '-p', f'image_transport:={transport}')
        with running_rig(*arguments, '-p', 'lazy:=false') as rig:
            rig.until_active('cat')
            rig.until(
                lambda rig=rig: rig.node._pipeline.cameras[''].subscribed_seconds is not None
            )
            found |= {topic for topic, *row in rows if is_there(rig, topic, *row)}
            own = rig.node.get_publisher_names_and_types_by_node('zegclip', '/')
            listed = {
                rig.node.resolve_topic_name(row[0].replace('<class>', 'cat')) for row in rows
            }
            standard = {'/rosout', '/parameter_events', '/zegclip/transition_event'}
            assert {name for name, _ in own} - standard <= listed
    optional = set() if find_spec('vision_msgs') else {'~/label_info'}
    assert found == {row[0] for row in rows} - optional


def is_there(rig: Rig, topic: str, direction: str, kind: str, wanted: str) -> bool:
    """Return whether the node has a topic; check its type and QoS if it has."""
    full = rig.node.resolve_topic_name(topic.replace('<class>', 'cat'))
    look = {
        'in': rig.probe.get_subscriptions_info_by_topic,
        'out': rig.probe.get_publishers_info_by_topic,
    }[direction]
    ends = [end for end in look(full) if end.node_name == 'zegclip']
    if ends and ('volatile' in wanted or 'transient' in wanted):
        profile = ends[0].qos_profile
        shown = (profile.reliability.name, profile.durability.name.replace('_', ' '))
        assert wanted.lower().startswith(', '.join(shown).lower()), topic
    assert [end.topic_type for end in ends] == [kind] * bool(ends), topic
    return bool(ends)


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
    assert set(state) == {
        *('version', 'classes', 'stamp', 'requested', 'error', 'refused', 'warning')
    }


def test_the_topic_names_on_the_page_are_true() -> None:
    sentence = PAGE.split('**Mask topics.**')[1].split('Two names')[0]
    pairs = re.findall(r'`([^`]+)`\s+is\s+`([^`]+)`', sentence)
    assert len(pairs) == 5
    for name, token in pairs:
        assert topic_token(name) == token


def test_the_tests_that_the_pages_name_are_there() -> None:
    pages = PAGE + (ROOT / 'docs' / 'reliability.md').read_text(encoding='utf-8')
    named = set(re.findall(r'`(test_\w+\.py)`', pages))
    assert len(named) >= 20
    assert named <= {path.name for path in (ROOT / 'test').rglob('test_*.py')}
