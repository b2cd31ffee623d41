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
"""What the node lives through in the soak test: a camera, listeners, words, life cycle, clock."""

from array import array
from collections import Counter
from collections.abc import Sequence
import json
import random
import time
from typing import Any

from benchmarks.hostile_images import made_images
from benchmarks.hostile_requests import made_requests, parameter
from benchmarks.hostile_words import as_received, expected_names, in_cdr, made_words
from benchmarks.tasks import pause, Task, Tasks, Wait
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

BASE_WORDS = ('person', 'cat', 'dog', 'traffic light', 'chair')
NAMES = [*BASE_WORDS, *(f'thing {number}' for number in range(30)), 'café', '3d', 'кошка', '猫']
OUTPUTS: dict[str, type] = {
    'label_image': Image,
    'overlay': Image,
    'confidence': Image,
    'overlay/compressed': CompressedImage,
}
TROUBLES = ('words', 'listeners', 'camera', 'clock', 'states', 'hostile')
ANSWER_TIME = 15.0
"""Seconds within which an answer has to come, on a machine that has much to do."""
RELIABLE = QoSProfile(depth=10)
NEWEST = QoSProfile(depth=1)
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STEPS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
    'cleanup': Transition.TRANSITION_CLEANUP,
}


def frame(number: int) -> Image:
    """Return a VGA image in which every class is somewhere."""
    pixels = np.random.default_rng(number).integers(0, 255, (480, 640, 3), np.uint8)
    data = array('B')
    data.frombytes(pixels.tobytes())
    return Image(height=480, width=640, encoding='rgb8', step=1920, data=data)


