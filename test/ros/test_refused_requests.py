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
"""What the node or its model cannot take: words, negatives, names; the good ones stay in use."""

from collections.abc import Iterator
import threading

from fake_segmenter import FakeEncoded
import pytest
from rclpy.parameter import Parameter
from ros_helpers import DEADLINE, FakeSegmenter, Rig, running_rig
from std_msgs.msg import String
from zegclip_core.errors import VocabularyError
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import image_to_labels
from zegclip_ros.frames import camera_outputs

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

BY_HAND = ('-p', 'autostart:=false')
LONG = 'x' * 40
NAMESPACE = '/' + 'n' * 157


class ShortSighted(FakeSegmenter):
    """A model that takes no word of more than 30 characters; can be held up while it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoding = threading.Event()
        self.may_encode = threading.Event()
        self.may_encode.set()
        self.gone = False
        self.fragile = True
        self.last: Vocabulary | None = None

    def warm_up(self) -> None:
        self.gone = False
        super().warm_up()

    def close(self) -> None:
        self.gone = True
        super().close()

    def encode(
        self, vocabulary: Vocabulary, *, threshold: float | None, negatives: tuple[str, ...]
    ) -> FakeEncoded:
        self.last = vocabulary
        self.encoding.set()
        assert self.may_encode.wait(DEADLINE)
        if self.gone and self.fragile:
            raise AttributeError('text_encoder')
        for word in (*vocabulary.names, *negatives):
            if len(word) > 30:
                raise VocabularyError(f'Expected short words, but got {word!r}.')
        return super().encode(vocabulary, threshold=threshold, negatives=negatives)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Rig with a node that is inactive, with words."""
    with running_rig(*BY_HAND, '-p', 'class_names:=["person"]', segmenter=ShortSighted()) as made:
        made.node.trigger_configure()
        made.until_active('person')
        yield made
        made.segmenter.may_encode.set()


def test_what_was_announced_before_is_no_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = rig.words.publish
    monkeypatch.setattr(
        rig.words, 'publish', lambda one: threading.Timer(0.1, publish, [one]).start()
    )
    rig.node._state.announce()
    assert rig.say('dog, dog')['refused'] == 'dog, dog'


def test_a_threshold_requests_the_words_in_use_and_not_refused_ones(rig: Rig) -> None:
    rig.words.publish(String(data=LONG))
    rig.until(lambda: rig.state['error'], 'the refusal')
    assert rig.set_to('threshold', 0.75) == ''
    rig.until(lambda: rig.state['version'] == 3, 'the words anew')
    assert rig.until_active('person')['error'] is None
    assert rig.segmenter.settings[-1] == (0.75, ('wall',))


def test_cameras_are_given_the_last_good_words(rig: Rig) -> None:
    rig.words.publish(String(data=LONG))
    rig.until(lambda: rig.state['error'], 'the refusal')
    rig.node.trigger_cleanup()
    assert rig.set_to('cameras', ['left']) == ''
    rig.node.trigger_configure()
    rig.until(lambda: 'stamps' in rig.state, 'the new camera')
    assert set(rig.until_active('person')['stamps']) == {'left'}


def test_negatives_that_the_model_cannot_take_stand_in_the_way_of_no_words(rig: Rig) -> None:
    assert rig.set_to('negatives', ['floor']) == ''
    rig.until(lambda: rig.state['version'] == 2)
    assert rig.set_to('negatives', [LONG]) == ''
    rig.until(lambda: rig.state['version'] == 3, 'the same words')
    rig.say('dog')
    state = rig.until_active('dog')
    assert state['refused'].startswith('xxx')
    assert state['error'] == (
        'Cannot use the negatives, so that those before stay: '
        f"Expected short words, but got '{LONG}'."
    )
    assert rig.segmenter.settings[-1] == (0.25, ('floor',))
    rig.until(lambda: any(line.startswith('Rejected the negatives: ') for line in rig.log))
    rig.words.publish(String(data='y' * 40))
    rig.until(lambda: (rig.state['refused'] or '').startswith('yyy'), 'bad words being told of')
    assert 'negatives' not in rig.state['error']
    assert rig.set_to('negatives', ['none']) == ''
    rig.until(lambda: rig.state['error'] is None and rig.state['version'] == 6)
    assert rig.segmenter.settings[-1] == (0.25, ())


@pytest.mark.parametrize('fragile', [True, False])
def test_words_that_are_being_encoded_outlive_a_cleanup(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, *, fragile: bool
) -> None:
    activated: list[object] = []
    monkeypatch.setattr(rig.node._state, 'activate', activated.append)
    rig.segmenter.fragile = fragile
    rig.segmenter.may_encode.clear()
    rig.segmenter.encoding.clear()
    rig.words.publish(String(data='dog'))
    rig.until(rig.segmenter.encoding.is_set, 'the words being encoded')
    cleaning = threading.Thread(target=rig.node.trigger_cleanup)
    cleaning.start()
    rig.until(lambda: rig.segmenter.gone, 'the model being gone')
    rig.segmenter.may_encode.set()
    cleaning.join()
    assert activated == []
    monkeypatch.undo()
    assert rig.state['error'] is None
    rig.node.trigger_configure()
    assert rig.until_active('dog')['error'] is None
    assert rig.log == []


