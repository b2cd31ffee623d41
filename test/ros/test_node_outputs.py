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
"""Inputs and outputs of the node: cameras of all kinds, simulated time, names of the ids."""

import cv2
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_helpers import FakeSegmenter, Inbox, qos, Rig, running_rig, running_ros, solid, TRANSIENT
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from zegclip_ros.conversions import image_to_labels
from zegclip_ros.frames.image_input import reliability_for

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
WORDS = ('-p', 'class_names:=["person", "cat"]')


def jpeg(red: int, stamp: int) -> CompressedImage:
    pixels = np.full((8, 8, 3), (red, red, red), np.uint8)
    data = cv2.imencode('.png', pixels)[1].tobytes()
    return CompressedImage(header=solid(red, stamp=stamp).header, format='png', data=data)


@pytest.mark.parametrize(
    ('remap', 'topic'),
    [
        ((), 'image/compressed'),
        (('-r', 'image:=/camera/image_raw'), '/camera/image_raw/compressed'),
        (('-r', 'image/compressed:=/front/jpeg'), '/front/jpeg'),
    ],
)
def test_compressed_images_are_taken_where_image_transport_puts_them(
    remap: tuple[str, ...], topic: str
) -> None:
    with running_rig(*WORDS, '-p', 'image_transport:=compressed', *remap) as rig:
        camera = rig.probe.create_publisher(CompressedImage, topic, qos())
        labels = rig.listen('zegclip/label_image')
        rig.until(lambda: camera.get_subscription_count() == 1, f'a subscription to {topic}')
        camera.publish(jpeg(1, 5))
        rig.until(lambda: labels.messages)
        assert (image_to_labels(labels.last) == 1).all()
        assert labels.last.header == solid(1, stamp=5).header
        broken = jpeg(1, 6)
        broken.data = broken.data[:20]
        camera.publish(broken)
        rig.until(lambda: rig.log)
        assert 'Expected a' in rig.log[0]
        camera.publish(jpeg(0, 7))
        rig.until(lambda: labels.stamps()[-1] == 7)


def test_confidence_is_the_score_of_each_pixel_s_class() -> None:
    with running_rig(*WORDS) as rig:
        scores = rig.start_and_listen('confidence')
        rig.until_labelled(scores)
        message = scores.last
        assert (message.encoding, message.height, message.width) == ('32FC1', 4, 6)
        assert (np.frombuffer(message.data, np.float32) == 0.75).all()
        assert message.header.frame_id == 'test_camera'


def test_scores_are_made_only_for_those_who_listen() -> None:
    with running_rig(*WORDS) as rig:
        labels = rig.start_and_listen()
        rig.until_labelled(labels)
        assert not any(rig.segmenter.scored)
        rig.listen('zegclip/confidence')
        rig.send_until(lambda stamp: solid(1, stamp=stamp), lambda: any(rig.segmenter.scored))
        assert not rig.log


def test_a_clock_that_is_set_back_is_told_so_that_outputs_stay_tied_to_their_words() -> None:
    with running_rig(*WORDS) as rig:
        labels = rig.start_and_listen()
        rig.send_until(lambda stamp: solid(1, stamp=stamp + 1000), lambda: labels.messages)
        rig.until(lambda: rig.state['stamp'], 'the first stamp')
        first = rig.state['stamp']
        rig.send_until(
            lambda stamp: solid(1, stamp=5), lambda: rig.state['stamp'] == {'sec': 5, 'nanosec': 0}
        )
        assert first['sec'] > 1000
        assert rig.state['version'] == 1


def test_simulated_time_that_stands_still_or_jumps_stops_nothing() -> None:
    with running_rig(*WORDS, '-p', 'use_sim_time:=true') as rig:
        clock = rig.probe.create_publisher(Clock, '/clock', qos(depth=10))
        heard = Inbox(rig.probe, DiagnosticArray, '/diagnostics', qos())
        rig.until(lambda: clock.get_subscription_count() > 0)
        labels = rig.start_and_listen()
        # The clock of a bag: it stands still, runs, and starts again from the beginning.
        for second in (50, 51, 52, 10, 11):
            message = Clock()
            message.clock.sec = second
            clock.publish(message)
            frame = solid(1, stamp=second)
            rig.until(lambda: rig.camera.get_subscription_count() == 1)
            rig.send_until(lambda stamp, frame=frame: frame, lambda s=second: s in labels.stamps())
            rig.until(
                lambda s=second: heard.messages and heard.last.header.stamp.sec == s,
                f'diagnostics at {second} s',
            )