class World:
    """Everything around the node.

    Args:
        probe: The node that plays it all.
        seed: Seed of what happens when.

    Attributes:
        counts: How often what happened.
        failures: What went wrong.
        tasks: What is going on.
        active: Whether the node is to label frames.
    """

    def __init__(self, probe: Node, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.tasks = Tasks(self.failures.append)
        self.active = True
        self._probe, self._chance = probe, random.Random(seed)
        self._stopping = False
        self._busy = 0
        self._states: list[dict[str, Any]] = []
        self._requested = 0
        self._listeners: dict[str, Any] = {}
        self._camera: Any = None
        self._frames = [frame(number) for number in range(4)]
        self._clock_began, self._clock_offset = time.monotonic(), 1_700_000_000.0
        self._label_seen = self._diagnostics_seen = time.monotonic()
        self.longest_gap = {'labels': 0.0, 'diagnostics': 0.0}
        self._connect()

    def _connect(self) -> None:
        probe = self._probe
        self._clock = probe.create_publisher(Clock, '/clock', RELIABLE)
        self._words = probe.create_publisher(String, 'vocabulary', RELIABLE)
        probe.create_subscription(String, 'zegclip/active_vocabulary', self._on_state, LATCHED)
        probe.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, RELIABLE)
        self._change: Any = probe.create_client(ChangeState, 'zegclip/change_state')
        self._set: Any = probe.create_client(SetParameters, 'zegclip/set_parameters')

    def _on_state(self, message: String) -> None:
        self._states = [*self._states[-1:], json.loads(message.data)]
        self.counts['answers about words'] += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if any(status.name.endswith('segmentation') for status in message.status):
            self._diagnostics_seen = time.monotonic()
            self.counts['diagnostics'] += 1

    def now(self) -> float:
        """Return the time of the simulated clock, which may jump."""
        return self._clock_offset + time.monotonic() - self._clock_began

    def begin(self) -> None:
        """Start what goes on from the first moment to the last."""
        self.tasks.start(self._play_clock())
        self.tasks.start(self._watch())
        self.tasks.start(self._play_camera())

    def start_trouble(self, only: Sequence[str] = TROUBLES) -> None:
        """Start everything else, or only some of it."""
        self._stopping = False
        works = {
            'words': self._change_words,
            'listeners': self._change_listeners,
            'camera': self._restart_camera,
            'clock': self._jump,
            'states': self._cycle,
            'hostile': self._send_hostile,
        }
        for name in only:
            self.tasks.start(self._counted(works[name]()))

    def _counted(self, work: Task) -> Task:
        self._busy += 1
        yield from work
        self._busy -= 1

    def _pause(self, least: float, most: float) -> Wait:
        """Return a wait of some length, cut short when all is to end."""
        end = time.monotonic() + self._chance.uniform(least, most)
        return Wait(lambda: self._stopping or time.monotonic() >= end)

    def stop_trouble(self) -> Task:
        """Let everything else come to an end and give the node its first words again."""
        self._stopping = True
        yield Wait(lambda: self._busy == 0, 'the end of all that goes on', 90.0)
        yield from self._say(', '.join(BASE_WORDS).encode())
        for name in list(self._listeners):
            self._leave(name)

    def words_settled(self) -> bool:
        """Return whether the words that were asked for last are in use."""
        names = [one['name'] for one in self._states[-1]['classes']] if self._states else []
        return names == list(BASE_WORDS)

    def _play_clock(self) -> Task:
        while True:
            seconds = self.now()
            message = Clock()
            message.clock.sec = int(seconds)
            message.clock.nanosec = int(seconds % 1 * 1e9)
            self._clock.publish(message)
            yield pause(0.05)

    def _play_camera(self) -> Task:
        self._open_camera('reliable')
        number, due = 0, time.monotonic()
        while True:
            if self._camera is not None:
                image = self._frames[number % len(self._frames)]
                seconds = self.now()
                image.header.stamp.sec = int(seconds)
                image.header.stamp.nanosec = int(seconds % 1 * 1e9)
                image.header.frame_id = 'camera'
                self._camera.publish(image)
                self.counts['frames'] += 1
            number, due = number + 1, max(due + 1 / 30, time.monotonic() - 0.1)
            yield Wait(lambda: True, ready_at=due)

    def _open_camera(self, reliability: str) -> None:
        policy = ReliabilityPolicy[reliability.upper()]
        self._camera = self._probe.create_publisher(
            Image, 'image', QoSProfile(depth=1, reliability=policy)
        )

    def _restart_camera(self) -> Task:
        while not self._stopping:
            yield self._pause(10, 25)
            camera, self._camera = self._camera, None
            self._probe.destroy_publisher(camera)
            yield self._pause(0.1, 3.0)
            self._open_camera(self._chance.choice(['reliable', 'best_effort']))
            self.counts['camera restarts'] += 1

    def _jump(self) -> Task:
        while not self._stopping:
            yield self._pause(15, 40)
            self._clock_offset -= self._chance.uniform(0.5, 600.0)
            self.counts['clock jumps backwards'] += 1

    def _say(self, content: bytes) -> Task:
        """Send words and await that they are taken over, or refused, as they should be."""
        names = expected_names(as_received(content))
        before = self._states[-1]['requested'] if self._states else 0
        seen = self.counts['answers about words']
        self._words.publish(in_cdr(content))
        self.counts['words' if names else 'words to be refused'] += 1
        if names is None:
            yield Wait(
                lambda: self.counts['answers about words'] > seen and self._states[-1]['error'],
                f'the refusal of {content[:60]!r}',
                ANSWER_TIME,
            )
        else:
            yield from self._await_words(before, content[:60])

    def _await_words(self, before: int, what: object) -> Task:
        yield Wait(
            lambda: self._states and self._states[-1]['requested'] > before,
            f'the acceptance of {what!r}',
            ANSWER_TIME,
        )
        if self.active:
            yield Wait(
                lambda: self._states[-1]['version'] > before or not self.active,
                f'the use of {what!r}',
                ANSWER_TIME,
            )

    def _change_words(self) -> Task:
        bad = [content for content in made_words() if expected_names(as_received(content)) is None]
        bad = [content for content in bad if len(content) < 70_000]
        while not self._stopping:
            due = time.monotonic() + 1.0
            names = self._chance.sample(NAMES, self._chance.randint(1, 12))
            turn = self.counts['turns of words'] = self.counts['turns of words'] + 1
            if turn % 5 == 0:
                yield from self._say(self._chance.choice(bad))
            elif turn % 7 == 0:
                yield from self._set_words(names)
            else:
                yield from self._say(', '.join(names).encode())
            yield Wait(lambda: True, ready_at=due)

    def _set_words(self, names: list[str]) -> Task:
        before = self._states[-1]['requested']
        one = parameter('class_names', ParameterType.PARAMETER_STRING_ARRAY, names)
        future = self._set.call_async(SetParameters.Request(parameters=[one]))
        yield Wait(future.done, 'the answer to class_names', ANSWER_TIME)
        self.counts['words by parameter'] += 1
        if future.done() and not future.result().results[0].successful:
            self.failures.append(f'class_names: {future.result().results[0].reason}')
        yield from self._await_words(before, names)

    def _change_listeners(self) -> Task:
        while not self._stopping:
            yield self._pause(0.2, 3.0)
            name = self._chance.choice([*OUTPUTS, 'label_image', 'mask'])
            if name in self._listeners:
                self._leave(name)
            else:
                self._listen(name)

    def _listen(self, name: str) -> None:
        """Subscribe to an output."""
        topic = f'zegclip/{name}'
        if name == 'mask':
            classes = self._states[-1]['classes'] if self._states else []
            topics = [one['topic'] for one in classes if one['topic']]
            topic = self._chance.choice(topics or ['zegclip/masks/none'])
        kind = OUTPUTS.get(name, Image)

        def on_message(message: Any) -> None:  # noqa: ANN401
            self._on_output(name, message)

        self._listeners[name] = self._probe.create_subscription(kind, topic, on_message, NEWEST)
        self.counts['listeners that came'] += 1
        self._label_seen = time.monotonic()

    def _leave(self, name: str) -> None:
        self._probe.destroy_subscription(self._listeners.pop(name))
        self.counts['listeners that left'] += 1

    def _on_output(self, name: str, message: Image | CompressedImage) -> None:
        self.counts[f'{name} received'] += 1
        if name == 'label_image':
            self._label_seen = time.monotonic()
        if message.header.frame_id not in {'camera', ''}:
            self.failures.append(f'{name} has the frame {message.header.frame_id!r}')

    def _step(self, name: str) -> Task:
        """Change the node's state and await the answer."""
        request = ChangeState.Request(transition=Transition(id=STEPS[name]))
        self.active = False
        future = self._change.call_async(request)
        yield Wait(future.done, f'the answer to {name}', ANSWER_TIME)
        if not future.done() or not future.result().success:
            self.failures.append(f'the transition {name} failed')
        self._label_seen = time.monotonic()
        self.active = name == 'activate'
        self.counts[name] += 1

    def _cycle(self) -> Task:
        turn = 0
        while not self._stopping:
            yield self._pause(8, 20)
            turn += 1
            deep = ['cleanup', 'configure'] if turn % 4 == 0 else []
            for name in ['deactivate', *deep, 'activate']:
                yield from self._step(name)
                yield self._pause(0.0, 2.0)

    def _send_hostile(self) -> Task:
        images = [image for image in made_images() if len(image.data) < 10_000]
        # Not those that change the words, or take seconds because they are huge.
        requests = [one for one in made_requests() if 'class_names' not in repr(one.content)[:300]]
        clients: dict[str, Any] = {}
        while not self._stopping:
            yield self._pause(0.5, 3.0)
            if self._camera is not None:
                self._camera.publish(self._chance.choice(images))
                self.counts['hostile images'] += 1
            request = self._chance.choice(requests)
            if request.service not in {'set_parameters', 'set_parameters_atomically'}:
                continue
            if request.service not in clients:
                name = f'zegclip/{request.service}'
                clients[request.service] = self._probe.create_client(request.kind, name)
            future = clients[request.service].call_async(request.content)
            yield Wait(future.done, f'the answer to {request!r:.200}', ANSWER_TIME)
            self.counts['hostile requests'] += 1

    def _watch(self) -> Task:
        """Note when labels or diagnostics stay away though they should come."""
        while True:
            yield pause(0.1)
            now = time.monotonic()
            if not self.active or self._camera is None or 'label_image' not in self._listeners:
                self._label_seen = now
            for name, seen in self._last_seen().items():
                self.longest_gap[name] = max(self.longest_gap[name], now - seen)
                if now - seen > ANSWER_TIME:
                    self.failures.append(f'no {name} for {ANSWER_TIME:.0f} s')
                    self._label_seen = self._diagnostics_seen = now

    def _last_seen(self) -> dict[str, float]:
        return {'labels': self._label_seen, 'diagnostics': self._diagnostics_seen}
