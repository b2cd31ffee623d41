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
"""The class names as ``vision_msgs/msg/LabelInfo``, where that package is installed."""

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from zegclip_core.text.vocabulary import Vocabulary

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # Not on the package index; ~/active_vocabulary says the same and more.
    LabelInfo = None

LABEL_INFO_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


class LabelInfoPublisher:
    """Publishes the names the way ``CameraInfo`` goes beside an image.

    Late subscribers get the last one. Without ``vision_msgs`` it does nothing.

    Args:
        node: The node.
        topic: Where they go.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._publisher = None
        if LabelInfo is not None:
            self._publisher = node.create_publisher(LabelInfo, topic, LABEL_INFO_QOS)

    def publish(self, vocabulary: Vocabulary, threshold: float, header: Header) -> None:
        """Publish the classes.

        Args:
            vocabulary: The classes; a class's place is its id.
            threshold: Least score of a labelled pixel, for classes without one of their own.
            header: That of the first image that was labelled with them.
        """
        if self._publisher is not None:
            classes = [
                VisionClass(class_id=index, class_name=name)
                for index, name in enumerate(vocabulary.names)
            ]
            info = LabelInfo(header=header, class_map=classes, threshold=threshold)
            self._publisher.publish(info)

    def close(self) -> None:
        """Destroy the publisher."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None
