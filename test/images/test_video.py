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
"""Video files: frames against OpenCV's, files of any size and rate, and damaged ones."""

from collections.abc import Callable
from pathlib import Path
import struct

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
import pytest
from zegclip_core.errors import ImageError
from zegclip_core.images.video import Video, VideoWriter

Frames = list[npt.NDArray[np.uint8]]


def moving(number: int, size: tuple[int, int] = (48, 64)) -> Frames:
    """Return frames of a soft pattern that moves by two pixels a frame."""
    noise = np.random.default_rng(0).integers(64, 192, (4, 5, 3), dtype=np.uint8)
    image = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
    return [np.roll(image, 2 * index, axis=1) for index in range(number)]


def write_with_opencv(path: Path, codec: str, frames: Frames, rate: float = 7.0) -> Path:
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, size)
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def read_with_opencv(path: Path) -> Frames:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames


def write(path: Path, frames: Frames, rate: float = 10.0) -> Path:
    with VideoWriter(path, rate) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize(('suffix', 'codec'), [('avi', 'MJPG'), ('mp4', 'mp4v'), ('mkv', 'mp4v')])
def test_frames_rate_and_number_are_those_that_opencv_reads(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    path = write_with_opencv(tmp_path / f'walk.{suffix}', codec, moving(9))
    video = Video(path)
    assert (video.frame_rate, video.frame_count) == (7.0, 9)
    frames = list(video)
    assert np.array_equal(frames, read_with_opencv(path))
    assert frames[0].flags.c_contiguous
    # A second pass begins at the first frame again.
    assert np.array_equal(next(iter(video)), frames[0])


@pytest.mark.parametrize(
    ('degrees', 'matrix'),
    [
        (90, (0, 65536, 0, -65536, 0, 0)),
        (180, (-65536, 0, 0, 0, -65536, 0)),
        (270, (0, -65536, 0, 65536, 0, 0)),
    ],
)
def test_a_video_from_a_phone_is_turned_upright(
    tmp_path: Path, degrees: int, matrix: tuple[int, ...]
) -> None:
    path = write(tmp_path / 'phone.mp4', moving(3))
    plain = list(Video(path))
    content = bytearray(path.read_bytes())
    # The transformation stands 40 bytes behind the version of the track's header.
    start = content.index(b'tkhd') + 4 + 40
    struct.pack_into('>6i', content, start, *matrix)
    path.write_bytes(content)
    turned = list(Video(path))
    # The matrix turns clockwise, NumPy does not.
    assert np.array_equal(turned, [np.rot90(frame, -degrees // 90) for frame in plain])
    assert np.array_equal(turned, read_with_opencv(path))


@pytest.mark.parametrize(
    ('matrix', 'shown'),
    [
        ((-65536, 0, 0, 0, 65536, 0), np.fliplr),
        ((65536, 0, 0, 0, -65536, 0), np.flipud),
        ((0, 65536, 0, 65536, 0, 0), lambda frame: frame.transpose(1, 0, 2)),
        ((0, -65536, 0, -65536, 0, 0), lambda frame: np.rot90(frame, 2).transpose(1, 0, 2)),
        # A quarter but for rounding, and no turn at all.
        ((-3, 65535, 0, -65536, 2, 0), lambda frame: np.rot90(frame, -1)),
        ((65536, 0, 0, 0, 65536, 0), lambda frame: frame),
        ((0, 0, 0, 0, 0, 0), lambda frame: frame),
    ],
)
def test_a_video_of_a_front_camera_is_mirrored_back(
    tmp_path: Path, matrix: tuple[int, ...], shown: Callable[..., npt.NDArray[np.uint8]]
) -> None:
    path = write(tmp_path / 'phone.mp4', moving(2))
    plain = list(Video(path))
    content = bytearray(path.read_bytes())
    struct.pack_into('>6i', content, content.index(b'tkhd') + 4 + 40, *matrix)
    path.write_bytes(content)
    assert np.array_equal(list(Video(path)), [shown(frame) for frame in plain])


def test_exif_data_beside_a_frame_which_pyav_does_not_know_leave_it_readable(
    tmp_path: Path,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'camera.mov'
    Image.fromarray(moving(1)[0]).save(path, 'JPEG', exif=exif)
    (frame,) = Video(path)
    assert frame.shape == (64, 48, 3)


@pytest.mark.parametrize('rate', [0.5, 12.0, 29.97, 30000 / 1001])
def test_a_written_video_has_the_rate_and_nearly_the_pixels(tmp_path: Path, rate: float) -> None:
    frames = moving(20)
    path = write(tmp_path / 'made.mp4', frames, rate)
    video = Video(path)
    assert (video.frame_rate, video.frame_count) == (pytest.approx(rate, rel=1e-6), 20)
    difference = np.abs(np.array(list(video), int) - frames)
    assert difference.mean() < 5.0
    capture = cv2.VideoCapture(str(path))
    assert int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, 'little') == b'h264'


def test_frames_of_odd_size_grow_by_a_pixel(tmp_path: Path) -> None:
    path = write(tmp_path / 'odd.mp4', [np.full((47, 63, 3), (200, 30, 30), dtype=np.uint8)])
    (frame,) = Video(path)
    assert frame.shape == (48, 64, 3)
    assert np.allclose(frame.mean(axis=(0, 1)), (200, 30, 30), atol=12)
    assert np.abs(frame[-1, -1].astype(int) - frame[0, 0]).max() < 12


def test_a_video_that_cannot_be_encoded_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='encoder does not open'):
        write(tmp_path / 'no' / 'such' / 'folder.mp4', moving(1))


def test_a_video_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / 'made.mp4'
    path.write_text('old')

    def fail_half_way() -> None:
        with VideoWriter(path, 10.0) as writer:
            writer.write(moving(1)[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == 'old'
    VideoWriter(path, 10.0).close()
    assert path.read_text() == 'old'
    assert [entry.name for entry in tmp_path.iterdir()] == ['made.mp4']


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def overwritten(content: bytes) -> bytes:
    changed, place = bytearray(content), len(content) * 3 // 4
    np.frombuffer(changed, np.uint8)[place:][:400] = 0
    return bytes(changed)


@pytest.mark.parametrize('damage', [cut, overwritten])
def test_of_a_damaged_video_the_rest_is_read(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = write_with_opencv(tmp_path / 'walk.avi', 'MJPG', moving(20))
    whole = list(Video(path))
    path.write_bytes(damage(path.read_bytes()))
    frames = list(Video(path))
    assert 10 <= len(frames) <= 20
    assert np.array_equal(frames[:4], whole[:4])


def test_what_is_no_video_is_refused_at_once(tmp_path: Path) -> None:
    text = tmp_path / 'text.mp4'
    text.write_text('not a video')
    early = write_with_opencv(tmp_path / 'walk.avi', 'MJPG', moving(1))
    early.write_bytes(early.read_bytes()[:3000])
    for path, reason in ((text, 'not a video or damaged'), (tmp_path / 'gone.mp4', 'no such')):
        with pytest.raises(ImageError, match=reason) as error:
            Video(path)
        assert '\n' not in str(error.value)
    with pytest.raises(ImageError, match=r'not a video or damaged|no frame of it'):
        list(Video(early))
