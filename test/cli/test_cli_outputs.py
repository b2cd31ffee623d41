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
"""Files that the commands write: whole or not at all, and videos of any size."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from zegclip_core.cli import _outputs
from zegclip_core.errors import ImageError


def break_off(target: Path) -> None:
    with _outputs.replacing(target) as partial:
        partial.write_text('half')
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / 'result.json'
    target.write_text('old')
    with pytest.raises(TypeError):
        _outputs.write_json(target, {'not JSON': object()})
    with pytest.raises(RuntimeError):
        break_off(target)
    assert target.read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['result.json']


def test_a_video_that_cannot_be_encoded_is_an_image_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match='encoder does not open'),
        _outputs.Mp4Writer(tmp_path / 'no' / 'such' / 'folder.mp4', 10.0) as writer,
    ):
        writer.write(np.zeros((8, 8, 3), dtype=np.uint8))


def test_frames_of_odd_size_grow_by_a_pixel(tmp_path: Path) -> None:
    with _outputs.Mp4Writer(tmp_path / 'odd.mp4', 10.0) as writer:
        writer.write(np.full((47, 63, 3), (200, 30, 30), dtype=np.uint8))
    decoded, frame = cv2.VideoCapture(str(tmp_path / 'odd.mp4')).read()
    assert decoded
    assert frame.shape == (48, 64, 3)
    # OpenCV reads BGR.
    assert np.allclose(frame.mean(axis=(0, 1)), (30, 30, 200), atol=12)
