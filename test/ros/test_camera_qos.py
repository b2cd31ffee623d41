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
"""Cameras that are best effort, that die, and that come back as others."""

import pytest
from rclpy.qos import ReliabilityPolicy
from ros_helpers import FakeSegmenter, Rig, running_rig, running_ros
from zegclip_ros.frames.image_input import reliability_for

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


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
