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
"""The node under observation: when its images come, when the model works, when labels leave.

Run it by ``python -m benchmarks.observed --log node.jsonl --cost 0.005 --ros-args -p ...``; with
``--real`` the model is the one that the parameters name.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
import sys
import time
from typing import Any

from benchmarks.events import EventLog, moments, nanoseconds, read_number
from benchmarks.stand_in import StandInSegmenter
import numpy as np
import numpy.typing as npt
from rclpy.subscription import MessageInfo
from sensor_msgs.msg import CompressedImage, Image
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.runtime.runner import run_node
from zegclip_ros.segmenter_like import load_segmenter


class TimedSegmenter:
    """A real segmenter whose work is timed; everything else is left to it.

    Args:
        segmenter: The real one.
        observer: As that of ``StandInSegmenter``.
    """

    def __init__(
        self,
        segmenter: Any,  # noqa: ANN401 - whatever the node takes
        observer: Callable[[npt.NDArray[np.uint8], int, int], None],
    ) -> None:
        self._segmenter = segmenter
        self._observer = observer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._segmenter, name)

    def segment(self, image: npt.NDArray[np.uint8], vocabulary: Any) -> Any:  # noqa: ANN401
        """Label an image and tell how long that took."""
        began = time.time_ns()
        answer = self._segmenter.segment(image, vocabulary)
        self._observer(image, began, time.time_ns())
        return answer


class ObservedNode(SegmentationNode):
    """The node as it is, but for what it subscribes to and publishes being written down.

    Args:
        load: Loads the segmenter.
        log: Gets the events ``arrived`` and ``published``.
    """

    def __init__(self, load: Callable[[NodeParameters], Any], log: EventLog) -> None:
        self._event_log = log
        super().__init__(load)

    def create_subscription(
        self,
        msg_type: Any,  # noqa: ANN401 - a message class
        topic: str,
        callback: Any,  # noqa: ANN401 - a function of the message
        *arguments: Any,  # noqa: ANN401 - rclpy's own
        **options: Any,  # noqa: ANN401 - rclpy's own
    ) -> Any:  # noqa: ANN401 - rclpy's subscription
        """Subscribe; images are written down when they have been passed on."""
        if msg_type not in (Image, CompressedImage):
            return super().create_subscription(msg_type, topic, callback, *arguments, **options)

        def observed(message: Any, info: MessageInfo) -> None:  # noqa: ANN401 - an image
            came = time.time_ns()
            callback(message)
            self._event_log.add(
                'arrived',
                **moments(message, info),
                time=came,
                handed=time.time_ns(),
            )

        return super().create_subscription(msg_type, topic, observed, *arguments, **options)

    def create_publisher(
        self,
        msg_type: Any,  # noqa: ANN401 - a message class
        topic: str,
        *arguments: Any,  # noqa: ANN401 - rclpy's own
        **options: Any,  # noqa: ANN401 - rclpy's own
    ) -> Any:  # noqa: ANN401 - rclpy's publisher
        """Make a publisher; what it does is written down if it is that of the label image."""
        publisher = super().create_publisher(msg_type, topic, *arguments, **options)
        if topic.endswith('label_image'):
            self._observe(publisher)
        return publisher

    def _observe(self, publisher: Any) -> None:  # noqa: ANN401 - rclpy's publisher
        publish = publisher.publish

        def observed(message: Image) -> None:
            began = time.time_ns()
            publish(message)
            self._event_log.add(
                'published',
                stamp=nanoseconds(message.header.stamp),
                began=began,
                ended=time.time_ns(),
            )

        publisher.publish = observed


def make_node(cost: float, real: bool, log: EventLog) -> SegmentationNode:
    """Return the node with the stand-in or the real model."""

    def observe(image: npt.NDArray[np.uint8], began: int, ended: int) -> None:
        log.add('segmented', number=read_number(image), began=began, ended=ended)

    def load(parameters: NodeParameters) -> TimedSegmenter | StandInSegmenter:
        if real:
            return TimedSegmenter(load_segmenter(parameters), observe)
        return StandInSegmenter(cost, observe)

    return ObservedNode(load, log)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.observed',
        description='Run the segmentation node and write down what happens to each frame.',
        epilog='What else is given goes to ROS: --ros-args -p name:=value -r from:=to',
    )
    parser.add_argument('--log', type=Path, required=True, help='file for the events')
    parser.add_argument('--cost', type=float, default=0.005, help='time of a frame [s]')
    parser.add_argument('--real', action='store_true', help='take the real model instead')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; return its exit code."""
    options, rest = build_parser().parse_known_args(arguments)
    with EventLog(options.log) as log:
        return run_node(lambda: make_node(options.cost, options.real, log), rest)


if __name__ == '__main__':
    sys.exit(main())
