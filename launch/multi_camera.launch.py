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

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from zegclip_ros.camera_names import check_cameras, topic_of

NODE = Path(__file__).resolve().with_name('zegclip.launch.py')

ARGUMENTS = [
    DeclareLaunchArgument(
        'cameras', description='Names of the cameras, separated by commas, such as front,rear.'
    ),
    DeclareLaunchArgument(
        'image_topic',
        default_value='/{camera}/image',
        description='Topic of each camera; {camera} stands for its name.',
    ),
    DeclareLaunchArgument(
        'namespace', default_value='', description="Namespace around the cameras' own ones."
    ),
    DeclareLaunchArgument(
        'vocabulary_topic',
        default_value='/vocabulary',
        description='Topic that new words come on, one for all nodes; a relative name is in the '
        'namespace of each camera, so that each node has its own.',
    ),
]

# Several windows would show the same topics.
WITHHELD = {'rviz'}


def camera_names(text: str) -> list[str]:
    """Return the names of the cameras.

    Raises:
        ConfigError: If one is there twice or cannot be a namespace.
    """
    names = [name.strip() for name in text.split(',')]
    check_cameras(names, 'the argument cameras')
    return names


def shared_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of ``zegclip.launch.py`` that go to every node as they are."""
    source = PythonLaunchDescriptionSource(str(NODE))
    declared = source.get_launch_description(LaunchContext()).get_launch_arguments()
    own = {one.name for one in ARGUMENTS} | WITHHELD
    return [one for one in declared if one.name not in own]


def start(context: LaunchContext) -> list[GroupAction]:
    """Return a node for each camera, once the values of all arguments are known."""
    given = {one.name: LaunchConfiguration(one.name).perform(context) for one in ARGUMENTS}
    groups = []
    for camera in camera_names(given['cameras']):
        settings = {
            'namespace': f'{given["namespace"]}/{camera}'.lstrip('/'),
            'image_topic': topic_of(camera, given['image_topic']),
            'vocabulary_topic': given['vocabulary_topic'],
            'rviz': 'false',
            # The argument above of this name is for all nodes; each has one camera, whatever the
            # params_file says.
            'cameras': 'none',
        }
        source = PythonLaunchDescriptionSource(str(NODE))
        include = IncludeLaunchDescription(source, launch_arguments=settings.items())
        # In a group, so that one camera's settings do not stay for the next one.
        groups.append(GroupAction([include]))
    return groups


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    return LaunchDescription([*ARGUMENTS, *shared_arguments(), OpaqueFunction(function=start)])
