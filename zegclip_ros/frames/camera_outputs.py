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
"""What is published of a camera's frames; computed only while somebody listens."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
import threading
import time

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from zegclip_core.messages.outputs import LABEL_INFO
from zegclip_core.messages.topic_names import output_topic
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.frames import vision_messages
from zegclip_ros.frames.labelled_frame import LabelledFrame, Message, OutputStyle, RENDERERS

OUTPUT_QOS = QoSProfile(depth=1)
LAST_MESSAGE_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Late subscribers get the last message."""
# Without event handlers: the executor would wait on those of every mask.
_NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)


def _wanted(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())


class Outputs:
    """Everything that is published of a camera's frames: images, masks and the class names.

    Publishers of masks come and go with the words. They are created and destroyed in the
    executor's threads, where nothing waits on them, and used in the thread that labels frames.
    ``''`` is the name of the only camera.
    """

    def __init__(self, node: Node, camera: str, style: OutputStyle) -> None:
        self.style = style
        self._node = node
        self._lock = threading.Lock()
        self._images: dict[str, Publisher] = {}
        self._masks: dict[str, Publisher] = {}
        self._label_info: Publisher | None = None
        self._closed = False
        try:
            for output, one in RENDERERS.items():
                topic = output_topic(camera, output)
                self._images[output] = node.create_publisher(
                    one.kind, topic, OUTPUT_QOS, event_callbacks=_NO_EVENTS
                )
            if vision_messages.INSTALLED:
                topic = output_topic(camera, LABEL_INFO)
                self._label_info = node.create_publisher(
                    vision_messages.LABEL_INFO, topic, LAST_MESSAGE_QOS
                )
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Destroy all publishers, and create none any more."""
        with self._lock:
            self._closed = True
            publishers = [*self._images.values(), *self._masks.values(), self._label_info]
            self._images, self._masks, self._label_info = {}, {}, None
            for publisher in filter(None, publishers):
                self._node.destroy_publisher(publisher)

    def provide_masks(self, topics: Sequence[str | None]) -> None:
        """Create the publishers of masks that are missing; ``None`` is a class without one."""
        with self._lock:
            for topic in topics:
                # Words may come while the node is cleaned up.
                if topic is not None and topic not in self._masks and not self._closed:
                    self._masks[topic] = self._node.create_publisher(
                        Image, topic, OUTPUT_QOS, event_callbacks=_NO_EVENTS
                    )

    def close_other_masks(self, topics: set[str]) -> None:
        """Destroy the publishers of all masks but these."""
        with self._lock:
            for topic in self._masks.keys() - topics:
                self._node.destroy_publisher(self._masks.pop(topic))

    def any_wanted(self) -> bool:
        """Return whether somebody listens to an output that needs the model."""
        with self._lock:  # The node may be cleaned up meanwhile.
            return any(map(_wanted, [*self._images.values(), *self._masks.values()]))

    def scores_wanted(self) -> bool:
        """Return whether somebody listens to what is made of the scores."""
        with self._lock:
            return any(
                _wanted(publisher)
                for output, publisher in self._images.items()
                if RENDERERS[output].scored(self.style)
            )

    def depth_wanted(self, *, needed: bool = False) -> bool:
        """Return whether somebody listens to an output that has more to say with depth.

        Args:
            needed: Only to those that say nothing without it.
        """
        with self._lock:
            return any(
                _wanted(publisher)
                for output, publisher in self._images.items()
                if RENDERERS[output].depth in ({'needed'} if needed else {'needed', 'used'})
            )

    def publish_names(self, vocabulary: Vocabulary, threshold: float, header: Header) -> None:
        """Publish the class names beside the images, as ``CameraInfo`` is published.

        Late subscribers get the last message. Without the package ``vision_msgs`` there is none.

        Args:
            vocabulary: The classes, with their ids.
            threshold: Least score of a labelled pixel, for classes without one of their own.
            header: Header of the image that they are published with.
        """
        publisher = self._label_info
        if publisher is not None:
            publisher.publish(vision_messages.label_info(vocabulary, threshold, header))

    def publish(self, frame: LabelledFrame, *, with_depth: bool = False) -> tuple[float, float]:
        """Publish what somebody listens to; return the seconds for making and for publishing.

        Args:
            frame: The frame.
            with_depth: Whether those outputs that take depth, or all others.
        """
        began = time.perf_counter()
        published = 0.0
        for publish, render in self._wanted_of(frame, with_depth):
            message = render()
            rendered = time.perf_counter()
            publish(message)
            published += time.perf_counter() - rendered
        return time.perf_counter() - began - published, published

    def _wanted_of(
        self, frame: LabelledFrame, with_depth: bool
    ) -> Iterator[tuple[Callable[[Message], object], Callable[[], Message]]]:
        """Yield how to publish and how to make each message that somebody listens to."""
        for output, one in RENDERERS.items():
            publisher = self._images[output]
            lacking = (
                (one.sized and frame.size is None)
                or (one.depth == 'needed' and frame.depth is None)
                # Of who came while the model ran; the next frame has scores.
                or (one.scored(frame.style) and not frame.segmentation.scores.size)
            )
            if bool(one.depth) == with_depth and _wanted(publisher) and not lacking:
                yield publisher.publish, partial(one.render, frame)
        if frame.size is None or with_depth:
            return
        with self._lock:
            masks = {topic for topic, publisher in self._masks.items() if _wanted(publisher)}
        for place, name in enumerate(frame.topics):
            if name is not None and name in masks:
                yield partial(self._publish_mask, name), partial(frame.mask, place)

    def _publish_mask(self, topic: str, message: Message) -> None:
        """Publish a mask, unless its topic has been closed meanwhile."""
        with self._lock:
            publisher = self._masks.get(topic)
            if publisher is not None:
                publisher.publish(message)
