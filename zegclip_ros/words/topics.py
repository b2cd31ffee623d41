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
"""Topics that come with words: a mask for each class, and the class names as ``LabelInfo``."""

from collections.abc import Iterable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from zegclip_core.errors import VocabularyError
from zegclip_core.messages.outputs import class_map
from zegclip_core.messages.topic_names import topic_tokens
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.camera_names import output_topic
from zegclip_ros.runtime.process import RCLError
from zegclip_ros.words.state import MaskTopics

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # Not on the package index; ~/active_vocabulary holds the same and more.
    LabelInfo = None

LONGEST_TOPIC = 247
"""Characters of the longest topic name that ROS 2 accepts."""
LABEL_INFO_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


def mask_topics(
    node: Node, vocabulary: Vocabulary, cameras: Iterable[str], most: int
) -> MaskTopics:
    """Return where the masks of each camera are published.

    Args:
        node: The node that publishes them.
        vocabulary: The classes.
        cameras: Names of the cameras, ``''`` for the only one.
        most: How many classes, the first ones, have a mask topic.

    Raises:
        VocabularyError: If two classes lead to the same topic name, or one to a name that is
            too long.
    """
    tokens = topic_tokens(vocabulary.names)
    topics: dict[str, list[str | None]] = {}
    for camera in cameras:
        names = [output_topic(camera, f'~/masks/{token}') for token in tokens[:most]]
        topics[camera] = [_resolve(node, name) for name in names] + [None] * len(tokens[most:])
    return topics


def _resolve(node: Node, topic: str) -> str:
    """Return the full name of a topic."""
    try:
        return node.resolve_topic_name(topic)
    except RCLError:
        raise VocabularyError(
            f'Expected mask topics of at most {LONGEST_TOPIC} characters with the namespace, '
            f'but got {topic[:300]!r}.'
        ) from None


class LabelInfoPublisher:
    """Publishes the class names beside the images, as ``CameraInfo`` is published.

    Late subscribers get the last message. Without the package ``vision_msgs`` it does nothing.

    Args:
        node: The node.
        topic: Name of the topic.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._publisher = None
        if LabelInfo is not None:
            self._publisher = node.create_publisher(LabelInfo, topic, LABEL_INFO_QOS)

    def publish(self, vocabulary: Vocabulary, threshold: float, header: Header) -> None:
        """Publish the class names.

        Args:
            vocabulary: The classes; a class's index is its id.
            threshold: Least score of a labelled pixel, in [0, 1], for classes without a
                threshold of their own.
            header: Header of the first image that is labelled with them.
        """
        if self._publisher is not None:
            classes = [VisionClass(**fields) for fields in class_map(vocabulary.names)]
            info = LabelInfo(header=header, class_map=classes, threshold=threshold)
            self._publisher.publish(info)

    def close(self) -> None:
        """Destroy the publisher."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None
