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
"""What the node's parameters say of the model reaches the model."""

from collections.abc import Iterator
import json
import logging

import numpy as np
import pytest
from rclpy.node import Node
from ros_helpers import (
    close_node,
    Inbox,
    node_parameters,
    qos,
    running_rig,
    running_ros,
    spin_until,
)
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tiny_models import noise
import torch
from zegclip_core.errors import ModelError
from zegclip_core.options import ATTENTIONS
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.templates import resolve_templates
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import image_to_labels, rgb_to_image
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.parameters import BY_NAME, NodeParameters
from zegclip_ros.segmenter_like import load_segmenter

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

SIDES = ('left', 'right')


@pytest.fixture(scope='module')
def training_free(clip: str) -> str:
    return clip.removeprefix('open_clip:').replace('/file:', '@')


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_threads_are_those_that_pytorch_computes_with_and_0_leaves_them(tiny: str) -> None:
    torch.set_num_threads(2)
    load_segmenter(node_parameters(model=tiny, short_side=32)).close()
    assert torch.get_num_threads() == 2
    load_segmenter(node_parameters(model=tiny, short_side=32, threads=3)).close()
    assert torch.get_num_threads() == 3


def test_attention_reaches_clip_without_training_and_nothing_else(
    training_free: str, tiny: str
) -> None:
    for attention, expected in (('auto', 'naclip'), ('sclip', 'sclip')):
        segmenter = load_segmenter(node_parameters(model=training_free, attention=attention))
        assert segmenter.network.config.attention == expected
        segmenter.close()
    with pytest.raises(ModelError, match=r'attention'):
        load_segmenter(node_parameters(model=tiny, attention='sclip'))
    declared = BY_NAME['attention'].choices
    assert set(declared) - {'auto'} == set(ATTENTIONS)


def test_own_negatives_and_threshold_are_there_to_go_back_to(training_free: str) -> None:
    segmenter = load_segmenter(node_parameters(model=training_free))
    assert 'wall' in segmenter.negatives
    assert 0.0 <= segmenter.threshold <= 1.0
    segmenter.close()


def test_candidates_reach_the_engine_and_0_keeps_all_words(tiny: str) -> None:
    for candidates in (0, 20):
        segmenter = load_segmenter(
            node_parameters(model=tiny, short_side=32, candidates=candidates)
        )
        assert segmenter.engine.candidates == candidates
        segmenter.close()


@pytest.mark.parametrize('templates', ['single', 'plain'])
def test_templates_reach_the_text_encoder(tiny: str, templates: str) -> None:
    segmenter = load_segmenter(node_parameters(model=tiny, short_side=32, templates=templates))
    assert segmenter.text_encoder.templates == resolve_templates(templates)
    segmenter.close()


def test_what_the_model_warns_of_is_in_the_node_s_log() -> None:
    with running_rig() as rig:
        logging.getLogger('zegclip_core.engines.onnx').warning('%s runs on the CPU.', 'a.onnx')
        rig.until(lambda: 'a.onnx runs on the CPU.' in rig.log, 'the warning')


def test_two_cameras_get_the_labels_that_each_image_has_by_itself(training_free: str) -> None:
    values = {'model': training_free, 'negatives': ['wall', 'floor'], 'threads': 1}
    options = [f'{name}:={json.dumps(value)}' for name, value in values.items()]
    options += ['cameras:=["left", "right"]', 'class_names:=["cat", "dog"]']
    batches: list[int] = []

    def load(values: NodeParameters) -> Segmenter:
        segmenter = load_segmenter(values)
        run = segmenter.segment_batch
        segmenter.segment_batch = lambda images, words, **options: (
            batches.append(len(images)) or run(images, words, **options)
        )
        return segmenter

    with running_ros(*(part for one in options for part in ('-p', one))):
        node, probe = SegmentationNode(load), Node('probe', use_global_arguments=False)
        cameras = {name: probe.create_publisher(Image, f'{name}/image', 1) for name in SIDES}
        labels = {
            name: Inbox(probe, Image, f'zegclip/{name}/label_image', qos()) for name in SIDES
        }

        def seen() -> bool:
            for name, camera in cameras.items():
                camera.publish(
                    rgb_to_image(noise(48, 64, SIDES.index(name)), Header(frame_id=name))
                )
            # The labels of the first batch of two have been published when the second one begins.
            return batches.count(2) > 1 and all(inbox.messages for inbox in labels.values())

        spin_until(seen, node, probe)
        close_node(node)
        probe.destroy_node()
    alone = load_segmenter(node_parameters(**values))
    words = alone.encode(Vocabulary.parse('cat, dog'), negatives=('wall', 'floor'))
    for name, inbox in labels.items():
        expected = alone.segment(noise(48, 64, SIDES.index(name)), words).labels
        assert len(np.unique(expected)) > 1
        for message in inbox.messages:
            assert np.mean(image_to_labels(message) != expected) < 0.002
            assert message.header.frame_id == name
