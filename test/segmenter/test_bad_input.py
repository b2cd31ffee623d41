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
"""Nothing that comes over a topic stops the node, corrupts its words or goes unnoticed."""

from array import array
from collections.abc import Callable, Iterator

import pytest
from rclpy.serialization import serialize_message
from ros_helpers import Rig, running_rig, solid
from sensor_msgs.msg import Image
from std_msgs.msg import String
from zegclip_ros.conversions import image_to_labels
from zegclip_ros.diagnostics.monitor import RejectionLog

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

GOOD = ('person', 'cat')


@pytest.fixture(scope='module')
def rig() -> Iterator[Rig]:
    """One node for all of it: what one bad message did to it shows in the next test."""
    with running_rig('-p', 'class_names:=["person", "cat"]') as made:
        made.start_camera()
        made.labels = made.listen('zegclip/label_image')
        made.until_active(*GOOD)
        yield made


def assert_alive(rig: Rig) -> None:
    """Check that frames are labelled, and with the last good words."""
    rig.until_labelled(rig.labels)
    assert (image_to_labels(rig.labels.last) == 1).all()
    assert tuple(entry['name'] for entry in rig.state['classes']) == GOOD


def fresh_lines(rig: Rig) -> int:
    """Have each reason logged once more and never again; return how many lines there are.

    Seconds after which it may be are for the log's own tests: a busy machine may take as long.
    """
    rig.node._monitor.rejections = RejectionLog(rig.node.get_logger().warning, lambda: 0.0)
    return len(rig.log)


def make_raw_string(content: bytes) -> bytes:
    """Return a serialised ``std_msgs/String`` with any bytes in it."""
    template = serialize_message(String(data='x' * len(content)))
    return template.replace(b'x' * len(content), content)


BAD_WORDS = {
    'empty': ('', 'at least one class name'),
    'blank': (' \n\t ', 'at least one class name'),
    'commas only': (' , ,\n,', 'at least one class name'),
    'gigantic': ('person, ' * 131_072, '65536 characters'),
    'broken JSON': ('["person", "cat"', 'in JSON'),
    'deep JSON': ('[' * 60_000, 'in JSON'),
    'JSON object': ('{"name": "person"}', 'JSON list'),
    'empty JSON list': ('[]', '1 to 1024 classes'),
    'JSON numbers': ('[1, 2]', 'string or an object'),
    'no name': ('[{"phrases": ["man"]}]', 'name'),
    'unknown key': ('[{"name": "person", "colour": "red"}]', 'colour'),
    'bad colour': ('[{"name": "person", "color": [1, 2, 300]}]', '0 to 255'),
    'bad threshold': ('[{"name": "person", "threshold": 2}]', '[0, 1]'),
    'duplicates': ('dog, horse, DOG', 'twice'),
    'too many': (','.join(f'thing {number}' for number in range(1025)), '1025'),
    'colliding topics': ('traffic light, traffic-light', 'both become'),
    'long name': ('x' * 201, '200 characters'),
    'control characters': ('dog\x07, horse', 'UTF-8'),
}


@pytest.mark.parametrize('case', BAD_WORDS)
def test_bad_words_are_refused_and_the_last_good_ones_stay(rig: Rig, case: str) -> None:
    text, said = BAD_WORDS[case]
    version, lines = rig.state['version'], fresh_lines(rig)
    state = rig.say(text)
    assert said in state['error']
    assert len(state['refused']) <= 110
    assert state['version'] == version
    rig.until(lambda: any(said in line for line in rig.log[lines:]))
    assert_alive(rig)
    assert len(rig.log) - lines == 1


def test_bytes_that_are_no_utf8_are_refused(rig: Rig) -> None:
    assert 'UTF-8' in rig.say(make_raw_string(b'per\xff\xfeson, cat'))['error']
    assert_alive(rig)


def test_a_good_request_clears_the_error(rig: Rig) -> None:
    assert rig.say('')['error'] is not None
    rig.say(','.join(GOOD))
    rig.until(lambda: rig.state['error'] is None and rig.state['refused'] is None)
    rig.until_active(*GOOD)


def test_odd_names_get_topics_that_ros_accepts(rig: Rig) -> None:
    rig.say('["traffic light", "3d", "café", "C++", "кошка", "猫", "<b>&\\"x\\"", "a/b~c"]')
    rig.until(lambda: len(rig.state['classes']) == 8)
    topics = [entry['topic'].rsplit('/', 1)[1] for entry in rig.state['classes']]
    assert topics == ['traffic_light', 'class_3d', 'cafe', 'c', 'koshka', 'u732b', 'b_x', 'a_b_c']
    rig.say(','.join(GOOD))
    rig.until_active(*GOOD)
    assert_alive(rig)


