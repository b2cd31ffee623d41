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
"""What the doctor says of ROS 2: each trap of the docs by a surrounding that falls into it."""

from collections.abc import Mapping
from dataclasses import replace
import os
from pathlib import Path
import re

import pytest
from zegclip_core.doctor.findings import Finding
from zegclip_ros import doctor
from zegclip_ros.doctor import PYTHONS, SUPPORTED, Surroundings
from zegclip_ros.launching import LARGE_DATA

ROOT = Path(__file__).resolve().parents[2]
ALL = ('rclpy', 'vision_msgs', 'cv_bridge')
APT = {'ROS_DISTRO': 'jazzy', 'AMENT_PREFIX_PATH': '/opt/ros/jazzy'}
LARGE = {'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'}
JAZZY = Surroundings(APT, python=(3, 12), modules=ALL)
INDEX = Surroundings({}, python=(3, 12), modules=ALL, wheels=True)


def found(around: Surroundings, **environ: str) -> dict[str, Finding]:
    """Return the findings by their names, with some variables more."""
    around = replace(around, environ={**around.environ, **environ})
    return {one.name: one for one in doctor.examine(around)}


def unwell(findings: Mapping[str, Finding]) -> dict[str, str]:
    """Return the verdicts that are not ok; each has an advice, and no other has one."""
    assert all(bool(one.advice) == (one.verdict != 'ok') for one in findings.values())
    return {name: one.verdict for name, one in findings.items() if one.verdict != 'ok'}


@pytest.mark.parametrize('around', [JAZZY, INDEX, Surroundings({}, python=(3, 12))])
def test_what_is_set_up_well_gets_no_warning(around: Surroundings, tmp_path: Path) -> None:
    around = replace(around, shm=Path('/dev/shm'))
    assert set(unwell(found(around))) <= {'/dev/shm'}  # Of the machine that tests.


