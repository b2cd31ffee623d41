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
"""What image files say of themselves: orientation, depth, and formats that are not read."""

from pathlib import Path
import struct
import subprocess
import sys
import warnings

import cv2
import numpy as np
from PIL import Image
import pytest
from zegclip_core.errors import ImageError
from zegclip_core.images import values
from zegclip_core.images.media import IMAGE_SUFFIXES, read_image

TALL = np.zeros((30, 20, 3), np.uint8)
"""Turned by a quarter, it has another shape."""


def block(orientation: int, *entries: tuple[int, int, int, int], order: str = '<') -> bytes:
    """Return EXIF data: first of all an orientation, then other entries as they are given."""
    rows = [(0x0112, 3, 1, orientation), *entries]
    head = {'<': b'II*\0', '>': b'MM\0*'}[order] + struct.pack(f'{order}IH', 8, len(rows))
    body = b''.join(
        struct.pack(f'{order}HHIHH' if row[1] == 3 else f'{order}HHII', *row, *[0] * (row[1] == 3))
        for row in rows
    )
    return b'Exif\0\0' + head + body + bytes(4)


def saved(path: Path, exif: bytes, **further: bytes) -> Path:
    Image.fromarray(TALL).save(path, exif=exif, **further)
    return path


@pytest.mark.parametrize(
    ('exif', 'shape'),
    [
        (block(6), (20, 30)),
        (block(6, order='>'), (20, 30)),
        # Further entries that point behind the end do not hide an orientation that is there.
        (block(6, (0x010F, 2, 5000, 90_000), (0x011A, 5, 1, 70_000)), (20, 30)),
        (block(0), (30, 20)),
        (block(9), (30, 20)),
        (b'Exif\0\0II*\0' + struct.pack('<I', 70_000), (30, 20)),
        (b'Exif\0\0II*\0' + struct.pack('<IH', 8, 500), (30, 20)),
        (b'Exif\0\0nonsense', (30, 20)),
        (b'Exif\0\0', (30, 20)),
        (block(6)[:20], (30, 20)),
    ],
)
def test_damaged_exif_is_no_orientation_and_gives_no_raw_warning(
    tmp_path: Path, exif: bytes, shape: tuple[int, int]
) -> None:
    path = saved(tmp_path / 'photo.jpg', exif)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read_image(path).shape[:2] == shape


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp'])
def test_an_orientation_in_xmp_alone_is_not_applied(tmp_path: Path, suffix: str) -> None:
    xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    path = tmp_path / f'photo.{suffix}'
    if suffix == 'png':
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt('XML:com.adobe.xmp', xmp.decode())
        Image.fromarray(TALL).save(path, pnginfo=info)
    else:
        Image.fromarray(TALL).save(path, xmp=xmp)
    with Image.open(path) as opened:
        assert opened.getexif().get(0x0112) == 6  # Or this tests nothing.
    assert read_image(path).shape == TALL.shape


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(values, '_said', set())


