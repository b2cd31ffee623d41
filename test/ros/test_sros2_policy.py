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
import re
import subprocess

from lxml import etree
import pytest
from ros_helpers import FakeSegmenter, own_domain, Rig, running_ros
from sensor_msgs.msg import PointCloud2

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / 'config' / 'sros2' / 'zegclip.policy.xml'
POLICY = etree.parse(str(FILE))
PAGE = (ROOT / 'docs' / 'reliability.md').read_text('utf-8')
CASES = {
    'raw': ({'/image'}, ()),
    'compressed': ({'/image/compressed'}, ('-p', 'image_transport:=compressed')),
    'cameras': ({'/front/image', '/rear/image'}, ('-p', 'cameras:=["front", "rear"]')),
}
"""What is subscribed to for images, and the arguments that lead to it."""
DEPTH = ('/depth', '/depth/camera_info', '/camera_info')
"""What is subscribed to for points."""


def full(name: str) -> str:
    """Return a name of the policy as sros2 reads it, for a node in the root namespace."""
    if name.startswith('/'):
        return name
    return f'/zegclip{name[1:]}' if name.startswith('~') else f'/{name}'


def for_case(case: str) -> etree._ElementTree:
    """Return the policy, with several cameras as the page's command makes it."""
    if case != 'cameras':
        return POLICY
    (script,) = re.findall(r"^sed '(.*/rear/.*)' \"\$policy\" >", PAGE, re.MULTILINE)
    made = subprocess.run(['sed', script, str(FILE)], check=True, capture_output=True)
    return etree.ElementTree(etree.fromstring(made.stdout))


def allowed(policy: etree._ElementTree, path: str) -> set[str]:
    return {full(element.text) for element in policy.xpath(f'//profile/{path}')}


def idle(case: str) -> set[str]:
    """Return the rules that are of no use in a case, or may not be."""
    published = allowed(POLICY, 'topics[@publish="ALLOW"]/topic')
    by_camera = {rule for rule in published if '/*/' in rule}
    of_one = {rule.replace('/*/', '/', 1) for rule in by_camera}
    heard = {'/cloud', *DEPTH}
    of_each = {f'/*{name}' for name in heard}
    rest = (of_one | heard) if case == 'cameras' else (by_camera | of_each)
    optional = {f'/zegclip/{name}' for name in ('label_info', 'detections')}
    optional |= {one.replace('/zegclip/', '/zegclip/*/') for one in optional}
    return rest | optional | {'/image', '/image/compressed'}


@pytest.fixture(scope='module', autouse=True)
def domain() -> Iterator[None]:
    with own_domain():
        yield


def used(images: set[str], arguments: tuple[str, ...]) -> tuple[set[str], set[str], set[str]]:
    """Return what a node publishes, subscribes to and answers."""
    words = ('-p', 'class_names:=["traffic light", "3d"]')
    more = ('-p', 'lazy:=false', '-p', 'use_sim_time:=true', '-p', 'output_size:=cloud')
    with running_ros(*more, *words, *arguments):
        rig = Rig(FakeSegmenter())
        probe = rig.probe

        def subscribed() -> set[str]:
            rows = probe.get_subscriber_names_and_types_by_node('zegclip', '/')
            return {name for name, _ in rows}

        def published() -> set[str]:
            rows = probe.get_publisher_names_and_types_by_node('zegclip', '/')
            return {name for name, _ in rows}

        clouds = {name.replace('/compressed', '').replace('image', 'cloud') for name in images}
        places = {name.rpartition('/image')[0] for name in images}
        for place in places:
            probe.create_subscription(PointCloud2, f'/zegclip{place}/points', print, 1)
        depth = {f'{place}{name}' for place in places for name in DEPTH}
        heard = images | clouds | depth | {'/clock'}
        rig.until(lambda: heard <= subscribed(), 'the node hears all')
        rig.until(
            lambda: sum('/masks/' in name for name in published()) == 2 * len(images), 'the masks'
        )
        answered = {name for name, _ in probe.get_service_names_and_types_by_node('zegclip', '/')}
        result = published(), subscribed(), answered
        rig.close()
    return result


@pytest.mark.parametrize('case', CASES)
def test_the_policy_names_what_the_node_uses_and_nothing_else(case: str) -> None:
    policy = for_case(case)
    paths = ('topics[@publish="ALLOW"]/topic', 'topics[@subscribe="ALLOW"]/topic')
    for names, path in zip(
        used(*CASES[case]), (*paths, 'services[@reply="ALLOW"]/service'), strict=True
    ):
        rules = allowed(policy, path)
        without = {name for name in names if not any(fnmatchcase(name, rule) for rule in rules)}
        assert without == set()
        unused = {rule for rule in rules if not any(fnmatchcase(name, rule) for name in names)}
        assert unused <= idle(case)


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
    names = ('image', '*/cloud', 'cloud`', 'vocabulary', 'depth', 'camera_info')
    names += ('*/depth', '*/camera_info')
    others = sum(text.count(f'`{name}') for name in names)
    assert len(rules) == text.count('`~/') + text.count('`/') + others
