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
"""The launch files, read without ``launch``, which is not on PyPI: their names lead somewhere."""

from pathlib import Path
import re
import subprocess
import sys
from typing import Any

from launch_stand_ins import (
    Argument,
    arguments,
    context,
    defaults,
    install,
    load,
    ROOT,
)
import pytest
from zegclip_core.errors import ConfigError
from zegclip_ros import parameters
from zegclip_ros.launching import LARGE_DATA
from zegclip_ros.nodes import camera as camera_node

pytestmark = pytest.mark.ros

CONFIG = ROOT / 'config' / 'zegclip.yaml'
PAGE = (ROOT / 'docs' / 'launch.md').read_text(encoding='utf-8')
FILES = ('zegclip', 'demo', 'multi_camera', 'nav2_semantic')
NAV2 = ROOT / 'config' / 'nav2_semantic.yaml'
OWN = {
    'multi_camera': {'cameras', 'image_topic', 'namespace', 'vocabulary_topic'},
    'nav2_semantic': {'params_file'},
}
"""Arguments that these files have beside those of zegclip.launch.py, or in their place."""


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path)


def segmentation(**given: str) -> Any:  # noqa: ANN401
    return load('zegclip')['start'](context('zegclip', **given))[0]


def cameras(**given: str) -> list[Any]:
    return load('demo')['start_cameras'](context('zegclip', 'demo', **given))


def settings(**given: str) -> list[dict[str, str]]:
    """Return what each camera's node is started with."""
    groups = load('multi_camera')['start'](context('multi_camera', **given))
    includes = [group.args[0][0] for group in groups]
    files = {Path(include.args[0].args[0]).name for include in includes}
    assert files == {'zegclip.launch.py'}
    return [dict(include.launch_arguments) for include in includes]


@pytest.mark.parametrize('name', FILES)
def test_arguments_are_described_and_defaults_are_allowed(name: str) -> None:
    for one in arguments(name).values():
        assert re.fullmatch(r'\S.*\.', one.description)
        if hasattr(one, 'choices'):
            assert one.default_value in one.choices


def test_parameters_among_the_arguments_are_those_that_the_node_declares() -> None:
    names = load('zegclip')['PARAMETERS']
    declared = arguments('zegclip')
    for name in names:
        assert declared[name].default_value == ''
        assert "Empty: the params_file's." in declared[name].description
    assert set(names) - {'use_sim_time'} <= set(parameters.BY_NAME)
    transports = declared['image_transport'].choices
    assert transports == ['', *parameters.BY_NAME['image_transport'].choices]


def test_the_parameter_file_alone_counts_and_has_to_be_there(tmp_path: Path) -> None:
    assert segmentation().parameters == [str(CONFIG), {}]
    missing = str(tmp_path / 'robot.yaml')
    with pytest.raises(ConfigError, match=r'^Expected the argument params_file .* but got .*\.$'):
        segmentation(params_file=missing)


def test_arguments_reach_the_parameters_in_their_types() -> None:
    given = {'model': 'a.safetensors', 'device': 'cuda:1', 'image_transport': 'compressed'}
    switches = {'autostart': 'false', 'use_sim_time': 'True'}
    words = {'class_names': ' dog, traffic light,,', 'vocabulary_file': '/words.txt'}
    assert segmentation(**given, **switches, **words).parameters[1] == {
        **given,
        'autostart': False,
        'use_sim_time': True,
        'class_names': ['dog', 'traffic light'],
        'vocabulary_file': '/words.txt',
    }


def test_one_node_can_have_several_cameras() -> None:
    node = segmentation(cameras='front, rear', image_topic='/{camera}/raw')
    assert node.parameters[1] == {'cameras': ['front', 'rear']}
    assert node.remappings[:2] == [('front/image', '/front/raw'), ('rear/image', '/rear/raw')]
    node = segmentation(cameras='front,rear')
    assert node.remappings[:2] == [('front/image', '/front/image'), ('rear/image', '/rear/image')]
    for given in ({'image_topic': '/raw'}, {'cameras': '3d,a'}):
        with pytest.raises(ConfigError, match=r'^Expected the argument .* but got .*\.$'):
            segmentation(**{'cameras': 'front,rear', **given})


@pytest.mark.parametrize(
    ('given', 'topic'),
    [
        ({}, '/camera/image'),
        ({'image_topic': '/raw'}, '/raw'),
        ({'image_topic': '{camera}/raw'}, 'camera/raw'),
    ],
)
def test_one_camera_is_called_camera(given: dict[str, str], topic: str) -> None:
    assert segmentation(**given).remappings[0] == ('image', topic)
    node = segmentation(**given, cameras='none')
    assert node.parameters[1] == {'cameras': ['']}
    assert node.remappings[0] == ('image', topic)


START = {**dict.fromkeys(FILES, 'start'), 'demo': 'start_cameras'}