def test_the_names_of_the_ids_lie_beside_the_images() -> None:
    messages = pytest.importorskip('vision_msgs.msg')
    with running_rig(*WORDS) as rig:
        infos = Inbox(rig.probe, messages.LabelInfo, 'zegclip/label_info', TRANSIENT)
        rig.until(lambda: infos.messages)
        labels = rig.start_and_listen()
        rig.send_until(lambda stamp: solid(1, stamp=stamp), lambda: labels.messages)
        rig.until(lambda: infos.last.header == labels.messages[0].header, 'the first header')
        found = [(entry.class_id, entry.class_name) for entry in infos.last.class_map]
        assert found == [(0, 'person'), (1, 'cat')]
        assert infos.last.threshold == 0.25
        rig.say('dog')
        rig.until(lambda: [entry.class_name for entry in infos.last.class_map] == ['dog'])
        late = Inbox(rig.probe, messages.LabelInfo, 'zegclip/label_info', TRANSIENT)
        rig.until(lambda: late.messages)
        assert late.last.class_map == infos.last.class_map
        ends = rig.probe.get_publishers_info_by_topic('/zegclip/label_info')
        expected = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL).durability
        assert [end.qos_profile.durability for end in ends] == [expected]


def test_three_hundred_classes_have_labels_of_16_bits_and_masks_for_the_first() -> None:
    with running_rig(*WORDS, '-p', 'max_mask_topics:=2') as rig:
        labels = rig.start_and_listen()
        rig.say(','.join(f'thing {number}' for number in range(300)))
        rig.until(lambda: len(rig.state['classes']) == 300)
        rig.send_until(
            lambda stamp: solid(255, stamp=stamp),
            lambda: labels.messages and labels.last.encoding == '16UC1',
        )
        assert (image_to_labels(labels.last) == 255).all()
        assert [entry['topic'] for entry in rig.state['classes'][:3]] == [
            '/zegclip/masks/thing_0',
            '/zegclip/masks/thing_1',
            None,
        ]


@pytest.mark.parametrize(
    ('offered', 'chosen'),
    [
        ([], None),
        ([RELIABLE], RELIABLE),
        ([BEST_EFFORT], BEST_EFFORT),
        ([RELIABLE, BEST_EFFORT], BEST_EFFORT),
        ([RELIABLE, RELIABLE], RELIABLE),
    ],
)
def test_reliable_only_if_every_camera_is(
    offered: list[ReliabilityPolicy], chosen: ReliabilityPolicy | None
) -> None:
    assert reliability_for(offered) is chosen


@pytest.mark.parametrize('order', [('reliable', 'best_effort'), ('best_effort', 'reliable')])
def test_a_camera_may_die_and_come_back_with_another_qos(order: tuple[str, str]) -> None:
    with running_rig('-p', 'class_names:=["cat"]') as rig:
        labels = rig.listen('zegclip/label_image')
        for reliability in (*order, order[0]):
            rig.start_camera(reliability)
            rig.until_labelled(labels)
            rig.probe.destroy_publisher(rig.camera)
            rig.until(lambda: rig.node.count_publishers('/image') == 0)
        assert rig.log == []


def test_a_best_effort_camera_beside_a_reliable_one_is_heard() -> None:
    with running_rig('-p', 'class_names:=["cat"]') as rig:
        labels = rig.listen('zegclip/label_image')
        rig.start_camera('reliable')
        rig.start_camera('best_effort')
        rig.until_labelled(labels)


def test_a_fixed_reliability_stays_and_a_mismatch_is_told() -> None:
    with running_rig('-p', 'image_reliability:=reliable', '-p', 'class_names:=["cat"]') as rig:
        rig.listen('zegclip/label_image')
        rig.start_camera('best_effort')
        rig.until(lambda: any('incompatible QoS' in line for line in rig.log))
        assert rig.node._pipeline.cameras[''].reliability is RELIABLE
        # A change applies at once.
        assert rig.set_to('image_reliability', 'best_effort') == ''
        rig.until_subscribed()


def test_an_unknown_reliability_is_refused_with_the_choices() -> None:
    choices = "auto, system_default, reliable, best_effort, but got 'sometimes'"
    with (
        running_ros('-p', 'image_reliability:=sometimes'),
        pytest.raises(ValueError, match=choices),
    ):
        Rig(FakeSegmenter())
