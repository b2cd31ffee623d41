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
"""Depth over DDS: points and boxes of regions of the real node, and what is said without it."""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
import json
from typing import Any

from depth_rig import (
    depth_image,
    depth_rig,
    DepthRig,
    HIGH,
    info,
    LOW,
    ON_CRATE,
    photo,
    points_of,
    SEEN,
    WORDS,
)
from depth_scenes import CAMERA, scaled
import numpy as np
import pytest
from ros_helpers import qos, running_rig
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from std_srvs.srv import SetBool
from zegclip_ros.frames.depth_outputs import DepthOutputs

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_points_lie_on_what_is_seen_and_have_its_class(encoding: str) -> None:
    with depth_rig() as scene:
        scene.know()
        scene.depth.publish(depth_image(7, encoding=encoding))
        scene.rig.until(lambda: scene.depth_input._matcher._newest, 'depth there')
        scene.rig.camera.publish(photo(7))
        scene.rig.until(lambda: scene.found.messages, 'points')
    cloud = scene.found.last
    assert (cloud.header.stamp.sec, cloud.header.frame_id) == (7, 'optical')
    points = points_of(cloud)[0]
    assert len(points) == np.isfinite(SEEN).sum() == cloud.width
    crate, floor = points[points['label'] == 1], points[points['label'] == 0]
    assert len(crate) == ON_CRATE.sum()
    assert len(crate) + len(floor) == len(points)
    np.testing.assert_allclose(floor['y'], 1.2, atol=1e-3)
    for axis, low, high in zip('xyz', LOW, HIGH, strict=True):
        assert crate[axis].min() > low - 0.01
        assert crate[axis].max() < high + 0.01
    assert (crate['score'] == 0.75).all()
    assert (crate['rgb'].view(np.uint32) == 0x0150A0).all()
    assert (floor['rgb'].view(np.uint32) == 0x0050A0).all()


def test_organised_points_stand_where_the_pixels_do() -> None:
    with depth_rig('-p', 'points_organised:=true', '-p', 'points_color:=overlay') as scene:
        scene.know()
        scene.see(7)
        scene.rig.camera.publish(photo(7))
        scene.rig.until(lambda: scene.found.messages, 'points')
        cloud = scene.found.last
        assert scene.rig.set_to('points_organised', False) == ''
        scene.see(8)
        scene.rig.camera.publish(photo(8))
        scene.rig.until(lambda: scene.found.last.header.stamp.sec == 8, 'other points')
    assert scene.found.last.height == 1
    assert (cloud.height, cloud.width, cloud.is_dense) == (*SEEN.shape, False)
    points = points_of(cloud)
    np.testing.assert_allclose(points['z'], SEEN, atol=1e-3)
    assert np.array_equal(points['label'] == 1, ON_CRATE)
    assert set(np.unique(points['rgb'].view(np.uint32))) - {0x0150A0, 0x0050A0}


def test_depth_that_comes_after_the_labels_is_waited_for() -> None:
    with depth_rig() as scene:
        scene.know()
        scene.see(1)  # There is a depth camera.
        labels = scene.rig.listen('zegclip/label_image')
        for stamp in (20, 21):
            scene.rig.camera.publish(photo(stamp))
            scene.rig.until(lambda: stamp in labels.stamps(), 'labels')  # noqa: B023
            assert scene.found.messages == []
        scene.see(20)
        scene.rig.until(lambda: scene.found.stamps() == [20], 'points')
        scene.see(21)
        scene.rig.until(lambda: scene.found.stamps() == [20, 21], 'points of the other')


def test_a_slow_model_finds_depth_that_was_replaced_long_ago() -> None:
    with depth_rig() as scene:
        scene.know()
        scene.see(30)
        scene.rig.segmenter.going.clear()
        scene.rig.camera.publish(photo(30))
        scene.rig.until(scene.rig.segmenter.busy.is_set, 'the model at work')
        for stamp in range(31, 51):
            scene.see(stamp)
        scene.rig.segmenter.going.set()
        scene.rig.until(lambda: scene.found.stamps() == [30], 'points')


