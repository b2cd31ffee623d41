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
"""rviz's layout for several cameras, made of the one for one camera."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from zegclip_ros.frames.camera_names import image_topic

ENABLED = 'Overlay'
"""What is shown of each camera at first: it has the photo in it, and what is shown is computed."""
LAYOUT_IMAGE = 'camera/image'
"""Topic of the camera in the layout for one."""
LAYOUT_OUTPUTS = 'zegclip'
"""What the topics of the outputs begin with there."""


def write_layout(pattern: Path, target: Path, outputs: Mapping[str, str]) -> None:
    """Write a layout that shows several cameras.

    Args:
        pattern: Layout for one camera.
        target: File to write.
        outputs: By the name of each camera, what the topics of its outputs begin with, such as
            ``zegclip/front``.
    """
    layout = yaml.safe_load(pattern.read_text(encoding='utf-8'))
    manager, window = layout['Visualization Manager'], layout['Window Geometry']
    displays = manager['Displays']
    manager['Displays'] = [_group(camera, displays, outputs[camera]) for camera in outputs]
    panels = {display['Name']: window.pop(display['Name']) for display in displays}
    for camera in outputs:
        window.update({_title(camera, name): deepcopy(panel) for name, panel in panels.items()})
    (panel,) = layout['Panels']
    # rviz's own way of naming them.
    panel['Property Tree Widget']['Expanded'] = [f'/{camera}1' for camera in outputs]
    target.write_text(yaml.safe_dump(layout, sort_keys=False), encoding='utf-8')


def _title(camera: str, name: str) -> str:
    """Return a display's name, which is the title of its window."""
    return f'{camera}: {name.lower()}'


def _group(camera: str, displays: list[dict[str, Any]], outputs: str) -> dict[str, Any]:
    """Return the displays of a camera, which one tick shows or hides."""
    return {
        'Class': 'rviz_common/Group',
        'Displays': [_display(camera, display, outputs) for display in displays],
        'Enabled': True,
        'Name': camera,
    }


def _display(camera: str, display: dict[str, Any], outputs: str) -> dict[str, Any]:
    """Return the display of one camera's topic."""
    made = deepcopy(display)
    made['Name'] = _title(camera, display['Name'])
    made['Enabled'] = made['Value'] = display['Name'] == ENABLED
    topic = display['Topic']['Value']
    if topic == LAYOUT_IMAGE:
        made['Topic']['Value'] = image_topic(camera)
    else:
        made['Topic']['Value'] = topic.replace(LAYOUT_OUTPUTS, outputs, 1)
    return made
