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
"""The one who listens: takes label images, and asks for other words now and then."""

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
import sys
import time

from benchmarks.events import EventLog, moments
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import MessageInfo
from sensor_msgs.msg import Image
from std_msgs.msg import String
from zegclip_ros.conversions import image_to_labels
from zegclip_ros.runtime.runner import run_node, RunnableNode

CLASSES = 5
"""Every vocabulary that is asked for has as many, so that the expected labels do not change."""


def words(turn: int) -> tuple[str, ...]:
    """Return the words of a turn; no word occurs in two of them."""
    return tuple(f'thing {turn} {index}' for index in range(CLASSES))


class Receiver(RunnableNode):
    """Writes down each label image, and what the node says of itself.

    Args:
        log: Gets the events ``label``, ``asked``, ``words`` and ``diagnostics``.
        period: Seconds between two changes of the words, 0 for none.
    """

    def __init__(self, log: EventLog, period: float) -> None:
        super().__init__('bench_receiver')
        self._log = log
        self._turn = 0
        # Deep enough that no label is lost to this process being held up.
        volatile = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        kept = QoSProfile(
            depth=10,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        self._listening = (
            self.create_subscription(Image, 'zegclip/label_image', self._on_labels, volatile),
            self.create_subscription(String, 'zegclip/active_vocabulary', self._on_words, kept),
            self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10),
        )
        self._asker = self.create_publisher(String, 'vocabulary', 10)
        self._timer = self.create_timer(period, self._ask) if period > 0.0 else None

    def _on_labels(self, message: Image, info: MessageInfo) -> None:
        now = time.time_ns()
        labels = image_to_labels(message)
        self._log.add(
            'label',
            **moments(message, info),
            time=now,
            label=int(labels[0, 0]),
            size=[labels.shape[1], labels.shape[0]],
        )

    def _ask(self) -> None:
        """Ask for the next words, if the node is there to hear them."""
        if self._asker.get_subscription_count() == 0:
            return
        self._turn += 1
        self._log.add('asked', turn=self._turn, time=time.time_ns())
        self._asker.publish(String(data=', '.join(words(self._turn))))

    def _on_words(self, message: String) -> None:
        state = json.loads(message.data)
        stamp = state['stamp']
        self._log.add(
            'words',
            time=time.time_ns(),
            version=state['version'],
            first=state['classes'][0]['name'] if state['classes'] else None,
            stamp=None if stamp is None else stamp['sec'] * 1_000_000_000 + stamp['nanosec'],
            error=state['error'],
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(': segmentation'):
                values = {entry.key: entry.value for entry in status.values}
                self._log.add('diagnostics', time=time.time_ns(), values=values)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.receiver', description=__doc__)
    parser.add_argument('--log', type=Path, required=True, help='file for the events')
    parser.add_argument(
        '--change-every', type=float, default=0.0, help='time between two changes of words [s]'
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the receiver; return its exit code."""
    options, rest = build_parser().parse_known_args(arguments)
    with EventLog(options.log) as log:
        return run_node(lambda: Receiver(log, options.change_every), rest)


if __name__ == '__main__':
    sys.exit(main())
