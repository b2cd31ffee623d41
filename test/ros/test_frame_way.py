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
"""A frame takes the way through the node that docs/architecture.md says."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
import re
import sys
import threading
from types import CodeType, FrameType

import pytest
from rclpy.publisher import Publisher
from ros_helpers import running_rig, solid
from sensor_msgs.msg import Image

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
STAMP = 77

Step = tuple[str, CodeType]
"""A thread and the function that a frame passes in it."""


def rows() -> list[tuple[str, ...]]:
    """Return number, function, file and thread of each row of the table."""
    section = PAGE.split('## The way of a frame')[1].split('\n## ')[0]
    return re.findall(
        r'^\| (\d+) \| `(.+?)` \| `(.+?)` \| `(.+?)` \| .+ \|$', section, re.MULTILINE
    )


def code_of(function: str, file: str) -> CodeType:
    owner, name = function.split('.')
    module = import_module(file.removesuffix('.py').replace('/', '.'))
    return getattr(getattr(module, owner), name).__code__


def is_ours(value: object) -> bool:
    return isinstance(value, Image) and value.header.stamp.sec == STAMP


class Way:
    """Records which functions of the node are under way when the frame leaves a thread.

    It leaves the executor when a thread is woken while the frame's message is being handled, and
    the other thread when its labels are given to rclpy.
    """

    def __init__(self) -> None:
        self.parts: list[list[Step]] = []

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        """Look at a call; a function for ``sys.setprofile``."""
        if event != 'call':
            return
        if frame.f_code is threading.Condition.notify.__code__:
            stack = list(callers(frame))
            if any(is_ours(value) for one in stack for value in one.f_locals.values()):
                self.leave(stack)
        elif frame.f_code is Publisher.publish.__code__ and is_ours(frame.f_locals['msg']):
            self.leave(list(callers(frame)))

    def leave(self, stack: list[FrameType]) -> None:
        if not stack:
            return  # The test itself has published the frame.
        main = threading.current_thread() is threading.main_thread()
        # The rig has no thread for the executor.
        thread = 'executor' if main else threading.current_thread().name
        self.parts.append([(thread, one.f_code) for one in reversed(stack)])


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the functions of the package that have called this one and not returned."""
    while frame is not None:
        if Path(frame.f_code.co_filename).is_relative_to(ROOT / 'zegclip_ros'):
            yield frame
        frame = frame.f_back


@contextmanager
def followed() -> Iterator[Way]:
    """Follow frames in this thread and in all that are started meanwhile."""
    way = Way()
    threading.setprofile(way.note)
    sys.setprofile(way.note)
    try:
        yield way
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def test_a_frame_takes_the_way_on_the_page() -> None:
    with followed() as way, running_rig('-p', 'class_names:=["person", "cat"]') as rig:
        labels = rig.start_and_listen()
        rig.until_active('person', 'cat')
        rig.until_state('active')
        rig.until_subscribed()
        rig.camera.publish(solid(1, stamp=STAMP))
        rig.until(lambda: labels.stamps() == [STAMP], 'its labels')
    assert len(way.parts) == 2, 'the frame goes from one thread to one other, and out'
    taken = [step for part in way.parts for step in part]
    written = [(thread, code_of(function, file)) for _, function, file, thread in rows()]
    assert taken == written


def test_the_way_is_short() -> None:
    numbers, functions, files, _ = zip(*rows(), strict=True)
    assert numbers == tuple(str(place + 1) for place in range(len(functions)))
    assert len(functions) <= 12
    assert len(set(files)) <= 6
