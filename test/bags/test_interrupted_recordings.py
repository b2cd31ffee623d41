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
"""Bags as recorders leave them when they are interrupted, and as people keep them."""

from pathlib import Path
import shutil
import struct

from backports import zstd
from bag_helpers import (
    camera_bag,
    Command,
    COMPRESSED,
    content,
    IMAGE,
    raw_file,
    raw_image,
    red_until,
    TYPES,
    write_bag,
)
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from zegclip_core.bags.cameras import Cameras
from zegclip_core.bags.source import BagSource
from zegclip_core.errors import BagError

WORDS = ('--classes', 'tomato, sky')


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def times(path: Path) -> list[int]:
    return [time for *_, time, _ in content(path)]


def read(path: Path) -> list[tuple[str, int, bytes]]:
    with BagSource(path) as source:
        return [
            (one.connection.topic, one.time, bytes(one.data))
            for one in source.messages(source.connections)
        ]


def torn(path: Path, kept: float) -> Path:
    """Cut the only MCAP of a folder, and leave out its metadata, as a crash does."""
    (file,) = path.glob('*.mcap')
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    (path / 'metadata.yaml').unlink()
    return file


@pytest.mark.parametrize('kept', [0.4, 0.7, 0.95, 0.999])
@pytest.mark.parametrize('folder', [True, False])
def test_an_mcap_without_its_end_is_read_to_its_last_whole_message(
    run: Command, tmp_path: Path, kept: float, folder: bool
) -> None:
    images = [raw_image(red_until(place, (60, 80)), 'rgb8') for place in range(30)]
    source = write_bag(tmp_path / 'in', {'/camera/image': (IMAGE, images)})
    whole = read(source)
    file = torn(source, kept)
    code, out, err = run(source if folder else file, tmp_path / 'out', *WORDS)
    count = len(read(file))
    assert read(file) == whole[:count]
    assert int(len(whole) * kept) - 4 <= count <= len(whole)
    assert code == 2
    assert f'it was read to its last whole message, {count} in all' in err
    assert f'{count} messages copied' in out


@pytest.mark.parametrize('kept', [0.5, 0.8])
def test_compressed_chunks_are_read_as_far_as_they_are_there(tmp_path: Path, kept: float) -> None:
    source = tmp_path / 'in'
    writer = Writer(source, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection('/image', IMAGE, typestore=TYPES)
        for place in range(40):
            noise = np.random.default_rng(place).integers(0, 256, (200, 200, 3), np.uint8)
            image = raw_image(noise, 'rgb8')
            writer.write(connection, place, image)
    whole = read(source)
    file = torn(source, kept)
    found = read(file)
    assert found == whole[: len(found)]
    assert len(found) >= int(40 * kept) - 2


@pytest.mark.parametrize(
    'statistics',
    ['whole', 'absent', 'without the counts of topics', 'absent, and no chunk listed'],
)
@pytest.mark.parametrize('folder', [True, False])
def test_an_mcap_whose_chunks_have_no_index_of_messages_is_read(
    run: Command, tmp_path: Path, statistics: str, folder: bool
) -> None:
    source = camera_bag(tmp_path / 'in')
    whole = read(source)
    (file,) = source.glob('*.mcap')
    data = file.read_bytes()
    (place,) = struct.unpack_from('<Q', data, len(data) - 28)
    parts = [data[:place]]
    while (kind := data[place]) not in {0x02, 0x0E}:
        (length,) = struct.unpack_from('<Q', data, place + 1)
        first, place = place + 9, place + 9 + length
        record = data[first:place]
        if kind == 0x08:  # Of a chunk: 32 bytes, the index by channel and its length.
            (size,) = struct.unpack_from('<I', record, 32)
            rest = 36 + size + 8
            record = record[:32] + bytes(4) + bytes(8) + record[rest:]
        if kind == 0x0B and statistics == 'without the counts of topics':
            record = record[:42] + bytes(4)  # An empty map: MCAP's way to say it is not known.
        if not {0x0B: 'absent' in statistics, 0x08: 'no chunk' in statistics}.get(kind):
            parts.append(struct.pack('<BQ', kind, len(record)) + record)
    start = len(parts[0])
    footer = struct.pack('<BQQQI', 0x02, 20, start, 0, 0)
    file.write_bytes(b''.join(parts) + footer + data[-8:])
    bag = source if folder else file
    # Without any index the order is that of the file, in which topics follow each other.
    order = sorted if 'no chunk' in statistics else list
    assert order(read(bag)) == order(whole)
    code, out, err = run(bag, tmp_path / 'out', *WORDS)
    assert (code, err) == (0, '')
    assert '6 images of /camera/image labelled' in out
    assert f'{len(whole)} messages copied' in out


@pytest.mark.parametrize('kept', [9, 30])
def test_an_mcap_of_which_nothing_is_left_is_refused(tmp_path: Path, kept: int) -> None:
    source = camera_bag(tmp_path / 'in')
    (file,) = source.glob('*.mcap')
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BagError), BagSource(file) as found:
        Cameras(found, print).choose([])


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_folder_without_metadata_is_read_file_by_file(
    run: Command, tmp_path: Path, storage: str
) -> None:
    folder = tmp_path / 'in'
    folder.mkdir()
    suffix = {'mcap': 'mcap', 'sqlite3': 'db3'}[storage]
    expected = []
    for number in (1, 2, 10):
        part = camera_bag(tmp_path / str(number), storage, frames=number)
        (file,) = part.glob(f'*.{suffix}')
        expected += read(file)
        shutil.copy(file, folder / f'run_{number}.{suffix}')
    (folder / '._run_1.mcap').write_bytes(b'junk of another system')
    (folder / 'notes.txt').write_text('words')
    assert read(folder) == expected
    code, out, err = run(folder, tmp_path / 'out', *WORDS)
    assert code == 0
    assert '13 images of /camera/image labelled' in out
    assert 'has no metadata.yaml' in err


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('folder', [True, False])
def test_files_that_were_packed_are_unpacked(tmp_path: Path, storage: str, folder: bool) -> None:
    source = camera_bag(tmp_path / 'in', storage)
    expected = read(source)
    (file,) = (path for path in source.iterdir() if path.suffix in {'.mcap', '.db3'})
    packed = tmp_path / 'packed' / f'{file.name}.zstd'
    packed.parent.mkdir()
    packed.write_bytes(zstd.compress(file.read_bytes()))
    assert read(packed.parent if folder else packed) == expected
    with BagSource(packed) as found:
        assert found.storage == storage


