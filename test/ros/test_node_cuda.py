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
"""The node with a model on CUDA: labels, new words, a second life, as on a CPU."""

import json

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from ros_helpers import close_node, Inbox, node_parameters, qos, running_ros, spin_until
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from tiny_models import noise
import torch
from zegclip_core.engines.lean.graphs import RECORD_AT
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import image_to_labels, rgb_to_image
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.segmenter_like import load_segmenter

pytestmark = [
    pytest.mark.ros,
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]


def test_the_node_labels_on_cuda_as_on_a_cpu(tiny: str) -> None:
    values = {'model': tiny, 'precision': 'fp32', 'negatives': ['wall'], 'device': 'cuda'}
    options = [f'{name}:={json.dumps(value)}' for name, value in values.items()]
    options.append('class_names:=["cat", "dog"]')
    alone = load_segmenter(node_parameters(**{**values, 'device': 'cpu'}))
    image = noise(48, 64)
    loaded: list[Segmenter] = []

    def load(parameters: NodeParameters) -> Segmenter:
        loaded.append(load_segmenter(parameters))
        return loaded[-1]

    with running_ros(*(part for one in options for part in ('-p', one))):
        node, probe = SegmentationNode(load), Node('probe', use_global_arguments=False)
        camera = probe.create_publisher(Image, 'image', 1)
        say = probe.create_publisher(String, 'vocabulary', 1)
        labels = Inbox(probe, Image, 'zegclip/label_image', qos())

        def labelled_as(words: str) -> None:
            vocabulary = alone.encode(Vocabulary.parse(words), negatives=('wall',))
            expected, first = alone.segment(image, vocabulary).labels, len(labels.messages)

            def seen() -> bool:
                camera.publish(rgb_to_image(image, Header()))
                new = labels.messages[first:]
                alike = [np.mean(image_to_labels(one) == expected) > 0.998 for one in new]
                return sum(alike) > RECORD_AT + 1 and alike[-1]

            spin_until(seen, node, probe)

        labelled_as('cat, dog')
        spin_until(lambda: say.get_subscription_count() > 0, node, probe)
        say.publish(String(data='sky, road, tree'))
        labelled_as('sky, road, tree')
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        labelled_as('sky, road, tree')
        assert loaded[0].runs_on == 'cuda'
        assert not node.ended.is_set()
        close_node(node)
        probe.destroy_node()
