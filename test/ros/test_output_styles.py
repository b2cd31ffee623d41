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
"""What parameters make of the outputs: sizes, scores of 8 bits, names beside images, regions."""

from array import array
import json
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
import pytest
from ros_helpers import Inbox, qos, Rig, running_rig, solid, TRANSIENT
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header, String
from zegclip_ros.conversions import image_to_labels, image_to_rgb, rgb_to_image

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

WORDS = ('-p', 'class_names:=["person", "cat"]')
PIXELS = np.array([[0, 0, 1, 1, 1, 9], [0, 0, 1, 1, 1, 9], [9, 9, 9, 9, 9, 9], [1, 1, 0, 0, 9, 9]])


def frame(stamp: int) -> Image:
    """Return an image of the two classes and of none."""
    header = Header(frame_id='test_camera')
    header.stamp.sec, header.stamp.nanosec = stamp, 5
    return rgb_to_image(np.repeat(PIXELS[:, :, None], 3, axis=2).astype(np.uint8), header)


def cloud(width: int, height: int, /, **changed: Any) -> PointCloud2:  # noqa: ANN401
    """Return an organised cloud, as a depth camera sends it, but for what is changed."""
    made = PointCloud2(height=height, width=width, point_step=16, row_step=16 * width)
    made.data = array('B', bytes(16 * width * height))
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def after(rig: Rig, inbox: Inbox) -> Any:  # noqa: ANN401 - message of any type
    """Return what becomes of a frame that is sent from now on."""
    first = rig.stamp + 1
    rig.send_until(frame, lambda: any(one.header.stamp.sec >= first for one in inbox.messages))
    return inbox.last


def test_scores_are_of_8_bits_once_that_is_asked_for() -> None:
    with running_rig(*WORDS) as rig:
        scores = rig.start_and_listen('confidence')
        assert after(rig, scores).encoding == '32FC1'
        assert rig.set_to('confidence_encoding', 'mono8') == ''
        message = after(rig, scores)
        assert (message.encoding, message.step) == ('mono8', 6)
        assert set(message.data) == {191}  # 0.75 of 255.
        assert "32FC1, mono8, but got 'mono16'" in rig.set_to('confidence_encoding', 'mono16')


def test_outputs_of_another_size_are_of_the_nearest_pixels_with_the_same_header() -> None:
    with running_rig(*WORDS, '-p', 'output_size:=12x8') as rig:
        labels, scores = rig.start_and_listen(), rig.listen('zegclip/confidence')
        mask, overlay = rig.listen('zegclip/masks/cat'), rig.listen('zegclip/overlay')
        message = after(rig, labels)
        assert message.header.frame_id == 'test_camera'
        assert message.header.stamp.nanosec == 5
        expected = PIXELS.repeat(2, axis=0).repeat(2, axis=1)
        expected[expected == 9] = 255
        assert (image_to_labels(message) == expected).all()
        rig.until(lambda: scores.messages and mask.messages and overlay.messages)
        assert (scores.last.height, scores.last.width) == (8, 12)
        assert ((image_to_labels(mask.last) == 255) == (expected == 1)).all()
        assert (overlay.last.height, overlay.last.width) == (4, 6)  # It is for the eye.
        assert rig.set_to('output_size', '3x2') == ''
        small = image_to_labels(after(rig, labels))
        assert small.tolist() == [[0, 1, 255], [1, 0, 255]]
        assert rig.set_to('output_size', 'camera') == ''
        assert after(rig, labels).width == 6