def test_depth_of_another_size_takes_both_cameras() -> None:
    with depth_rig('-p', 'points_organised:=true') as scene:
        scene.know()
        scene.see(7)
        scene.rig.camera.publish(photo(7, scale=2))
        scene.rig.until(
            lambda: any('camera info of the image' in line for line in scene.rig.log), 'a warning'
        )
        scene.image_info.publish(info(scaled(CAMERA, 2)))
        scene.rig.until(lambda: 'the image' in scene.depth_input._cameras, 'the camera known')
        scene.see(8)
        scene.rig.camera.publish(photo(8, scale=2))
        scene.rig.until(lambda: scene.found.messages, 'points')
    points = points_of(scene.found.last)
    assert points.shape == (96, 128)
    np.testing.assert_allclose(points['z'], np.kron(SEEN, np.ones((2, 2))), atol=1e-3)
    floor = points[(points['label'] == 0) & np.isfinite(points['z'])]
    # Half a pixel of depth off at most.
    np.testing.assert_allclose(floor['y'], 1.2, rtol=0.07)


def test_regions_have_boxes_where_there_is_depth() -> None:
    with depth_rig(output='regions', kind=String) as scene:
        scene.rig.camera.publish(photo(6))
        scene.rig.until(lambda: scene.found.messages, 'regions')
        assert all('box_3d' not in one for one in json.loads(scene.found.last.data)['regions'])
        scene.know()
        scene.see(7)
        scene.rig.camera.publish(photo(7))
        scene.rig.until(lambda: len(scene.found.messages) == 2, 'regions')
        regions = json.loads(scene.found.last.data)['regions']
        crate = next(one for one in regions if one['name'] == 'crate')
        # What is seen: the front, and what is seen of the top.
        x, _, z = crate['box_3d']['center']
        assert x == pytest.approx((LOW[0] + HIGH[0]) / 2, abs=0.04)
        assert z - crate['box_3d']['size'][2] / 2 == pytest.approx(LOW[2], abs=0.02)
        assert crate['box_3d']['size'][0] == pytest.approx(HIGH[0] - LOW[0], abs=0.07)
        assert scene.status() == 'The node is active.'


def test_without_listeners_nothing_listens_to_depth() -> None:
    with depth_rig() as scene:
        scene.rig.probe.destroy_subscription(scene.found.subscription)
        scene.rig.until(
            lambda: (
                scene.depth.get_subscription_count() == 0
                and scene.info.get_subscription_count() == 0
            ),
            'the node listens to no depth',
        )
        scene.rig.listen('zegclip/label_image')
        scene.rig.until_subscribed()
        assert scene.depth.get_subscription_count() == 0


def test_the_diagnostics_say_that_depth_is_missing_or_does_not_match() -> None:
    with depth_rig() as scene:
        scene.until_warned('No depth on /depth for', 'which points take')
        scene.know()
        labels = scene.rig.listen('zegclip/label_image')

        def mismatch(stamp: int) -> Image:
            scene.depth.publish(depth_image(stamp, 250_000_000))
            return photo(stamp)

        scene.rig.send_until(
            mismatch, lambda: 'does not match' in (scene.depth_input.missing or '')
        )
        scene.depth.publish(depth_image(5000, 250_000_000))
        scene.rig.camera.publish(photo(5000))
        scene.rig.until(lambda: 5000 in labels.stamps(), 'labels')
        scene.rig.until(lambda: '0.250' in (scene.depth_input.missing or ''), 'the distance')
        assert scene.found.messages == []
        said = 'nearest stamp is 0.250 s away, depth_tolerance allows 0.02 s'
        assert said in scene.depth_input.missing
        assert scene.rig.set_to('depth_tolerance', 0.3) == ''
        scene.rig.until(lambda: scene.depth_input._matcher.tolerance == 3 * 10**8, 'the tolerance')
        scene.depth.publish(depth_image(6000, 250_000_000))
        scene.rig.camera.publish(photo(6000))
        scene.rig.until(lambda: scene.found.messages, 'points')
        assert scene.depth_input.missing is None


BAD = {
    'encoding': ({'encoding': 'rgb8'}, {}, '16UC1 or 32FC1'),
    'no pixels': ({'height': 0}, {}, 'but got 64x0'),
    'step': ({'step': 3}, {}, 'a step of at least 128 bytes'),
    'data': ({'data': array('B')}, {}, 'bytes of data'),
    'zeros': ({}, {'k': [0.0] * 9}, 'positive focal lengths'),
    'nan': ({}, {'k': [float('nan')] * 9}, 'positive focal lengths'),
    'size': ({}, {'width': 640, 'height': 480}, 'to be of its size, 64x48, but got 640x480'),
}