def test_254_classes_have_labels_of_8_bits_and_more_have_16(rig: Rig) -> None:
    for count, encoding in ((254, 'mono8'), (300, '16UC1')):
        rig.say(','.join(f'thing {number}' for number in range(count)))
        rig.until(lambda count=count: len(rig.state['classes']) == count)
        rig.send_until(
            lambda stamp: solid(253),
            lambda encoding=encoding: (
                rig.labels.messages
                and rig.labels.last.encoding == encoding
                and (image_to_labels(rig.labels.last) == 253).all()
            ),
        )
    named = [entry['topic'] for entry in rig.state['classes']]
    assert named[253].endswith('/thing_253')
    assert named[254:] == [None] * 46
    rig.send_until(
        lambda stamp: with_changes(encoding='mono8', step=6, data=array('B', [255] * 24))(),
        lambda: (image_to_labels(rig.labels.last) == 255).all(),
    )
    assert rig.labels.last.encoding == '16UC1'
    rig.say(','.join(GOOD))
    rig.until_active(*GOOD)


def test_the_same_fault_again_and_again_is_one_line(rig: Rig) -> None:
    lines = fresh_lines(rig)
    for _ in range(20):
        rig.say('[broken')
    rig.until(lambda: len(rig.log) > lines, 'the line')
    assert_alive(rig)
    assert len(rig.log) - lines == 1


def with_changes(**changes: object) -> Callable[[], Image]:
    """Return a maker of a frame with some fields put wrong."""

    def make() -> Image:
        message = solid(1)
        for field, value in changes.items():
            setattr(message, field, value)
        return message

    return make


BAD_IMAGES = {
    'step too small': (with_changes(step=5), 'step'),
    'step zero': (with_changes(step=0), 'step'),
    'step absurd': (with_changes(step=2**32 - 1), 'bytes of data'),
    'short data': (with_changes(data=array('B', bytes(10))), 'bytes of data'),
    'no data': (with_changes(data=array('B')), 'but got 0'),
    'no width': (with_changes(width=0), '0x4'),
    'no height': (with_changes(height=0), '6x0'),
    'all zero': (Image, '0x0'),
    'absurd size': (with_changes(width=2**32 - 1, height=2**32 - 1), 'pixels'),
    'unknown encoding': (with_changes(encoding='rainbow'), 'rainbow'),
    'empty encoding': (with_changes(encoding=''), "got ''"),
    'depth image': (with_changes(encoding='32FC1', step=24, data=array('B', bytes(96))), '32FC1'),
}


@pytest.mark.parametrize('case', BAD_IMAGES)
def test_bad_images_are_told_once_and_dropped(rig: Rig, case: str) -> None:
    make, said = BAD_IMAGES[case]
    lines = fresh_lines(rig)
    rig.send_until(lambda stamp: make(), lambda: any(said in line for line in rig.log[lines:]))
    assert_alive(rig)
    assert len(rig.log) - lines == 1


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (2, 3000), (3000, 2), (480, 640)])
def test_any_size_is_labelled_at_its_own_size_also_in_mid_stream(
    rig: Rig, height: int, width: int
) -> None:
    def arrived() -> bool:
        return bool(rig.labels.messages) and (
            (rig.labels.last.height, rig.labels.last.width) == (height, width)
        )

    rig.send_until(lambda stamp: solid(1, height, width), arrived)
    assert (image_to_labels(rig.labels.last) == 1).all()


def test_a_new_encoding_in_mid_stream_is_taken(rig: Rig) -> None:
    grey = with_changes(encoding='mono8', step=6, data=array('B', bytes(24)))
    rig.send_until(
        lambda stamp: grey(),
        lambda: rig.labels.messages and (image_to_labels(rig.labels.last) == 0).all(),
    )
    blue_first = with_changes(encoding='bgr8', data=array('B', bytes([9, 9, 1] * 24)))
    rig.send_until(lambda stamp: blue_first(), lambda: image_to_labels(rig.labels.last)[0, 0] == 1)


def test_the_state_stays_valid_json_with_any_refused_text(rig: Rig) -> None:
    assert rig.say('["\\ud800"]')['error'] is not None
    assert_alive(rig)
