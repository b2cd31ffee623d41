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
"""What the ROS tests share: a node with its surroundings, and waiting for conditions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import os
import time
from typing import Any

from fake_segmenter import DEADLINE, FakeSegmenter
import numpy as np
import pytest
from rcl_interfaces.msg import Log
import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from zegclip_ros.conversions import rgb_to_image
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.parameters import DECLARATIONS, NodeParameters
from zegclip_ros.runtime.child_processes import reserved_domain

TRANSIENT = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def node_parameters(**changed: object) -> NodeParameters:
    """Return the defaults of the node but for what is given."""
    values = {one.name: one.default for one in DECLARATIONS}
    return NodeParameters.from_values({**values, **changed})


def qos(reliability: str = 'reliable', depth: int = 10) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy[reliability.upper()])


def solid(red: int, height: int = 4, width: int = 6, stamp: int = 1) -> Image:
    """Return an rgb8 image of one colour; its stamp in seconds tells frames apart."""
    header = Header(frame_id='test_camera')
    header.stamp.sec = stamp
    pixels = np.full((height, width, 3), red, np.uint8)
    return rgb_to_image(pixels, header)


class Inbox:
    """Collects the messages of a topic."""

    def __init__(self, node: Node, kind: type, topic: str, profile: QoSProfile) -> None:
        self.messages: list[Any] = []
        self.subscription = node.create_subscription(kind, topic, self.messages.append, profile)

    @property
    def last(self) -> Any:  # noqa: ANN401 - whatever the topic's type is
        return self.messages[-1]

    def stamps(self) -> list[int]:
        return [message.header.stamp.sec for message in self.messages]


class Rig:
    """A segmentation node with a fake model and a node that plays its surroundings."""

    def __init__(self, segmenter: FakeSegmenter, namespace: str = '') -> None:
        self.segmenter = segmenter
        self.executor = SingleThreadedExecutor()
        self.node = SegmentationNode(lambda parameters: segmenter)
        self.probe = Node('probe', namespace=namespace, use_global_arguments=False)
        self.executor.add_node(self.node)
        self.executor.add_node(self.probe)
        self.words = self.probe.create_publisher(String, 'vocabulary', qos())
        self.states = Inbox(self.probe, String, 'zegclip/active_vocabulary', TRANSIENT)
        self.rosout = Inbox(self.probe, Log, '/rosout', qos(depth=1000))
        self.camera: Any = None
        self.stamp = 1000
        self._answered = 0
        self._announced = ''
        self._watch()
        self.until(lambda: self.words.get_subscription_count() > 0, 'the node hears words')
        self.until(lambda: self.rosout.subscription.get_publisher_count() > 1, 'the log')
        self.until(lambda: self.states.messages, 'the node tells its words')

    def __enter__(self) -> 'Rig':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _watch(self) -> None:
        """Take note of the words that the node has answered, and of what it announced last."""
        answer, announce = self.node._words_input.callback, self.node._state._announce

        def answered(message: String) -> None:
            answer(message)
            self._answered += 1

        def announced(text: str) -> None:
            self._announced = text
            announce(text)

        self.node._words_input.callback = answered
        self.node._state._announce = announced

    def until_state(self, state: str) -> None:
        """Wait until the node is in a lifecycle state."""
        self.until(lambda: self.node.state == state, f'the node being {state}')

    @property
    def log(self) -> list[str]:
        """Warnings and errors of the node under test."""
        warning = int.from_bytes(Log.WARN, 'little') if isinstance(Log.WARN, bytes) else Log.WARN
        return [
            line.msg
            for line in self.rosout.messages
            if line.level >= warning and line.name.endswith('zegclip')
        ]

    def until(self, condition: Callable[[], object], what: str = 'the condition') -> None:
        """Let messages flow until a condition holds."""
        if not _spun(self.executor, condition):
            states = [message.data[:300] for message in self.states.messages[-3:]]
            pytest.fail(f'{what} did not come true; log: {self.log}; states: {states}')

    def start_camera(self, reliability: str = 'reliable', topic: str = 'image') -> None:
        """Have a camera, which a lazy node subscribes to once somebody listens."""
        self.camera = self.probe.create_publisher(Image, topic, qos(reliability))
        self.reliability = reliability

    def start_and_listen(self, output: str = 'label_image') -> Inbox:
        """Have a reliable camera, and subscribe to an output."""
        self.start_camera()
        return self.listen(f'zegclip/{output}')

    def until_subscribed(self) -> None:
        """Wait until the node listens to the camera in the camera's own way."""
        self.until(
            lambda: (
                self.camera.get_subscription_count() > 0
                and self.node._pipeline.cameras[''].reliability.name.lower() == self.reliability
            ),
            'the node listens to the camera',
        )

    def listen(self, topic: str, kind: type = Image) -> Inbox:
        """Subscribe to an output and wait until the node knows it."""
        inbox = Inbox(self.probe, kind, topic, qos())
        self.until(
            lambda: (
                inbox.subscription.get_publisher_count() > 0
                and self.node.count_subscribers(inbox.subscription.topic_name) > 0
            )
        )
        return inbox

    def send_until(self, make: Callable[[int], Image], done: Callable[[], object]) -> None:
        """Send frames, one by one and each with a later stamp, until something has come of one."""

        def sent() -> bool:
            if done():
                return True
            self.stamp += 1
            self.camera.publish(make(self.stamp))
            return False

        self.until(sent, 'something coming of a frame')

    def until_labelled(self, inbox: Inbox, red: int = 1) -> None:
        """Send frames until what became of one of them has come; earlier frames do not count."""
        first = self.stamp + 1
        self.send_until(
            lambda stamp: solid(red, stamp=stamp),
            lambda: inbox.messages and inbox.last.header.stamp.sec >= first,
        )

    def set_to(self, name: str, value: object) -> str:
        """Set a parameter of the node; return why it was refused, '' if it was not."""
        result = self.node.set_parameters([Parameter(name, value=value)])[0]
        assert result.successful is not bool(result.reason)
        return str(result.reason)

    def say(self, words: str | bytes) -> dict[str, Any]:
        """Publish words, or the bytes of a message, and return the state once they are answered.

        What the node announced before may still be under way, and what it announces of other
        words may come in between: only when nothing is under way the answer is sure to be there.
        """
        answered = self._answered
        self.words.publish(words if isinstance(words, bytes) else String(data=words))
        self.until(lambda: self._answered > answered, f'an answer to {words[:60]!r}')
        self.until(lambda: self.states.last.data == self._announced, 'the answer being heard')
        return self.state

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.states.last.data)

    def until_active(self, *names: str) -> dict[str, Any]:
        """Wait until a vocabulary is active."""
        self.until(
            lambda: (
                self.states.messages
                and [entry['name'] for entry in self.state['classes']] == list(names)
            ),
            f'{names} being active',
        )
        return self.state

    def deliver(self, *frames: Image) -> None:
        """Publish frames of a reliable camera and wait until the node has taken the last one.

        What a reader has acknowledged lies ready for its callback, so that the answer to words
        that are published afterwards comes later than that.
        """
        self.until_subscribed()
        for frame in frames:
            self.camera.publish(frame)
        assert self.camera.wait_for_all_acked(Duration(seconds=DEADLINE))
        assert 'never, never' in self.say('never, never')['refused']

    def close(self) -> None:
        self.segmenter.loading.set()
        self.segmenter.going.set()
        close_node(self.node)
        self.probe.destroy_node()
        self.executor.shutdown()


