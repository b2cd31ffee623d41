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
"""Launch the segmentation node.

For example ``ros2 launch zegclip_ros zegclip.launch.py image_topic:=/camera/image_raw``.
"""

from collections.abc import Sequence
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from zegclip_core.errors import ConfigError
from zegclip_core.files import user_path
from zegclip_core.messages.topic_names import check_cameras, image_topic
from zegclip_ros.launching import (
    LARGE_DATA,
    LAYOUT_IMAGE,
    ONLY_CAMERA,
    TOPICS,
    topics_of,
    warn_of_misspelled,
    write_layout,
)

# The source tree and share/zegclip_ros hold config and rviz in the same places.
SHARE = Path(__file__).resolve().parent.parent

RESPAWN_DELAY = 2.0  # Seconds, in which a device that has failed can recover.

SWITCH = ['true', 'false', 'True', 'False']
KEPT = "Empty: the params_file's."
NO_CAMERAS = 'none'
LAYOUT = SHARE / 'rviz' / 'zegclip.rviz'

# Arguments that are parameters of the node as well; those that are empty are not passed on.
PARAMETERS = (
    'cameras',
    'image_transport',
    'model',
    'device',
    'class_names',
    'vocabulary_file',
    'autostart',
    'use_sim_time',
)


def argument(
    name: str, default: str, description: str, choices: Sequence[str] | None = None
) -> DeclareLaunchArgument:
    """Return an argument of a launch file."""
    limits = {} if choices is None else {'choices': choices}
    return DeclareLaunchArgument(name, default_value=default, description=description, **limits)


ARGUMENTS = [
    argument(
        'image_topic',
        '/{camera}/image',
        'Topic of the camera. {camera} stands for the name of each of several; the '
        f'only one is called {ONLY_CAMERA}.',
    ),
    argument(
        'cameras',
        '',
        'Names of cameras that the one node labels together, separated by commas, '
        f'or {NO_CAMERAS}. {KEPT}',
    ),
    argument(
        'image_transport',
        '',
        f'compressed takes <image_topic>/compressed instead. {KEPT}',
        ['', 'raw', 'compressed'],
    ),
    argument(
        'cloud_topic',
        '/{camera}/points',
        'Topic of the organised clouds that label images fit with output_size cloud. {camera} as '
        'above.',
    ),
    argument(
        'depth_topic',
        '/{camera}/depth/image',
        'Topic of depth registered to the images, for points and boxes in space. {camera} as '
        'above.',
    ),
    argument(
        'depth_info_topic',
        '',
        'Topic of the camera of the depth. Empty: camera_info beside depth_topic.',
    ),
    argument(
        'camera_info_topic',
        '',
        'Topic of the camera of the images, for depth of another size. Empty: camera_info beside '
        'image_topic.',
    ),
    argument('namespace', '', 'Namespace of the node and its topics.'),
    argument(
        'vocabulary_topic',
        'vocabulary',
        'Topic that new words come on; a relative name is in the namespace.',
    ),
    argument(
        'params_file',
        str(SHARE / 'config' / 'zegclip.yaml'),
        'File with the parameters of the node.',
    ),
    argument(
        'model', '', f'Bundled model, checkpoint, or CLIP without training as NAME/TAG. {KEPT}'
    ),
    argument('device', '', f'Where the model runs: auto, cpu, cuda or cuda:<number>. {KEPT}'),
    argument('class_names', '', f'Words to begin with, separated by commas. {KEPT}'),
    argument('vocabulary_file', '', f'File with the words to begin with. {KEPT}'),
    argument(
        'autostart',
        '',
        f'Whether the node configures and activates by itself. {KEPT}',
        ['', *SWITCH],
    ),
    argument('use_sim_time', '', f'Whether /clock gives the time. {KEPT}', ['', *SWITCH]),
    argument('rviz', 'false', 'Whether to start rviz2 too.', SWITCH),
    argument(
        'web', 'false', "Whether to serve the node's page for browsers too (docs/web.md).", SWITCH
    ),
    argument(
        'web_host',
        '127.0.0.1',
        'Address that the page listens at: this machine alone, or 0.0.0.0, and then with a token, '
        'which the log shows.',
    ),
    argument('web_port', '8017', 'Port of the page.'),
    argument('respawn', 'false', 'Whether to start the node again when it ends.', SWITCH),
    argument(
        'log_level',
        'info',
        'Lowest level that is logged.',
        ['debug', 'info', 'warn', 'error', 'fatal'],
    ),
    argument(
        'large_data',
        'false',
        'Whether to set Fast DDS and malloc up for large images. Off by default, as '
        'both sides need it: where the camera or a subscriber lacks it, nothing arrives.',
        SWITCH,
    ),
]


def is_true(text: str) -> bool:
    """Return whether a switch is on."""
    return text.lower() == 'true'


def words(text: str) -> list[str]:
    """Return the words that commas separate."""
    return [word.strip() for word in text.split(',') if word.strip()]


