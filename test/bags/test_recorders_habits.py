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
"""What recorders pack, split, tear and note beside the messages."""

from contextlib import closing
from pathlib import Path
import shutil
import sqlite3
import struct

from backports import zstd
from bag_helpers import (
    camera_bag,
    Command,
    content,
    hashes,
    IMAGE,
    on_topic,
    raw_image,
    red_until,
    START,
    STEP,
    write_bag,
)
import lz4.frame
import numpy as np
import pytest
from rosbags.rosbag2 import Reader
import yaml
from zegclip_core.bags.mcap import Recorded
from zegclip_core.bags.mcap_writing import McapFile
from zegclip_core.bags.source import BagSource

WORDS = ('--classes', 'tomato, sky')
PACK = {'zstd': zstd.compress, 'lz4': lz4.frame.compress}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def read(path: Path) -> list[tuple[str, int, bytes]]:
    with BagSource(path) as source:
        return [
            (one.connection.topic, one.time, bytes(one.data))
            for one in source.messages(source.connections)
        ]


def file_of(bag: Path) -> Path:
    (file,) = (path for path in bag.iterdir() if path.suffix in {'.mcap', '.db3'})
    return file


def change_metadata(bag: Path, **changes: object) -> None:
    path = bag / 'metadata.yaml'
    content = yaml.safe_load(path.read_text())
    content['rosbag2_bagfile_information'].update(changes)
    path.write_text(yaml.safe_dump(content))


def large_bag(path: Path, storage: str = 'mcap', frames: int = 60) -> Path:
    """Write a bag whose images need pages of their own and several chunks."""
    noise = np.random.default_rng(1).integers(0, 256, (frames, 60, 80, 3), np.uint8)
    images = [raw_image(one, 'rgb8') for one in noise]
    return write_bag(path, {'/camera/image': (IMAGE, images), '/other': (IMAGE, images)}, storage)


