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
"""One camera's way through the node: what is subscribed to, what is published, what is counted."""

from collections.abc import Callable
from functools import partial

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from zegclip_ros.camera_names import image_topic, output_topic
from zegclip_ros.diagnostics.monitor import CameraMonitor
from zegclip_ros.frames.image_input import ImageInput
from zegclip_ros.frames.outputs import Look, Outputs
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.words.label_info import LabelInfoPublisher


class Channel:
    """What the node has for one camera from configure to cleanup.

    Attributes:
        monitor: What is counted and timed.
        input: What is subscribed to.
        outputs: What is published.
        label_info: The class names beside the images.

    Args:
        node: The node.
        camera: Name of the camera, ``''`` for the only one.
        parameters: What the node is configured with.
        look: How overlays look.
        monitor: As the attribute.
        on_image: Gets every image.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        parameters: NodeParameters,
        look: Look,
        monitor: CameraMonitor,
        on_image: Callable[[Image | CompressedImage], None],
    ) -> None:
        self.monitor = monitor
        self.input = ImageInput(
            node,
            image_topic(camera),
            parameters.image_transport,
            parameters.image_reliability,
            on_image,
        )
        self.outputs = Outputs(node, look, partial(output_topic, camera))
        self.label_info = LabelInfoPublisher(node, output_topic(camera, '~/label_info'))

    def update(self, *, active: bool, lazy: bool) -> None:
        """Subscribe while frames are of use."""
        listened = self.outputs.any_wanted()
        self.input.update(wanted=active and (listened or not lazy))
        self.monitor.wanted(active and listened)

    def close(self) -> None:
        """Destroy all topics."""
        self.input.close()
        self.outputs.close()
        self.label_info.close()
