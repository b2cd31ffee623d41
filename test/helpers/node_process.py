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
"""The node in a process of its own, with a model that takes its time; for the tests of its end.

``python node_process.py LOADING FRAME --ros-args ...``: seconds to load, and for each frame.
"""

import sys
import time
from typing import Any

from fake_segmenter import FakeEncoded, FakeSegmenter
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import Segmentation
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.runtime.runner import run_process


class SlowSegmenter(FakeSegmenter):
    """Takes its time, and cannot be interrupted."""

    def __init__(self, loading: float, frame: float) -> None:
        super().__init__()
        self._seconds = loading, frame

    def warm_up(self) -> None:
        print('loading', flush=True)
        time.sleep(self._seconds[0])

    def segment(
        self,
        image: RgbImage,
        vocabulary: FakeEncoded,
        **wanted: Any,  # noqa: ANN401 - as the segmenter that it slows down
    ) -> Segmentation:
        print('frame', flush=True)
        time.sleep(self._seconds[1])
        return super().segment(image, vocabulary, **wanted)


if __name__ == '__main__':
    slow = SlowSegmenter(float(sys.argv[1]), float(sys.argv[2]))
    run_process(lambda: SegmentationNode(lambda parameters: slow), sys.argv[3:])
