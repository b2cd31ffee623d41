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
"""The page of a running node: what it shows comes over topics, and words go out the same way."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
import io
import json
from typing import Any
from unittest.mock import Mock

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
from PIL import Image
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_helpers import Rig, running_rig, solid
from std_msgs.msg import String
from web_pages import encoded, Talk
from zegclip_core.messages.outputs import announcement, score_fields
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.web.settings import Settings
from zegclip_ros.conversions import image_message, image_to_scores
from zegclip_ros.listening import Announcement
from zegclip_ros.nodes.web import WebNode
from zegclip_ros.web_desk import NodeDesk

pytestmark = [pytest.mark.ros, pytest.mark.timeout(300)]

PERIOD = 0.2
"""Seconds between two frames of the camera."""
ARGUMENTS = ('-p', 'zegclip:class_names:=["person", "cat"]', '-p', 'zegclip_web:port:=0')


@pytest.fixture
def rig() -> Iterator[Rig]:
    with running_rig(*ARGUMENTS) as made:
        made.start_camera()
        yield made


@pytest.fixture
def page(rig: Rig) -> Iterator[WebNode]:
    node = WebNode()
    rig.executor.add_node(node)
    yield node
    node.close()
    node.destroy_node()


def meanwhile(rig: Rig, scenario: Callable[[], Any]) -> Any:  # noqa: ANN401 - what it returns
    """Play a page in a thread of its own while a camera sends frames of the class 1."""

    def send() -> None:
        rig.stamp += 1
        rig.camera.publish(solid(1, stamp=rig.stamp))

    timer = rig.probe.create_timer(PERIOD, send)
    try:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(scenario)
            rig.until(future.done, 'what the page does')
            return future.result()
    finally:
        rig.probe.destroy_timer(timer)


def until(talk: Talk, kind: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first message of a kind for which something holds."""
    while not holds(found := talk.heard(kind)):
        pass
    return found


def told(names: tuple[str, ...] = (), version: int = 0, **changed: object) -> str:
    """Return what a node announces, with some fields changed."""
    words = Vocabulary.from_names(names) if names else None
    topics = [None] * len(names)
    fields = announcement(words, topics, version=version, stamp=None, requested=version)
    return json.dumps({**fields, **changed})


def names(fields: dict[str, Any]) -> list[str]:
    return [one['name'] for one in fields['classes']]


def test_frames_of_the_node_are_shown_with_labels_and_shares(rig: Rig, page: WebNode) -> None:
    def scenario() -> None:
        with Talk(page.addresses[0]) as talk:
            until(talk, 'answer', lambda one: 'person, cat' in one['text'])
            found = talk.heard('result')
            assert (names(found), found['live']) == (['person', 'cat'], True)
            assert (found['labels'] == 1).all()
            assert [one['share'] for one in found['classes']] == [0.0, 1.0]
            photo = np.asarray(Image.open(io.BytesIO(found['photo'])))
            assert photo.shape == (*found['labels'].shape, 3)
            rows = dict(until(talk, 'diagnostics', lambda one: len(one['rows']) > 3)['rows'])
            assert rows['state'] == 'active'
            talk.say('hover', row=1)
            heat = until(talk, 'result', lambda one: 'map' in one)
            assert heat['row'] == 1
            place = talk.point(0.5, 0.5)
            assert (place['label'], place['ranking'][0]['name']) == (1, 'cat')
            score = place['ranking'][0]['score']
            assert np.abs(heat['map'] / 255.0 - score).max() < 0.01
            status, file = talk.download('label.png')
            assert (status, np.unique(np.asarray(Image.open(io.BytesIO(file))))) == (200, [1])
            report = json.loads(talk.download('result.json')[1])
            assert report['classes'][1]['share'] == 1.0

    meanwhile(rig, scenario)


