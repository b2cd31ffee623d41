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
"""Several cameras of one node: topics of their own, frames labelled together, figures of each."""

from collections.abc import Iterator
import json
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_helpers import FakeSegmenter, Inbox, own_domain, qos, Rig, running_ros, solid
from sensor_msgs.msg import Image
from std_msgs.msg import String
from zegclip_core.errors import DeviceMemoryError
from zegclip_core.messages.outputs import announcement, label_fields
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import image_message, image_to_labels
from zegclip_ros.nodes.recorder import RecorderNode

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

CAMERAS = ('front', 'rear', 'side')
WORDS = ('person', 'cat', 'traffic light')
ARGUMENTS = (
    *('-p', f'zegclip:cameras:={json.dumps(CAMERAS)}'),
    *('-p', f'class_names:={json.dumps(WORDS)}'),
)


@pytest.fixture(scope='module', autouse=True)
def domain() -> Iterator[None]:
    with own_domain():
        yield


class CameraRig(Rig):
    """Rig with a node of three cameras, two of which somebody listens to."""

    def __init__(self) -> None:
        super().__init__(FakeSegmenter())
        self.cameras = {
            name: self.probe.create_publisher(Image, f'{name}/image', qos()) for name in CAMERAS
        }
        self.until_active(*WORDS)
        self.until_state('active')
        self.labels = {name: self.listen(f'zegclip/{name}/label_image') for name in CAMERAS[:2]}
        self.until(lambda: self.heard('front') and self.heard('rear'), 'both being heard')

    def heard(self, camera: str) -> bool:
        """Return whether the node listens to a camera, in the camera's own way."""
        entry = self.node._pipeline.cameras[camera]
        reliable = entry.reliability.name == 'RELIABLE'
        return self.cameras[camera].get_subscription_count() > 0 and reliable

    def hold_up(self) -> None:
        """Have the model begin to work on a frame of the front camera, and not end."""
        self.segmenter.going.clear()
        self.segmenter.busy.clear()
        self.cameras['front'].publish(solid(0, stamp=1))
        self.until(self.segmenter.busy.is_set, 'the model being busy')

    def bring(self, frames: dict[str, list[Image]]) -> None:
        """Publish frames of each camera, and wait until the node has all of them."""
        for camera, images in frames.items():
            for image in images:
                wanted = self.arrived() + 1
                self.cameras[camera].publish(image)
                self.until(lambda wanted=wanted: self.arrived() == wanted, 'an image arriving')

    def arrived(self) -> int:
        """Return how many images have come so far."""
        return self.node._monitor.statistics.snapshot().frames_in


@pytest.fixture
def rig() -> Iterator[CameraRig]:
    with running_ros(*ARGUMENTS):
        made = CameraRig()
        yield made
        made.close()


def test_frames_that_wait_are_labelled_at_once_and_the_newest_of_each_camera_wins(
    rig: CameraRig,
) -> None:
    rig.hold_up()
    front = [solid(1, stamp=stamp) for stamp in (2, 3, 4)]
    rear = [solid(2, stamp=stamp) for stamp in (12, 13)]
    for image in rear:
        image.header.frame_id = 'rear_camera'
    rig.bring({'front': front, 'rear': rear})
    rig.segmenter.going.set()
    rig.until(lambda: rig.labels['front'].stamps() == [1, 4], 'the newest front frame')
    rig.until(lambda: rig.labels['rear'].stamps() == [13], 'the newest rear frame')
    assert rig.segmenter.batches == [1, 2]
    for camera, sent, red in (('front', front[-1], 1), ('rear', rear[-1], 2)):
        assert rig.labels[camera].last.header == sent.header
        assert (image_to_labels(rig.labels[camera].last) == red).all()
    figures = {name: rig.node._monitor.camera(name).snapshot() for name in CAMERAS}
    dropped = {name: one.dropped['newer frame'] for name, one in figures.items()}
    assert dropped == {'front': 2, 'rear': 1, 'side': 0}


def test_frames_of_other_sizes_are_labelled_after_one_another(rig: CameraRig) -> None:
    rig.hold_up()
    rig.bring({'front': [solid(1, 4, 6, stamp=2)], 'rear': [solid(2, 8, 8, stamp=3)]})
    rig.segmenter.going.set()
    rig.until(lambda: rig.labels['front'].stamps() == [1, 2], 'the front frame')
    rig.until(lambda: rig.labels['rear'].stamps() == [3], 'the rear frame')
    assert rig.segmenter.batches == [1, 1, 1]
    assert rig.segmenter.sizes == [(4, 6), (4, 6), (8, 8)]
    assert (rig.labels['rear'].last.height, rig.labels['rear'].last.width) == (8, 8)