@pytest.mark.parametrize(('depth', 'camera', 'said'), BAD.values(), ids=BAD)
def test_bad_depth_is_refused_in_one_line_and_labels_go_on(
    depth: dict[str, Any], camera: dict[str, Any], said: str
) -> None:
    with depth_rig() as scene:
        labels = scene.rig.listen('zegclip/label_image')
        for stamp in range(1, 60):
            scene.info.publish(info(CAMERA, **camera))
            scene.depth.publish(depth_image(stamp, **depth))
            scene.rig.camera.publish(photo(stamp))
            scene.rig.until(lambda: stamp in labels.stamps(), 'labels')  # noqa: B023
            if any(said in line for line in scene.rig.log):
                break
        lines = [line for line in scene.rig.log if said in line]
        assert len(lines) == 1
        assert lines[0].startswith('Rejected the depth: Expected ')
        assert '\n' not in lines[0]
        assert scene.found.messages == []
        scene.know()
        scene.see(1000)
        scene.rig.camera.publish(photo(1000))
        scene.rig.until(lambda: scene.found.stamps() == [1000], 'points after all')


def test_several_cameras_have_depth_each() -> None:
    with running_rig(*WORDS, '-p', 'cameras:=["front", "rear"]') as rig:
        rig.until_active('floor', 'crate')
        points = {
            name: rig.listen(f'zegclip/{name}/points', PointCloud2) for name in ('front', 'rear')
        }
        sent = {}
        for name in points:
            sent[name] = (
                rig.probe.create_publisher(Image, f'{name}/image', qos()),
                rig.probe.create_publisher(Image, f'{name}/depth', qos()),
                rig.probe.create_publisher(CameraInfo, f'{name}/depth/camera_info', qos()),
            )

        def stamp() -> int:
            rig.stamp += 1
            return rig.stamp

        def send() -> bool:
            if all(one.messages for one in points.values()):
                return True
            if len(rig.segmenter.moments) < 2 * (rig.stamp - before):
                return False  # The last ones are under way.
            now = stamp()
            for image, depth, camera in sent.values():
                camera.publish(info(CAMERA))
                depth.publish(depth_image(now))
                image.publish(photo(now))
            return False

        rig.until(
            lambda: all(one.get_subscription_count() for three in sent.values() for one in three),
            'the node listens',
        )
        before = rig.stamp
        rig.until(send, 'points of both')
        assert {moment.stream for moment in rig.segmenter.moments} == {'front', 'rear'}


@contextmanager
def waiting_frame() -> Iterator[tuple[DepthRig, DepthOutputs]]:
    """Have a frame with labels wait for its depth."""
    with depth_rig() as scene:
        scene.know()
        scene.see(1)
        labels = scene.rig.listen('zegclip/label_image')
        scene.rig.camera.publish(photo(20))
        scene.rig.until(lambda: 20 in labels.stamps(), 'labels')
        outputs = scene.rig.node._pipeline._depth_outputs['']
        scene.rig.until(lambda: outputs.waits, 'a frame that waits')
        yield scene, outputs


def test_frames_that_wait_for_depth_are_forgotten_when_the_node_rests() -> None:
    with waiting_frame() as (scene, outputs):
        scene.rig.node.trigger_deactivate()
        scene.rig.until_state('inactive')
        assert not outputs.waits


def test_frames_that_wait_for_depth_are_forgotten_in_a_pause() -> None:
    with waiting_frame() as (scene, outputs):
        answer = scene.rig.node._on_enable(SetBool.Request(data=False), SetBool.Response())
        assert answer.success
        scene.rig.until(lambda: not outputs.waits, 'nothing waits')


def test_frames_that_wait_for_depth_are_forgotten_with_their_last_listener() -> None:
    # The next one would get them, however old they are by then.
    with waiting_frame() as (scene, outputs):
        scene.rig.probe.destroy_subscription(scene.found.subscription)
        scene.rig.until(lambda: not outputs.waits, 'nothing waits')