def test_words_go_over_the_topic_and_come_back(rig: Rig, page: WebNode) -> None:
    def scenario() -> None:
        with Talk(page.addresses[0]) as talk:
            talk.heard('result')
            talk.look_for('dog, tree', 1)
            until(talk, 'answer', lambda one: 'dog, tree' in one['text'])
            assert (
                until(talk, 'result', lambda one: names(one) == ['dog', 'tree'])['labels'] == 1
            ).all()
            talk.look_for('dog, dog', 2)
            assert talk.heard('error')['box'] == 'words'
            with Talk(page.addresses[0]) as other:
                assert other.heard('words')['text'] == 'dog, tree'

    meanwhile(rig, scenario)
    assert rig.segmenter.encoded[-1] == ('dog', 'tree')


def test_threshold_and_negatives_are_the_parameters_of_the_node(rig: Rig, page: WebNode) -> None:
    def scenario() -> None:
        with Talk(page.addresses[0]) as talk:
            talk.heard('result')
            talk.look_for('person, cat', 1, threshold=0.75, negatives='sky, sea')
            talk.look_for('person, cat, dog', 2, threshold=0.75, negatives='sky, sea')
            until(talk, 'answer', lambda one: 'dog' in one['text'])

    meanwhile(rig, scenario)
    rig.until(lambda: rig.node.get_parameter('threshold').value == 0.75, 'the threshold')
    rig.until(
        lambda: list(rig.node.get_parameter('negatives').value) == ['sky', 'sea'], 'the negatives'
    )


def test_opening_a_page_changes_nothing_and_photos_are_refused(rig: Rig, page: WebNode) -> None:
    def scenario() -> None:
        with Talk(page.addresses[0]) as talk:
            talk.heard('result')
            assert talk.photo(encoded(np.zeros((8, 8, 3), np.uint8)))[0] in (409, 422)
            talk.frame(b'frame', 1, 0.0)
            assert 'camera' in talk.heard('error')['text']
            talk.look_for('person', 1, smoothing=0.5)
            assert 'smoothing' in talk.heard('error')['text']

    meanwhile(rig, scenario)
    assert set(rig.segmenter.encoded) == {('person', 'cat')}


def test_outputs_are_subscribed_to_only_while_a_page_is_open(rig: Rig, page: WebNode) -> None:
    topic = rig.node.resolve_topic_name('~/label_image')
    assert rig.node.count_subscribers(topic) == 0

    def scenario() -> None:
        with Talk(page.addresses[0]) as talk:
            talk.heard('result')

    meanwhile(rig, scenario)
    rig.until(lambda: rig.node.count_subscribers(topic) == 0, 'the page letting go')


@pytest.mark.parametrize(
    ('camera', 'stamps'),
    [('front', {'stamp': None}), ('', {'stamps': {'rear': None}}), ('x', {'stamps': {'y': None}})],
)
def test_a_camera_that_the_node_has_not_ends_it(
    page: WebNode, monkeypatch: pytest.MonkeyPatch, camera: str, stamps: dict[str, Any]
) -> None:
    end = Mock()
    monkeypatch.setattr(page, 'end', end)
    monkeypatch.setattr(page, '_camera', camera)
    page._on_announcement(String(data=told(**stamps)))
    end.assert_called_once_with(1)


def test_a_malformed_announcement_is_passed_over(rig: Rig, page: WebNode) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    other = rig.probe.create_publisher(String, 'zegclip/active_vocabulary', latched)

    def scenario() -> None:
        with Talk(page.addresses[0]) as talk:
            until(talk, 'answer', lambda one: 'person, cat' in one['text'])
            for text in ('no json', '{"version": 2}', told(names=('dog',), version=7)):
                other.publish(String(data=text))
            until(talk, 'answer', lambda one: one['text'] == 'In use: dog')

    meanwhile(rig, scenario)
    rig.probe.destroy_publisher(other)