@pytest.mark.parametrize(
    ('changes', 'environ', 'name', 'verdict', 'words'),
    [
        (
            {'python': (3, 11)},
            {},
            'distribution',
            'fault',
            'built for Python 3.12, and this is 3.11',
        ),
        ({}, {'ROS_DISTRO': 'lyrical'}, 'distribution', 'fault', 'built for Python 3.14'),
        ({}, {'ROS_DISTRO': 'rolling'}, 'distribution', 'warning', 'jazzy, kilted, lyrical'),
        ({}, {'ROS_DISTRO': ''}, 'distribution', 'warning', 'sets ROS_DISTRO'),
        ({'wheels': True}, {}, 'mixed environment', 'fault', 'without the extra ros'),
        (
            {},
            {'PYTHONPATH': '/opt/ros/humble/lib/python3.10/site-packages:/a/python3.12/b'},
            'PYTHONPATH',
            'warning',
            'built for Python 3.12',
        ),
        ({'modules': ()}, {}, 'rclpy', 'fault', '--system-site-packages'),
        ({'modules': ALL[:1]}, {}, 'vision_msgs', 'warning', 'ros-$ROS_DISTRO-vision-msgs'),
        ({'modules': ALL[:1]}, {}, 'cv_bridge', 'warning', 'ros-$ROS_DISTRO-cv-bridge'),
        ({}, {'RMW_IMPLEMENTATION': 'rmw_zenoh_cpp'}, 'middleware', 'warning', 'Untried'),
        ({}, {'ROS_DOMAIN_ID': 'seven'}, 'ROS_DOMAIN_ID', 'fault', '0 to 232'),
        ({}, {'ROS_DOMAIN_ID': '233'}, 'ROS_DOMAIN_ID', 'fault', '0 to 232'),
        ({}, {'ROS_DOMAIN_ID': '²'}, 'ROS_DOMAIN_ID', 'fault', '0 to 232'),
        ({}, {'ROS_DOMAIN_ID': '102'}, 'ROS_DOMAIN_ID', 'warning', '0 to 101, or 215 on'),
        ({}, LARGE, 'FASTDDS_BUILTIN_TRANSPORTS', 'warning', 'other side lacks it'),
        (
            {},
            {**LARGE, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'},
            'FASTDDS_BUILTIN_TRANSPORTS',
            'warning',
            'no effect with ROS_AUTOMATIC_DISCOVERY_RANGE',
        ),
        (
            {},
            {**LARGE, 'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'},
            'FASTDDS_BUILTIN_TRANSPORTS',
            'warning',
            'no effect with rmw_cyclonedds_cpp',
        ),
        (
            {},
            {'FASTDDS_BUILTIN_TRANSPORTS': 'large'},
            'FASTDDS_BUILTIN_TRANSPORTS',
            'fault',
            'LARGE_DATA',
        ),
        ({}, {'MALLOC_TRIM_THRESHOLD_': '1'}, 'malloc', 'warning', 'MALLOC_MMAP_THRESHOLD_=268'),
        (
            {},
            {**LARGE_DATA, 'MALLOC_MMAP_THRESHOLD_': '256M'},
            'malloc',
            'warning',
            'takes a number alone',
        ),
        ({}, {'ROS_LOCALHOST_ONLY': '1'}, 'ROS_LOCALHOST_ONLY', 'warning', 'Deprecated'),
        (
            {},
            {'FASTDDS_DEFAULT_PROFILES_FILE': '/nowhere/a.xml'},
            'FASTDDS_DEFAULT_PROFILES_FILE',
            'fault',
            'a file that is there',
        ),
    ],
)
def test_each_trap_is_named_with_what_to_do(
    changes: dict[str, object], environ: dict[str, str], name: str, verdict: str, words: str
) -> None:
    findings = found(replace(JAZZY, **changes), **environ)
    assert unwell(findings)[name] == verdict
    assert words in findings[name].advice


@pytest.mark.parametrize(
    ('environ', 'name'),
    [
        ({'ROS_DOMAIN_ID': '101'}, 'ROS_DOMAIN_ID'),
        ({'ROS_DOMAIN_ID': '215'}, 'ROS_DOMAIN_ID'),
        ({'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}, 'FASTDDS_BUILTIN_TRANSPORTS'),
        (dict(LARGE_DATA), 'malloc'),
        ({'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp'}, 'middleware'),
        ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'}, 'ROS_AUTOMATIC_DISCOVERY_RANGE'),
        ({'FASTDDS_DEFAULT_PROFILES_FILE': __file__}, 'FASTDDS_DEFAULT_PROFILES_FILE'),
    ],
)
def test_what_is_set_rightly_is_ok(environ: dict[str, str], name: str) -> None:
    assert found(JAZZY, **environ)[name].verdict == 'ok'


def test_addresses_and_files_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / 'secret.xml').write_text('<x/>')
    private = {
        'ROS_DISCOVERY_SERVER': '10.1.2.3:11811',
        'ROS_STATIC_PEERS': 'robot7.example',
        'CYCLONEDDS_URI': 'file:///opt/acme/secret.xml',
        'FASTDDS_DEFAULT_PROFILES_FILE': str(tmp_path / 'secret.xml'),
    }
    findings = found(JAZZY, **private)
    assert {findings[name].value for name in private} == {'set'}


class FullMemory:
    """What ``os.statvfs`` says of a container's shared memory."""

    f_frsize, f_blocks, f_bavail = 4096, 2**14, 2**13


def test_shared_memory_that_images_do_not_fit_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('fastrtps_1', 'fastdds_2', 'other'):
        (tmp_path / name).touch()
    monkeypatch.setattr(os, 'statvfs', lambda _: FullMemory)
    one = doctor.shared_memory(tmp_path)
    assert (one.verdict, one.value) == ('warning', '32 of 64 MiB free, 2 files of Fast DDS')
    assert '--shm-size' in one.advice


def test_shared_memory_that_this_user_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.shared_memory(tmp_path / 'none').value == 'is not there'
    assert doctor.shared_memory(tmp_path / 'none').verdict == 'warning'
    (tmp_path / 'fastrtps_port7').touch()
    rights = {tmp_path: True, tmp_path / 'fastrtps_port7': False}
    # The tests may run as root, who may do all.
    monkeypatch.setattr(os, 'access', lambda path, mode: rights[path])
    one = doctor.shared_memory(tmp_path)
    assert one.verdict == 'warning'
    assert one.value.endswith('some of another user')
    rights[tmp_path] = False
    assert doctor.shared_memory(tmp_path).value == 'cannot be written to'


@pytest.mark.ros
def test_the_nodes_are_loaded() -> None:
    (one,) = doctor.loaded()
    assert (one.verdict, one.value) == ('ok', 'can be loaded, with rmw_fastrtps_cpp')


def test_an_rclpy_that_cannot_be_loaded_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'rclpy.utilities', None)
    (one,) = doctor.loaded()
    assert one.verdict == 'fault'
    assert 'rclpy.utilities' in one.value


def test_the_distributions_are_those_that_the_docs_name() -> None:
    assert set(SUPPORTED) < set(PYTHONS)
    page = (ROOT / 'docs' / 'install.md').read_text(encoding='utf-8')
    rows = dict(re.findall(r'^\| (Jazzy|Kilted|Lyrical) \| [^|]*\| (3\.\d+) ', page, re.MULTILINE))
    here = {name.title(): '.'.join(map(str, PYTHONS[name])) for name in SUPPORTED}
    assert rows == here