def test_only_cameras_whose_labels_somebody_wants_are_heard(rig: CameraRig) -> None:
    assert not rig.heard('side')
    mask = rig.listen('zegclip/side/masks/traffic_light')
    rig.until(lambda: rig.heard('side'), 'the third camera being heard')
    rig.cameras['side'].publish(solid(2, stamp=5))
    rig.until(lambda: mask.messages, 'its mask')
    assert (image_to_labels(mask.last) == 255).all()
    assert mask.last.header.stamp.sec == 5
    assert rig.labels['front'].messages == rig.labels['rear'].messages == []
    rig.probe.destroy_subscription(rig.labels['rear'].subscription)
    rig.until(lambda: rig.cameras['rear'].get_subscription_count() == 0, 'the rear being left')
    assert rig.heard('front')


def test_the_topics_of_the_one_camera_are_not_there(rig: CameraRig) -> None:
    published = dict(rig.node.get_publisher_names_and_types_by_node('zegclip', '/'))
    taken = dict(rig.node.get_subscriber_names_and_types_by_node('zegclip', '/'))
    assert {'/zegclip/rear/overlay/compressed', '/zegclip/side/confidence'} <= set(published)
    assert not {'/zegclip/label_image', '/zegclip/overlay'} & set(published)
    assert '/image' not in taken


def test_words_say_topics_and_first_stamps_of_each_camera(rig: CameraRig) -> None:
    for message in rig.states.messages:
        assert 'stamp' not in json.loads(message.data)
        assert set(json.loads(message.data)['stamps']) == set(CAMERAS)
    assert rig.state['stamps'] == {'front': None, 'rear': None, 'side': None}
    entry = rig.state['classes'][2]
    assert 'topic' not in entry
    assert entry['topics'] == {
        camera: f'/zegclip/{camera}/masks/traffic_light' for camera in CAMERAS
    }
    announced = len(rig.states.messages)
    # The cameras' clocks differ, which is no step back of either.
    for front, rear in ((100, 50), (101, 51), (102, 52)):
        rig.cameras['front'].publish(solid(0, stamp=front))
        rig.until(lambda front=front: front in rig.labels['front'].stamps())
        rig.cameras['rear'].publish(solid(0, stamp=rear))
        rig.until(lambda rear=rear: rear in rig.labels['rear'].stamps())
    rig.until(lambda: rig.state['stamps']['rear'] is not None, 'the stamp of the rear camera')
    assert {name: stamp and stamp['sec'] for name, stamp in rig.state['stamps'].items()} == {
        'front': 100,
        'rear': 50,
        'side': None,
    }
    assert len(rig.states.messages) == announced + 2
    rig.say('dog')
    assert rig.until_active('dog')['stamps'] == dict.fromkeys(CAMERAS)


def test_a_fault_costs_the_frames_of_its_batch_and_a_bad_image_only_itself(
    rig: CameraRig,
) -> None:
    rig.hold_up()
    bad = solid(1, stamp=2)
    bad.data = bad.data[:5]
    rig.bring({'front': [bad], 'rear': [solid(1, stamp=3)]})
    rig.segmenter.going.set()
    rig.until(lambda: rig.labels['rear'].stamps() == [3], 'the good frame')
    rig.hold_up()
    rig.segmenter.fault = DeviceMemoryError('gone')
    rig.bring({'front': [solid(1, stamp=4)], 'rear': [solid(1, stamp=5)]})
    rig.segmenter.going.set()
    figures = {name: rig.node._monitor.camera(name) for name in CAMERAS}
    rig.until(lambda: figures['rear'].snapshot().dropped['out of memory'] == 1, 'its loss')
    # One more: the frame that held the model up.
    assert figures['front'].snapshot().dropped['out of memory'] == 2
    assert figures['front'].snapshot().dropped['bad image'] == 1
    assert any(line.startswith('Rejected the image of the camera front: ') for line in rig.log)
    assert figures['rear'].snapshot().dropped['bad image'] == 0
    rig.segmenter.fault = None
    rig.cameras['front'].publish(solid(1, stamp=6))
    rig.until(lambda: 6 in rig.labels['front'].stamps(), 'the next frame')


def test_bad_images_of_two_cameras_are_told_apart(rig: CameraRig) -> None:
    bad = solid(1, stamp=2)
    bad.data = bad.data[:5]
    rig.bring({'front': [bad], 'rear': [bad]})
    told_of = [f'Rejected the image of the camera {name}: ' for name in ('front', 'rear')]
    rig.until(lambda: len(rig.log) == 2, 'both warnings')
    for line, wanted in zip(rig.log, told_of, strict=True):
        assert line.startswith(wanted)
    assert rig.node._monitor.last_error.startswith(told_of[1])


