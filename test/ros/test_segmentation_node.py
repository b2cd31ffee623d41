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
"""The segmentation node over real topics, with a model that is under the test's control."""

from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_helpers import FakeSegmenter, Inbox, Rig, running_rig, solid, TRANSIENT
from std_msgs.msg import String
from zegclip_core.errors import DeviceMemoryError
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import image_to_labels, image_to_rgb
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.runtime.runner import run_node
from zegclip_ros.vocabulary_state import AcceptedRequest

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

WORDS = ('person', 'cat', 'traffic light')
START = ('-p', f'class_names:={json.dumps(WORDS)}')


@pytest.fixture
def rig() -> Iterator[Rig]:
    with running_rig(*START) as made:
        yield made


@pytest.fixture
def slow_rig() -> Iterator[Rig]:
    """Rig whose model does not finish loading until the test says so."""
    segmenter = FakeSegmenter()
    segmenter.loading.clear()
    with running_rig(*START, segmenter=segmenter) as made:
        yield made


def test_labels_masks_and_overlay_carry_the_header_of_their_frame(rig: Rig) -> None:
    rig.start_camera()
    labels, overlay = rig.listen('zegclip/label_image'), rig.listen('zegclip/overlay')
    rig.until_active(*WORDS)
    mask = rig.listen('zegclip/masks/traffic_light')
    other = rig.listen('zegclip/masks/cat')
    inboxes = (labels, overlay, mask, other)
    frame = solid(2, stamp=77)
    rig.send_until(lambda stamp: frame, lambda: all(inbox.messages for inbox in inboxes))
    for inbox in inboxes:
        assert inbox.last.header == frame.header
        assert (inbox.last.height, inbox.last.width) == (4, 6)
    assert (image_to_labels(labels.last) == 2).all()
    assert (image_to_labels(mask.last) == 255).all()
    assert (image_to_labels(other.last) == 0).all()
    assert overlay.last.encoding == 'rgb8'
    color = np.array(rig.state['classes'][2]['color'])
    middle = image_to_rgb(overlay.last)[2, 3].astype(int)
    assert np.abs(middle - (color + 2) / 2).max() <= 2


def test_the_model_never_runs_in_the_executor(rig: Rig) -> None:
    rig.start_camera()
    rig.until_labelled(rig.listen('zegclip/label_image'))
    assert rig.segmenter.threads == {'frame_worker', 'word_worker'}


def test_only_the_newest_frame_waits_while_the_model_is_busy(rig: Rig) -> None:
    labels = rig.start_and_listen()
    rig.until_active(*WORDS)
    rig.segmenter.going.clear()
    rig.send_until(lambda stamp: solid(0, stamp=1), rig.segmenter.busy.is_set)
    rig.deliver(*(solid(0, stamp=stamp) for stamp in (2, 3, 4)))
    rig.segmenter.going.set()
    rig.until(lambda: 4 in labels.stamps())
    assert labels.stamps() == [1, 4]


def test_the_camera_is_heard_only_while_somebody_listens(rig: Rig) -> None:
    rig.start_camera()
    rig.until_active(*WORDS)
    rig.until_state('active')
    assert rig.camera.get_subscription_count() == 0
    labels = rig.listen('zegclip/label_image')
    rig.until_labelled(labels)
    rig.probe.destroy_subscription(labels.subscription)
    rig.until(lambda: rig.camera.get_subscription_count() == 0, 'the camera being left')
    assert rig.set_to('lazy', False) == ''
    rig.until(lambda: rig.camera.get_subscription_count() == 1, 'the camera being heard')


def test_nothing_is_computed_while_nobody_listens(rig: Rig) -> None:
    assert rig.set_to('lazy', False) == ''
    rig.start_camera()
    rig.until_active(*WORDS)
    rig.until_subscribed()
    statistics = rig.node._monitor.statistics
    rig.send_until(
        lambda stamp: solid(0, stamp=stamp),
        lambda: statistics.snapshot().dropped['nobody listens'] > 1,
    )
    assert rig.segmenter.sizes == []
    assert rig.state['stamp'] is None