def test_diagnostics_of_a_node_of_the_same_name_elsewhere_are_not_shown(
    page: WebNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(page.desk, 'diagnosed', lambda message, values: shown.append(message))
    statuses = [
        DiagnosticStatus(name='rear/zegclip: segmentation', message='of another'),
        DiagnosticStatus(name='zegclip: camera front', message='of a camera'),
        DiagnosticStatus(name='zegclip: segmentation', message='its own'),
    ]
    page._on_diagnostics(DiagnosticArray(status=statuses))
    assert shown == ['its own']


def test_words_of_one_page_leave_the_threshold_that_another_has_set() -> None:
    say, set_parameters = Mock(), Mock()
    desk = NodeDesk('zegclip', say, set_parameters)
    one, other = Mock(), Mock()
    one.name, other.name = 'one', 'other'
    desk.join(one)
    desk.join(other)
    desk.ask(one, Settings.read({'number': 1, 'words': 'cat', 'threshold': 0.5}))
    desk.ask(other, Settings.read({'number': 1, 'words': 'dog'}))
    assert [call.args[:2] for call in set_parameters.call_args_list] == [(0.5, None)]
    assert [call.args for call in say.call_args_list] == [('cat',), ('dog',)]
    desk.ask(one, Settings.read({'number': 2, 'words': 'cat'}))
    assert set_parameters.call_args.args[:2] == (None, None)


def test_a_node_that_was_started_again_counts_its_words_anew() -> None:
    desk = NodeDesk('zegclip', Mock(), Mock())
    lists = [(number, f'old {number}') for number in range(1, 12)]
    for version, name in [*lists, (0, ''), (1, 'new')]:
        seconds = version if name.startswith('old') else 100
        names = (name,) if version else ()
        desk.announced(Announcement.read(told(names, version)), seconds * 10**9)
    for part, array in (
        ('image', np.zeros((2, 2, 3), np.uint8)),
        ('labels', np.zeros((2, 2), np.uint8)),
        ('scores', np.ones((2, 2), np.float32)),
    ):
        desk.received(part, 101 * 10**9, array)
    assert desk.point(Mock(), 0.5, 0.5)['ranking'][0]['name'] == 'new'


def test_the_box_follows_the_words_in_use_and_keeps_its_own_as_they_were_typed() -> None:
    desk = NodeDesk('zegclip', Mock(), Mock())
    pages = {'one': Mock(), 'other': Mock()}
    for name, page in pages.items():
        page.name = name
        desk.join(page)

    def ask(name: str, words: str) -> None:
        desk.ask(pages[name], Settings.read({'number': 1, 'words': words}))

    def hears(version: int, *names: str) -> dict[str, str | None]:
        for page in pages.values():
            page.outbox.post.reset_mock()
        desk.announced(Announcement.read(told(names, version)), None)
        return {name: box(page) for name, page in pages.items()}

    assert hears(1, 'person') == {'one': 'person', 'other': 'person'}
    ask('one', 'couch | sofa')
    ask('one', 'couch | sofa, cat')
    # Its last ones are on their way; the box is not to go back meanwhile.
    assert hears(2, 'couch') == {'one': None, 'other': 'couch'}
    assert hears(3, 'couch', 'cat') == {'one': 'couch | sofa, cat', 'other': 'couch, cat'}
    ask('other', 'dog')
    assert hears(4, 'dog') == {'one': 'dog', 'other': 'dog'}
    assert hears(5, 'couch', 'cat')['one'] == 'couch | sofa, cat'
    pages['one'].outbox.post.reset_mock()
    desk.join(pages['one'])  # It was opened again.
    assert box(pages['one']) == 'couch | sofa, cat'


def box(page: Mock) -> str | None:
    """Return what a page was told to put into its box; ``None`` for nothing."""
    posts = [json.loads(call.args[1]) for call in page.outbox.post.call_args_list]
    return next((one['text'] for one in posts if one['type'] == 'words'), None)


@pytest.mark.parametrize('encoding', ['32FC1', 'mono8'])
def test_scores_are_read_as_they_were_sent(encoding: Any) -> None:  # noqa: ANN401 - a literal
    scores = np.linspace(0.0, 1.0, 12, dtype=np.float32).reshape(3, 4)
    message = image_message(score_fields(scores, encoding), solid(1).header)
    assert image_to_scores(message) == pytest.approx(scores, abs=0.002)