def test_a_frame_that_waits_for_another_size_gives_way_to_a_newer_one(rig: CameraRig) -> None:
    rig.hold_up()
    rig.bring({'front': [solid(1, 4, 6, stamp=2)], 'rear': [solid(2, 8, 8, stamp=3)]})
    rig.segmenter.on_batch = lambda batch: (
        batch == 2 and rig.node._pipeline.receive('rear', solid(2, 8, 8, stamp=4))
    )
    rig.segmenter.going.set()
    rig.until(lambda: rig.labels['rear'].stamps() == [4], 'the newer frame alone')
    rig.until(lambda: rig.labels['front'].stamps() == [1, 2], 'the front frame')
    figures = rig.node._monitor.camera('rear').snapshot()
    assert figures.dropped['newer frame'] == 1


def test_deactivation_does_not_wait_for_frames_of_other_sizes(rig: CameraRig) -> None:
    rig.hold_up()
    rig.bring({'front': [solid(1, 4, 6, stamp=2)], 'rear': [solid(2, 8, 8, stamp=3)]})
    pause = rig.node._pipeline._frames.pause
    rig.segmenter.on_batch = lambda batch: batch == 2 and pause()
    rig.segmenter.going.set()
    rig.node._pipeline._frames.run(lambda: None)
    rig.until(lambda: 2 in rig.labels['front'].stamps(), 'the front frame')
    rig.node.trigger_deactivate()
    assert rig.segmenter.sizes == [(4, 6), (4, 6)]


def test_too_little_memory_for_a_batch_costs_no_frame(rig: CameraRig) -> None:
    rig.segmenter.room = 1
    for stamp in (2, 4):
        rig.hold_up()
        rig.bring({name: [solid(1, stamp=stamp)] for name in CAMERAS[:2]})
        rig.segmenter.going.set()
        for name in CAMERAS[:2]:
            inbox = rig.labels[name]
            rig.until(lambda inbox=inbox, stamp=stamp: stamp in inbox.stamps(), name)
    # One attempt with two frames; the first of each round held the model up.
    assert rig.segmenter.batches == [1, 2, 1, 1, 1, 1, 1]
    assert rig.node._monitor.statistics.snapshot().dropped['out of memory'] == 0
    rig.until(lambda: rig.log, 'a warning')
    assert rig.log == ['Label at most 1 frames at once from now on: too large']
    rig.node.trigger_deactivate()
    rig.node.trigger_activate()
    rig.segmenter.room = 2
    rig.until(lambda: rig.heard('front') and rig.heard('rear'), 'both being heard')
    rig.hold_up()
    rig.bring({name: [solid(1, stamp=6)] for name in CAMERAS[:2]})
    rig.segmenter.going.set()
    rig.until(lambda: 6 in rig.labels['rear'].stamps(), 'the next batch')
    assert rig.segmenter.batches[-1] == 2


def told(message: DiagnosticArray) -> dict[str, dict[str, str]]:
    """Return the key-value pairs of each status by its name."""
    return {
        status.name.removeprefix('zegclip: '): {pair.key: pair.value for pair in status.values}
        for status in message.status
    }


def test_diagnostics_tell_the_figures_of_each_camera_and_of_all(rig: CameraRig) -> None:
    heard = Inbox(rig.probe, DiagnosticArray, '/diagnostics', qos())
    for camera, stamps in (('front', (1, 2)), ('rear', (3,))):
        for stamp in stamps:
            rig.cameras[camera].publish(solid(0, stamp=stamp))
            inbox = rig.labels[camera]
            rig.until(lambda inbox=inbox, stamp=stamp: stamp in inbox.stamps())
    rig.until(
        lambda: heard.messages and told(heard.last)['segmentation']['frames out'] == '3',
        'all frames being told of',
    )
    figures = told(heard.last)
    assert list(figures) == ['segmentation', 'camera front', 'camera rear', 'camera side']
    assert [figures[f'camera {name}']['frames out'] for name in CAMERAS] == ['2', '1', '0']
    assert figures['camera front']['frames in'] == '2'
    assert float(figures['camera rear']['model p50 [ms]']) >= 0.0
    assert 'model p50 [ms]' not in figures['camera side']
    assert figures['segmentation']['device'] == 'fake'
    assert {status.hardware_id for status in heard.last.status} == {'fake'}


