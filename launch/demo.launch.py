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
"""Launch one or several cameras that play images, the segmentation node and rviz.

For example ``ros2 launch zegclip_ros demo.launch.py source:=walk.mp4``. All arguments of
``zegclip.launch.py`` can be given as well.
"""

from collections.abc import Sequence
from pathlib import Path
import runpy

from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from zegclip_ros.launching import LARGE_DATA, ONLY_CAMERA, warn_of_misspelled

NODE = Path(__file__).resolve().with_name('zegclip.launch.py')
FILE = runpy.run_path(str(NODE))

# Arguments for what is played, and what the camera calls it.
PLAYED = {
    'image_topic': '~/image',
    'depth_topic': '~/depth',
    'depth_info_topic': '~/depth/camera_info',
}

# These come before those of the same name in zegclip.launch.py, and so their defaults hold.
ARGUMENTS = [
    FILE['argument'](
        'source',
        '',
        'What to play: an image, a video, a folder or the number of a webcam. '
        'Empty: images of scikit-image.',
    ),
    FILE['argument'](
        'depth',
        'false',
        'Whether to play a made room with its depth instead, for points and boxes in space.',
        FILE['SWITCH'],
    ),
    FILE['argument'](
        'image_topic',
        '{camera}/image',
        'Topic of the camera. {camera} stands for the name of each of several; the '
        'only one is called camera. A relative name is in the namespace.',
    ),
    FILE['argument'](
        'depth_topic', '{camera}/depth/image', 'Topic of the depth; {camera} as above.'
    ),
    FILE['argument']('rviz', 'true', 'Whether to start rviz2 too.', FILE['SWITCH']),
]


def start_cameras(context: LaunchContext) -> list[Node]:
    """Return the cameras, once the values of all arguments are known."""
    names = {one.name for one in [*ARGUMENTS, *FILE['ARGUMENTS']]}
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    warn_of_misspelled(__file__, context.argv, names)
    cameras = FILE['cameras_of'](given['cameras']) or [ONLY_CAMERA]
    played = zip(*(FILE['topics'](given, name).values() for name in PLAYED), strict=True)
    return [camera(name, topics, given) for name, topics in zip(cameras, played, strict=True)]


def camera(name: str, topics: Sequence[str], given: dict[str, str]) -> Node:
    """Return a camera that publishes on topics, in the order of ``PLAYED``."""
    return Node(
        package='zegclip_ros',
        executable='camera_node',
        name=name,
        namespace=given['namespace'],
        parameters=[{'source': given['source'], 'depth': FILE['is_true'](given['depth'])}],
        remappings=list(zip(PLAYED.values(), topics, strict=True)),
        additional_env=dict(LARGE_DATA) if FILE['is_true'](given['large_data']) else {},
        output='both',
        emulate_tty=True,
    )


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    node = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(NODE)))
    # The cameras come last, as the included file gives its arguments their default values.
    return LaunchDescription([*ARGUMENTS, node, OpaqueFunction(function=start_cameras)])
