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
"""What the node is given in the soak test, and how often something happens."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.hostile_messages import made_images
from benchmarks.hostile_requests import made_requests
from benchmarks.hostile_words import expected_names, made_words
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import String
from zegclip_ros.frames import vision_messages

BASE_WORDS = ('person', 'cat', 'dog', 'traffic light', 'chair')
NAMES = [*BASE_WORDS, *(f'thing {number}' for number in range(30)), 'café', '3d', 'кошка', '猫']
OUTPUTS = {
    **dict.fromkeys(('label_image', 'overlay', 'confidence', 'mask'), Image),
    'regions': String,
    'points': PointCloud2,
    'overlay/compressed': CompressedImage,
}
if vision_messages.INSTALLED:
    OUTPUTS['detections'] = vision_messages.DETECTIONS
PERIODS = {'words': 1.0, 'listeners': 1.5, 'camera': 18.0, 'clock': 27.0, 'states': 14.0}
PERIODS |= {'hostile': 1.7, 'styles': 2.3, 'pauses': 11.0}
"""Mean seconds between two troubles of a kind."""
ONE = ('',)
"""The names of one camera alone."""
SMOOTHING = 0.5
"""What the node begins with, so that PyTorch is there from the start."""
STYLES: dict[str, tuple[Parameter.Type, tuple[Any, ...]]] = {
    'overlay_regions': (Parameter.Type.BOOL, (True, False)),
    'points_organised': (Parameter.Type.BOOL, (True, False)),
    'points_color': (Parameter.Type.STRING, ('image', 'overlay')),
    'confidence_encoding': (Parameter.Type.STRING, ('32FC1', 'mono8')),
    'output_size': (Parameter.Type.STRING, ('camera', '320x240')),
    'min_area': (Parameter.Type.INTEGER, (1, 20, 1000)),
}
"""Parameters of the outputs that change all the time, and their values."""
Awaited = tuple[Callable[[], object], str]
"""What has to come true, and what it is."""


class Plan(NamedTuple):
    """How a soak test goes.

    Attributes:
        seed: Of what happens when.
        rate: Images per second, of all cameras together.
        patience: Seconds within which an answer has to come, and labels and diagnostics.
    """

    seed: int
    rate: float
    patience: float


class Hostile:
    """What the node has to refuse: nothing huge, which would raise its memory once for good.

    Attributes:
        images: Raw images, some of which may be labelled.
        words: Content of vocabulary messages.
        requests: Of the service that sets parameters; none changes the words.
    """

    def __init__(self) -> None:
        self.images = [image for image in made_images() if len(image.data) < 10_000]
        words = (one for one in made_words() if len(one) < 70_000)
        self.words = [one for one in words if expected_names(one) is None]
        self.requests = [
            one.content
            for one in made_requests()
            if one.service == 'set_parameters'
            and len(text := repr(one.content)) < 20_000
            and not any(name in text for name in ('class_names', 'stable_ids'))
        ]