def test_one_silent_camera_is_told_by_name(rig: CameraRig) -> None:
    heard = Inbox(rig.probe, DiagnosticArray, '/diagnostics', qos())

    labelled = rig.labels['front'].messages
    sent: list[Image] = []

    def silent() -> bool:
        if len(labelled) == len(sent):
            sent.append(solid(0, stamp=9))
            rig.cameras['front'].publish(sent[-1])
        return bool(heard.messages) and heard.last.status[0].level == DiagnosticStatus.WARN

    rig.until(silent, 'a warning')
    whole, front, rear, side = heard.last.status
    assert whole.message.startswith('rear: No image on /rear/image for ')
    assert rear.message == whole.message.removeprefix('rear: ')
    levels = [status.level for status in (front, rear, side)]
    assert levels == [DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.OK]


def test_cameras_change_between_cleanup_and_configure() -> None:
    with running_ros('-p', 'autostart:=false', '-p', f'class_names:={json.dumps(WORDS)}'):
        rig = Rig(FakeSegmenter())
        rig.node.trigger_configure()
        assert set(rig.node._pipeline.cameras) == {''}
        rig.until_active(*WORDS)
        rig.node.trigger_cleanup()
        assert 'stamp' in rig.state
        assert rig.node.set_parameters([Parameter('cameras', value=['left'])])[0].successful
        rig.until(lambda: rig.state.get('stamps') == {'left': None}, 'the state by camera')
        rig.node.trigger_configure()
        rig.until_active(*WORDS)
        assert rig.state['classes'][0]['topics'] == {'left': '/zegclip/left/masks/person'}
        topics = [name for name, _ in publishers(rig.node)]
        assert '/zegclip/left/masks/person' in topics
        assert '/zegclip/masks/person' not in topics
        rig.close()


def test_the_recorder_records_the_camera_that_it_is_told(tmp_path: Path) -> None:
    own = ('-p', 'recorder:camera:=rear', '-p', 'seconds:=1.0', '-p', f'output:={tmp_path}')
    with running_ros(*ARGUMENTS, *own):
        rig = CameraRig()
        # As a camera's driver does; the recorder asks for nothing else then.
        rig.probe.destroy_publisher(rig.cameras['rear'])
        rear = rig.probe.create_publisher(Image, 'rear/image', qos('best_effort'))
        recorder = RecorderNode()
        rig.executor.add_node(recorder)
        stamps = iter(range(1, 10**6))

        def recorded() -> bool:
            stamp = next(stamps)
            rig.cameras['front'].publish(solid(1, 48, 64, stamp=10**6 + stamp))
            rear.publish(solid(2, 48, 64, stamp=stamp))
            return recorder.ended.is_set()

        rig.until(recorded, 'the recorder being done')
        recorder.close()
        recorder.destroy_node()
        rig.close()
    assert recorder.exit_code == 0
    (words,) = json.loads((tmp_path / 'summary.json').read_text('utf-8'))['vocabularies']
    assert words['pixel_share'] == {'person': 0.0, 'cat': 0.0, 'traffic light': 1.0}
    assert words['frames'] > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *('overlay.mp4', 'summary.json', words['picture'])
    }


def test_a_frame_that_comes_before_its_words_is_in_the_video(tmp_path: Path) -> None:
    with running_ros('-p', f'output:={tmp_path}'):
        recorder = RecorderNode()
        frame = solid(1, 48, 64, stamp=2)
        recorder._on_camera(frame)
        labels = label_fields(np.zeros((48, 64), np.uint8))
        recorder._remember('labels', image_message(labels, frame.header))
        recorder._on_overlay(frame)
        assert not (tmp_path / 'overlay.mp4').exists()
        recorder._on_announcement(String(data='no announcement'))
        words, stamp = Vocabulary.from_names(['cat']), {'sec': 2, 'nanosec': 0}
        state = announcement(words, [None], version=1, stamp=stamp, requested=1)
        recorder._on_announcement(String(data=json.dumps(state)))
        recorder._tick()
        recorder.close()
        recorder.destroy_node()
    assert (tmp_path / 'overlay.mp4').stat().st_size > 0


@pytest.mark.parametrize('given', ['', 'side'])
def test_the_recorder_ends_where_the_node_lacks_its_camera(given: str, tmp_path: Path) -> None:
    chosen = ('-p', f'camera:={given}') if given else ()
    with running_ros('-p', f'output:={tmp_path}', *chosen):
        recorder = RecorderNode()
        state = announcement(None, [], version=0, stamp=None, requested=0)
        state['stamps'] = {'front': None, 'rear': None}
        recorder._on_announcement(String(data=json.dumps(state)))
        assert recorder.ended.is_set()
        assert recorder.exit_code == 1
        recorder.destroy_node()


def publishers(node: Node) -> list[tuple[str, list[str]]]:
    return node.get_publisher_names_and_types_by_node('zegclip', '/')
