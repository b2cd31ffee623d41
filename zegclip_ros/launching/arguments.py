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
"""Names of launch arguments: launch takes any, and says nothing of those that nobody reads."""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
import sys

ALIKE = 0.75
"""Share of two names that is the same, from which on one is taken for the other misspelled."""


def warn_of_misspelled(file: str, given: Collection[str], known: Collection[str]) -> None:
    """Warn of arguments whose names are nearly right; launch itself reads some others.

    Args:
        file: The launch file that asks. Only the one that ``ros2 launch`` was told to start is
            heard: on the command line of another one are the arguments of that.
        given: The arguments, such as ``image_topc:=/camera/image``.
        known: The names that there are.
    """
    # Here, as only ros2 launch has it.
    from launch.logging import get_logger

    if Path(file).name not in {Path(text).name for text in sys.argv}:
        return
    for text in given:
        name = text.partition(':=')[0]
        if name not in known and (close := get_close_matches(name, known, 1, ALIKE)):
            get_logger('zegclip').warning(
                f'Expected the argument {close[0]}, but got {name}, which has no effect.'
            )
