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
"""Camera and receiver of the latency benchmark; each runs as a process of its own.

``python -m benchmarks.latency_processes camera --log camera.jsonl`` publishes numbered images;
``... receiver --log receiver.jsonl`` writes down when labels come, and asks for other words.
"""

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
import sys
import time

from benchmarks.stand_in import EventLog, nanoseconds, NUMBER_PIXELS
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from zegclip_ros.conversions import image_to_labels, rgb_to_image
from zegclip_ros.runtime.runner import run_node, RunnableNode

CLASSES = 5
"""Every vocabulary that is asked for has as many, so that the expected labels do not change."""


def words(turn: int) -> tuple[str, ...]:
    """Return the words of a turn; no word occurs in two of them."""
    return tuple(f'thing {turn} {index}' for index in range(CLASSES))


class NumberedCamera(RunnableNode):
    """Publishes ``image`` (``rgb8``, depth 1) with the number of each frame in its first pixels.

    Args:
        options: Command line.
        log: Gets the event ``sent``, with number and stamp.
    """

    def __init__(self, options: argparse.Namespace, log: EventLog) -> None:
        super().__init__('bench_camera')
        self._log = log
        self._number = 0
        rows, columns = np.indices((options.height, options.width))
        stripes = ((rows + columns) % 256).astype(np.uint8)
        pixels = np.stack([stripes, stripes[::-1], stripes[:, ::-1]], axis=2)
        self._message = rgb_to_image(pixels, Header(frame_id='bench_camera'))
        reliability = ReliabilityPolicy[options.reliability.upper()]
        profile = QoSProfile(depth=1, reliability=reliability)
        self._publisher = self.create_publisher(Image, 'image', profile)
        self._timer = self.create_timer(1.0 / options.rate, self._publish)

    def _publish(self) -> None:
        """Publish the next frame, stamped with the present time."""
        self._number += 1
        for pixel in range(NUMBER_PIXELS):
            # The label follows from red: that of every such pixel is the number's lowest byte.
            self._message.data[3 * pixel] = self._number % 256
            self._message.data[3 * pixel + 1] = (self._number >> 8 * pixel) % 256
        stamp = self._message.header.stamp
        stamp.sec, stamp.nanosec = divmod(time.time_ns(), 1_000_000_000)
        self._publisher.publish(self._message)
        self._log.add('sent', number=self._number, stamp=nanoseconds(stamp))


class Receiver(RunnableNode):
    """Writes down each label image, and what the node says about itself.

    Args:
        options: Command line.
        log: Gets the events ``label``, ``asked``, ``words`` and ``diagnostics``.
    """

    def __init__(self, options: argparse.Namespace, log: EventLog) -> None:
        super().__init__('bench_receiver')
        self._log = log
        self._turn = 0
        # Deep enough that no label is lost when this process is held up.
        volatile = QoSProfile(depth=10)
        kept = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._listening = (
            self.create_subscription(Image, 'zegclip/label_image', self._on_labels, volatile),
            self.create_subscription(String, 'zegclip/active_vocabulary', self._on_words, kept),
            self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10),
        )
        self._asker = self.create_publisher(String, 'vocabulary', 10)
        if options.change_every > 0.0:
            self._timer = self.create_timer(options.change_every, self._ask)

    def _on_labels(self, message: Image) -> None:
        now, stamp = time.time_ns(), nanoseconds(message.header.stamp)
        self._log.add('label', stamp=stamp, time=now, label=int(image_to_labels(message)[0, 0]))

    def _ask(self) -> None:
        """Ask for the next words, if the node is there to hear them."""
        if self._asker.get_subscription_count() == 0:
            return
        self._turn += 1
        self._log.add('asked', turn=self._turn, time=time.time_ns())
        self._asker.publish(String(data=', '.join(words(self._turn))))

    def _on_words(self, message: String) -> None:
        state = json.loads(message.data)
        names = [one['name'] for one in state['classes']]
        self._log.add('words', version=state['version'], names=names)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(': segmentation'):
                self._log.add('diagnostics', **{entry.key: entry.value for entry in status.values})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of them; return its exit code."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.latency_processes')
    add = parser.add_argument
    add('role', choices=('camera', 'receiver'))
    add('--log', type=Path, required=True, help='file for the events')
    add('--width', type=int, default=640, help='of the images [px]')
    add('--height', type=int, default=480, help='of the images [px]')
    add('--rate', type=float, default=30.0, help='of the images [Hz]')
    add('--reliability', choices=('reliable', 'best_effort'), default='reliable', help='offered')
    add('--change-every', type=float, default=0.0, help='time between two changes of words [s]')
    options, rest = parser.parse_known_args(arguments)
    role = NumberedCamera if options.role == 'camera' else Receiver
    return run_node(lambda: role(options, EventLog(options.log)), rest)


if __name__ == '__main__':
    sys.exit(main())
