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
"""Names of several cameras, which become parts of topics."""

from collections.abc import Sequence
import re

from zegclip_core.errors import ConfigError

MAX_CAMERAS = 32
LONGEST_NAME = 64
"""Characters of a camera's name, so that the rest of a topic has room."""


def check_cameras(names: Sequence[str], what: str) -> None:
    """Check that names can be parts of topics.

    Args:
        names: The names of the cameras.
        what: Where they come from, such as ``the parameter cameras``; for the error.

    Raises:
        ConfigError: If one is not a valid name, one is given twice or there are too many.
    """
    given = repr(','.join(names)[:200])
    pattern = r'[A-Za-z](_?[A-Za-z0-9])*_?'
    if not all(len(name) <= LONGEST_NAME and re.fullmatch(pattern, name) for name in names):
        raise ConfigError(
            f'Expected {what} to be names of at most {LONGEST_NAME} letters, digits and single _ '
            f'with a letter first, such as front,rear, but got {given}.'
        )
    if len(set(names)) < len(names):
        raise ConfigError(f'Expected {what} to name each camera once, but got {given}.')
    if len(names) > MAX_CAMERAS:
        raise ConfigError(
            f'Expected {what} to name at most {MAX_CAMERAS} cameras, but got {len(names)}.'
        )


def image_topic(camera: str) -> str:
    """Return the relative topic of a camera's images; ``''`` is the only camera."""
    return f'{camera}/image' if camera else 'image'


def output_topic(camera: str, topic: str) -> str:
    """Return a camera's topic for an output such as ``~/overlay``; ``''`` is the only camera."""
    return topic.replace('~', f'~/{camera}', 1) if camera else topic
