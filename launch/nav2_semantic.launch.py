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
"""Launch the segmentation node for the semantic layer of Nav2's costmaps.

For example ``ros2 launch zegclip_ros nav2_semantic.launch.py cloud_topic:=/camera/depth/points``.
All other arguments of ``zegclip.launch.py`` can be given as well. ``docs/nav2.md`` leads from a
camera to a costmap.
"""

from pathlib import Path
import runpy

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch_ros.actions import Node

FILE = runpy.run_path(str(Path(__file__).resolve().with_name('zegclip.launch.py')))

# What the layer would misread otherwise, without a word: it takes each byte for an id or a score,
# and remembers ids for seconds.
FIXED = {'confidence_encoding': 'mono8', 'stable_ids': True}

ARGUMENTS = [
    FILE['argument'](
        'params_file',
        str(FILE['SHARE'] / 'config' / 'nav2_semantic.yaml'),
        f'File with the parameters of the node; {" and ".join(FIXED)} are set in any case.',
    ),
]
SHARED = [one for one in FILE['ARGUMENTS'] if one.name not in {own.name for own in ARGUMENTS}]


def start(context: LaunchContext) -> list[Node]:
    """Return what to start, once the values of all arguments are known."""
    nodes: list[Node] = FILE['started'](context, __file__, **FIXED)
    return nodes


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    return LaunchDescription([*ARGUMENTS, *SHARED, OpaqueFunction(function=start)])