@pytest.mark.parametrize('kept', [0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize('folder', [True, False])
def test_a_sqlite_file_that_was_cut_off_is_read_to_its_last_whole_messages(
    run: Command, tmp_path: Path, kept: float, folder: bool
) -> None:
    source = large_bag(tmp_path / 'in', 'sqlite3')
    whole, file = read(source), file_of(source)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    (source / 'metadata.yaml').unlink()
    before, found = hashes(source), read(file)
    assert set(found) <= set(whole)
    assert found == sorted(found, key=lambda one: one[1])
    assert len(whole) * kept - 4 <= len(found) < len(whole)
    code, out, err = run(source if folder else file, tmp_path / 'out', *WORDS)
    assert (code, f'{len(found)} messages copied' in out) == (2, True)
    assert f'it was read to its last whole message, {len(found)} in all' in err
    assert hashes(source) == before


def test_a_sqlite_file_without_its_tables_is_refused_in_one_line(
    run: Command, tmp_path: Path
) -> None:
    file = file_of(large_bag(tmp_path / 'in', 'sqlite3'))
    data = file.read_bytes()
    for size in (50, 100, 4096, 5000):
        file.write_bytes(data[:size])
        code, _, err = run(file, tmp_path / 'out', *WORDS)
        assert code == 2
        assert err.count('\n') == 1


@pytest.mark.parametrize('dropped', ['timestamp_idx', 'no_such_index'])
def test_sqlite_is_read_in_order_with_and_without_an_index(tmp_path: Path, dropped: str) -> None:
    source = large_bag(tmp_path / 'in', 'sqlite3')
    whole = read(source)
    with closing(sqlite3.connect(file_of(source))) as database, database:
        database.execute('UPDATE messages SET id = 1000 - id')
        database.execute(f'DROP INDEX IF EXISTS {dropped}')
    assert read(source) == whole


def test_what_sqlite_has_not_yet_moved_into_the_file_is_read_too(
    run: Command, tmp_path: Path
) -> None:
    source = camera_bag(tmp_path / 'in', 'sqlite3')
    file, whole = file_of(source), read(source)
    with closing(sqlite3.connect(file)) as database:
        database.execute('PRAGMA journal_mode = WAL')
        last = database.execute(
            'SELECT topic_id, data FROM messages WHERE topic_id = 1'
        ).fetchone()
        row = (last[0], START + 99 * STEP, last[1])
        with database:
            database.execute(
                'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)', row
            )
        killed = tmp_path / 'killed'
        killed.mkdir()
        for name in (file.name, f'{file.name}-wal'):
            shutil.copy(source / name, killed / name)
    before = hashes(killed)
    assert read(killed) == [*whole, ('/camera/image', START + 99 * STEP, last[1])]
    code, out, _ = run(killed, tmp_path / 'out', *WORDS)
    assert (code, '7 images' in out) == (0, True)
    assert hashes(killed) == before


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('kind', PACK)
@pytest.mark.parametrize('way', ['file', 'message'])
def test_what_a_recorder_has_packed_is_unpacked(
    run: Command, tmp_path: Path, storage: str, kind: str, way: str
) -> None:
    plain = camera_bag(tmp_path / 'plain', storage)
    expected = read(plain)
    source = tmp_path / 'in'
    if way == 'file':
        shutil.copytree(plain, source)
        file = file_of(source)
        packed = source / f'{file.name}.{kind}'
        packed.write_bytes(PACK[kind](file.read_bytes()))
        file.unlink()
        change_metadata(source, relative_file_paths=[f'/data/far/{packed.name}'])
    else:
        topics = dict.fromkeys(topic for topic, *_ in expected)
        with Reader(plain) as reader:
            types = {one.topic: one.msgtype for one in reader.connections}
        messages = {
            topic: (
                types[topic],
                [PACK[kind](data) for name, _, data in expected if name == topic],
            )
            for topic in topics
        }
        write_bag(source, messages, storage)
    change_metadata(source, compression_format=kind, compression_mode=way.upper())
    assert [one[::2] for one in read(source)] == [one[::2] for one in expected]
    code, out, _ = run(source, tmp_path / 'out', *WORDS)
    assert (code, '6 images of /camera/image labelled' in out) == (0, True)


def test_an_unknown_packing_is_named(run: Command, tmp_path: Path) -> None:
    source = camera_bag(tmp_path / 'in')
    change_metadata(source, compression_format='brotli', compression_mode='MESSAGE')
    assert "it is compressed by 'brotli'; zstd and lz4 are read" in run(source, 'out', *WORDS)[2]


@pytest.mark.parametrize('kind', PACK)
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_packed_file_that_breaks_off_is_read_as_far_as_it_is_there(
    run: Command, tmp_path: Path, kind: str, storage: str
) -> None:
    file = file_of(large_bag(tmp_path / 'in', storage))
    whole, packed = read(file), tmp_path / f'{file.name}.{kind}'
    data = PACK[kind](file.read_bytes())
    packed.write_bytes(data[: len(data) // 2])
    found = read(packed)
    assert set(found) <= set(whole)
    assert len(found) > 0.2 * len(whole)
    code, _, err = run(packed, tmp_path / 'out', *WORDS)
    assert (code, f'{len(found)} in all' in err) == (2, True)


@pytest.mark.parametrize('kind', PACK)
def test_a_chunk_that_breaks_off_is_read_as_far_as_it_is_there(tmp_path: Path, kind: str) -> None:
    file = file_of(large_bag(tmp_path / 'in'))
    whole = read(file)
    with file.open('rb') as opened:
        storage_head = opened.read()
    # One chunk with everything, packed anew: as large as recorders' are small.
    start = 8 + 9 + struct.unpack_from('<Q', storage_head, 9)[0]
    records = b''.join(chunks_of(storage_head, start))
    body = PACK[kind](records)
    name = kind.encode()
    head = struct.pack('<QQQII', START, START + 99 * STEP, len(records), 0, len(name)) + name
    chunk = head + struct.pack('<Q', len(body)) + body
    torn = storage_head[:start] + struct.pack('<BQ', 6, len(chunk)) + chunk
    file.write_bytes(torn[: int(len(torn) * 0.6)])
    found = read(file)
    assert found == sorted(whole)[: len(found)]  # One topic was written after the other.
    assert 0.2 * len(whole) < len(found) < len(whole)


def chunks_of(data: bytes, place: int) -> list[bytes]:
    """Return the records of each chunk of an MCAP, which packs none."""
    found = []
    while data[place] != 0x0F:
        kind, length = struct.unpack_from('<BQ', data, place)
        start, end = place + 9 + 40, place + 9 + length
        if kind == 6:
            found.append(data[start:end])
        place = end
    return found


@pytest.mark.parametrize('names', [('a_0', 'a_1', 'a_10'), ('0_run_20', '1_run_7', '10_run_3')])
@pytest.mark.parametrize('metadata', [True, False])
def test_split_bags_are_read_in_the_order_of_time(
    run: Command, tmp_path: Path, names: tuple[str, ...], metadata: bool
) -> None:
    """Names as recorders give them up to Kilted, and from Lyrical on: counter, prefix, time."""
    folder = tmp_path / 'in'
    folder.mkdir()
    expected = []
    for number, name in enumerate(names):
        images = [raw_image(red_until(number + 1), 'rgb8')] * 2
        part = write_bag(tmp_path / name, {'/camera/image': (IMAGE, images)})
        data = file_of(part).read_bytes()
        moved = START + number * 10 * STEP
        for shift in (0, STEP):
            data = data.replace(struct.pack('<Q', START + shift), struct.pack('<Q', moved + shift))
        (folder / f'{name}.mcap').write_bytes(data)
        expected += [moved, moved + STEP]
        shutil.copy(part / 'metadata.yaml', folder)
    paths = [f'{name}.mcap' for name in names]
    change_metadata(folder, relative_file_paths=paths, message_count=6)
    if not metadata:
        (folder / 'metadata.yaml').unlink()
    assert [time for _, time, _ in read(folder)] == expected
    code, out, err = run(folder, tmp_path / 'out', *WORDS)
    assert (code, '6 images' in out) == (0, True)
    assert ('has no metadata.yaml' in err) is not metadata
    if metadata:
        (folder / paths[1]).unlink()
        code, out, err = run(folder, tmp_path / 'out2', *WORDS)
        assert (code, '4 images' in out) == (2, True)
        assert f'are not there: {paths[1]}' in err


@pytest.mark.parametrize('text', ['', '\0\0\0\0'])
def test_an_empty_metadata_file_is_as_none(run: Command, tmp_path: Path, text: str) -> None:
    source = camera_bag(tmp_path / 'in')
    (source / 'metadata.yaml').write_text(text)
    code, out, err = run(source, tmp_path / 'out', *WORDS)
    assert (code, '6 images' in out) == (0, True)
    assert 'has no metadata.yaml' in err


@pytest.mark.parametrize('text', ['a: [', 'rosbag2_bagfile_information: 3', '[]', '!!python/x'])
def test_a_damaged_metadata_file_is_named(run: Command, tmp_path: Path, text: str) -> None:
    source = camera_bag(tmp_path / 'in')
    (source / 'metadata.yaml').write_text(text)
    assert 'its metadata.yaml is damaged' in run(source, tmp_path / 'out', *WORDS)[2]


def mcap_with_extras(path: Path) -> Path:
    """Write an MCAP whose messages were published earlier, with attachments and metadata."""
    bag = camera_bag(path)
    file = file_of(bag)
    with BagSource(file) as source:
        messages = list(source.messages(source.connections))
    with Reader(bag) as reader:
        connections = list(reader.connections)
    attachment = (
        struct.pack('<QQ', START, START + 1)
        + struct.pack('<I', 9) + b'plan.json'
        + struct.pack('<I', 4) + b'text'
        + struct.pack('<Q', 5) + b'hello' + bytes(4)
    )  # fmt: skip
    noted = struct.pack('<I', 4) + b'trip' + struct.pack('<I', 16) + b'\4\0\0\0city\4\0\0\0Bonn'
    raw = tmp_file(path, attachment + noted)
    with raw.open('rb') as opened:
        from rosbags.rosbag2 import CompressionMode
        from zegclip_core.bags.mcap import ATTACHMENT, Extra, METADATA

        file.unlink()
        writer = McapFile(bag, CompressionMode.NONE)
        for one in connections:
            writer.add_msgtype(one)
            writer.add_connection(one, '')
        writer.add_extra(Extra(ATTACHMENT, opened, 0, len(attachment)))
        known = {one.topic: one for one in connections}
        for number, message in enumerate(messages):
            changed = message._replace(published=message.time - 1234, number=number + 7)
            writer.put(known[message.connection.topic], changed)
        writer.add_extra(Extra(METADATA, opened, len(attachment), len(noted)))
        writer.close(8, 'of the recorder')
    return bag


def tmp_file(path: Path, data: bytes) -> Path:
    target = path.with_name(f'{path.name}.bin')
    target.write_bytes(data)
    return target


def recorded(path: Path) -> list[Recorded]:
    with BagSource(path) as source:
        found = source.messages([c for c in source.connections if 'zegclip' not in c.topic])
        return [one._replace(connection=one.connection.topic) for one in found]


def extras(path: Path) -> list[tuple[int, bytes]]:
    with BagSource(path) as source:
        return [(one.kind, one.head(10**6)) for one in source.extras()]


def test_times_of_publication_attachments_and_metadata_are_kept(
    run: Command, tmp_path: Path
) -> None:
    source = mcap_with_extras(tmp_path / 'in')
    code, _, err = run(source, tmp_path / 'out', *WORDS)
    assert (code, err) == (0, '')
    found = recorded(tmp_path / 'out')
    assert found == recorded(source)
    assert {one.time - (one.published or 0) for one in found} == {1234}
    assert [one.number for one in found] == list(range(7, 17))
    assert extras(tmp_path / 'out') == extras(source)
    assert [kind for kind, _ in extras(source)] == [0x09, 0x0C]
    assert b'hello' in extras(source)[0][1]


def test_what_sqlite_has_no_place_for_is_said(run: Command, tmp_path: Path) -> None:
    source = mcap_with_extras(tmp_path / 'in')
    code, _, err = run(source, tmp_path / 'out', *WORDS, '--storage', 'sqlite3')
    assert code == 0
    assert '1 attachments and 1 metadata are not copied' in err


def test_the_index_of_a_new_mcap_leads_to_everything(run: Command, tmp_path: Path) -> None:
    """Read by the places that the summary names, as other readers do."""
    run(mcap_with_extras(tmp_path / 'in'), tmp_path / 'out', *WORDS)
    data = file_of(tmp_path / 'out').read_bytes()
    start, offsets, _ = struct.unpack_from('<QQI', data, len(data) - 28)
    seen, place = {}, start
    while place < offsets:
        kind, length = struct.unpack_from('<BQ', data, place)
        first, place = place + 9, place + 9 + length
        seen.setdefault(kind, []).append(data[first:place])
    for kind, target in ((0x08, 0x06), (0x0A, 0x09), (0x0D, 0x0C)):
        for one in seen[kind]:
            where, size = struct.unpack_from('<QQ', one, 16 if kind == 8 else 0)
            assert data[where] == target
            assert struct.unpack_from('<Q', data, where + 1)[0] == size - 9
    counts = struct.unpack_from('<QHIIII', seen[0x0B][0])
    messages = len(content(tmp_path / 'out'))
    assert counts == (
        *(messages, len(seen[3]), len(seen[4])),
        *(len(seen[0x0A]), len(seen[0x0D]), len(seen[8])),
    )
    assert (len(seen[0x0A]), len(seen[0x0D])) == (1, 2)
    assert len(list(on_topic(tmp_path / 'out', '/zegclip/label_image'))) == 6
