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
"""Hostile messages for a node, and the state that it should be in after each."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
import json
import time
from typing import Any, ClassVar

from benchmarks.hostile_requests import HostileRequest, TYPES, verdict
from benchmarks.hostile_words import CDR_HEAD, expected_names, in_cdr
from diagnostic_msgs.msg import DiagnosticArray
from fuzz_frames import CLOUD, good_cloud, good_frame, SIZE
from lifecycle_msgs.msg import State
import numpy as np
import pytest
from rcl_interfaces.srv import GetParameters
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String
from std_srvs.srv import SetBool
from zegclip_ros.nodes.segmentation import REQUESTED_ANEW
from zegclip_ros.runtime.child_processes import Processes

DEADLINE = 30.0
"""Seconds within which every answer has to come, also on a busy machine."""
FIRST_STAMP = 1_000_000_000
LARGE = 200_000
"""Bytes of an image that takes so long that the next one may overtake it."""
WITHOUT_IDS = ('stable_ids is on', 'were not in use in the last')
"""What is said of words that cannot have ids that stay."""


class Campaign:
    """Sends messages to the node, and knows the state that it should be in.

    Attributes:
        counts: Messages sent, by kind.

    Args:
        cameras: Their names, ``''`` for the only one. Each in turn sends hostile images, all send
            good frames.
    """

    _camera_topics: ClassVar = {
        'raw': (Image, 'image'),
        'compressed': (CompressedImage, 'image/compressed'),
    }

    def __init__(
        self, probe: Node, transport: str, processes: Processes, cameras: Sequence[str] = ('',)
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._probe, self._transport, self._processes = probe, transport, processes
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(probe)
        self._states: list[dict[str, Any]] = []
        self._labels: dict[str, list[Image]] = {camera: [] for camera in cameras}
        self._regions: dict[str, list[dict[str, Any]]] = {camera: [] for camera in cameras}
        self._depth: Any = None
        self.points: list[PointCloud2] = []
        self._numbers: dict[str, int] = {}
        self._values: dict[str, Any] = {}
        self._may_be_stable = False
        self._clients: dict[str, Any] = {}
        self._frame = self._images_sent = 0
        reliable = QoSProfile(depth=10)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        kind, topic = self._camera_topics[transport]
        self._cameras = {
            camera: probe.create_publisher(kind, f'{camera}/{topic}'.lstrip('/'), reliable)
            for camera in cameras
        }
        self._turns = cycle(cameras)
        self._words = probe.create_publisher(String, 'vocabulary', reliable)
        self._clouds = probe.create_publisher(PointCloud2, 'cloud', reliable)
        listen = probe.create_subscription
        listen(String, 'zegclip/active_vocabulary', self._on_state, latched)
        for camera in cameras:
            below = f'zegclip/{camera}'.rstrip('/')
            listen(Image, f'{below}/label_image', self._labels[camera].append, reliable)
            listen(String, f'{below}/regions', partial(self._on_regions, camera), reliable)
        listen(DiagnosticArray, '/diagnostics', self._on_diagnostics, reliable)

    def _on_state(self, message: String) -> None:
        self._states.append(json.loads(message.data))

    def _on_regions(self, camera: str, message: String) -> None:
        self._regions[camera].append(json.loads(message.data, parse_constant=pytest.fail))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith('segmentation'):
                rows = ((row.key, row.value) for row in status.values)
                self._numbers = {key: int(value) for key, value in rows if value.isdigit()}

    def until(self, condition: Callable[[], object], what: str, message: object = None) -> None:
        """Let messages flow until a condition holds, or fail."""
        end = time.monotonic() + DEADLINE
        while not condition():
            codes = self._processes.exit_codes()
            assert not codes, f'the node ended ({codes}): {what}; {message!r:.1000}'
            assert time.monotonic() < end, f'{what} after {message!r:.1000}'
            self._executor.spin_once(timeout_sec=0.05)

    def begin(self) -> None:
        """Wait for the node, give it good words and see what it is set to."""
        self.until(lambda: self._words.get_subscription_count(), 'the node does not hear words')
        self.until(self._is_seen, 'the node does not see images')
        self.until(
            lambda: self._states and self._states[-1]['version'] > 0, 'there are no first words'
        )
        self._requested = self._states[-1]['requested']
        self.send_words(b'person, cat, traffic light')
        self._values = self._read_values()
        self.until(lambda: self._numbers, 'there are no diagnostics')
        self._send_frames_until(lambda: all(self._regions.values()), 'there are no regions')
        self.send_good_frame()

    def _is_seen(self) -> bool:
        """Return whether the node listens to each camera."""
        return all(camera.get_subscription_count() for camera in self._cameras.values())

    def play(self, image: Any, words: bytes, request: HostileRequest) -> None:  # noqa: ANN401
        """Send three hostile messages and await their answers, then check a good frame.

        The node keeps the newest image only, so that two of them must not follow one another
        closely: what is answered between them gives it the time, except for large ones.
        """
        turn = next(self._turns)
        camera = self._cameras[turn]
        camera.publish(image)
        if isinstance(image, bytes):
            # To the words as well, where they claim to be a text that is longer than they are.
            self._words.publish(CDR_HEAD + b'\xff\xff\xff\x7f' + image)
            self.counts['bytes that are no message'] += 2
        else:
            self.counts['images'] += 1
            self._images_sent += 1
            if len(image.data) > LARGE:
                camera.wait_for_all_acked(Duration(seconds=DEADLINE))
        self.send_good_frame(without=turn)  # Some of them are labelled at once with that image.
        self.send_words(words)
        self.send_request(request)
        self.send_good_frame()

    def play_cloud(self, cloud: PointCloud2, words: bytes) -> None:
        """Send a hostile cloud and words, then check a good frame of the size of a good cloud."""
        self._clouds.publish(cloud)
        self.counts['clouds'] += 1
        self.send_words(words)
        self.send_good_frame()

    def listen_to_points(self) -> None:
        """Have the node want depth, until it listens to it."""
        self._probe.create_subscription(PointCloud2, 'zegclip/points', self.points.append, 10)
        self._depth = self._probe.create_publisher(Image, 'depth', QoSProfile(depth=10))
        self._infos = [
            self._probe.create_publisher(CameraInfo, topic, QoSProfile(depth=10))
            for topic in ('depth/camera_info', 'camera_info')
        ]
        self.until(
            lambda: all(one.get_subscription_count() for one in (self._depth, *self._infos)),
            'the node does not listen to depth',
        )

    def play_depth(
        self, depth: Image | bytes, camera: CameraInfo | bytes, other: CameraInfo | bytes
    ) -> None:
        """Send hostile depth of the next frame and hostile cameras, then check that frame."""
        if isinstance(depth, Image):
            # Of the next frame, so that it is not only looked at but used.
            depth.header.stamp.sec, depth.header.stamp.nanosec = FIRST_STAMP + self._frame + 1, 0
        for publisher, info in zip(self._infos, (camera, other), strict=True):
            publisher.publish(info)
        self._depth.publish(depth)
        self.counts['depth images'] += 1
        self.send_good_frame()

    def _send_good_cloud(self) -> None:
        """Send a cloud, and frames until label images have its size."""
        self._clouds.publish(good_cloud())
        self._send_frames_until(
            lambda: any((one.height, one.width) == CLOUD for one in self._labels['']),
            'label images do not get the size of a good cloud',
        )

    def _send_frames_until(self, condition: Callable[[], object], what: str) -> None:
        """Send frames, which need not all arrive, until a condition holds."""

        def holds() -> object:
            self._frame += 1
            for camera in self._cameras.values():
                camera.publish(good_frame(0, FIRST_STAMP + self._frame, self._transport))
            return condition()

        self.until(holds, what)

    def send_words(self, content: bytes) -> None:
        """Send words and check that they are taken or refused as they should be."""
        names = expected_names(content)
        seen = len(self._states)
        self.counts['vocabulary messages'] += 1
        self._words.publish(in_cdr(content))

        def refused() -> list[str]:
            states = [one for one in self._states[seen:] if one['requested'] == self._requested]
            return [one['error'] for one in states if one['error']]

        if names is not None and self._values.get('stable_ids'):
            # Which ids are left depends on the words before.
            accepted = self._requested + 1
            self.until(lambda: refused() or self._states[-1]['requested'] == accepted, 'no answer')
            if refused():
                assert any(text in refused()[0] for text in WITHOUT_IDS), refused()
                return
        if names is not None:
            self._accepted(names, 1, content)
            return
        self.until(refused, 'the refusal of words is not announced', content)

    def _accepted(self, names: tuple[str, ...], times: int, message: object) -> None:
        """Wait until words are in use."""
        self._requested, self._names = self._requested + times, names
        self.until(
            lambda: self._states[-1]['version'] >= self._requested,
            f'words with the number {self._requested} do not come into use',
            message,
        )
        self._check_state(message)

    def _check_state(self, message: object) -> None:
        state = self._states[-1]
        found = (state['requested'], state['version'], [one['name'] for one in state['classes']])
        assert found == (self._requested, self._requested, list(self._names)), repr(message)[:1000]

    def send_good_frame(self, without: str | None = None) -> None:
        """Send a frame of each camera but one that can be labelled, and check their labels."""
        for received in (*self._labels.values(), *self._regions.values()):
            received.clear()
        if self._values.get('output_size') == 'cloud':
            self._send_good_cloud()
        sent = {}
        for camera in [name for name in self._cameras if name != without]:
            self._frame += 1
            sent[camera] = FIRST_STAMP + self._frame, self._frame % min(len(self._names), 255)
            stamp, red = sent[camera]
            self.counts['good frames'] += 1
            self._images_sent += 1
            self._cameras[camera].publish(good_frame(red, stamp, self._transport))
        for camera, (stamp, red) in sent.items():
            self._check_labels(camera, stamp, red)

    def _check_labels(self, camera: str, stamp: int, red: int) -> None:
        """Wait for the label image of a frame of one colour, and check it and the regions."""

        def found() -> list[Image]:
            return [label for label in self._labels[camera] if label.header.stamp.sec == stamp]

        self.until(found, f'a good frame of the camera {camera!r} is not labelled')
        (label,) = found()
        kind = np.uint8 if label.encoding == 'mono8' else np.uint16
        size, wanted = self._values.get('output_size', 'camera'), SIZE
        if size == 'cloud':
            wanted = CLOUD
        elif size != 'camera':
            width, height = map(int, size.split('x'))
            wanted = (height, width)
        assert (label.height, label.width) == wanted
        self._check_state(f'after the frame {stamp}')
        one = self._states[-1]['classes'][red]
        assert np.all(np.frombuffer(label.data, kind) == one['id']), f'wrong labels of {stamp}'
        if self._depth is None:  # Else they may wait for depth that is never good.
            self._check_regions(camera, stamp, one)

    def _check_regions(self, camera: str, stamp: int, one: dict[str, Any]) -> None:
        """Wait for a frame's regions: all of it is one, unless that is too small."""

        def found() -> list[dict[str, Any]]:
            some = self._regions[camera]
            return [each for each in some if each['header']['stamp']['sec'] == stamp]

        self.until(found, 'the regions of a good frame do not come')
        (content,) = found()
        (height, width), regions = SIZE, content['regions']
        assert (content['height'], content['width']) == SIZE
        if self._values['min_area'] > height * width:
            assert regions == []
            return
        (region,) = regions
        assert (region['id'], region['name']) == (one['id'], one['name'])
        assert (region['box'], region['area']) == ([0, 0, width, height], height * width)

    def call(self, service: str, kind: Any, request: Any) -> Any:  # noqa: ANN401 - ROS services
        """Call a service of the node and return its answer."""
        if service not in self._clients:
            self._clients[service] = self._probe.create_client(kind, f'zegclip/{service}')
        client = self._clients[service]
        self.until(client.service_is_ready, f'there is no service {service}')
        future = client.call_async(request)
        self.until(future.done, f'{service} does not answer', request)
        return future.result()

    def send_request(self, request: HostileRequest) -> None:
        """Call a service with a hostile request and check what comes of it."""
        self.counts['service requests'] += 1
        some = getattr(request.content, 'parameters', ())
        set_now = any(one.name == 'stable_ids' for one in some)
        self._may_be_stable = bool(self._values.get('stable_ids')) or set_now
        answer = self.call(*request)
        if request.service == 'set_parameters':
            given = request.content.parameters
            assert len(answer.results) == len(given)
            pairs = list(zip(given, answer.results, strict=True))
            for one, result in pairs:
                self._check_result(one, result, self._verdict(one))
            self._take_over([one for one, result in pairs if result.successful], request)
        elif request.service == 'set_parameters_atomically':
            given = request.content.parameters
            verdicts = [self._verdict(one) for one in given]
            wanted = False if False in verdicts else (None if None in verdicts else True)
            self._check_result(given, answer.result, wanted)
            self._take_over(list(given) if answer.result.successful else [], request)
        elif request.service == 'change_state':
            assert not answer.success, f'a transition that does not exist: {request.content}'
        elif request.service == 'enable':
            assert answer.success, answer.message
            if not request.content.data:
                self._end_pause()
        elif request.service == 'get_state':
            assert answer.current_state.id == State.PRIMARY_STATE_ACTIVE

    def _end_pause(self) -> None:
        """Have the node go on once its pause has shown."""
        self.until(
            lambda: not any(one.get_subscription_count() for one in self._cameras.values()),
            'the node still sees images',
        )
        assert self.call('enable', SetBool, SetBool.Request(data=True)).success
        self.until(self._is_seen, 'the node does not see images again')

    def _verdict(self, one: Any) -> bool | None:  # noqa: ANN401
        """Return whether a parameter has to be accepted; with ids that stay it depends."""
        wanted = verdict(one)
        depends = wanted and one.name == 'class_names' and self._may_be_stable
        return None if depends else wanted

    @staticmethod
    def _check_result(one: object, result: Any, wanted: bool | None) -> None:  # noqa: ANN401
        said = f'{one!r:.500}: {result.successful}, {result.reason:.100}'
        assert wanted is None or result.successful is wanted, said
        assert result.successful or result.reason.strip(), said

    def _take_over(self, taken: list[Any], request: HostileRequest) -> None:
        """Follow the parameters that were accepted; check what the node says about all."""
        values = [(one.name, parameter_value_to_python(one.value)) for one in taken]
        words = [value for name, value in values if name == 'class_names']
        # Another palette, for one, means other colours: the same words are requested once more.
        asked = len([name for name, _ in values if name in {'class_names', *REQUESTED_ANEW}])
        if request.service == 'set_parameters_atomically':
            asked = min(asked, 1)
        if words and expected_names(words[-1]) is None:  # None, or blank ones: either is right.
            self._names = tuple(one['name'] for one in self._states[-1]['classes'])
        elif asked:
            names = expected_names(words[-1]) if words else self._names
            self._accepted(names or (), asked, request.content)
        self._values.update({name: value for name, value in values if name in self._values})
        assert self._read_values() == self._values, f'{request.content!r:.1000}'

    def _read_values(self) -> dict[str, Any]:
        """Return the node's parameters except the words, which other inputs change as well."""
        names = sorted(set(TYPES) - {'class_names', 'use_sim_time'})
        answer = self.call('get_parameters', GetParameters, GetParameters.Request(names=names))
        return dict(zip(names, map(parameter_value_to_python, answer.values), strict=True))

    def images_refused(self) -> int:
        """Check that the images arrived, but for few; return how many were refused."""
        least = self._images_sent - self._images_sent // 50  # A newer one may overtake another.
        self.until(lambda: self._numbers['frames in'] >= least, 'images got lost')
        self.counts['images refused'] = self._numbers['dropped: bad image']
        return self.counts['images refused']
