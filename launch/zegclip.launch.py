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

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# The source tree and share/zegclip_ros hold config and rviz in the same places.
SHARE = Path(__file__).resolve().parent.parent

# Arguments that are parameters of the node as well; empty ones leave the params_file's value.
PARAMETERS = {
    'model': 'Bundled model or path of a checkpoint.',
    'device': 'Where the model runs: auto, cpu, cuda or cuda:<number>.',
    'class_names': 'Words to begin with, separated by commas.',
    'vocabulary_file': 'File with the words to begin with.',
}


def as_parameter(name: str, text: str) -> object:
    """Return the value of a launch argument as the node's parameter wants it."""
    if name == 'class_names':
        return [word.strip() for word in text.split(',') if word.strip()]
    return text


def start_nodes(context: LaunchContext) -> list[Node]:
    """Return the nodes, once the values of all arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    overrides = {name: as_parameter(name, text) for name, text in given.items() if text}
    common = {'use_sim_time': LaunchConfiguration('use_sim_time').perform(context) == 'true'}
    image = LaunchConfiguration('image_topic')
    segmentation = Node(
        package='zegclip_ros',
        executable='segmentation_node',
        name='zegclip',
        namespace=LaunchConfiguration('namespace'),
        parameters=[LaunchConfiguration('params_file'), overrides, common],
        remappings=[('image', image)],
        output='screen',
        emulate_tty=True,
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', str(SHARE / 'rviz' / 'zegclip.rviz')],
        parameters=[common],
        remappings=[('/camera/image', image)],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    return [segmentation, rviz]


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    params_file = str(SHARE / 'config' / 'zegclip.yaml')
    arguments = [
        DeclareLaunchArgument(
            'image_topic', default_value='/camera/image', description='Topic of the camera.'
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node and its topics.'
        ),
        DeclareLaunchArgument(
            'params_file', default_value=params_file, description='Parameters of the node.'
        ),
        DeclareLaunchArgument(
            'rviz', default_value='false', description='Whether to start rviz2 as well.'
        ),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', description='Whether /clock gives the time.'
        ),
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value='', description=f'{text} Empty: params_file.')
        for name, text in PARAMETERS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_nodes)])
