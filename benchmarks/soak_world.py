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
"""What surrounds the node in the soak test: a camera, a clock, and trouble of every kind.

Camera and simulated clock play all the time. Whatever troubles are due are started together, then
all of their answers are awaited.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
import json
import random
import time
from typing import Any

from benchmarks.hostile_messages import made_images
from benchmarks.hostile_requests import made_requests, parameter
from benchmarks.hostile_words import expected_names, in_cdr, made_words
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import psutil
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

BASE_WORDS = ('person', 'cat', 'dog', 'traffic light', 'chair')
NAMES = [*BASE_WORDS, *(f'thing {number}' for number in range(30)), 'café', '3d', 'кошка', '猫']
OUTPUTS = {
    **dict.fromkeys(('label_image', 'overlay', 'confidence', 'mask'), Image),
    'regions': String,
}
OUTPUTS['overlay/compressed'] = CompressedImage
PERIODS = {'words': 1.0, 'listeners': 1.5, 'camera': 18.0, 'clock': 27.0, 'states': 14.0}
PERIODS['hostile'] = 1.7
"""Mean seconds between two troubles of a kind."""
PATIENCE = 15.0
"""Seconds within which an answer has to come, on a machine that has much to do."""

Awaited = tuple[Callable[[], object], str]
"""What has to come true, and what it is."""


class World:
    """Everything around the node.

    Args:
        probe: The node that plays it.
        process: The process of the node under test.
        seed: Seed of what happens when.

    Attributes:
        counts: How often what happened.
        failures: What went wrong.
        longest_gap: Most seconds without labels or diagnostics although they should have come.
        samples: The process once a second.
    """

    def __init__(self, probe: Node, process: psutil.Process, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.longest_gap = {'labels': 0.0, 'diagnostics': 0.0}
        self.samples: list[dict[str, float]] = []
        self._seen = dict.fromkeys(self.longest_gap, time.monotonic())
        self._probe, self._process, self._chance = probe, process, random.Random(seed)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(probe)
        self._states: list[dict[str, Any]] = []
        self._active, self._cycles = True, 0
        self._steps_left: list[str] = []
        self._listeners: dict[str, Any] = {}
        self._clock_offset = 1_700_000_000.0 - time.monotonic()
        # Nothing huge, which would raise the memory once for good; nothing that changes the words.
        self._hostile_images = [image for image in made_images() if len(image.data) < 10_000]
        self._hostile_requests = [
            one.content
            for one in made_requests()
            if one.service == 'set_parameters'
            and len(text := repr(one.content)) < 20_000
            and not any(name in text for name in ('class_names', 'stable_ids'))
        ]
        self._connect()

    def _connect(self) -> None:
        probe, reliable = self._probe, QoSProfile(depth=10)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._clock = probe.create_publisher(Clock, '/clock', reliable)
        self._words = probe.create_publisher(String, 'vocabulary', reliable)
        probe.create_subscription(String, 'zegclip/active_vocabulary', self._on_state, latched)
        probe.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, reliable)
        self._change: Any = probe.create_client(ChangeState, 'zegclip/change_state')
        self._set: Any = probe.create_client(SetParameters, 'zegclip/set_parameters')
        pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
        self._image = Image(height=480, width=640, encoding='rgb8', step=1920)
        self._image.data = array('B', pixels.tobytes())
        self._image.header.frame_id = 'camera'
        self._open_camera('reliable')
        for period, callback in ((0.05, self._tick), (1 / 30, self._shoot), (1.0, self._sample)):
            probe.create_timer(period, callback)

    def _now(self) -> dict[str, int]:
        """Return the simulated time, which may jump, as a stamp."""
        seconds = self._clock_offset + time.monotonic()
        return {'sec': int(seconds), 'nanosec': int(seconds % 1 * 1e9)}

    def _tick(self) -> None:
        """Publish the time, and note for how long labels or diagnostics have stayed away."""
        message = Clock()
        message.clock.sec, message.clock.nanosec = self._now().values()
        self._clock.publish(message)
        now = time.monotonic()
        if not self._active or self._camera is None or 'label_image' not in self._listeners:
            self._seen['labels'] = now
        for name, seen in self._seen.items():
            self.longest_gap[name] = max(self.longest_gap[name], now - seen)
            if now - seen > PATIENCE:
                self.failures.append(f'no {name} for {PATIENCE:.0f} s')
                self._seen[name] = now

    def _shoot(self) -> None:
        if self._camera is not None:
            stamp = self._image.header.stamp
            stamp.sec, stamp.nanosec = self._now().values()
            self._camera.publish(self._image)
            self.counts['frames'] += 1

    def _sample(self) -> None:
        try:
            memory = self._process.memory_full_info()
        except psutil.Error:  # It has just ended.
            return
        sizes = {'rss': memory.rss, 'pss': memory.pss, 'uss': memory.uss}
        self.samples.append({'seconds': time.monotonic(), **sizes})
        if len(self.samples) % 60 == 0:
            size, wrong = memory.rss / 1e6, len(self.failures)
            print(f'  {len(self.samples) // 60} min: {size:.1f} MB, {wrong} wrong', flush=True)

    def _on_state(self, message: String) -> None:
        self._states = [*self._states[-1:], json.loads(message.data)]
        self.counts['answers about words'] += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if any(status.name.endswith('segmentation') for status in message.status):
            self._seen['diagnostics'] = time.monotonic()
            self.counts['diagnostics'] += 1

    def _on_output(self, name: str, message: Image | CompressedImage | String) -> None:
        self.counts[f'{name} received'] += 1
        if name == 'label_image':
            self._seen['labels'] = time.monotonic()
        if isinstance(message, String):
            frame = json.loads(message.data)['header']['frame_id']
        else:
            frame = message.header.frame_id
        if frame not in {'camera', ''}:  # '' in hostile images.
            self.failures.append(f'{name} has the frame {frame!r}')

    def live(self, seconds: float, until: Callable[[], object] = lambda: False) -> bool:
        """Let messages flow until a condition holds; return whether it does in time."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return False
            if not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError('the node ended')
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def ready(self) -> bool:
        """Wait for the node's first words and diagnostics; return whether they came."""
        return self.live(
            30.0, lambda: self.counts['diagnostics'] and self.counts['answers about words']
        )

    def trouble(self, seconds: float, only: Sequence[str]) -> None:
        """Make trouble for some time, then give the node its first words and nobody to talk to."""
        works = {
            'words': self._change_words,
            'listeners': self._change_listener,
            'camera': self._restart_camera,
            'clock': self._jump,
            'states': self._step,
            'hostile': self._send_hostile,
        }
        due = dict.fromkeys(only, time.monotonic())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            chosen = [name for name in due if time.monotonic() >= due[name]]
            awaited = [one for name in chosen for one in works[name]()]
            self._await(awaited)
            for name in chosen:
                away = {'camera': self._camera is None, 'states': not self._active}
                mean = 1.0 if away.get(name) else PERIODS[name]
                due[name] = time.monotonic() + mean * self._chance.uniform(0.1, 1.9)
            self.live(0.05)
        while not self._active:
            self._await(self._step())
        if self._camera is None:
            self._await(self._restart_camera())
        self._await(self._say(', '.join(BASE_WORDS).encode()))
        for name in list(self._listeners):
            self._leave(name)
        self.live(PATIENCE, self._words_settled)

    def _words_settled(self) -> bool:
        return [one['name'] for one in self._states[-1]['classes']] == list(BASE_WORDS)

    def _await(self, awaited: Sequence[Awaited]) -> None:
        """Wait for answers; note those that do not come."""
        for condition, what in awaited:
            if self.live(PATIENCE, condition):
                self.counts['answers awaited'] += 1
            else:
                self.failures.append(f'{what} did not come within {PATIENCE:.0f} s')

    def _say(self, content: bytes) -> list[Awaited]:
        """Send words; they are taken over, or refused, as they should be."""
        names, before = expected_names(content), self._states[-1]['requested']
        seen = self.counts['answers about words']
        self._words.publish(in_cdr(content))
        self.counts['words' if names else 'words to be refused'] += 1
        if names is not None:
            return self._used(before, repr(content[:60]))

        def refused() -> bool:
            return self.counts['answers about words'] > seen and bool(self._states[-1]['error'])

        return [(refused, f'the refusal of {content[:60]!r}')]

    def _used(self, before: int, what: str) -> list[Awaited]:
        return [
            (lambda: self._states[-1]['requested'] > before, f'the acceptance of {what}'),
            (
                lambda: self._states[-1]['version'] > before or not self._active,
                f'the use of {what}',
            ),
        ]

    def _change_words(self) -> list[Awaited]:
        names = self._chance.sample(NAMES, self._chance.randint(1, 12))
        self.counts['turns of words'] += 1
        if self.counts['turns of words'] % 5 == 0:
            bad = [one for one in made_words() if expected_names(one) is None]
            return self._say(self._chance.choice([one for one in bad if len(one) < 70_000]))
        if self.counts['turns of words'] % 7:
            return self._say(', '.join(names).encode())
        before = self._states[-1]['requested']
        one = parameter('class_names', Parameter.Type.STRING_ARRAY.value, names)
        future = self._set.call_async(SetParameters.Request(parameters=[one]))
        self.counts['words by parameter'] += 1
        return [
            (
                lambda: future.done() and future.result().results[0].successful,
                f'the acceptance of class_names {names}',
            ),
            *self._used(before, repr(names)),
        ]

    def _change_listener(self) -> list[Awaited]:
        name = self._chance.choice([*OUTPUTS, 'label_image'])
        if name in self._listeners:
            self._leave(name)
            return []
        topic = f'zegclip/{name}'
        if name == 'mask':
            topics = [one['topic'] for one in self._states[-1]['classes'] if one['topic']]
            topic = self._chance.choice(topics or ['zegclip/masks/none'])

        def on_message(message: Any) -> None:  # noqa: ANN401 - either kind of image
            self._on_output(name, message)

        self._listeners[name] = self._probe.create_subscription(
            OUTPUTS[name], topic, on_message, QoSProfile(depth=1)
        )
        self.counts['listeners that came'] += 1
        self._seen['labels'] = time.monotonic()
        return []

    def _leave(self, name: str) -> None:
        self._probe.destroy_subscription(self._listeners.pop(name))
        self.counts['listeners that left'] += 1

    def _open_camera(self, reliability: str) -> None:
        profile = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
        self._camera: Publisher | None = self._probe.create_publisher(Image, 'image', profile)

    def _restart_camera(self) -> list[Awaited]:
        """Take the camera away, and the next time bring it back in this or another way."""
        if self._camera is None:
            self._open_camera(self._chance.choice(['reliable', 'best_effort']))
            self.counts['camera restarts'] += 1
        else:
            self._probe.destroy_publisher(self._camera)
            self._camera = None
        return []

    def _jump(self) -> list[Awaited]:
        self._clock_offset -= self._chance.uniform(0.5, 600.0)
        self.counts['clock jumps backwards'] += 1
        return []

    def _step(self) -> list[Awaited]:
        """Deactivate the node or activate it again; each fourth time clean it up between them."""
        if not self._steps_left:
            self._cycles += 1
            deep = ['cleanup', 'configure'] if self._cycles % 4 == 1 else []
            self._steps_left = ['deactivate', *deep, 'activate']
        name = self._steps_left.pop(0)
        self._active = False
        transition = Transition(id=getattr(Transition, f'TRANSITION_{name.upper()}'))
        future = self._change.call_async(ChangeState.Request(transition=transition))

        def done() -> bool:
            if not future.done():
                return False
            self._active = name == 'activate'
            self._seen['labels'] = time.monotonic()
            return bool(future.result().success)

        self.counts[name] += 1
        return [(done, f'the transition {name}')]

    def _send_hostile(self) -> list[Awaited]:
        if self._camera is not None:
            self._camera.publish(self._chance.choice(self._hostile_images))
            self.counts['hostile images'] += 1
        future = self._set.call_async(self._chance.choice(self._hostile_requests))
        self.counts['hostile requests'] += 1
        return [(future.done, 'the answer to a hostile request')]

    def count(self) -> dict[str, Any]:
        """Return the node's threads, descriptors and the ends of its topics and services."""
        probe, own = self._probe, ('zegclip', '/')
        publishers = probe.get_publisher_names_and_types_by_node(*own)
        subscriptions = probe.get_subscriber_names_and_types_by_node(*own)
        return {
            'threads': self._process.num_threads(),
            'descriptors': self._process.num_fds(),
            'publishers': sorted(
                topic
                for topic, _ in publishers
                for end in probe.get_publishers_info_by_topic(topic)
                if end.node_name == 'zegclip'
            ),
            'subscriptions': sorted(
                topic
                for topic, _ in subscriptions
                for end in probe.get_subscriptions_info_by_topic(topic)
                if end.node_name == 'zegclip'
            ),
            'services': sorted(one for one, _ in probe.get_service_names_and_types_by_node(*own)),
        }