@pytest.mark.usefixtures('fresh')
@pytest.mark.parametrize('suffix', ['png', 'tif', 'pgm'])
def test_grey_of_12_bits_in_16_is_no_black_and_that_is_said_once(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    deep = np.array([[0, 1024, 2048, 4095]], np.uint16)
    path = tmp_path / f'deep.{suffix}'
    cv2.imwrite(str(path), deep)
    for _ in range(2):
        assert read_image(path)[0, :, 1].tolist() == [0, 64, 128, 255]
    (line,) = caplog.messages
    assert 'never exceed 4095: they are read as 12-bit' in line


@pytest.mark.usefixtures('fresh')
@pytest.mark.parametrize('channels', [3, 4])
def test_colour_of_12_bits_in_16_is_no_black_either(tmp_path: Path, channels: int) -> None:
    deep = np.full((2, 2, channels), 4095, np.uint16)
    deep[..., :3] = (0, 1024, 4095)  # OpenCV writes BGR.
    cv2.imwrite(str(tmp_path / 'deep.png'), deep)
    assert read_image(tmp_path / 'deep.png')[0, 0].tolist() == [255, 64, 0]


@pytest.mark.usefixtures('fresh')
def test_values_above_12_bits_and_black_images_are_16_bit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for top, shown in ((4096, 16), (65535, 255), (0, 0)):
        cv2.imwrite(str(tmp_path / 'deep.png'), np.array([[0, top]], np.uint16))
        assert read_image(tmp_path / 'deep.png')[0, 1, 0] == shown
    assert caplog.messages == []


@pytest.mark.parametrize(
    ('name', 'content', 'says'),
    [
        ('a.cr2', b'II*\0', '.cr2 files are not read; convert it'),
        ('a.avif', b'\0\0\0\x18ftypavif' + bytes(40), 'it is not a picture or is damaged'),
        ('a.heic', b'\0\0\0\x18ftypheic' + bytes(40), 'it is not a picture or is damaged'),
        ('a.jpg', b'\xff\x0a' + bytes(40), 'it is JPEG XL'),
        ('a.png', b'8BPS' + bytes(40), 'it is a file of Photoshop'),
        ('a.png', b'<!doctype html><html>404</html>', 'it is a page in HTML or XML'),
        ('a.png', b'version https://git-lfs.github.com/spec/v1\n', 'a pointer of Git LFS'),
        ('a.png', b'\0\0\0\x18ftypisom' + bytes(40), 'it is a video'),
        ('a.png', b'', 'it is empty'),
        ('a.png', b'words', 'it is not a picture or is damaged'),
    ],
)
def test_what_a_file_is_instead_is_told(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / name)
    assert says in str(error.value)


@pytest.mark.parametrize('suffix', ['heic', 'HIF', 'jpg'])
def test_heic_is_read_and_turned_as_it_says(tmp_path: Path, suffix: str) -> None:
    pixels = TALL.copy()
    pixels[:15] = (255, 0, 0)
    image = Image.fromarray(pixels)
    for exif, expected in ((block(1), pixels), (block(6), np.rot90(pixels, -1))):
        image.save(tmp_path / 'photo.heic', exif=exif, quality=100)
        path = (tmp_path / 'photo.heic').rename(tmp_path / f'photo.{suffix}')
        found = read_image(path)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).mean() < 4


def test_heic_breaks_off_in_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / 'photo.heic'
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    for end in (len(content) // 2, len(content) - 9, 300, 40):
        path.write_bytes(content[:end])
        with pytest.raises(ImageError, match='damaged'):
            read_image(path)


def test_without_pillow_heif_heic_is_not_read_and_the_package_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.jpg').write_bytes(b'\0\0\0\x18ftypheic' + bytes(40))
    (tmp_path / 'b.heic').write_bytes(b'\0\0\0\x18ftypmif1' + bytes(40))
    (tmp_path / 'c.heic').write_bytes(b'ftypheic')
    code = f"""
import sys
from pathlib import Path
sys.modules['pillow_heif'] = None
from zegclip_core.images.media import content_of, read_image
folder = Path({str(tmp_path)!r})
for path in sorted(folder.iterdir()):
    try:
        read_image(path)
    except ValueError as error:
        print(error)
found = content_of(folder)
print([path.name for path in found.unread])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    first, second, third, unread = done.stdout.splitlines()
    assert 'it is HEIC, which is not supported; convert it to JPEG or PNG, or for HEIC:' in first
    assert first.endswith('pip install pillow-heif.')
    assert 'it is HEIF, which is not supported' in second
    assert '.heic files are not read' in third
    assert unread == "['b.heic', 'c.heic']"


def test_too_many_pixels_are_called_too_large_and_not_damaged(tmp_path: Path) -> None:
    Image.new('1', (20_000, 10_000)).save(tmp_path / 'huge.png')
    with pytest.raises(ImageError, match='it is too large, with more than 178956970') as error:
        read_image(tmp_path / 'huge.png')
    assert 'damaged' not in str(error.value)


def test_a_link_that_leads_nowhere_is_called_one(tmp_path: Path) -> None:
    (tmp_path / 'a.png').symlink_to(tmp_path / 'gone.png')
    with pytest.raises(ImageError, match=r'it is a link to .*gone\.png, which is not there'):
        read_image(tmp_path / 'a.png')


@pytest.mark.parametrize('suffix', ['.jfif', '.jpe', '.jp2', '.avif', '.pbm', '.mpo', '.apng'])
def test_endings_are_those_of_the_formats_that_are_read(suffix: str) -> None:
    assert suffix in IMAGE_SUFFIXES


def test_no_line_of_a_decoder_reaches_the_user(tmp_path: Path) -> None:
    path = saved(tmp_path / 'a.jpg', block(6, (0x010F, 2, 5000, 90_000)))
    code = f'from zegclip_core.images.media import read_image; read_image({str(path)!r})'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stderr == ''
