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
"""A lost device ends the node with its reason; new words are prepared for the next frames."""

from collections.abc import Callable, Iterator
import threading

from fake_segmenter import DEADLINE, FakeSegmenter
import pytest
from rcl_interfaces.msg import Log
from rclpy.lifecycle import TransitionCallbackReturn
from ros_helpers import Rig, running_rig, solid
from zegclip_core.errors import DeviceLostError, DeviceMemoryError
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.runtime.runner import run_node

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

LOST = DeviceLostError('Expected the device cuda:0 to answer, but it failed: illegal access.')
WORDS = ('-p', 'class_names:=["person", "cat"]')


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Rig that labels frames."""
    with running_rig(*WORDS) as made:
        made.until_state('active')
        made.labels = made.start_and_listen()
        made.until_labelled(made.labels)
        yield made


def lose_in_a_frame(rig: Rig) -> None:
    rig.segmenter.fault = LOST
    rig.send_until(lambda stamp: solid(1, stamp=stamp), rig.node.ended.is_set)


def lose_with_words(rig: Rig) -> None:
    rig.segmenter.encode_fault = LOST
    rig.say('dog, cow')


def lose_while_preparing(rig: Rig) -> None:
    rig.segmenter.prepare_fault = LOST
    rig.say('dog, cow')


def lose_while_deactivating(rig: Rig) -> None:
    rig.segmenter.release_fault = LOST
    rig.node.trigger_deactivate()


@pytest.mark.parametrize(
    'lose', [lose_in_a_frame, lose_with_words, lose_while_preparing, lose_while_deactivating]
)
def test_a_lost_device_ends_the_process_wherever_it_is_found(
    rig: Rig, lose: Callable[[Rig], None]
) -> None:
    lose(rig)
    rig.until(rig.node.ended.is_set, 'the end of the node')
    assert rig.node.exit_code == 1
    fatal = int.from_bytes(Log.FATAL, 'little') if isinstance(Log.FATAL, bytes) else Log.FATAL

    def reasons() -> list[str]:
        return [line.msg for line in rig.rosout.messages if line.level == fatal]

    rig.until(reasons, 'the reason in the log')
    assert reasons() == [f'The process ends. {LOST}']


def test_a_device_that_is_lost_while_the_model_loads_ends_the_process(
    capfd: pytest.CaptureFixture[str],
) -> None:
    segmenter = FakeSegmenter()
    segmenter.load_fault = LOST
    arguments = ['--ros-args', *WORDS]
    codes: list[int] = []
    # In a thread, so that a node that would not end fails the test.
    runner = threading.Thread(
        target=lambda: codes.append(
            run_node(lambda: SegmentationNode(lambda values: segmenter), arguments)
        ),
        daemon=True,
    )
    runner.start()
    runner.join(DEADLINE)
    assert codes == [1]
    (line,) = (line for line in capfd.readouterr().err.splitlines() if '[INFO]' not in line)
    assert f'The process ends. {LOST}' in line


def test_new_words_are_prepared_for_frames_like_the_last_ones(rig: Rig) -> None:
    assert rig.segmenter.prepared == []  # Nothing is known of frames before the first.
    rig.say('dog, cow')
    rig.until(lambda: rig.segmenter.prepared, 'the preparation')
    assert rig.segmenter.prepared == [(('dog', 'cow'), (4, 6), 1)]
    assert rig.segmenter.threads == {'frame_worker', 'word_worker'}
    rig.until_labelled(rig.labels)


def test_an_inactive_node_prepares_when_it_is_activated(rig: Rig) -> None:
    assert rig.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    rig.say('dog, cow')
    rig.until_active('dog', 'cow')
    assert rig.segmenter.prepared == []
    assert rig.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    rig.until(lambda: rig.segmenter.prepared, 'the preparation')
    assert rig.segmenter.prepared == [(('dog', 'cow'), (4, 6), 1)]


def test_words_that_cannot_be_prepared_are_used_all_the_same(rig: Rig) -> None:
    rig.segmenter.prepare_fault = DeviceMemoryError('Expected free memory.')
    rig.say('dog, cow')
    rig.until_active('dog', 'cow')
    rig.until_labelled(rig.labels)
    assert not rig.node.ended.is_set()
