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
"""The permissions for SROS 2 name what a running node uses, and nothing else."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from lxml import etree
import pytest
from ros_helpers import FakeSegmenter, own_domain, Rig, running_ros

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[1]
POLICY = etree.parse(str(ROOT / 'config' / 'sros2' / 'zegclip.policy.xml'))
PAGE = (ROOT / 'docs' / 'reliability.md').read_text('utf-8')
SOMETIMES = {'/clock', '/image', '/image/compressed', '/zegclip/label_info'}
"""Names that depend on parameters or on what is installed."""


def full(name: str) -> str:
    """Return a name of the policy as sros2 reads it, for a node in the root namespace."""
    if name.startswith('/'):
        return name
    return f'/zegclip{name[1:]}' if name.startswith('~') else f'/{name}'


def allowed(path: str) -> list[str]:
    return [full(element.text) for element in POLICY.xpath(f'//profile/{path}')]


PUBLISHED = allowed('topics[@publish="ALLOW"]/topic')
SUBSCRIBED = allowed('topics[@subscribe="ALLOW"]/topic')
ANSWERED = allowed('services[@reply="ALLOW"]/service')


@pytest.fixture(scope='module', autouse=True)
def domain() -> Iterator[None]:
    with own_domain():
        yield


def used(transport: str) -> tuple[set[str], set[str], set[str]]:
    """Return what a node publishes, subscribes to and answers."""
    options = ('-p', 'lazy:=false', '-p', f'image_transport:={transport}')
    words = ('-p', 'class_names:=["traffic light", "3d"]')
    topic = {'raw': '/image', 'compressed': '/image/compressed'}[transport]
    with running_ros(*options, *words, '-p', 'use_sim_time:=true'):
        rig = Rig(FakeSegmenter())
        probe = rig.probe

        def subscribed() -> set[str]:
            rows = probe.get_subscriber_names_and_types_by_node('zegclip', '/')
            return {name for name, _ in rows}

        rig.until(lambda: {topic, '/clock'} <= subscribed(), 'the node listens to all')
        published = {
            name for name, _ in probe.get_publisher_names_and_types_by_node('zegclip', '/')
        }
        answered = {name for name, _ in probe.get_service_names_and_types_by_node('zegclip', '/')}
        result = published, subscribed(), answered
        rig.close()
    return result


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_the_policy_names_what_the_node_uses_and_nothing_else(transport: str) -> None:
    published, subscribed, answered = used(transport)
    for names, rules in ((published, PUBLISHED), (subscribed, SUBSCRIBED), (answered, ANSWERED)):
        without = {name for name in names if not any(fnmatchcase(name, rule) for rule in rules)}
        assert without == set()
        unused = {rule for rule in rules if not any(fnmatchcase(name, rule) for name in names)}
        assert unused <= SOMETIMES
    assert '/clock' in subscribed
    assert '/zegclip/masks/traffic_light' in published


def test_the_policy_is_for_the_enclave_that_the_page_names() -> None:
    (enclave,) = POLICY.xpath('/policy[@version="0.2.0"]/enclaves/enclave')
    assert f'--enclave {enclave.get("path")} ' in PAGE
    assert f'create_enclave ~/keystore {enclave.get("path")}\n' in PAGE


def test_no_rule_denies_or_calls() -> None:
    # What is not allowed is denied anyhow, and the node calls no service.
    assert POLICY.xpath('//@*[. = "DENY"] | //@request | //@call') == []


def test_the_page_lists_the_permissions_of_the_policy() -> None:
    text = PAGE.split('| subscribe |')[1].split('\n\n')[0]
    rules = [element.text for element in POLICY.xpath('//topic | //service')]
    assert [rule for rule in rules if f'`{rule}`' not in text] == []
    assert len(rules) == text.count('`~/') + text.count('`/') + text.count('`image') + 1
