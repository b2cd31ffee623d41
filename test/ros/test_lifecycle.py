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
"""Lifecycle: transitions over services, what fails and why, and what is freed."""

from collections.abc import Callable, Iterator

from lifecycle_msgs.msg import Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetState
import pytest
from ros_helpers import FakeSegmenter, Inbox, qos, Rig, running_rig, solid
from zegclip_core.errors import ModelError
from zegclip_ros.conversions import image_to_labels

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

WORDS = ('-p', 'class_names:=["person", "cat"]')
BY_HAND = (*WORDS, '-p', 'autostart:=false')


class Dead(BaseException):
    """Ends a worker's thread."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Rig whose node waits for a lifecycle manager."""
    with running_rig(*BY_HAND) as made:
        yield made


@pytest.fixture
def running() -> Iterator[Rig]:
    """Rig whose node has started by itself, with a camera and a listener."""
    with running_rig(*WORDS) as made:
        made.until_state('active')
        made.start_camera()
        made.labels = made.listen('zegclip/label_image')
        made.until_labelled(made.labels)
        yield made


def change(rig: Rig, transition: str) -> bool:
    """Ask for a transition as ``ros2 lifecycle set`` does; return whether it succeeded."""
    client = rig.probe.create_client(ChangeState, 'zegclip/change_state')
    rig.until(client.service_is_ready)
    future = client.call_async(ChangeState.Request(transition=Transition(label=transition)))
    rig.until(future.done, f'an answer to {transition}')
    rig.probe.destroy_client(client)
    return bool(future.result().success)


def outputs(rig: Rig) -> set[str]:
    names = rig.node.get_publisher_names_and_types_by_node('zegclip', '/')
    return {name for name, _ in names if name.startswith('/zegclip/')}


def test_a_lifecycle_by_hand_from_the_first_state_to_the_last(rig: Rig) -> None:
    assert rig.node.state == 'unconfigured'
    assert outputs(rig) == {'/zegclip/active_vocabulary', '/zegclip/transition_event'}
    assert change(rig, 'configure')
    assert rig.node.state == 'inactive'
    assert '/zegclip/masks/cat' in outputs(rig)
    assert rig.until_active('person', 'cat')['version'] == 1
    assert change(rig, 'activate')
    labels = rig.start_and_listen()
    rig.until_labelled(labels)
    assert change(rig, 'deactivate')
    assert rig.segmenter.released == 1
    rig.until(lambda: rig.camera.get_subscription_count() == 0, 'the camera being left')
    assert change(rig, 'cleanup')
    assert (rig.segmenter.released, rig.segmenter.closed) == (1, 1)
    assert rig.node._pipeline is None
    assert outputs(rig) == {'/zegclip/active_vocabulary', '/zegclip/transition_event'}
    assert change(rig, 'shutdown')
    assert rig.node.state == 'finalized'


def test_a_second_life_keeps_the_words_of_the_first(rig: Rig) -> None:
    assert change(rig, 'configure')
    rig.say('dog, cow')
    rig.until_active('dog', 'cow')
    assert change(rig, 'cleanup')
    rig.until(lambda: rig.state['version'] == 0)
    assert change(rig, 'configure')
    assert rig.until_active('dog', 'cow')['version'] == 2
    assert change(rig, 'activate')
    mask = rig.start_and_listen('masks/cow')
    rig.until_labelled(mask)
    assert (image_to_labels(mask.last) == 255).all()


def test_words_said_before_the_first_configure_are_the_first_ones(rig: Rig) -> None:
    rig.say('dog')
    assert change(rig, 'configure')
    assert rig.until_active('dog')['version'] == 1
    assert rig.segmenter.encoded == [('dog',)]


def test_no_frame_is_labelled_while_inactive(running: Rig) -> None:
    assert change(running, 'deactivate')
    assert running.set_to('lazy', False) == ''
    assert change(running, 'activate')
    running.until_labelled(running.labels)
    assert change(running, 'deactivate')
    seen = len(running.segmenter.sizes)
    running.until(lambda: running.camera.get_subscription_count() == 0)
    running.camera.publish(solid(1, stamp=5))
    running.say('never, never')
    assert len(running.segmenter.sizes) == seen
    assert 5 not in running.labels.stamps()


