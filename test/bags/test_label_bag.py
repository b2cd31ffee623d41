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
"""``zegclip label-bag``: what the new bag holds."""

from contextlib import closing
import json
from pathlib import Path
import sqlite3
from typing import Any

from bag_helpers import (
    camera_bag,
    Command,
    COMPRESSED,
    content,
    FOREIGN,
    hashes,
    IMAGE,
    names,
    on_topic,
    pixels_of,
    raw_file,
    raw_image,
    red_until,
    START,
    STEP,
    TYPES,
    write_bag,
)
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, MessageDefinitionFormat, QosDurability
from rosbags.rosbag2 import Reader
from zegclip_core.bags.writing import BagWriter
from zegclip_core.text.vocabulary import Vocabulary

STORAGES = ('mcap', 'sqlite3')
WORDS = ('--classes', 'tomato, sky')
LABEL_INFO_HASH = 'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783'
"""As ROS 2 makes it of ``vision_msgs`` 4.1.1."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def described(path: Path) -> dict[str, tuple[Any, ...]]:
    """Return what is known about each topic: type, definition, hash, quality of service."""
    with Reader(path) as reader:
        return {c.topic: (c.msgtype, c.msgdef, c.digest, c.ext) for c in reader.connections}


def recorded(path: Path) -> list[tuple[str, str, int, bytes]]:
    """Return what a labelled bag holds of the one that it was made from."""
    return [entry for entry in content(path) if not entry[0].startswith('/zegclip')]


@pytest.mark.parametrize('storage', STORAGES)
def test_labels_stand_beside_everything_that_was_recorded(
    run: Command, tmp_path: Path, storage: str
) -> None:
    source = camera_bag(tmp_path / 'in', storage)
    before = hashes(source)
    out = tmp_path / 'made' / 'out'
    code, text, err = run(source, out, *WORDS)
    assert (code, err) == (0, '')
    assert '6 images of /camera/image labelled' in text
    assert '10 messages copied, 8 added' in text
    assert hashes(source) == before
    assert names(tmp_path / 'made') == ['out']
    assert (out / f'out.{"mcap" if storage == "mcap" else "db3"}').is_file()

    assert recorded(out) == content(source)
    known, now = described(source), described(out)
    assert {topic: now[topic] for topic in known} == known
    with Reader(out) as reader:
        assert reader.message_count == len(content(source)) + 8
        custom = reader.storage.metadata.custom
    assert custom['robot'] == 'husky'
    note = json.loads(custom['zegclip /zegclip'])
    assert note['settings']['--classes'] == 'tomato, sky'
    # Columns 0 to 5 of 12 rows in six images of 16 columns are red, more and more of them.
    pixels = {'tomato': 12 * (1 + 2 + 3 + 4 + 5 + 6), '': 12 * (6 * 16 - 21)}
    (topic,) = note['topics']
    assert topic == {
        'topic': '/camera/image',
        'frames': 6,
        'unreadable': 0,
        'seconds': pytest.approx(5 * STEP / 1e9),
        'pixels': pixels,
    }


@pytest.mark.parametrize('storage', STORAGES)
def test_each_label_image_belongs_to_its_image(run: Command, tmp_path: Path, storage: str) -> None:
    source = camera_bag(tmp_path / 'in', storage)
    run(source, tmp_path / 'out', *WORDS)
    images = list(on_topic(source, '/camera/image'))
    labels = list(on_topic(tmp_path / 'out', '/zegclip/label_image'))
    assert len(labels) == 6
    for place, ((time, image), (label_time, label)) in enumerate(zip(images, labels, strict=True)):
        assert label_time == time
        assert (label.header.stamp.sec, label.header.stamp.nanosec) == (
            image.header.stamp.sec,
            image.header.stamp.nanosec,
        )
        assert label.header.frame_id == 'camera_optical'
        assert (label.encoding, label.step, label.is_bigendian) == ('mono8', 16, 0)
        expected = np.full((12, 16), 255)
        expected[:, : place + 1] = 0
        assert np.array_equal(pixels_of(label), expected)


def test_the_words_are_announced_before_the_first_labels(run: Command, tmp_path: Path) -> None:
    words = '[{"name": "tomato", "phrases": ["red fruit"], "threshold": 0.5}, "sky"]'
    out = tmp_path / 'out'
    run(camera_bag(tmp_path / 'in'), out, '--classes', words)
    ((time, message),) = on_topic(out, '/zegclip/active_vocabulary')
    assert time == START
    stamp = START - 5_000_000
    colors = Vocabulary.parse(words).colors.tolist()
    more = {'exact': False, 'topic': None}
    tomato = {'id': 0, 'name': 'tomato', 'phrases': ['red fruit'], 'threshold': 0.5, **more}
    sky = {'id': 1, 'name': 'sky', 'phrases': [], 'threshold': None, **more}
    assert json.loads(message.data) == {
        'version': 1,
        'classes': [{**tomato, 'color': colors[0]}, {**sky, 'color': colors[1]}],
        'stamp': {'sec': stamp // 10**9, 'nanosec': stamp % 10**9},
        'requested': 1,
        'error': None,
        'refused': None,
        'warning': None,
    }
    ((time, info),) = on_topic(out, '/zegclip/label_info')
    assert time == START
    classes = [(entry.class_id, entry.class_name) for entry in info.class_map]
    assert classes == [(0, 'tomato'), (1, 'sky')]
    assert info.threshold == 0.25
    assert info.header.stamp.nanosec == stamp % 10**9
    order = [topic for topic, *_ in content(out) if topic.startswith('/zegclip')]
    assert order.index('/zegclip/label_image') == 2
    for topic in ('active_vocabulary', 'label_info'):
        (qos,) = described(out)[f'/zegclip/{topic}'][3].offered_qos_profiles
        assert qos.durability is QosDurability.TRANSIENT_LOCAL
    (qos,) = described(out)['/zegclip/label_image'][3].offered_qos_profiles
    assert qos.durability is QosDurability.VOLATILE


def test_label_info_is_what_ros_has(run: Command, tmp_path: Path) -> None:
    run(camera_bag(tmp_path / 'in'), tmp_path / 'out', *WORDS)
    _, definition, digest, _ = described(tmp_path / 'out')['/zegclip/label_info']
    assert digest == LABEL_INFO_HASH
    text = definition.data
    fields = [line for line in text.splitlines() if line and not line.startswith('=')]
    assert fields[:3] == [
        'std_msgs/Header header',
        'vision_msgs/VisionClass[] class_map',
        'float32 threshold',
    ]
    place = fields.index('MSG: vision_msgs/VisionClass') + 1
    assert [fields[place], fields[place + 1]] == ['uint16 class_id', 'string class_name']


def test_further_outputs_on_request(run: Command, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    options = ('--overlay', '--confidence', '--masks', '--prefix', '/robot/seg')
    code, _, _ = run(camera_bag(tmp_path / 'in'), out, '--classes', 'Tomato soup,sky', *options)
    assert code == 0
    last = {}
    for name in ('label_image', 'overlay', 'confidence', 'masks/tomato_soup', 'masks/sky'):
        messages = list(on_topic(out, f'/robot/seg/{name}'))
        assert [time for time, _ in messages] == [START + place * STEP for place in range(6)]
        last[name] = pixels_of(messages[-1][1])
    assert np.array_equal(last['masks/tomato_soup'] == 255, last['label_image'] == 0)
    assert (last['masks/tomato_soup'][:, 6:] == 0).all()
    assert not last['masks/sky'].any()
    assert last['confidence'][0, 0] == 1.0
    assert last['confidence'][0, -1] == pytest.approx(100 / 255)
    assert last['overlay'][0, -1].tolist() == [100, 100, 100]
    color = Vocabulary.parse('Tomato soup,sky').colors[0]
    assert np.abs(last['overlay'][0, 0].astype(int) - (color / 2 + (127.5, 0, 0))).max() <= 1
    ((_, message),) = on_topic(out, '/robot/seg/active_vocabulary')
    topics = [entry['topic'] for entry in json.loads(message.data)['classes']]
    assert topics == ['/robot/seg/masks/tomato_soup', '/robot/seg/masks/sky']


def test_many_classes_take_sixteen_bits(run: Command, tmp_path: Path) -> None:
    words = ','.join(f'thing {number}' for number in range(255))
    code, _, _ = run(camera_bag(tmp_path / 'in'), tmp_path / 'out', '--classes', words)
    assert code == 0
    _, label = list(on_topic(tmp_path / 'out', '/zegclip/label_image'))[2]
    assert (label.encoding, label.step) == ('16UC1', 32)
    assert pixels_of(label)[0].tolist() == [0] * 3 + [65535] * 13


def test_compressed_images_and_padded_rows(run: Command, tmp_path: Path) -> None:
    padded = np.pad(red_until(4), ((0, 0), (0, 3), (0, 0)))
    source = write_bag(
        tmp_path / 'in',
        {
            '/a/compressed': (COMPRESSED, [raw_file(red_until(4), '.png')]),
            '/b': (IMAGE, [raw_image(padded, 'rgb8', width=16)]),
        },
    )
    for topic in ('/a/compressed', '/b'):
        out = tmp_path / topic[1]
        assert run(source, out, '--topic', topic, *WORDS)[0] == 0
        ((_, label),) = on_topic(out, '/zegclip/label_image')
        assert pixels_of(label)[0].tolist() == [0] * 4 + [255] * 12


def test_images_that_cannot_be_read_are_reported_once_a_kind_and_get_no_labels(
    run: Command, tmp_path: Path
) -> None:
    images = [
        raw_image(red_until(2), 'rgb8'),
        raw_image(red_until(2), 'rgb8', step=1),
        raw_image(red_until(2), 'rgb8', step=2),
        raw_image(red_until(2), '8UC9'),
        b'\x00\x01\x00\x00torn',
        raw_image(red_until(3), 'rgb8'),
    ]
    source = write_bag(tmp_path / 'in', {'/camera/image': (IMAGE, images)})
    code, text, err = run(source, tmp_path / 'out', *WORDS)
    assert code == 2
    assert '2 images of /camera/image labelled' in text
    assert '4 could not be read' in text
    step, encoding, torn = err.splitlines()
    assert 'recorded at 1700000000.033 s: Expected a step of at least 48 bytes' in step
    assert '8UC9' in encoding
    assert 'It is no sensor_msgs/msg/Image' in torn
    labels = list(on_topic(tmp_path / 'out', '/zegclip/label_image'))
    assert [time for time, _ in labels] == [START, START + 5 * STEP]
    assert [raw for *_, raw in recorded(tmp_path / 'out')] == images


def test_every_nth_image(run: Command, tmp_path: Path) -> None:
    code, text, _ = run(camera_bag(tmp_path / 'in'), tmp_path / 'out', *WORDS, '--every', 4)
    assert (code, '2 images' in text) == (0, True)
    labels = list(on_topic(tmp_path / 'out', '/zegclip/label_image'))
    assert [time for time, _ in labels] == [START, START + 4 * STEP]


@pytest.mark.parametrize(('stored', 'wanted'), [STORAGES, STORAGES[::-1]])
def test_the_storage_can_be_changed(
    run: Command, tmp_path: Path, stored: str, wanted: str
) -> None:
    source, out = camera_bag(tmp_path / 'in', stored), tmp_path / 'out'
    assert run(source, out, *WORDS, '--storage', wanted)[0] == 0
    assert wanted in (out / 'metadata.yaml').read_text()
    assert recorded(out) == content(source)
    # A reader that learns the types from the bag finds them all.
    with AnyReader([out]) as reader:
        assert {FOREIGN, IMAGE, 'vision_msgs/msg/LabelInfo'} <= set(reader.typestore.fielddefs)


def test_mcap_can_be_compressed(run: Command, tmp_path: Path) -> None:
    source = camera_bag(tmp_path / 'in', frames=100)
    run(source, tmp_path / 'plain', *WORDS)
    run(source, tmp_path / 'small', *WORDS, '--compress')
    assert content(tmp_path / 'small') == content(tmp_path / 'plain')
    sizes = [(tmp_path / name / f'{name}.mcap').stat().st_size for name in ('small', 'plain')]
    assert 2 * sizes[0] < sizes[1]


@pytest.mark.parametrize('storage', STORAGES)
def test_a_single_file_is_a_bag_too(run: Command, tmp_path: Path, storage: str) -> None:
    (file,) = camera_bag(tmp_path / 'in', storage).glob('in.*')
    assert run(file, tmp_path / 'out', *WORDS)[0] == 0
    assert recorded(tmp_path / 'out') == content(tmp_path / 'in')


@pytest.mark.parametrize('name', ['run #1', 'why?', '50%20', 'über'])
@pytest.mark.parametrize('storage', STORAGES)
def test_folders_may_have_any_name(run: Command, tmp_path: Path, name: str, storage: str) -> None:
    source = camera_bag(tmp_path / 'in', storage)
    code, _, err = run(source, tmp_path / name / 'first', *WORDS)
    assert (code, err) == (0, '')
    source.rename(tmp_path / name / 'in')
    code, _, err = run(tmp_path / name / 'in', tmp_path / 'second', *WORDS)
    assert (code, err) == (0, '')
    (tmp_path / name / 'first').rename(tmp_path / 'first')
    assert content(tmp_path / 'first') == content(tmp_path / 'second')
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(('first', name, 'second'))


@pytest.mark.parametrize('wanted', STORAGES)
@pytest.mark.parametrize('bare', [FOREIGN, '%'])
def test_types_without_a_definition_stay_without_unless_none_has_one_and_they_are_common(
    run: Command, tmp_path: Path, wanted: str, bare: str
) -> None:
    source, out = camera_bag(tmp_path / 'in', 'sqlite3'), tmp_path / 'out'
    with closing(sqlite3.connect(source / 'in.db3')) as database, database:
        database.execute('DELETE FROM message_definitions WHERE topic_type LIKE ?', (bare,))
    assert run(source, out, *WORDS, '--storage', wanted)[0] == 0
    assert recorded(out) == content(source)
    formats = {entry[0]: entry[1].format for entry in described(out).values()}
    assert formats[FOREIGN] is MessageDefinitionFormat.NONE
    assert formats[IMAGE] is formats['sensor_msgs/msg/Imu'] is MessageDefinitionFormat.MSG
    # The definitions are such that a reader understands the messages.
    assert len(list(on_topic(out, '/camera/image'))) == 6


def test_topics_recorded_twice_are_one(tmp_path: Path) -> None:
    with Reader(camera_bag(tmp_path / 'in')) as reader:
        connection: Connection = reader.connections[0]
        with BagWriter(tmp_path / 'out', 'mcap') as writer:
            first = writer.copy_connection(connection)
            assert writer.copy_connection(connection._replace(id=9)) is first
    assert TYPES.hash_rihs01(IMAGE) == first.digest