def close_node(node: SegmentationNode) -> None:
    """End a segmentation node, with more patience than it has itself on a busy machine."""
    assert node.close() or node._pipeline.stop_threads(DEADLINE)
    node.destroy_node()


def _spun(
    executor: SingleThreadedExecutor, condition: Callable[[], object], deadline: float = DEADLINE
) -> bool:
    """Let messages flow until a condition holds; return whether it does."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            return False
        executor.spin_once(timeout_sec=0.05)
    return True


def spin_until(condition: Callable[[], object], *nodes: Node, deadline: float = DEADLINE) -> None:
    """Let messages flow between nodes until a condition holds."""
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    try:
        if not _spun(executor, condition, deadline):
            pytest.fail('the condition did not come true')
    finally:
        executor.shutdown()


@contextmanager
def running_ros(*arguments: str) -> Iterator[None]:
    """Initialise rclpy with ROS arguments (``-p``, ``name:=value``)."""
    rclpy.init(args=['--ros-args', *arguments] if arguments else [])
    try:
        yield
    finally:
        rclpy.try_shutdown()


@contextmanager
def running_rig(
    *arguments: str, segmenter: FakeSegmenter | None = None, namespace: str = ''
) -> Iterator[Rig]:
    """Initialise rclpy with ROS arguments, and have a rig."""
    with running_ros(*arguments), Rig(segmenter or FakeSegmenter(), namespace) as rig:
        yield rig


@contextmanager
def own_domain() -> Iterator[None]:
    """Keep this test process and its children apart from everything else on the machine."""
    with reserved_domain() as domain:
        before = dict(os.environ)
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