@pytest.mark.parametrize(
    'fault',
    [ModelError('No such model.'), RuntimeError('CUDA is broken'), FileNotFoundError('gone')],
)
def test_a_failed_configure_says_why_and_can_be_tried_again(rig: Rig, fault: Exception) -> None:
    rig.segmenter.load_fault = fault
    for _ in range(2):
        assert not change(rig, 'configure')
        assert rig.node.state == 'unconfigured'
    rig.until(lambda: rig.log)
    assert rig.log[0].startswith('Cannot configure: ')
    assert str(fault) in rig.log[0]
    # Only what nobody expected is worth a traceback.
    assert ('Traceback' in rig.log[0]) is not isinstance(fault, ModelError)
    assert rig.node.fault is not None
    rig.segmenter.load_fault = None
    assert change(rig, 'configure')
    assert change(rig, 'activate')
    assert rig.node.fault is None


@pytest.mark.parametrize(
    ('parameter', 'said'),
    [
        ('class_names:=["cat", "Cat"]', "'Cat' twice"),
        ('class_names:=["a b", "a-b"]', 'both become'),
        ('vocabulary_file:=/no/such/file', 'Cannot read the vocabulary file'),
    ],
)
def test_first_words_that_cannot_be_used_fail_configure(parameter: str, said: str) -> None:
    with running_rig('-p', parameter) as rig:
        rig.until(lambda: rig.node.fault is not None, 'a fault')
        assert said in rig.node.fault
        rig.until_state('unconfigured')
        rig.say('dog')
        assert change(rig, 'configure')
        rig.until_active('dog')


def test_the_node_answers_while_the_model_loads() -> None:
    segmenter = FakeSegmenter()
    segmenter.loading.clear()
    with running_rig(*WORDS, segmenter=segmenter) as rig:
        rig.until(segmenter.busy_loading.is_set)
        client = rig.probe.create_client(GetState, 'zegclip/get_state')
        rig.until(client.service_is_ready)
        future = client.call_async(GetState.Request())
        rig.until(future.done)
        assert future.result().current_state.label == 'configuring'
        assert rig.set_to('model', 'x')
        segmenter.loading.set()
        rig.until_state('active')


@pytest.mark.parametrize('first', ['active', 'inactive'])
def test_a_worker_that_dies_leads_through_error_processing(running: Rig, first: str) -> None:
    events = Inbox(running.probe, TransitionEvent, 'zegclip/transition_event', qos(depth=100))
    running.until(lambda: events.subscription.get_publisher_count() > 0)
    running.until(lambda: running.node.count_subscribers('/zegclip/transition_event') > 0)
    running.segmenter.fault = Dead('injected')
    running.send_until(
        lambda stamp: solid(1, stamp=stamp), lambda: running.node.state == 'unconfigured'
    )
    running.until(lambda: 'errorprocessing' in [one.goal_state.label for one in events.messages])
    said = 'A thread of the node died: Dead: injected'
    running.until(lambda: any(said in line for line in running.log), 'the reason in the log')
    assert running.node.fault == said
    running.segmenter.fault = None
    assert change(running, 'configure')
    if first == 'inactive':
        # The thread of the words may die while no frame is labelled.
        running.segmenter.encode = raising(Dead('again'))
        running.say('dog')
        running.until_state('unconfigured')
        assert running.node.fault == 'A thread of the node died: Dead: again'
        del running.segmenter.encode
        assert change(running, 'configure')
    assert change(running, 'activate')
    running.until_labelled(running.labels)
    assert running.node.fault is None


def test_a_thread_that_dies_in_the_middle_of_a_transition_is_not_overlooked(rig: Rig) -> None:
    assert change(rig, 'configure')
    activate = rig.node.activate

    def dying() -> None:
        rig.node.fail('A thread of the node died: injected')
        activate()

    rig.node.activate = dying
    change(rig, 'activate')
    rig.until_state('unconfigured')
    assert rig.node.fault == 'A thread of the node died: injected'
    del rig.node.activate
    assert change(rig, 'configure')
    assert change(rig, 'activate')


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*args: object, **options: object) -> None:
        raise error

    return fail


def test_a_frame_that_does_not_end_fails_deactivate_and_goes_on(
    running: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('zegclip_ros.nodes.segmentation.FRAME_TIMEOUT', 0.2)
    running.segmenter.busy.clear()
    running.segmenter.going.clear()
    running.send_until(lambda stamp: solid(1, stamp=stamp), running.segmenter.busy.is_set)
    assert not change(running, 'deactivate')
    assert running.node.state == 'active'
    said = 'The frame in work did not end'
    running.until(lambda: any(said in line for line in running.log), 'the reason in the log')
    running.segmenter.going.set()
    running.until_labelled(running.labels)