@pytest.mark.parametrize(
    ('file', 'argument', 'meant'),
    [
        ('zegclip', 'image_topc', 'image_topic'),
        ('multi_camera', 'camera', 'cameras'),
        ('multi_camera', 'modle', 'model'),
        ('demo', 'soruce', 'source'),
        ('nav2_semantic', 'clod_topic', 'cloud_topic'),
        ('demo', 'devcie', 'device'),
        ('zegclip', 'sigterm_timeout', None),
        ('demo', 'image_transport', None),
    ],
)
def test_a_misspelled_argument_is_told_of_once(
    file: str,
    argument: str,
    meant: str | None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ['ros2', 'launch', 'zegclip_ros', f'{file}.launch.py', f'{argument}:=x']
    monkeypatch.setattr(sys, 'argv', command)
    values = context('zegclip', file, argv=(command[-1],), cameras='front,rear')
    # The file itself and the one that it includes.
    for started in sorted({file, 'zegclip'}):
        load(started)[START[started]](values)
    wanted = f'Expected the argument {meant}, but got {argument}, which has no effect.'
    assert [record.message for record in caplog.records] == ([wanted] if meant else [])


def test_arguments_of_a_launch_file_around_are_its_own(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'argv', ['ros2', 'launch', 'robot.launch.xml', 'image_topc:=/x'])
    load('zegclip')['start'](context('zegclip', argv=('image_topc:=/x',)))
    assert caplog.records == []


def test_launch_files_need_nothing_that_only_the_node_has() -> None:
    # ros2 is run by the system's Python, which sees this package but no virtual environment.
    imported = {
        name
        for file in FILES
        for name in re.findall(
            r'^from (zegclip_\S+) import',
            (ROOT / 'launch' / f'{file}.launch.py').read_text('utf-8'),
            re.MULTILINE,
        )
    }
    code = f'import {", ".join(sorted(imported))}, sys; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, check=True, text=True)
    assert {'numpy', 'rclpy', 'torch'}.isdisjoint(done.stdout.split())
    assert 'zegclip_core.messages.topic_names' in imported


def test_the_node_gets_its_name_topics_and_options() -> None:
    node = segmentation(
        namespace='robot', image_topic='/front', vocabulary_topic='/words', log_level='warn'
    )
    assert type(node).__name__ == 'LifecycleNode'
    assert (node.name, node.namespace) == ('zegclip', 'robot')
    assert node.remappings == [
        ('image', '/front'),
        ('cloud', '/camera/points'),
        ('depth', '/camera/depth/image'),
        ('depth/camera_info', '/camera/depth/camera_info'),
        ('camera_info', '/camera_info'),
        ('vocabulary', '/words'),
    ]
    assert node.ros_arguments == ['--log-level', 'warn']
    assert not node.respawn
    assert segmentation(respawn='true').respawn


def test_large_data_is_off_unless_asked_for_and_then_on_both_sides() -> None:
    assert {'FASTDDS_BUILTIN_TRANSPORTS'} < set(LARGE_DATA)
    for start in (segmentation, lambda **given: cameras(**given)[0]):
        assert start().additional_env == {}
        assert start(large_data='true').additional_env == dict(LARGE_DATA)


def test_what_is_started_is_installed() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    for node in (segmentation(), *cameras()):
        assert node.package == 'zegclip_ros'
        assert f"'{node.executable} = zegclip_ros.nodes." in setup


def test_the_demo_plays_what_the_node_listens_to() -> None:
    (player,) = cameras(source='walk.mp4', namespace='robot')
    assert player.parameters == [{'source': 'walk.mp4', 'depth': False}]
    assert set(player.parameters[0]) <= {one.name for one in camera_node.DECLARATIONS}
    assert (player.name, player.namespace) == ('camera', 'robot')
    # The node has it from the same argument, which the demo declares first.
    own = {name: defaults('demo')[name] for name in ('image_topic', 'depth_topic')}
    heard = dict(segmentation(**own).remappings)
    assert {name.removeprefix('~/'): topic for name, topic in player.remappings} == {
        name: heard[name] for name in ('image', 'depth', 'depth/camera_info')
    }
    assert defaults('demo')['rviz'] == 'true'
    (player,) = cameras(depth='True')
    assert player.parameters[0]['depth'] is True


def test_the_demo_plays_for_several_cameras() -> None:
    front, rear = cameras(cameras='front,rear')
    assert (front.name, rear.name) == ('front', 'rear')
    own = {name: defaults('demo')[name] for name in ('image_topic', 'depth_topic')}
    heard = dict(segmentation(cameras='front,rear', **own).remappings)
    for player in (front, rear):
        assert {
            name.replace('~', player.name): topic for name, topic in player.remappings
        }.items() <= heard.items()


def test_each_camera_has_a_node_in_its_namespace() -> None:
    front, rear = settings(cameras='front, rear', namespace='/robot')
    assert (front['namespace'], rear['namespace']) == ('robot/front', 'robot/rear')
    assert (front['image_topic'], rear['image_topic']) == ('/front/image', '/rear/image')
    assert front['vocabulary_topic'] == rear['vocabulary_topic'] == '/vocabulary'
    (one,) = settings(cameras='front', image_topic='/sensors/{camera}/raw')
    assert (one['namespace'], one['image_topic']) == ('front', '/sensors/front/raw')


def test_other_arguments_of_the_node_go_to_every_camera() -> None:
    own = OWN['multi_camera']
    # They are declared outside, so that the included file finds their values.
    assert set(arguments('multi_camera')) == own | set(arguments('zegclip'))
    given = own | {'rviz', 'web', 'cloud_topic', 'depth_topic'}
    assert set(settings(cameras='front')[0]) == given
    assert settings(cameras='front')[0]['cameras'] == 'none'


@pytest.mark.parametrize(
    'given', ['', 'front,', '3d', 'front rear', 'a__b', '../x', 'front,front']
)
def test_cameras_that_cannot_be_namespaces_are_refused_in_one_line(given: str) -> None:
    said = rf'^Expected the argument cameras .* but got {re.escape(repr(given))}\.$'
    with pytest.raises(ConfigError, match=said):
        settings(cameras=given)


def test_each_camera_has_clouds_of_its_own() -> None:
    node = segmentation(cameras='front,rear', cloud_topic='/{camera}/depth')
    assert node.remappings[2:4] == [('front/cloud', '/front/depth'), ('rear/cloud', '/rear/depth')]
    assert [one['cloud_topic'] for one in settings(cameras='a,b')] == ['/a/points', '/b/points']
    with pytest.raises(
        ConfigError, match=r"^Expected the argument cloud_topic .* got '/depth'\.$"
    ):
        segmentation(cameras='front,rear', cloud_topic='/depth')


def test_depth_comes_with_the_camera_info_beside_it() -> None:
    depth = {'depth_topic': '/{camera}/aligned/image_raw', 'image_topic': '/{camera}/color/raw'}
    given = dict(segmentation(**depth).remappings)
    assert given['depth'] == '/camera/aligned/image_raw'
    assert given['depth/camera_info'] == '/camera/aligned/camera_info'
    assert given['camera_info'] == '/camera/color/camera_info'
    given = dict(segmentation(cameras='a,b', **depth).remappings)
    assert (given['b/depth'], given['a/depth/camera_info'], given['b/camera_info']) == (
        '/b/aligned/image_raw',
        '/a/aligned/camera_info',
        '/b/color/camera_info',
    )
    infos = {'depth_info_topic': '/d/{camera}', 'camera_info_topic': '/c/{camera}'}
    given = dict(segmentation(cameras='a', **depth, **infos).remappings)
    assert (given['a/depth/camera_info'], given['a/camera_info']) == ('/d/a', '/c/a')
    # Names without a namespace of their own have the camera info beside them all the same.
    given = dict(segmentation(depth_topic='depth', image_topic='/image').remappings)
    assert (given['depth/camera_info'], given['camera_info']) == ('camera_info', '/camera_info')
    for name in ('depth_topic', *infos):
        with pytest.raises(ConfigError, match=rf"^Expected the argument {name} .* got '/x'\.$"):
            segmentation(**{'cameras': 'a,b', **depth, name: '/x'})


def test_each_node_of_several_cameras_has_its_own_depth() -> None:
    infos = {'depth_info_topic': '/{camera}/info', 'camera_info_topic': '/{camera}/other'}
    one, other = settings(cameras='a,b', depth_topic='/{camera}/d', **infos)
    assert (one['depth_topic'], one['depth_info_topic']) == ('/a/d', '/a/info')
    assert (other['depth_topic'], other['camera_info_topic']) == ('/b/d', '/b/other')
    # What is not given stays so, and each node takes the one beside its images.
    assert 'depth_info_topic' not in settings(cameras='a')[0]


def test_one_topic_for_all_cameras_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^Expected .* \{camera\} .* but got '/image'\.$"):
        settings(cameras='front,rear', image_topic='/image')


def row(one: Argument) -> tuple[str, ...]:
    """Return the line of an argument on the page."""
    default = getattr(one, 'default_value', None)
    if default is None:
        shown = 'required'
    elif default in {str(CONFIG), str(NAV2)}:
        shown = f'`config/{Path(default).name}`'
    else:
        shown = f'`{default}`' if default else '(empty)'
    choices = [
        value for value in getattr(one, 'choices', []) if value not in {'', 'True', 'False'}
    ]
    allowed = ', '.join(f'`{value}`' for value in choices)
    # A page would take <word> for a tag and not show it.
    return one.name, shown, allowed, one.description.replace('<', '\\<')


@pytest.mark.parametrize('name', FILES)
def test_the_page_lists_the_arguments_as_they_are_declared(name: str) -> None:
    section = PAGE.split(f'\n## {name}.launch.py\n')[1].split('\n## ')[0]
    rows = re.findall(r'^\| `(\w+)` \| (.*?) \| (.*?) ?\| (.*?) \|$', section, re.MULTILINE)
    shared = set(arguments('zegclip')) - OWN[name] if name in OWN else set()
    declared = [one for one in arguments(name).values() if one.name not in shared]
    assert rows == [row(one) for one in declared]


def test_the_page_shows_what_large_data_sets() -> None:
    block = re.findall(r'```text\n(.*?)```', PAGE, re.DOTALL)[0]
    assert dict(line.split('=') for line in block.splitlines()) == dict(LARGE_DATA)
