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
"""What the launch files share: topics of cameras, large images, misspelled arguments, rviz.

``ros2 launch`` runs in the Python of the system, which sees this package but no virtual
environment: nothing here imports NumPy, rclpy or PyTorch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
import sys
from types import MappingProxyType
from typing import Any

import yaml
from zegclip_core.errors import ConfigError
from zegclip_core.messages.topic_names import cloud_topic, depth_topic, image_topic, info_topic

LARGE_DATA = MappingProxyType(
    {
        'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA',
        'MALLOC_MMAP_THRESHOLD_': '268435456',
        'MALLOC_TRIM_THRESHOLD_': '536870912',
        'MALLOC_ARENA_MAX': '2',
    }
)
"""Environment for processes that exchange large images, read when a process starts.

The first variable makes Fast DDS use shared memory and TCP instead of UDP for large messages. It
must be set on both sides: a process with it and one without exchange nothing. The next two keep
glibc from giving the memory of each message back to the system, the last one from keeping it once
for every thread that a message went through: eight arenas for each core, of 60 MB and more.
"""
ONLY_CAMERA = 'camera'
"""Name of the only camera in the topics of the launch files' arguments."""
TOPICS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        'image_topic': image_topic,
        'cloud_topic': cloud_topic,
        'depth_topic': depth_topic,
        'depth_info_topic': lambda camera: info_topic(depth_topic(camera)),
        'camera_info_topic': info_topic,
    }
)
"""Arguments for what the node takes of a camera, and how the node calls it."""
BESIDE = MappingProxyType({'depth_info_topic': 'depth_topic', 'camera_info_topic': 'image_topic'})
"""Arguments for camera infos, and those of the images in whose namespace drivers publish them."""
LAYOUT_IMAGE = 'camera/image'
"""Topic of the camera in rviz's layout for one camera."""
LAYOUT_OUTPUTS = 'zegclip'
"""What the topics of the outputs begin with in that layout."""


def topic_of(camera: str, template: str, argument: str = 'image_topic') -> str:
    """Return the topic of a camera, from one with ``{camera}`` in place of its name.

    ``argument`` is what gave the template.

    Raises:
        ConfigError: If the template gives all cameras the same topic.
    """
    if '{camera}' not in template:
        raise ConfigError(
            f"Expected the argument {argument} to hold {{camera}} for the camera's name, such as "
            f'/{{camera}}/image_raw, but got {template!r}.'
        )
    return template.replace('{camera}', camera)


def topics_of(given: Mapping[str, str], argument: str, cameras: Sequence[str]) -> dict[str, str]:
    """Return where something of each camera comes from, by what it is called in the node.

    Args:
        given: The values of the arguments among ``TOPICS``; an empty one of ``BESIDE`` stands for
            ``camera_info`` beside the images.
        argument: Which of them is asked for.
        cameras: Names of several cameras; none for the only one.

    Raises:
        ConfigError: If all of several cameras would have the same topic.
    """

    def topic(argument: str, camera: str) -> str:
        template = given[argument]
        if not template and argument in BESIDE:
            namespace, slash, _ = topic(BESIDE[argument], camera).rpartition('/')
            return f'{namespace}{slash}camera_info'
        if cameras:
            return topic_of(camera, template, argument)
        return template.replace('{camera}', ONLY_CAMERA)

    return {TOPICS[argument](camera): topic(argument, camera) for camera in cameras or ['']}


def warn_of_misspelled(file: str, given: Collection[str], known: Collection[str]) -> None:
    """Warn of arguments whose names are nearly right, which launch accepts and nobody reads.

    Args:
        file: The launch file that asks. Only the one that ``ros2 launch`` was told to start
            warns: the command line belongs to it, and not to the files that it includes.
        given: The arguments, such as ``image_topc:=/camera/image``.
        known: The names of all arguments of the file.
    """
    # Imported late: only ros2 launch has it.
    from launch.logging import get_logger

    if Path(file).name not in {Path(text).name for text in sys.argv}:
        return
    for text in given:
        name = text.partition(':=')[0]
        if name not in known and (close := get_close_matches(name, known, n=1, cutoff=0.75)):
            get_logger('zegclip').warning(
                f'Expected the argument {close[0]}, but got {name}, which has no effect.'
            )


def write_layout(pattern: Path, target: Path, outputs: Mapping[str, str]) -> None:
    """Write rviz's layout for several cameras, made of that for one.

    ``outputs`` tells what the topics of each camera's outputs begin with: ``zegclip/front``.
    """
    layout = yaml.safe_load(pattern.read_text(encoding='utf-8'))
    manager, window = layout['Visualization Manager'], layout['Window Geometry']
    displays = manager['Displays']
    manager['Displays'] = [
        {
            # A group's checkbox shows or hides all displays of a camera.
            'Class': 'rviz_common/Group',
            'Displays': [_display(camera, display, topics) for display in displays],
            'Enabled': True,
            'Name': camera,
        }
        for camera, topics in outputs.items()
    ]
    # Images have windows of their own; points are shown in the common one.
    names = [display['Name'] for display in displays if display['Name'] in window]
    panels = {name: window.pop(name) for name in names}
    for camera in outputs:
        window.update({_title(camera, name): deepcopy(panel) for name, panel in panels.items()})
    (panel,) = layout['Panels']
    # The path of each group in rviz's own notation.
    panel['Property Tree Widget']['Expanded'] = [f'/{camera}1' for camera in outputs]
    target.write_text(yaml.safe_dump(layout, sort_keys=False), encoding='utf-8')


def _title(camera: str, name: str) -> str:
    """Return a display's name, which is also the title of its window."""
    return f'{camera}: {name.lower()}'


def _display(camera: str, pattern: Mapping[str, Any], outputs: str) -> dict[str, Any]:
    """Return the display of one camera's topic."""
    display = deepcopy(dict(pattern))
    display['Name'] = _title(camera, pattern['Name'])
    # Only what is shown is computed.
    display['Enabled'] = display['Value'] = pattern['Name'] == 'Overlay'
    topic = pattern['Topic']['Value']
    display['Topic']['Value'] = (
        image_topic(camera) if topic == LAYOUT_IMAGE else topic.replace(LAYOUT_OUTPUTS, outputs, 1)
    )
    return display
