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
"""Publishes what takes depth of a camera's frames, once their depth is there."""

from collections import deque

from std_msgs.msg import Header
from zegclip_ros.frames.camera_outputs import Outputs
from zegclip_ros.frames.depth_input import DepthInput
from zegclip_ros.frames.labelled_frame import LabelledFrame

MOST_WAITING = 4
"""Labelled frames of a camera that wait for their depth at most; older ones go without."""


class DepthOutputs:
    """Points and regions of a camera's frames; other outputs wait for nothing.

    A frame whose depth may still come waits: on a fast device labels are there before it. The
    methods are called in the thread that labels frames, but for ``waits``.
    """

    def __init__(self, outputs: Outputs, depth: DepthInput) -> None:
        self._outputs = outputs
        self._depth = depth
        self._waiting: deque[LabelledFrame] = deque()

    @property
    def waits(self) -> bool:
        """Whether frames wait for depth."""
        return bool(self._waiting)

    def expect(self, header: Header) -> None:
        """Keep the depth of a frame that will be labelled."""
        if self._outputs.depth_wanted():
            self._depth.expect(header)

    def publish(self, frame: LabelledFrame) -> tuple[float, float]:
        """Publish a frame's points and regions, now or later; return the seconds of today's.

        The first are those for making, the second those for publishing.
        """
        if not self._outputs.depth_wanted():
            return 0.0, 0.0
        self._waiting.append(frame)
        return self.publish_settled()

    def publish_settled(self) -> tuple[float, float]:
        """Publish what need not wait any longer, in the frames' order; return the seconds."""
        making = publishing = 0.0
        while self._waiting:
            late = len(self._waiting) > MOST_WAITING
            if not (late or self._depth.is_settled(self._waiting[0].header)):
                break
            frame = self._waiting.popleft()
            height, width = frame.rgb.shape[:2]
            frame.depth = self._depth.take(frame.header, (height, width))
            rendered, published = self._outputs.publish(frame, with_depth=True)
            making, publishing = making + rendered, publishing + published
        return making, publishing

    def clear(self) -> None:
        """Forget the frames that wait."""
        self._waiting.clear()
