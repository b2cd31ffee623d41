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
"""Launch one segmentation node for each of several cameras, each in the camera's namespace.

For example ``ros2 launch zegclip_ros multi_camera.launch.py cameras:=front,rear``. All other
arguments of ``zegclip.launch.py`` can be given as well and go to every node.
"""

from pathlib import Path
import runpy

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from zegclip_core.messages.topic_names import check_cameras, image_topic
from zegclip_ros.launching import topic_of, TOPICS, warn_of_misspelled

NODE = Path(__file__).resolve().with_name('zegclip.launch.py')
FILE = runpy.run_path(str(NODE))

ARGUMENTS = [
    DeclareLaunchArgument(
        'cameras', description='Names of the cameras, separated by commas, such as front,rear.'
    ),
    FILE['argument'](
        'image_topic',
        '/{camera}/image',
        'Topic of each camera; {camera} stands for its name.',
    ),
    FILE['argument']('namespace', '', "Namespace around the cameras' own ones."),
    FILE['argument'](
        'vocabulary_topic',
        '/vocabulary',
        'Topic that new words come on, one for all nodes; a relative name is in the '
        'namespace of each camera, so that each node has its own.',
    ),
]

# Those of zegclip.launch.py that go to every node as they are.
SHARED = [one for one in FILE['ARGUMENTS'] if one.name not in {own.name for own in ARGUMENTS}]


def node(camera: str, given: dict[str, str], *, first: bool) -> GroupAction:
    """Return the node of a camera; the page is of the first one."""
    settings = {
        'namespace': f'{given["namespace"]}/{camera}'.lstrip('/'),
        **{name: topic_of(camera, given[name], name) for name in TOPICS if given[name]},
        'vocabulary_topic': given['vocabulary_topic'],
        # One window shows all of them.
        'rviz': 'false',
        # There is one port.
        'web': given['web'] if first else 'false',
        # The argument of this name is for all nodes; each has one camera, whatever the
        # params_file says.
        'cameras': 'none',
    }
    source = PythonLaunchDescriptionSource(str(NODE))
    # In a group, so that one camera's settings do not stay for the next one.
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=settings.items())])


def rviz(cameras: list[str], given: dict[str, str]) -> Node:
    """Return rviz with all cameras."""
    topics = {camera: topic_of(camera, given['image_topic']) for camera in cameras}
    images = {
        # A relative topic is in the namespace of the camera, which rviz is not in.
        image_topic(camera): topic if topic.startswith('/') else f'{camera}/{topic}'
        for camera, topic in topics.items()
    }
    outputs = {camera: f'{camera}/zegclip' for camera in cameras}
    return FILE['rviz'](given, images, outputs)


def start(context: LaunchContext) -> list[GroupAction | Node]:
    """Return a node for each camera, once the values of all arguments are known."""
    declared = [*ARGUMENTS, *SHARED]
    given = {one.name: LaunchConfiguration(one.name).perform(context) for one in declared}
    warn_of_misspelled(__file__, context.argv, given)
    cameras = [name.strip() for name in given['cameras'].split(',')]
    check_cameras(cameras, 'the argument cameras')
    nodes = [node(camera, given, first=place == 0) for place, camera in enumerate(cameras)]
    return [*nodes, rviz(cameras, given)] if FILE['is_true'](given['rviz']) else nodes


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    return LaunchDescription([*ARGUMENTS, *SHARED, OpaqueFunction(function=start)])