def cameras_of(text: str) -> list[str]:
    """Return the names of the cameras that the argument gives."""
    return [] if text == NO_CAMERAS else words(text)


def as_parameter(name: str, text: str) -> object:
    """Return the value of a launch argument in the type of the node's parameter."""
    if name == 'cameras':
        return cameras_of(text) or ['']  # ROS has no empty list of strings.
    if name == 'class_names':
        return words(text)
    if name in ('autostart', 'use_sim_time'):
        return is_true(text)
    return text


def parameter_file(text: str) -> str:
    """Return the path of the parameter file; launch itself would go on without one."""
    path = user_path(text)
    if not path.is_file():
        raise ConfigError(
            f'Expected the argument params_file to be the path of a file, but got {text!r}.'
        )
    return str(path)


def topics(given: dict[str, str], argument: str) -> dict[str, str]:
    """Return where what an argument names comes from, by what it is called in the node."""
    cameras = cameras_of(given['cameras'])
    check_cameras(cameras, 'the argument cameras')
    return topics_of(given, argument, cameras)


def segmentation_node(given: dict[str, str], **fixed: object) -> LifecycleNode:
    """Return the node, which configures and activates itself unless ``autostart`` is off.

    ``fixed`` are parameters that hold whatever the params_file says.
    """
    overrides = {name: as_parameter(name, given[name]) for name in PARAMETERS if given[name]}
    return LifecycleNode(
        package='zegclip_ros',
        executable='segmentation_node',
        name='zegclip',
        namespace=given['namespace'],
        parameters=[parameter_file(given['params_file']), {**overrides, **fixed}],
        remappings=[
            *(pair for argument in TOPICS for pair in topics(given, argument).items()),
            ('vocabulary', given['vocabulary_topic']),
        ],
        ros_arguments=['--log-level', given['log_level']],
        additional_env=dict(LARGE_DATA) if is_true(given['large_data']) else {},
        respawn=is_true(given['respawn']),
        respawn_delay=RESPAWN_DELAY,
        output='both',
        emulate_tty=True,
    )


def rviz(given: dict[str, str], images: dict[str, str], outputs: dict[str, str]) -> Node:
    """Return rviz in the namespace that its layout leaves open.

    ``images`` tells where images come from, by what the layout calls their topics, and ``outputs``
    what the topics of each of several cameras' outputs begin with.
    """
    layout = LAYOUT
    if outputs:
        name = f'{given["namespace"]}_zegclip.rviz'.replace('/', '_').lstrip('_')
        layout = Path(launch_config.get_log_file_path(name))
        write_layout(LAYOUT, layout, outputs)
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=given['namespace'],
        arguments=['-d', str(layout)],
        parameters=[{'use_sim_time': is_true(given['use_sim_time'])}],
        remappings=list(images.items()),
        additional_env=dict(LARGE_DATA) if is_true(given['large_data']) else {},
        output='both',
    )


def web(given: dict[str, str]) -> Node:
    """Return the node that serves the page, of the first of several cameras."""
    cameras = cameras_of(given['cameras'])
    parameters = {
        'host': given['web_host'],
        'port': web_port(given['web_port']),
        'camera': cameras[0] if cameras else '',
        'image_transport': given['image_transport'] or 'raw',
        'use_sim_time': is_true(given['use_sim_time']),
    }
    return Node(
        package='zegclip_ros',
        executable='web_node',
        name='zegclip_web',
        namespace=given['namespace'],
        parameters=[parameters],
        remappings=[
            *topics(given, 'image_topic').items(),
            ('vocabulary', given['vocabulary_topic']),
        ],
        additional_env=dict(LARGE_DATA) if is_true(given['large_data']) else {},
        output='both',
        emulate_tty=True,
    )


def web_port(text: str) -> int:
    """Return a port from its text."""
    if not (text.isascii() and text.isdecimal() and int(text) < 2**16):
        raise ConfigError(
            f'Expected the argument web_port to be a port from 0 to {2**16 - 1}, but got {text!r}.'
        )
    return int(text)


def start(context: LaunchContext) -> list[Node]:
    """Return what to start, once the values of all arguments are known."""
    return started(context, __file__)


def started(context: LaunchContext, file: str, **fixed: object) -> list[Node]:
    """Return what a launch file of these arguments starts, with parameters that are ``fixed``."""
    given = {one.name: LaunchConfiguration(one.name).perform(context) for one in ARGUMENTS}
    warn_of_misspelled(file, context.argv, given)
    nodes: list[Node] = [segmentation_node(given, **fixed)]
    if is_true(given['web']):
        nodes.append(web(given))
    if is_true(given['rviz']):
        cameras, images = cameras_of(given['cameras']), topics(given, 'image_topic')
        shown = images if cameras else {LAYOUT_IMAGE: images[image_topic('')]}
        nodes.append(rviz(given, shown, {name: f'zegclip/{name}' for name in cameras}))
    return nodes


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
