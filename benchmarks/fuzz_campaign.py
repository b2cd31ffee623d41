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
"""Sends hostile messages to a node, one by one, and checks what becomes of each of them."""

from collections import Counter
from collections.abc import Callable
import json
from typing import Any

from benchmarks.hostile_images import COMPRESSED, IMAGES, made_compressed, made_images
from benchmarks.hostile_requests import (
    HostileRequest,
    KINDS,
    made_requests,
    REQUESTS,
    value_of,
    verdict,
    words_of,
)
from benchmarks.hostile_words import as_received, expected_names, in_cdr, made_words, WORDS
from benchmarks.pictures import label_of, picture, png_picture
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import strategies as st
import numpy as np
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from zegclip_ros.nodes.segmentation import REQUESTED_ANEW

GOOD_WORDS = ('person', 'cat', 'traffic light')
FIRST_STAMP = 1_000_000_000
ACTIVE = 3
"""Id of the state in which a life-cycle node works."""
RELIABLE = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)

MOST_SILENCES = 10
"""Answers that do not come; each of them takes its time."""
LARGE = 200_000
"""Bytes of an image."""

HostileImage = Any
"""An ``Image``, a ``CompressedImage``, or bytes that are none of them."""
Round = tuple[HostileImage, bytes, HostileRequest]


class NodeEndedError(Exception):
    """The node has ended by itself."""


class TooManyFailuresError(Exception):
    """It makes no sense to go on."""


def hostile_rounds(transport: str) -> st.SearchStrategy[Round]:
    """Return a strategy for an image, words and a request, all hostile.

    Args:
        transport: ``raw`` or ``compressed``.
    """
    images = IMAGES if transport == 'raw' else COMPRESSED
    # Bytes that are no message at all, as a damaged or malicious peer may send them.
    mangled = st.binary(max_size=200).map(lambda content: b'\x00\x01\x00\x00' + content)
    nine_of_ten = st.integers(0, 9).flatmap(lambda number: images if number else mangled)
    return st.tuples(nine_of_ten, WORDS, REQUESTS)


def made_rounds(transport: str) -> list[Round]:
    """Return all hand-made messages as rounds; the shorter lists are repeated."""
    images = made_images() if transport == 'raw' else made_compressed()
    words, requests = made_words(), made_requests()
    count = max(len(images), len(words), len(requests))
    return [
        (images[i % len(images)], words[i % len(words)], requests[i % len(requests)])
        for i in range(count)
    ]


