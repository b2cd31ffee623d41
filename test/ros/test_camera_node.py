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
"""The camera node and what it shows."""

from itertools import pairwise
from pathlib import Path
import subprocess
import sys

import cv2
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_helpers import Inbox, qos, running_ros, spin_until
from sensor_msgs.msg import Image
from zegclip_core.errors import ImageError
from zegclip_ros.conversions import image_to_rgb
from zegclip_ros.nodes.camera import (
    bundled_photo,
    CameraNode,
    LiveCamera,
    open_source,
    PHOTOS,
    PhotoScene,
    Playlist,
)

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

SIZE = (48, 64)


def write_picture(path: Path, red: int) -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[:, :, 2] = red  # OpenCV writes BGR.
    assert cv2.imwrite(str(path), picture)


def write_video(path: Path, frames: int, rate: float) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), rate, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()


def test_the_bundled_photos_are_shown_one_after_another_and_again() -> None:
    show = open_source('', SIZE, 1.0)
    first = [show.frame(0.0), *(show.frame(second + 0.5) for second in range(len(PHOTOS)))]
    again = [show.frame(len(PHOTOS) + second + 0.5) for second in range(len(PHOTOS))]
    means = [picture.mean() for picture in first[1:] if picture is not None]
    assert len(set(means)) == len(PHOTOS)
    assert all(picture is not None and picture.shape == (*SIZE, 3) for picture in first + again)


def test_a_photo_begins_whole_and_moves_smoothly() -> None:
    photo = bundled_photo('coffee')
    scene = PhotoScene(photo, (480, 640), 4.0)
    pictures = [scene.frame(0.1 * step) for step in range(40)]
    steps = [
        np.abs(after.astype(int) - before).mean()
        for before, after in pairwise(pictures)
        if before is not None and after is not None
    ]
    assert len(steps) == 39
    assert min(steps) > 0.0
    assert max(steps) < 30.0
    assert scene.frame(4.0) is None


def test_no_border_is_ever_shown() -> None:
    white = np.full((300, 451, 3), 255, np.uint8)
    scene = PhotoScene(white, (480, 640), 3.0)
    for step in range(30):
        assert (scene.frame(0.1 * step) == 255).all()


def test_a_folder_is_played_in_order_and_broken_files_are_left_out(tmp_path: Path) -> None:
    write_picture(tmp_path / '1.png', 50)
    (tmp_path / '2.png').write_bytes(b'not a picture')
    write_picture(tmp_path / '10.png', 100)
    show = open_source(str(tmp_path), SIZE, 1.0)
    reds = [show.frame(second)[0, 0, 0] for second in (0.0, 0.9, 1.0, 1.9, 2.0)]
    assert reds == [50, 50, 100, 100, 50]


def test_a_folder_with_nothing_that_can_be_shown_is_an_error(tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(b'not a picture')
    with pytest.raises(ImageError, match='can be shown'):
        open_source(str(tmp_path), SIZE, 1.0).frame(0.0)


def test_a_video_is_played_at_its_own_speed_and_again(tmp_path: Path) -> None:
    path = tmp_path / 'steps.avi'
    write_video(path, frames=10, rate=5.0)
    show = open_source(str(path), SIZE, 1.0)
    greys = [int(show.frame(second).mean()) for second in (0.0, 0.4, 1.8, 2.2)]
    assert np.abs(np.array(greys) - [0, 40, 180, 0]).max() <= 4


def test_a_source_that_is_missing_or_damaged_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError, match='no such file'):
        open_source('/no/such/picture.png', SIZE, 1.0)
    (tmp_path / 'text.mp4').write_text('not a video')
    with pytest.raises(ImageError, match='not a video or damaged'):
        open_source(str(tmp_path / 'text.mp4'), SIZE, 1.0)
    with pytest.raises(ImageError, match='Cannot open the camera 4321: no such camera'):
        open_source('4321', SIZE, 1.0)
    # A file of that name is no camera.
    write_picture(tmp_path / '4321.png', 50)
    (tmp_path / '4321.png').rename(tmp_path / '4321')
    monkeypatch.chdir(tmp_path)
    assert open_source('4321', SIZE, 1.0).frame(0.0)[0, 0, 0] == 50


def test_a_live_camera_gives_each_frame_once_and_tells_when_it_fails(
    tmp_path: Path,
) -> None:
    path = tmp_path / 'steps.avi'
    write_video(path, frames=3, rate=5.0)
    camera = LiveCamera(str(path))
    camera._thread.join(20.0)
    newest = camera.frame(0.0)
    assert newest is not None
    assert abs(int(newest.mean()) - 40) <= 4
    with pytest.raises(ImageError, match='no more frames'):
        camera.frame(0.1)


def test_scenes_that_all_fail_end_the_playlist() -> None:
    def broken() -> PhotoScene:
        raise ImageError('Broken.')

    with pytest.raises(ImageError):
        Playlist([broken, broken]).frame(0.0)


@pytest.mark.parametrize('source', [True, 1.5, ['a'], None])
def test_sources_of_other_types_are_refused(source: object) -> None:
    with pytest.raises(ValueError, match='path or a number'):
        open_source(source, SIZE, 1.0)


@pytest.mark.parametrize('reliability', ['reliable', 'best_effort'])
def test_images_come_with_stamps_of_now_and_the_reliability_asked_for(
    tmp_path: Path, reliability: str
) -> None:
    write_picture(tmp_path / 'red.png', 200)
    arguments = ('-p', f'source:={tmp_path}/red.png', '-p', f'reliability:={reliability}')
    with running_ros(*arguments, '-p', 'rate:=50.0', '-p', 'frame_id:=front'):
        camera = CameraNode()
        probe = Node('probe', use_global_arguments=False)
        before = camera.get_clock().now().nanoseconds
        inbox = Inbox(probe, Image, '/camera/image', qos('best_effort'))
        spin_until(lambda: len(inbox.messages) >= 3, camera, probe)
        after = camera.get_clock().now().nanoseconds
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in inbox.messages]
        assert before <= stamps[0] < stamps[1] < stamps[2] <= after
        message = inbox.last
        assert (message.header.frame_id, message.encoding) == ('front', 'rgb8')
        assert (message.height, message.width) == (480, 640)
        assert image_to_rgb(message)[240, 320].tolist() == [200, 0, 0]
        offered = probe.get_publishers_info_by_topic('/camera/image')[0].qos_profile
        assert offered.reliability.name.lower() == reliability
        camera.close()
        probe.destroy_node()


def test_a_number_is_a_webcam_although_ros_reads_it_as_an_integer() -> None:
    with running_ros('-p', 'source:=987'), pytest.raises(ImageError, match='camera 987'):
        CameraNode()


def test_a_source_that_cannot_be_shown_ends_the_program_with_one_line() -> None:
    command = [sys.executable, '-m', 'zegclip_ros.nodes.camera', '--ros-args', '-p', 'source:=/no']
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert 'Cannot read /no: there is no such file or folder.' in done.stderr
    assert 'Traceback' not in done.stderr


def test_parameters_that_cannot_change_anything_are_read_only() -> None:
    with running_ros():
        camera = CameraNode()
        answer = camera.set_parameters([Parameter('rate', value=5.0)])[0]
        assert not answer.successful
        camera.close()
