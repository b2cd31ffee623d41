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

from collections import Counter
from collections.abc import Callable, Sequence
import json
import random
import time
from typing import Any

from benchmarks.hostile_requests import parameter
from benchmarks.hostile_words import expected_names, in_cdr
from benchmarks.soak_plan import (
    Awaited,
    BASE_WORDS,
    Hostile,
    NAMES,
    ONE,
    OUTPUTS,
    PERIODS,
    Plan,
    SMOOTHING,
    STYLES,
)
from benchmarks.soak_sensors import Sensors
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import psutil
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import SetBool
from zegclip_core.messages.topic_names import output_topic


class World:
    """Everything around the node.

    Args:
        probe: The node that plays it.
        process: The process of the node under test.
        plan: How it goes.

    Attributes:
        counts: How often what happened.
        failures: What went wrong.
        longest_gap: Most seconds without labels or diagnostics although they should have come.
        samples: The process once a second.
        probe: The first argument.
        process: The second one.
    """

    def __init__(self, probe: Node, process: psutil.Process, plan: Plan) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.longest_gap = {'labels': 0.0, 'diagnostics': 0.0}
        self.samples: list[dict[str, float]] = []
        self._seen = dict.fromkeys(self.longest_gap, time.monotonic())
        self.probe, self.process, self._plan = probe, process, plan
        self._chance = random.Random(plan.seed)
        self._sensors = Sensors(probe)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(probe)
        self._states: list[dict[str, Any]] = []
        self._active, self._paused, self._cycles = True, False, 0
        self._cameras: tuple[str, ...] = ONE
        self._steps_left: list[str] = []
        self._listeners: dict[str, Any] = {}
        self._clock_offset = 1_700_000_000.0 - time.monotonic()
        self._hostile = Hostile()
        self._connect()

    def _connect(self) -> None:
        probe, reliable = self.probe, QoSProfile(depth=10)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._clock = probe.create_publisher(Clock, '/clock', reliable)
        self._words = probe.create_publisher(String, 'vocabulary', reliable)
        probe.create_subscription(String, 'zegclip/active_vocabulary', self._on_state, latched)
        probe.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, reliable)
        self._change: Any = probe.create_client(ChangeState, 'zegclip/change_state')
        self._set: Any = probe.create_client(SetParameters, 'zegclip/set_parameters')
        self._enable: Any = probe.create_client(SetBool, 'zegclip/enable')
        self._sensors.appear(self._cameras, 'reliable')
        shots = 1.0 / self._plan.rate
        for period, callback in ((0.05, self._tick), (shots, self._shoot), (1.0, self._sample)):
            probe.create_timer(period, callback)

    def _now(self) -> Time:
        """Return the simulated time, which may jump."""
        seconds = self._clock_offset + time.monotonic()
        return Time(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))

    def _tick(self) -> None:
        """Publish the time, and note for how long labels or diagnostics have stayed away."""
        self._clock.publish(Clock(clock=self._now()))
        now, patience = time.monotonic(), self._plan.patience
        labels = self._active and not self._paused and self._sensors.there
        if not labels or 'label_image' not in self._listeners:
            self._seen['labels'] = now
        for name, seen in self._seen.items():
            self.longest_gap[name] = max(self.longest_gap[name], now - seen)
            if now - seen > patience:
                self.failures.append(f'no {name} for {patience:.0f} s')
                self._seen[name] = now

    def _shoot(self) -> None:
        if self._sensors.there:
            self._sensors.shoot(self._now())
            self.counts['frames'] += 1

    def _sample(self) -> None:
        try:
            memory = self.process.memory_full_info()
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

    def _on_output(self, name: str, message: Any) -> None:  # noqa: ANN401 - of any output
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
            if not self.probe.context.ok():
                raise RuntimeError('the soak test was interrupted')
            if not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError('the node ended')
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def ready(self) -> bool:
        """Wait for the node's first words, diagnostics and labels; return whether they came."""
        self._listen('label_image')
        wanted = ('diagnostics', 'answers about words', 'label_image received')
        return self.live(2 * self._plan.patience, lambda: all(map(self.counts.get, wanted)))

    def trouble(self, seconds: float, only: Sequence[str]) -> None:
        """Make trouble for some time, then give the node its first words and nobody to talk to."""
        works = {
            'words': self._change_words,
            'listeners': self._change_listener,
            'camera': self._restart_camera,
            'clock': self._jump,
            'states': self._step,
            'hostile': self._send_hostile,
            'styles': self._change_style,
            'pauses': self._pause,
        }
        due = dict.fromkeys(only, time.monotonic())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            chosen = [name for name in due if time.monotonic() >= due[name]]
            awaited = [one for name in chosen for one in works[name]()]
            self._await(awaited)
            for name in chosen:
                away = {'camera': not self._sensors.there, 'states': not self._active}
                away['pauses'] = self._paused
                mean = 1.0 if away.get(name) else PERIODS[name]
                due[name] = time.monotonic() + mean * self._chance.uniform(0.1, 1.9)
            self.live(0.05)
        self._settle()

    def _settle(self) -> None:
        """Bring the node back to how it began, and have it label a frame without a listener."""
        while not self._active:
            self._await(self._step())
        if self._paused:
            self._await(self._pause())
        if not self._sensors.there:
            self._await(self._restart_camera())
        self._steps_left = ['deactivate', 'cleanup', 'as at first', 'configure', 'activate']
        while self._steps_left:
            self._await(self._step())
        self._await(self._say(', '.join(BASE_WORDS).encode()))
        for name in list(self._listeners):
            self._leave(name)
        self._listen('label_image')
        seen = self.counts['label_image received']
        self._await([(lambda: self.counts['label_image received'] > seen, 'a last label image')])
        self._leave('label_image')
        self.live(self._plan.patience, self._words_settled)

    def _words_settled(self) -> bool:
        return [one['name'] for one in self._states[-1]['classes']] == list(BASE_WORDS)

    def _await(self, awaited: Sequence[Awaited]) -> None:
        """Wait for answers; note those that do not come."""
        patience = self._plan.patience
        for condition, what in awaited:
            if self.live(patience, condition):
                self.counts['answers awaited'] += 1
            else:
                self.failures.append(f'{what} did not come within {patience:.0f} s')
                print(f'  {self.failures[-1]}', flush=True)

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
            return self._say(self._chance.choice(self._hostile.words))
        if self.counts['turns of words'] % 7:
            return self._say(', '.join(names).encode())
        before = self._states[-1]['requested']
        one = parameter('class_names', Parameter.Type.STRING_ARRAY.value, names)
        self.counts['words by parameter'] += 1
        return [*self._set_to(one), *self._used(before, repr(names))]

    def _change_listener(self) -> list[Awaited]:
        name = self._chance.choice([*OUTPUTS, 'label_image'])
        (self._leave if name in self._listeners else self._listen)(name)
        return []

    def _listen(self, name: str) -> None:
        """Listen to an output of one of the cameras."""
        camera = self._chance.choice(self._cameras)
        topic = output_topic(camera, name).replace('~', 'zegclip')
        if name == 'mask':
            classes = self._states[-1]['classes']
            topics = [one.get('topic') or one.get('topics', {}).get(camera) for one in classes]
            topic = self._chance.choice([*filter(None, topics)] or ['zegclip/masks/none'])

        def on_message(message: Any) -> None:  # noqa: ANN401 - either kind of image
            self._on_output(name, message)

        self._listeners[name] = self.probe.create_subscription(
            OUTPUTS[name], topic, on_message, QoSProfile(depth=1)
        )
        self.counts['listeners that came'] += 1
        self._seen['labels'] = time.monotonic()

    def _leave(self, name: str) -> None:
        self.probe.destroy_subscription(self._listeners.pop(name))
        self.counts['listeners that left'] += 1

    def _restart_camera(self) -> list[Awaited]:
        """Take the cameras away, and the next time bring them back in this or another way."""
        if self._sensors.there:
            self._sensors.vanish()
        else:
            self._sensors.appear(self._cameras, self._chance.choice(['reliable', 'best_effort']))
            self.counts['camera restarts'] += 1
        return []

    def _jump(self) -> list[Awaited]:
        self._clock_offset -= self._chance.uniform(0.5, 600.0)
        self.counts['clock jumps backwards'] += 1
        return []

    def _step(self) -> list[Awaited]:
        """Deactivate the node or activate it again; each fourth time clean it up between them.

        Each second time that it is clean it gets other cameras and another smoothing.
        """
        if not self._steps_left:
            self._cycles += 1
            deep = ['cleanup', 'configure'] if self._cycles % 4 == 1 else []
            if self._cycles % 8 == 1:
                deep.insert(1, 'otherwise')
            self._steps_left = ['deactivate', *deep, 'activate']
        name = self._steps_left.pop(0)
        if name == 'as at first':
            return self._refit(ONE, SMOOTHING)
        if name == 'otherwise':
            cameras = self._chance.choice([ONE, ('front', 'rear')])
            return self._refit(cameras, self._chance.choice([0.0, 0.3, 0.9]))
        self._active = False
        transition = Transition(id=getattr(Transition, f'TRANSITION_{name.upper()}'))
        future = self._change.call_async(ChangeState.Request(transition=transition))

        def done() -> bool:
            if not future.done():
                return False
            self._active = name == 'activate'
            self._paused = self._paused and not self._active
            self._seen['labels'] = time.monotonic()
            return bool(future.result().success)

        self.counts[name] += 1
        return [(done, f'the transition {name}')]

    def _refit(self, cameras: tuple[str, ...], smoothing: float) -> list[Awaited]:
        """Give a node without a model other cameras and another smoothing."""
        for name in list(self._listeners):
            self._leave(name)
        self._cameras = cameras
        if self._sensors.there:
            self._sensors.vanish()
            self._sensors.appear(cameras, 'reliable')
        self.counts[f'{len(cameras)} cameras, smoothing {smoothing}'] += 1
        return self._set_to(
            parameter('cameras', Parameter.Type.STRING_ARRAY.value, list(cameras)),
            parameter('smoothing', Parameter.Type.DOUBLE.value, smoothing),
        )

    def _change_style(self) -> list[Awaited]:
        """Set a parameter of the outputs."""
        name = self._chance.choice(sorted(STYLES))
        kind, values = STYLES[name]
        self.counts['styles'] += 1
        return self._set_to(parameter(name, kind.value, self._chance.choice(values)))

    def _set_to(self, *parameters: Any) -> list[Awaited]:  # noqa: ANN401 - of ROS
        """Set parameters, all of which have to be taken."""
        future = self._set.call_async(SetParameters.Request(parameters=list(parameters)))

        def taken() -> bool:
            return future.done() and all(one.successful for one in future.result().results)

        return [(taken, f'the acceptance of {[one.name for one in parameters]}')]

    def _pause(self) -> list[Awaited]:
        """Pause the node, or have it go on; it refuses while it is not active."""
        on = self._paused
        future = self._enable.call_async(SetBool.Request(data=on))
        self.counts['ends of pauses' if on else 'pauses'] += 1

        def done() -> bool:
            if future.done() and future.result().success:
                self._paused = not on
                self._seen['labels'] = time.monotonic()
            return bool(future.done())

        return [(done, 'the answer to a pause')]

    def _send_hostile(self) -> list[Awaited]:
        if self._sensors.there:
            self._sensors.send(self._chance.choice(self._hostile.images))
            self.counts['hostile images'] += 1
        future = self._set.call_async(self._chance.choice(self._hostile.requests))
        self.counts['hostile requests'] += 1
        return [(future.done, 'the answer to a hostile request')]