class Campaign:
    """Knows what state the node should be in, and compares.

    Args:
        probe: A node in the same domain and namespace.
        wait: Lets messages flow until a condition holds; returns whether it came true.
        alive: Whether the node runs.
        transport: ``raw`` or ``compressed``.
        most_failures: After so many it gives up.

    Attributes:
        counts: Messages sent, by kind.
        failures: What went wrong, one entry each.
        transport: ``raw`` or ``compressed``.
    """

    def __init__(
        self,
        probe: Node,
        wait: Callable[[Callable[[], object]], bool],
        alive: Callable[[], bool] = lambda: True,
        transport: str = 'raw',
        most_failures: int = 1000,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[dict[str, str]] = []
        self._probe, self._wait, self._alive = probe, wait, alive
        self.transport = transport
        self._raw = transport == 'raw'
        self._most_failures = most_failures
        self._states: list[dict[str, Any]] = []
        self._labels: list[Image] = []
        self._numbers: dict[str, int] = {}
        self._clients: dict[str, Any] = {}
        self._frame = 0
        self._silences = 0
        self._connect()

    def _connect(self) -> None:
        """Make the publishers and subscriptions; they outlive a node that is started again."""
        kind, topic = (Image, 'image') if self._raw else (CompressedImage, 'image/compressed')
        probe = self._probe
        self._camera = probe.create_publisher(kind, topic, RELIABLE)
        self._words = probe.create_publisher(String, 'vocabulary', RELIABLE)
        probe.create_subscription(String, 'zegclip/active_vocabulary', self._on_state, LATCHED)
        probe.create_subscription(Image, 'zegclip/label_image', self._labels.append, RELIABLE)
        probe.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, RELIABLE)

    def _on_state(self, message: String) -> None:
        self._states.append(json.loads(message.data))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith('segmentation'):
                rows = ((row.key, row.value) for row in status.values)
                self._numbers = {key: int(value) for key, value in rows if value.isdigit()}

    def begin(self) -> None:
        """Wait for the node, give it good words and see what it is set to.

        Raises:
            NodeEndedError: If it has ended.
            TooManyFailuresError: If it does not get ready.
        """
        self._states.clear()
        self._numbers.clear()
        ready = self._wait(
            lambda: (
                self._words.get_subscription_count() > 0
                and self._camera.get_subscription_count() > 0
                and self._states
                and self._states[-1]['version'] > 0
            )
        )
        if not ready:
            self._fail('the node does not listen', None)
            raise TooManyFailuresError
        self._names: tuple[str, ...] = ()
        self._requested = self._states[-1]['requested']
        self.send_words(', '.join(GOOD_WORDS).encode())
        self._values = self._read_values()
        self._wait(lambda: self._numbers)
        self._numbers_at_start = dict(self._numbers)
        self._images_sent = 0
        self.good_frame()

    def _fail(self, what: str, message: object) -> None:
        """Note that something went wrong."""
        if not self._alive():
            what = f'the node ended: {what}'
        self.failures.append({'what': what, 'message': repr(message)[:1000]})
        if not self._alive():
            raise NodeEndedError
        if len(self.failures) >= self._most_failures or self._silences >= MOST_SILENCES:
            raise TooManyFailuresError

    def _expect(self, condition: Callable[[], object], what: str, message: object) -> None:
        """Wait for something; note it if it does not come."""
        if not self._wait(condition):
            self._silences += 1
            self._fail(what, message)

    def play(self, one: Round) -> None:
        """Send a round, await the answers, then check that a good frame is labelled rightly.

        The node keeps the newest image only, so that two of them must not follow one another
        closely: what is answered between them gives it the time. That all arrived is counted.
        """
        image, words, request = one
        self.send_image(image)
        self.send_words(words)
        self.send_request(request)
        self.good_frame()

    def send_image(self, image: HostileImage) -> None:
        """Send a hostile image; its answer is that the node's count of images grows."""
        self._camera.publish(image)
        if isinstance(image, bytes):
            self.counts['bytes that are no message'] += 1
        else:
            self.counts['images' if self._raw else 'compressed images'] += 1
            self._images_sent += 1
            if len(image.data) > LARGE:  # It takes its time, and the next one would overtake it.
                self._wait(self._all_arrived)

    def send_words(self, content: bytes) -> None:
        """Send words and check that they are taken or refused as they should be."""
        names = expected_names(as_received(content))
        seen = len(self._states)
        self.counts['vocabulary messages'] += 1
        self._words.publish(in_cdr(content))
        if names is None:
            self._expect(
                lambda: any(
                    state['error'] and state['requested'] == self._requested
                    for state in self._states[seen:]
                ),
                'the refusal of words is not announced',
                content,
            )
        else:
            self._accepted(names, 1, content)

    def _accepted(self, names: tuple[str, ...], times: int, message: object) -> None:
        """Await that words are in use."""
        self._requested, self._names = self._requested + times, names
        self._expect(
            lambda: self._states[-1]['version'] >= self._requested,
            f'words with the number {self._requested} do not come into use',
            message,
        )
        self._check_state(message)

    def _check_state(self, message: object) -> None:
        """Compare what the node says with what should be."""
        state = self._states[-1]
        found = (state['requested'], state['version'], [one['name'] for one in state['classes']])
        wanted = (self._requested, self._requested, list(self._names))
        if found != wanted:
            self._fail(f'expected the state {wanted}, but it is {found}', message)

    def good_frame(self) -> None:
        """Send a frame that can be labelled and check the answer."""
        self._frame += 1
        stamp = FIRST_STAMP + self._frame
        red = self._frame % min(len(self._names), 255)
        make = picture if self._raw else png_picture
        self._labels.clear()
        self.counts['good frames'] += 1
        self._images_sent += 1
        self._camera.publish(make(red, stamp))
        self._expect(
            lambda: any(label.header.stamp.sec == stamp for label in self._labels),
            'a good frame is not labelled',
            f'frame {self._frame}',
        )
        for label in self._labels:
            if label.header.stamp.sec == stamp and not np.all(label_of(label) == red):
                self._fail('a good frame has wrong labels', f'frame {self._frame}')
        self._check_state(f'after frame {self._frame}')

    def call(self, service: str, kind: Any, request: Any) -> Any:  # noqa: ANN401
        """Call a service; return its answer or ``None`` if none comes."""
        if service not in self._clients:
            self._clients[service] = self._probe.create_client(kind, f'zegclip/{service}')
        client = self._clients[service]
        self._expect(client.service_is_ready, f'there is no service {service}', None)
        future = client.call_async(request)
        self._expect(future.done, f'{service} does not answer', request)
        if not future.done():
            client.remove_pending_request(future)
            return None
        return future.result()

    def send_request(self, request: HostileRequest) -> None:
        """Call a service with a hostile request and check what comes of it."""
        self.counts['service requests'] += 1
        answer = self.call(request.service, request.kind, request.content)
        if answer is None:
            return
        if request.service == 'set_parameters':
            self._check_results(request, list(answer.results))
        elif request.service == 'set_parameters_atomically':
            self._check_atomic(request, answer.result)
        elif request.service == 'change_state' and answer.success:
            self._fail('a transition that does not exist was accepted', request.content)
        elif request.service == 'get_state' and answer.current_state.id != ACTIVE:
            self._fail(f'the state is {answer.current_state.label}', request.content)

    def _check_results(self, request: HostileRequest, results: list[Any]) -> None:
        parameters = request.content.parameters
        if len(results) != len(parameters):
            self._fail(f'{len(results)} results for {len(parameters)}', request.content)
            return
        taken = []
        for one, result in zip(parameters, results, strict=True):
            self._check_result(one, result, verdict(one))
            if result.successful:
                taken.append(one)
        self._take_over(taken, request)

    def _check_atomic(self, request: HostileRequest, result: Any) -> None:  # noqa: ANN401
        parameters = request.content.parameters
        verdicts = [verdict(one) for one in parameters]
        wanted = False if False in verdicts else (None if None in verdicts else True)
        self._check_result(parameters, result, wanted)
        self._take_over(list(parameters) if result.successful else [], request)

    def _check_result(
        self,
        one: object,
        result: Any,  # noqa: ANN401
        wanted: bool | None,
    ) -> None:
        if wanted is not None and result.successful is not wanted:
            said = 'accepted' if result.successful else f'refused: {result.reason:.100}'
            self._fail(f'a parameter was {said}', one)
        if not result.successful and not result.reason.strip():
            self._fail('a parameter was refused without a reason', one)

    def _take_over(self, taken: list[Any], request: HostileRequest) -> None:
        """Follow the parameters that were accepted; check what the node says about all."""
        words = [value_of(one.value) for one in taken if one.name == 'class_names']
        # Another palette, for one, means other colours: the same words are asked for once more.
        asked = len([one for one in taken if one.name in {'class_names', *REQUESTED_ANEW}])
        if words and words_of(words[-1]) is None:  # None, or blank ones: it may do either.
            self._names = tuple(one['name'] for one in self._states[-1]['classes'])
        elif asked:
            names = words_of(words[-1]) if words else self._names
            self._accepted(names or (), asked, request.content)
        live = {one.name: value_of(one.value) for one in taken if one.name in self._values}
        if words or request.service.startswith('set_'):
            self._values.update({name: live[name] for name in live if name != 'class_names'})
            found = self._read_values()
            if found != self._values:
                self._fail(f'expected {self._values}, but the node has {found}', request.content)

    def _read_values(self) -> dict[str, Any]:
        """Return the node's parameters but for the words, which other inputs change as well."""
        names = sorted(set(KINDS) - {'class_names', 'use_sim_time'})
        answer = self.call('get_parameters', GetParameters, GetParameters.Request(names=names))
        values = [] if answer is None else answer.values
        return dict(zip(names, map(value_of, values), strict=False))

    def _grown(self, key: str) -> int:
        """Return by how much one of the node's counts has grown since the beginning."""
        return self._numbers.get(key, 0) - self._numbers_at_start.get(key, 0)

    def _all_arrived(self) -> bool:
        return self._grown('frames in') >= self._images_sent

    def looked_at(self) -> dict[str, int]:
        """Return how many images were sent, reached the node, and were refused by it."""
        self._wait(self._all_arrived)
        return {
            'sent': self._images_sent,
            'arrived': self._grown('frames in'),
            'bad': self._grown('dropped: bad image'),
            'newer': self._grown('dropped: newer frame'),
        }