@pytest.mark.parametrize(
    'text', ['', '0x5', '5x0', '400', '400x', '-4x4', '9000x5', 'Cloud', 'x' * 999]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with running_rig(*WORDS) as rig:
        assert rig.set_to('output_size', text).startswith('Expected the parameter output_size')


def test_label_images_have_the_size_of_the_clouds_and_wait_for_the_first() -> None:
    with running_rig(*WORDS, '-p', 'output_size:=cloud') as rig:
        clouds = rig.probe.create_publisher(PointCloud2, 'cloud', qos('best_effort'))
        told = Inbox(rig.probe, DiagnosticArray, '/diagnostics', qos())
        labels, overlay = rig.start_and_listen(), rig.listen('zegclip/overlay')
        after(rig, overlay)
        assert labels.messages == []

        def warned() -> bool:
            status = told.messages and told.last.status[0]
            return bool(status) and 'No organised cloud on /cloud for' in status.message

        rig.send_until(frame, warned)
        assert told.last.status[0].level == DiagnosticStatus.WARN
        for bad in (
            *(cloud(24, 1), cloud(0, 0), cloud(3, 2, row_step=1), cloud(3, 2, data=array('B'))),
            cloud(3, 2, width=2**32 - 1, height=2**32 - 1),
        ):
            seen = len(rig.log)
            clouds.publish(bad)
            rig.until(lambda seen=seen: len(rig.log) > seen, 'a refusal')
            assert 'Rejected the cloud: Expected a' in rig.log[-1]
        assert labels.messages == []
        for width, height in ((3, 2), (12, 8)):
            clouds.publish(cloud(width, height))
            rig.send_until(frame, lambda w=width: labels.messages and labels.last.width == w)
            assert labels.last.height == height
        rig.until(lambda: told.last.status[0].level == DiagnosticStatus.OK)


def test_clouds_are_subscribed_to_only_for_their_size() -> None:
    with running_rig(*WORDS) as rig:
        clouds = rig.probe.create_publisher(PointCloud2, 'cloud', qos())
        after(rig, rig.start_and_listen())
        assert clouds.get_subscription_count() == 0
        assert rig.set_to('output_size', 'cloud') == ''
        rig.until(lambda: clouds.get_subscription_count() == 1)
        assert rig.set_to('output_size', 'camera') == ''
        rig.until(lambda: clouds.get_subscription_count() == 0)


def test_regions_are_told_with_the_header_and_the_ids_of_label_info() -> None:
    with running_rig(*WORDS, '-p', 'min_area:=3', '-p', 'output_size:=12x8') as rig:
        rig.start_camera()
        regions = rig.listen('zegclip/regions', String)
        rig.say('[{"name": "person", "id": 7}, {"name": "cat", "id": 3}]')
        rig.until(lambda: [one['id'] for one in rig.state['classes']] == [7, 3])
        rig.stamp = 4000
        rig.send_until(frame, lambda: regions.messages and '"sec": 40' in regions.last.data)
        told = json.loads(regions.last.data)
        assert told['header']['frame_id'] == 'test_camera'
        assert told['header']['stamp']['nanosec'] == 5
        assert (told['width'], told['height']) == (6, 4)  # Of the image, whatever output_size is.
        rows = [(one['id'], one['name'], one['box'], one['area']) for one in told['regions']]
        assert rows == [(7, 'person', [0, 0, 2, 2], 4), (3, 'cat', [2, 0, 3, 2], 6)]
        assert {one['score'] for one in told['regions']} == {0.75}
        assert rig.set_to('min_area', 1) == ''
        rig.send_until(frame, lambda: len(json.loads(regions.last.data)['regions']) == 4)


def test_regions_are_found_only_while_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        'zegclip_ros.frames.labelled_frame.find_regions', lambda *given: calls.append(given) or []
    )
    with running_rig(*WORDS) as rig:
        overlay = rig.start_and_listen('overlay')
        after(rig, overlay)
        assert calls == []
        regions = rig.listen('zegclip/regions', String)
        rig.send_until(frame, lambda: regions.messages)
        assert calls


def test_the_overlay_shows_boxes_when_asked() -> None:
    with running_rig(*WORDS, '-p', 'min_area:=1', '-p', 'overlay_alpha:=0.0') as rig:
        overlay = rig.start_and_listen('overlay')
        plain = image_to_rgb(after(rig, overlay)).copy()
        assert rig.set_to('overlay_regions', True) == ''
        boxed = image_to_rgb(after(rig, overlay))
        assert (plain[:, :, 0] == PIXELS).all()
        assert boxed[0, 0].tolist() == rig.state['classes'][0]['color']


def test_detections_are_the_regions() -> None:
    messages = pytest.importorskip('vision_msgs.msg')
    with running_rig(*WORDS, '-p', 'min_area:=5') as rig:
        rig.start_camera()
        found = rig.listen('zegclip/detections', messages.Detection2DArray)
        message = after(rig, found)
        (one,) = message.detections
        assert one.header == message.header
        assert one.results[0].hypothesis.class_id == '1'
        assert one.results[0].hypothesis.score == 0.75
        assert (one.bbox.center.position.x, one.bbox.center.position.y) == (3.5, 1.0)
        assert (one.bbox.size_x, one.bbox.size_y) == (3.0, 2.0)


def test_names_come_beside_each_image_when_asked() -> None:
    messages = pytest.importorskip('vision_msgs.msg')
    with running_rig(*WORDS, '-p', 'label_info_every_image:=true') as rig:
        infos = Inbox(rig.probe, messages.LabelInfo, 'zegclip/label_info', TRANSIENT)
        labels = rig.start_and_listen()
        for _ in range(3):
            header = after(rig, labels).header
            rig.until(lambda header=header: infos.messages and infos.last.header == header)
        assert rig.set_to('label_info_every_image', False) == ''
        after(rig, labels)
        count = len(infos.messages)
        after(rig, labels)
        assert len(infos.messages) == count


def test_compressed_overlays_are_drawn_with_boxes_too() -> None:
    with running_rig('-p', 'class_names:=["cat"]', '-p', 'overlay_regions:=true') as rig:
        rig.start_camera()
        jpeg = rig.listen('zegclip/overlay/compressed', CompressedImage)
        rig.send_until(lambda stamp: solid(0, 64, 64, stamp=stamp), lambda: jpeg.messages)
        drawn = cv2.imdecode(np.frombuffer(jpeg.last.data, np.uint8), cv2.IMREAD_COLOR)
        # The box is of the pure colour, what is in it of half the colour.
        assert drawn[0, 30].astype(int).sum() > 1.5 * drawn[40, 30].astype(int).sum()