def test_a_torn_packed_file_is_refused_in_one_line(tmp_path: Path) -> None:
    source = camera_bag(tmp_path / 'in')
    (file,) = source.glob('*.mcap')
    packed = tmp_path / 'a.mcap.zstd'
    packed.write_bytes(zstd.compress(file.read_bytes())[:100])
    with pytest.raises(BagError, match='Cannot read the bag'):
        BagSource(packed)


@pytest.mark.parametrize('topic', ['camera/image', '/camera/image'])
def test_a_topic_may_lack_its_slash(run: Command, tmp_path: Path, topic: str) -> None:
    source = camera_bag(tmp_path / 'in', more=['/rear/image'])
    code, out, _ = run(source, tmp_path / 'out', '--topic', topic, *WORDS)
    assert (code, '6 images of /camera/image labelled' in out) == (0, True)


def test_a_near_miss_of_a_topic_is_named(run: Command, tmp_path: Path) -> None:
    source = camera_bag(tmp_path / 'in')
    _, _, err = run(source, tmp_path / 'out', '--topic', 'camera/imgae', *WORDS)
    assert 'is /camera/image meant?' in err


@pytest.mark.parametrize('prefix', ['/zegclip', '/mine/labels'])
def test_labels_of_an_earlier_run_are_no_cameras(
    run: Command, tmp_path: Path, prefix: str
) -> None:
    first, second = tmp_path / 'first', tmp_path / 'second'
    more = ('--overlay', '--masks', '--prefix', prefix)
    assert run(camera_bag(tmp_path / 'in'), first, *WORDS, *more)[0] == 0
    code, out, _ = run(first, second, '--classes', 'car', '--prefix', '/again')
    assert code == 0
    assert '6 images of /camera/image labelled' in out


def test_a_bag_without_images_says_so_and_does_not_ask_for_a_topic(
    run: Command, tmp_path: Path
) -> None:
    source = write_bag(tmp_path / 'in', {'/imu': ('sensor_msgs/msg/Imu', [b'\0\1\0\0'])})
    _, _, err = run(source, tmp_path / 'out', *WORDS)
    assert 'Expected a topic with images' in err
    assert 'only /imu (sensor_msgs/msg/Imu)' in err
    assert '--topic' not in err


def test_images_of_generic_types_and_padded_files_are_labelled(
    run: Command, tmp_path: Path
) -> None:
    images = [raw_image(red_until(2)[..., ::-1], '8UC3'), raw_image(red_until(2), '16UC1')]
    source = write_bag(tmp_path / 'in', {'/image': (IMAGE, images)})
    code, out, err = run(source, tmp_path / 'out', *WORDS)
    assert (code, '1 images of /image labelled' in out) == (2, True)
    assert 'looks like depth' in err
    files = write_bag(tmp_path / 'b', {'/a': (COMPRESSED, [raw_file(red_until(2), '.jpg')])})
    assert run(files, tmp_path / 'out2', *WORDS)[0] == 0