def test_the_announced_threshold_is_that_of_the_words_in_use(rig: Rig) -> None:
    told: list[tuple[tuple[str, ...], float]] = []
    outgoing = rig.node._pipeline._outputs['']
    outgoing.publish_names = lambda words, threshold, header: told.append((words.names, threshold))
    rig.node.trigger_activate()
    rig.segmenter.encode_fault = VocabularyError('no')
    assert rig.set_to('threshold', 0.75) == ''
    rig.until(lambda: rig.state['error'] == 'no', 'the refusal')
    labels = rig.start_and_listen()
    rig.until_labelled(labels, red=0)
    assert (image_to_labels(labels.last) == 0).all()
    assert told == [(('person',), 0.25)]


def test_topics_that_are_too_long_are_refused_and_the_node_lives() -> None:
    options = ('-r', f'__ns:={NAMESPACE}', '-p', 'class_names:=["person"]')
    with running_rig(*BY_HAND, *options, namespace=NAMESPACE) as rig:
        refusal = 'Expected mask topics of at most 247 characters'
        assert refusal in rig.say('b' * 150)['error']
        assert refusal in rig.set_to('class_names', ['b' * 150])
        rig.say('traffic light')
        assert refusal in rig.set_to('cameras', ['front', 'c' * 64])
        both = {'cameras': ['c' * 50], 'class_names': ['d' * 60]}
        values = [Parameter(name, value=value) for name, value in both.items()]
        rig.node.set_parameters_atomically(values)
        rig.until(lambda: refusal in (rig.state['error'] or ''), 'what is wrong only together')


def test_a_camera_whose_topics_cannot_be_made_leaves_none_of_the_others() -> None:
    cameras = f'cameras:=["front", "{"c" * 64}"]'
    options = ('-p', cameras, '-p', 'class_names:=[""]', '-r', f'__ns:={NAMESPACE}')
    with running_rig(*BY_HAND, *options, namespace=NAMESPACE) as rig:
        before = len(list(rig.node.publishers))
        rig.node.trigger_configure()
        assert rig.node.state == 'unconfigured'
        assert 'Cannot configure' in rig.node.fault
        assert len(list(rig.node.publishers)) == before


def test_outputs_can_be_closed_while_somebody_asks_who_listens(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    outgoing = rig.node._pipeline._outputs['']
    asked, closed, wanted = threading.Event(), threading.Event(), camera_outputs._wanted

    def slowly(publisher: object) -> bool:
        asked.set()
        closed.wait(0.05)
        return wanted(publisher)

    def close() -> None:
        asked.wait(DEADLINE)
        outgoing.close()
        closed.set()

    monkeypatch.setattr(camera_outputs, '_wanted', slowly)
    closing = threading.Thread(target=close)
    closing.start()
    assert not outgoing.any_wanted()
    closing.join()
    assert not outgoing.any_wanted()


@pytest.fixture(scope='module')
def active() -> Iterator[Rig]:
    """Rig with an active node, one for all tests of what no model understands."""
    with running_rig('-p', 'class_names:=["person", "cat"]', segmenter=ShortSighted()) as made:
        made.start_camera()
        made.until_active('person', 'cat')
        yield made


def assert_in_use(rig: Rig, *names: str) -> None:
    """Check that frames are labelled with these words."""
    labels = rig.listen('zegclip/label_image')
    rig.until_labelled(labels)
    assert (image_to_labels(labels.last) == 1).all()
    assert tuple(entry['name'] for entry in rig.state['classes']) == names


@pytest.mark.parametrize('text', ['not a car', 'dog, no person', '["...", "dog"]'])
def test_words_that_no_model_understands_leave_those_that_there_were(
    active: Rig, text: str
) -> None:
    state = active.say(text)
    assert state['refused'] == text
    assert state['error'].startswith('Expected')
    assert_in_use(active, 'person', 'cat')


def test_words_of_the_parameter_are_as_typed_as_those_of_the_topic(active: Rig) -> None:
    for refused in (['not a car'], ['dog', '?']):
        assert active.set_to('class_names', refused).startswith('Expected')
    assert_in_use(active, 'person', 'cat')
    assert active.set_to('class_names', ['The Dogs', 'hens']) == ''
    active.until_active('The Dogs', 'hens')
    assert active.segmenter.last.encoded_phrases() == (('dog',), ('hen',))