def test_one_listened_mask_takes_the_model_but_draws_no_overlay(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError('an overlay was drawn')

    monkeypatch.setattr('zegclip_ros.frames.labelled_frame.draw_overlay', fail)
    rig.start_camera()
    rig.until_active(*WORDS)
    mask = rig.listen('zegclip/masks/cat')
    rig.send_until(lambda stamp: solid(1, stamp=stamp), lambda: len(mask.messages) > 1)
    assert rig.log == []


def test_the_active_vocabulary_says_everything_from_the_first_frame_on(rig: Rig) -> None:
    state = rig.until_active(*WORDS)
    colors = Vocabulary.from_names(WORDS).colors.tolist()
    common = {'phrases': [], 'threshold': None, 'exact': False}
    topics = [f'/zegclip/masks/{name}' for name in ('person', 'cat', 'traffic_light')]
    entries = enumerate(zip(WORDS, colors, topics, strict=True))
    assert state == {
        'version': 1,
        'classes': [
            {**common, 'id': index, 'name': name, 'color': color, 'topic': topic}
            for index, (name, color, topic) in entries
        ],
        'stamp': None,
        'requested': 1,
        'error': None,
        'refused': None,
        'warning': None,
    }
    labels = rig.start_and_listen()
    rig.send_until(lambda stamp: solid(0, stamp=stamp), lambda: len(labels.messages) > 2)
    assert rig.state['stamp'] == {'sec': labels.stamps()[0], 'nanosec': 0}


def test_late_listeners_get_the_active_vocabulary(rig: Rig) -> None:
    rig.until_active(*WORDS)
    late = Inbox(rig.probe, String, 'zegclip/active_vocabulary', TRANSIENT)
    rig.until(lambda: late.messages)
    assert json.loads(late.last.data) == rig.state


def test_words_take_effect_between_two_frames_as_a_whole(rig: Rig) -> None:
    labels = rig.start_and_listen()
    rig.until_labelled(labels, red=2)
    wanted = '[{"name": "Dog", "phrases": ["puppy"], "color": "#102030", "threshold": 0.4}]'
    rig.say(wanted)
    state = rig.until_active('Dog')
    assert state['version'] == 2
    assert state['classes'][0]['phrases'] == ['puppy']
    assert state['classes'][0]['color'] == [16, 32, 48]
    assert state['classes'][0]['threshold'] == 0.4
    assert state['classes'][0]['topic'] == '/zegclip/masks/dog'
    rig.send_until(lambda stamp: solid(2, stamp=stamp), lambda: rig.state['stamp'] is not None)
    first = rig.state['stamp']['sec']
    rig.until(lambda: first in labels.stamps())
    for message in labels.messages:
        # Red 2 was class 2 of three classes, and is no class of one.
        expected = 255 if message.header.stamp.sec >= first else 2
        assert (image_to_labels(message) == expected).all()


def test_masks_of_classes_that_left_are_closed_and_others_live_on(rig: Rig) -> None:
    rig.until_active(*WORDS)
    cat = rig.start_and_listen('masks/cat')
    rig.say('cat, dog')
    rig.until_active('cat', 'dog')

    def mask_topics() -> set[str]:
        names = [name for name, _ in rig.probe.get_topic_names_and_types()]
        return {
            name for name in names if '/masks/' in name and rig.probe.count_publishers(name) > 0
        }

    rig.until(lambda: mask_topics() == {'/zegclip/masks/cat', '/zegclip/masks/dog'})
    rig.until_labelled(cat, red=0)
    assert (image_to_labels(cat.last) == 255).all()


def test_words_that_come_while_the_model_loads_are_kept(slow_rig: Rig) -> None:
    rig = slow_rig
    rig.until(rig.segmenter.busy_loading.is_set)
    assert (rig.state['version'], rig.state['classes'], rig.state['stamp']) == (0, [], None)
    assert rig.say('dog')['requested'] == 2
    assert rig.say('horse, sheep')['requested'] == 3
    refused = rig.say('sheep, sheep')
    assert (refused['version'], refused['requested']) == (0, 3)
    assert 'sheep' in refused['error']
    rig.segmenter.loading.set()
    state = rig.until_active('horse', 'sheep')
    assert state['version'] == 3
    assert 'sheep' in state['error']
    assert rig.segmenter.encoded == [('horse', 'sheep')]


def test_words_that_come_as_the_loading_begins_are_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_rig('-p', 'autostart:=false', '-p', 'class_names:=[""]') as rig:
        accept = rig.node._state.accept

        def slow_accept(*arguments: Any) -> AcceptedRequest:  # noqa: ANN401 - what it wraps takes
            """Have the node configured meanwhile, unless that waits for these words."""
            monkeypatch.undo()
            rig.node.autostart()
            rig.node._background[-1].join(1.0)
            return accept(*arguments)

        monkeypatch.setattr(rig.node._state, 'accept', slow_accept)
        assert rig.say('dog')['requested'] == 1
        rig.until_active('dog')


@pytest.mark.parametrize('none', ['[]', '[""]'])
def test_images_may_come_before_the_first_words(none: str) -> None:
    with running_rig('-p', f'class_names:={none}') as rig:
        labels = rig.start_and_listen()
        rig.deliver(*(solid(1, stamp=stamp) for stamp in (1, 2, 3)))
        assert rig.state['version'] == 0
        assert labels.messages == []
        rig.say('cat, dog')
        rig.until_active('cat', 'dog')
        rig.until_labelled(labels)
        assert (image_to_labels(labels.last) == 1).all()
        assert rig.segmenter.encoded == [('cat', 'dog')]


@pytest.mark.parametrize(
    ('fault', 'said', 'reason'),
    [
        (RuntimeError('CUDA is broken'), 'RuntimeError: CUDA is broken', 'fault'),
        (DeviceMemoryError('Expected free memory.'), 'Expected free memory.', 'out of memory'),
    ],
)
def test_a_fault_of_the_model_costs_one_frame_not_the_node(
    rig: Rig, fault: Exception, said: str, reason: str
) -> None:
    labels = rig.start_and_listen()
    rig.segmenter.fault = fault
    rig.send_until(lambda stamp: solid(1, stamp=stamp), lambda: rig.log)
    assert rig.log == [f'Rejected the frame: {said}']
    rig.segmenter.fault = None
    rig.until_labelled(labels)
    assert rig.node._monitor.statistics.snapshot().dropped[reason] > 0
    assert rig.node.state == 'active'


@pytest.mark.parametrize(
    ('parameter', 'said'),
    [
        ('class_names:=person', 'a list of texts'),
        ('overlay_alpha:=1.5', 'overlay_alpha'),
        ('overlay_alpha:=.nan', 'overlay_alpha'),
        ('precision:=int4', 'auto, fp32, bf16, fp16, int8'),
        ('image_transport:=theora', 'raw, compressed'),
    ],
)
def test_a_parameter_that_is_not_allowed_ends_the_node_with_one_line(
    parameter: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ['--ros-args', '-p', parameter]
    assert run_node(lambda: SegmentationNode(lambda values: FakeSegmenter()), arguments) == 1
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_words_to_begin_with_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / 'words.json'
    path.write_text('[{"name": "café", "phrases": ["coffee house"]}]', encoding='utf-8')
    with running_rig('-p', f'vocabulary_file:={path}') as rig:
        state = rig.until_active('café')
        assert state['classes'][0]['phrases'] == ['coffee house']


def test_names_can_be_remapped_and_namespaced() -> None:
    arguments = ('-r', '__ns:=/robot', '-r', 'image:=/camera/image', '-p', 'class_names:=["cat"]')
    with running_rig(*arguments, namespace='robot') as rig:
        rig.start_camera(topic='/camera/image')
        labels = rig.listen('zegclip/label_image')
        assert labels.subscription.topic_name == '/robot/zegclip/label_image'
        rig.until_labelled(labels)
        assert rig.until_active('cat')['classes'][0]['topic'] == '/robot/zegclip/masks/cat'
