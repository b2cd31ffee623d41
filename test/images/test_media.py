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
"""Reading images and folders: what comes out, and what is said when nothing does."""

from collections.abc import Callable
import os
from pathlib import Path
import socket
import subprocess
import sys

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import numpy.typing as npt
from PIL import Image
import pytest
from zegclip_core.errors import ImageError
from zegclip_core.images.media import (
    is_video,
    media_in,
    natural_key,
    read_image,
)

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def corner() -> Pixels:
    """Return an RGB picture, 20 rows and 30 columns, black but for a red upper left corner."""
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:5, :10] = (255, 0, 0)
    return pixels


def one_line(error: pytest.ExceptionInfo[ImageError]) -> str:
    text = str(error.value)
    assert '\n' not in text
    return text


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'tiff', 'ppm', 'gif', 'webp', 'jpg'])
def test_every_common_format_comes_out_as_rgb(tmp_path: Path, corner: Pixels, suffix: str) -> None:
    path = tmp_path / f'photo.{suffix}'
    options = {'lossless': True} if suffix == 'webp' else {}
    Image.fromarray(corner).save(path, **options)
    image = read_image(path)
    assert (image.dtype, image.shape) == (np.uint8, (20, 30, 3))
    # JPEG rounds, and smears the colours over 16 pixels; the middle of the corner stays red.
    assert np.allclose(image[1, 3], (255, 0, 0), atol=30 if suffix == 'jpg' else 0)
    assert np.allclose(image[15, 25], (0, 0, 0), atol=5 if suffix == 'jpg' else 0)


@pytest.mark.parametrize(
    ('orientation', 'turned'),
    [
        (1, lambda pixels: pixels),
        (2, np.fliplr),
        (3, lambda pixels: np.rot90(pixels, 2)),
        (4, np.flipud),
        (5, lambda pixels: pixels.transpose(1, 0, 2)),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (7, lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2)),
        (8, lambda pixels: np.rot90(pixels, 1)),
    ],
)
def test_every_exif_orientation_is_applied(
    tmp_path: Path, corner: Pixels, orientation: int, turned: Callable[[Pixels], Pixels]
) -> None:
    picture = Image.fromarray(corner)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / 'photo.png', exif=exif)
    assert np.array_equal(read_image(tmp_path / 'photo.png'), turned(corner))


def test_grey_is_repeated_for_all_channels(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / 'grey.png')
    assert np.array_equal(read_image(tmp_path / 'grey.png'), np.stack([grey] * 3, axis=2))


def test_sixteen_bit_grey_is_scaled_not_cut(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    image = read_image(tmp_path / 'deep.png')
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]
    assert np.array_equal(image[..., 0], image[..., 2])


def test_sixteen_bit_colour_keeps_its_high_byte(tmp_path: Path) -> None:
    deep = np.zeros((4, 4, 3), dtype=np.uint16)
    deep[..., 2] = 65535  # OpenCV writes BGR, so this is red.
    cv2.imwrite(str(tmp_path / 'deep.png'), deep)
    assert read_image(tmp_path / 'deep.png')[0, 0].tolist() == [255, 0, 0]


def test_float_grey_in_unit_range_is_scaled_and_other_floats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / 'unit.tiff')
    assert read_image(tmp_path / 'unit.tiff')[0, :, 1].tolist() == [0, 128, 255]
    Image.fromarray(np.array([[0.0, 7.5]], dtype=np.float32)).save(tmp_path / 'metres.tiff')
    with pytest.raises(ImageError, match=r'in \[0, 1\], but got 0 to 7.5') as error:
        read_image(tmp_path / 'metres.tiff')
    one_line(error)


def test_transparent_parts_are_white_whatever_colour_hides_there(tmp_path: Path) -> None:
    rgba = np.zeros((4, 6, 4), dtype=np.uint8)
    rgba[..., :3] = (10, 200, 30)
    rgba[:, 3:, 3] = 255
    Image.fromarray(rgba).save(tmp_path / 'cut.png')
    image = read_image(tmp_path / 'cut.png')
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 5].tolist() == [10, 200, 30]


def test_palette_with_a_transparent_entry_and_cmyk_are_read(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert('P')
    palette.putpalette([0, 0, 0, 0, 0, 255])
    palette.save(tmp_path / 'palette.png', transparency=0)
    assert read_image(tmp_path / 'palette.png')[0].tolist() == [[255, 255, 255], [0, 0, 255]]
    Image.new('CMYK', (3, 2), (0, 0, 0, 0)).save(tmp_path / 'print.tiff')
    assert read_image(tmp_path / 'print.tiff')[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize('kind', ['pipe', 'socket', 'device'])
def test_what_is_there_but_no_file_is_not_called_missing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / 'a.png'
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'socket':
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.symlink_to('/dev/null')
    with pytest.raises(ImageError, match='it is a pipe, socket or device, and no file'):
        read_image(path)


def test_missing_folder_text_and_truncated_files_get_one_line(
    tmp_path: Path, corner: Pixels
) -> None:
    with pytest.raises(ImageError, match='there is no such file') as error:
        read_image(tmp_path / 'nothing.png')
    one_line(error)
    with pytest.raises(ImageError, match='it is a folder') as error:
        read_image(tmp_path)
    (tmp_path / 'text.jpg').write_text('not a picture')
    with pytest.raises(ImageError, match='not a picture or is damaged') as error:
        read_image(tmp_path / 'text.jpg')
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / 'whole.png')
    content = (tmp_path / 'whole.png').read_bytes()
    (tmp_path / 'half.png').write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r'half\.png.*damaged') as error:
        read_image(tmp_path / 'half.png')
    one_line(error)


@given(
    start=st.sampled_from([b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'GIF89a', b'II*\0', b'BM']),
    rest=st.binary(max_size=300),
)
def test_no_garbage_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.mktemp('garbage') / 'photo.png'
    path.write_bytes(start + rest)
    try:
        image = read_image(path)
    except ImageError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - either outcome is allowed
    else:
        assert image.dtype == np.uint8
        assert image.ndim == 3


def test_files_are_sorted_as_people_count() -> None:
    names = ['f10.png', 'F2.png', 'a.png', '1.png', '01.png', 'f1b.png']
    ordered = [path.name for path in sorted(map(Path, names), key=natural_key)]
    assert ordered.index('F2.png') < ordered.index('f10.png')
    assert ordered[-1] == 'f10.png'


def test_a_folder_gives_its_pictures_and_videos_only(tmp_path: Path, corner: Pixels) -> None:
    for name in ('b.png', 'a.JPG', '.hidden.png'):
        Image.fromarray(corner).save(tmp_path / name)
    for name in ('c.avi', 'notes.txt'):
        (tmp_path / name).write_text('told by its suffix')
    (tmp_path / 'sub.png').mkdir()
    assert [path.name for path in media_in(tmp_path)] == ['a.JPG', 'b.png', 'c.avi']


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='no picture and no video'):
        media_in(tmp_path)
    with pytest.raises(ImageError, match='Cannot list the folder'):
        media_in(tmp_path / 'nowhere')


def test_videos_are_told_by_their_suffix() -> None:
    assert is_video('A.MP4')
    assert not is_video('a.png')


def test_images_need_neither_pyav_nor_matplotlib() -> None:
    code = (
        'import sys\n'
        'import zegclip_core.cli.segment, zegclip_core.images.drawing, zegclip_core.images.media\n'
        "assert not {'av', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
