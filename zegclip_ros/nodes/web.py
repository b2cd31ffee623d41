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
"""The page of ``zegclip web`` for a running node, over its topics."""

from collections.abc import Callable, Sequence
from functools import partial
import threading
from typing import Any, NoReturn
import webbrowser

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from zegclip_core.errors import ConfigError, VocabularyError, ZegCLIPError
from zegclip_core.messages.outputs import ACTIVE_VOCABULARY, CONFIDENCE, LABEL_IMAGE
from zegclip_core.messages.topic_names import check_cameras, image_topic, output_topic
from zegclip_core.options import OPTIONS
from zegclip_core.text.negatives import NONE
from zegclip_core.web.limits import HOST, PORT
from zegclip_core.web.serve import Place, Server
from zegclip_ros.conversions import image_to_labels, image_to_scores, packed_rgb
from zegclip_ros.frames.image_input import ImageInput
from zegclip_ros.listening import Announcement
from zegclip_ros.parameters import Declaration, declare, descriptions, given
from zegclip_ros.runtime.runner import run_process, RunnableNode
from zegclip_ros.web_desk import NodeDesk

_LOOK = 0.5
"""Seconds between two looks whether a page is open."""
_QUEUE = 10
_ENDING = 0.5
"""Seconds that the server gets at the end."""

DECLARATIONS = (
    Declaration('node', 'zegclip', 'Name of the segmentation node that is shown.'),
    Declaration(
        'camera', '', 'Which camera to show of a node with several; empty for the only one.'
    ),
    Declaration(
        'image_transport',
        'raw',
        'Whether images come raw or compressed.',
        choices=('raw', 'compressed'),
    ),
    Declaration(
        'host', HOST, 'Address to listen at, such as 0.0.0.0 for all, and then with a token.'
    ),
    Declaration('port', PORT, 'Port of the page; 0 for any.', bounds=(0, 65535)),
    Declaration('token', '', 'What the address must hold; empty for a new one, if any.'),
    Declaration('names', [''], 'Further names that the page is reached by.'),
    Declaration('open', False, 'Whether to open the page in a browser of this machine.'),
)


class WebNode(RunnableNode):
    """Serves the page of a segmentation node, which may run on another machine.

    Subscribed topics: ``image``, and of the node ``label_image``, ``confidence``,
    ``active_vocabulary`` and ``/diagnostics``; the first three only while a page is open.
    Published topic: ``vocabulary``. Threshold and negative words are the node's parameters.
    ``DECLARATIONS`` describes its own.
    """

    def __init__(self) -> None:
        super().__init__('zegclip_web')
        values = declare(self, DECLARATIONS)
        self._segmentation: str = values['node']
        self._camera: str = values['camera']
        if self._camera:
            check_cameras([self._camera], 'the parameter camera')
        self._outputs: list[Subscription] = []
        self._words = self.create_publisher(String, 'vocabulary', _QUEUE)
        self._remote = AsyncParameterClient(self, self._segmentation)
        self.desk = NodeDesk(self._segmentation, self._say, self._set)
        self._image = ImageInput(
            self,
            image_topic(self._camera),
            values['image_transport'],
            'auto',
            partial(self._on_part, 'image', packed_rgb),
            depth=_QUEUE,
        )
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        topic = f'{self._segmentation}/{ACTIVE_VOCABULARY}'
        self.create_subscription(String, topic, self._on_announcement, latched)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, _QUEUE)
        place = Place(
            values['host'], values['port'], values['token'] or None, given(values['names'])
        )
        self._server = Server(self.desk, place)
        self.addresses = self._server.addresses
        self._thread = threading.Thread(target=self._server.run, name='web_server', daemon=True)
        self._thread.start()
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_LOOK, self._look, clock=clock)
        self.get_logger().info(f'The page is at {" and ".join(self.addresses)}')
        if values['open']:
            webbrowser.open(self.addresses[0])

    def close(self) -> bool:
        """End the server."""
        self._server.stop()
        self._thread.join(_ENDING)
        return not self._thread.is_alive()

    def _look(self) -> None:
        """Subscribe to what pages show while one is open: the node makes it for nobody else."""
        watched = self.desk.watched
        self._image.update(wanted=watched)
        if watched and not self._outputs:
            readers: dict[str, tuple[str, Callable[[Any], Any]]] = {
                LABEL_IMAGE: ('labels', image_to_labels),
                CONFIDENCE: ('scores', image_to_scores),
            }
            for output, (part, read) in readers.items():
                topic = output_topic(self._camera, output).replace('~', self._segmentation)
                take = partial(self._on_part, part, read)
                self._outputs.append(self.create_subscription(Image, topic, take, _QUEUE))
        elif not watched:
            for subscription in self._outputs:
                self.destroy_subscription(subscription)
            self._outputs.clear()

    def _on_part(
        self, part: str, read: Callable[[Any], Any], message: Image | CompressedImage
    ) -> None:
        stamp = int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)
        try:
            self.desk.received(part, stamp, read(message))
        except ZegCLIPError as error:
            self.get_logger().warning(f'Cannot show {part}: {error}', throttle_duration_sec=10.0)

    def _on_announcement(self, message: String) -> None:
        try:
            told = Announcement.read(message.data)
            self.desk.announced(told, told.first(self._camera))
        except VocabularyError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=10.0)
        except ConfigError as error:
            self.get_logger().fatal(str(error))
            self.end(1)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        # The whole name: nodes of other cameras are called alike.
        name = f'{self.resolve_topic_name(self._segmentation).lstrip("/")}: segmentation'
        for status in message.status:
            if status.name == name:
                self.desk.diagnosed(status.message, {one.key: one.value for one in status.values})

    def _say(self, words: str) -> None:
        """Publish words for the node."""
        if self._words.get_subscription_count() == 0:
            raise ConfigError(
                f'Expected the node {self._segmentation} to hear the words, but nobody does on '
                f'{self._words.topic_name}.'
            )
        self._words.publish(String(data=words))

    def _set(
        self,
        threshold: float | None,
        negatives: tuple[str, ...] | None,
        answered: Callable[[str | None], None],
    ) -> None:
        """Set the node's parameters for the threshold and the negative words."""
        if not self._remote.services_are_ready():
            raise ConfigError(
                f'Expected the node {self._segmentation} to be there, but it is not.'
            )
        unset = OPTIONS['threshold'].ros_unset
        words = [OPTIONS['negatives'].ros_unset] if negatives is None else list(negatives)
        wanted = [
            Parameter('threshold', value=float(unset if threshold is None else threshold)),
            Parameter('negatives', value=words or [NONE]),
        ]

        def done(future: Any) -> None:  # noqa: ANN401 - rclpy's
            reasons = [one.reason for one in future.result().results if not one.successful]
            answered(reasons[0] if reasons else None)

        self._remote.set_parameters(wanted, callback=done)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Serve the page and end the process with its exit code."""
    run_process(WebNode, args, descriptions(DECLARATIONS))


if __name__ == '__main__':
    main()
