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
"""The Foxglove layout: as the script makes it, and every topic one of a running node."""

import json
import re
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import make_foxglove_layout
import pytest
from ros_helpers import running_rig
from zegclip_core.text.vocabulary import Vocabulary

pytestmark = pytest.mark.ros

LAYOUT = json.loads(make_foxglove_layout.TARGET.read_text(encoding='utf-8'))


def config(panel: str) -> dict[str, Any]:
    """Return the settings of a panel by the last part of its id."""
    (found,) = (each for key, each in LAYOUT['configById'].items() if key.endswith(f'!{panel}'))
    return dict(found)


def leaves(node: object) -> list[str]:
    """Return the ids of the panels of a tree of halves."""
    if isinstance(node, str):
        return [node]
    assert isinstance(node, dict)
    return [*leaves(node['first']), *leaves(node['second'])]


def test_the_layout_is_what_the_script_makes() -> None:
    assert make_foxglove_layout.exported() == LAYOUT


def test_every_panel_stands_in_the_layout_once() -> None:
    assert sorted(leaves(LAYOUT['layout'])) == sorted(LAYOUT['configById'])


def test_every_topic_is_one_of_the_node_and_of_its_type() -> None:
    with running_rig() as rig:
        rig.until_state('active')
        types = dict(rig.node.get_topic_names_and_types())
        for panel, kind in (
            ('overlay', 'sensor_msgs/msg/CompressedImage'),
            ('labels', 'sensor_msgs/msg/Image'),
        ):
            topic = config(panel)['imageMode']['imageTopic']
            assert types[topic] == [kind]
        words = config('words')
        assert types[words['topicName']] == [words['datatype']]
        topic, field = config('answer')['topicPath'].rsplit('.', 1)
        assert (types[topic], field) == (['std_msgs/msg/String'], 'data')
        assert types[config('health')['topicToRender']] == ['diagnostic_msgs/msg/DiagnosticArray']


def test_the_button_sends_words_that_the_node_takes() -> None:
    message = json.loads(config('words')['value'])
    assert list(message) == ['data']
    assert Vocabulary.parse(message['data']).names == ('person', 'chair', 'cup')


def test_the_plot_finds_numbers_in_the_diagnostics() -> None:
    with running_rig() as rig:
        inbox = rig.listen('/diagnostics', DiagnosticArray)
        rig.until(lambda: inbox.messages, 'diagnostics')
        (status, *_) = inbox.last.status
    values = {pair.key: pair.value for pair in status.values}
    paths = [series['value'] for series in config('rates')['paths']]
    found = [
        re.fullmatch(
            r'/diagnostics\.status\[:\]\{name=="(.*)"\}\.values\[:\]\{key=="(.*)"\}\.value', path
        )
        for path in paths
    ]
    names = [match.groups() for match in found if match]
    assert len(names) == len(paths) == 2
    for name, key in names:
        assert name == status.name
        assert float(values[key]) >= 0.0
