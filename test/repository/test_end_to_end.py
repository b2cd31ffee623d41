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
"""The bundled model, camera and node as processes of their own, seen from a third one."""

from collections.abc import Iterator
import json
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.node import Node
from ros_helpers import DEADLINE, Inbox, qos, running_ros, spin_until, TRANSIENT
from sensor_msgs.msg import Image
from std_msgs.msg import String
from zegclip_ros.conversions import image_to_labels, image_to_rgb

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(400)]

LOADING = 240.0
"""Seconds that loading the model may take on a busy machine."""


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a node as a user would."""
    command = [sys.executable, '-m', f'zegclip_ros.nodes.{module}', '--ros-args', *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> str:
    """End a node by a signal; return what it logged."""
    process.send_signal(number)
    log = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == 0, log
    return log


class Watcher(Node):
    """A node that sees everything and can speak."""

    def __init__(self) -> None:
        super().__init__('watcher')
        self.camera = Inbox(self, Image, '/camera/image', qos(depth=100))
        self.labels = Inbox(self, Image, '/zegclip/label_image', qos(depth=100))
        self.overlays = Inbox(self, Image, '/zegclip/overlay', qos(depth=100))
        self.cats = Inbox(self, Image, '/zegclip/masks/cat', qos(depth=100))
        self.states = Inbox(self, String, '/zegclip/active_vocabulary', TRANSIENT)
        self.words = self.create_publisher(String, '/vocabulary', qos())

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.states.last.data) if self.states.messages else {}


def test_a_node_that_is_still_loading_ends_at_once_and_cleanly() -> None:
    node = start('segmentation')
    assert node.stderr is not None
    try:
        first = node.stderr.readline()
        assert 'Loading the model' in first
        log = stop(node)
        assert 'Traceback' not in log
    finally:
        node.kill()
        node.communicate()


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'zegclip_ros.demo', *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=LOADING + 60,
    )


def test_the_demo_writes_what_it_promises(tmp_path: Path) -> None:
    done = run_demo('--out', str(tmp_path), '--seconds', '6', '--patience', str(LOADING))
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / 'summary.json').read_text(encoding='utf-8'))
    assert summary['frames_out'] > 0
    assert summary['latency_ms']['p95'] >= summary['latency_ms']['p50'] > 0.0
    assert [entry['version'] for entry in summary['vocabularies']] == [1, 2, 3]
    for entry in summary['vocabularies']:
        total = sum(entry['pixel_share'].values()) + entry['unlabelled_share']
        assert entry['frames'] > 0
        assert total == pytest.approx(1.0, abs=0.001)
        assert (tmp_path / entry['picture']).stat().st_size > 1000
    video = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert video.read()[0]
    assert str(tmp_path / 'overlay.mp4') in done.stdout
    page = (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert page.count('src="data:video/mp4;base64,') == 1
    assert page.count('src="data:image/png;base64,') == 3
    assert f'{summary["latency_ms"]["p50"]} ms' in page


def test_a_demo_without_a_model_fails_and_shows_why(tmp_path: Path) -> None:
    done = run_demo('--out', str(tmp_path), '--model', 'no-such-model')
    assert done.returncode == 1
    assert 'segmentation did not do its part' in done.stderr
    assert 'no-such-model' in done.stderr


def test_a_demo_that_is_ended_ends_its_processes(tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'zegclip_ros.demo', '--out', str(tmp_path)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    try:
        assert 'Starting' in demo.stdout.readline()
        assert 'Loading the model' in demo.stdout.readline()
        demo.terminate()
        error = demo.communicate(timeout=DEADLINE)[1]
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode == 130
    assert 'Interrupted' in error
    assert not [path for path in Path('/proc').glob('[0-9]*/cmdline') if _holds(path, tmp_path)]


def _holds(path: Path, folder: Path) -> bool:
    """Return whether a command line names a folder."""
    try:
        return str(folder).encode() in path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


# Last, since these nodes run on beside whatever comes after them in this file.
@pytest.fixture(scope='module')
def watcher() -> Iterator[Watcher]:
    camera = start('camera', '-p', 'seconds_per_photo:=2.0')
    words = 'class_names:=["person", "cat", "dining table", "bowl", "car"]'
    node = start('segmentation', '-r', 'image:=/camera/image', '-p', words)
    with running_ros():
        made = Watcher()
        try:
            spin_until(lambda: made.overlays.messages, made, deadline=LOADING)
            yield made
            made.destroy_node()
            stop(camera)
            log = stop(node, signal.SIGTERM)
            assert 'ERROR' not in log
            assert 'Rejected' not in log
        finally:
            for process in (camera, node):
                process.kill()
                process.communicate()


def by_stamp(inbox: Inbox) -> dict[tuple[int, int], Image]:
    return {(m.header.stamp.sec, m.header.stamp.nanosec): m for m in inbox.messages}


def test_outputs_are_of_the_camera_s_frames_and_agree(watcher: Watcher) -> None:
    inboxes = (watcher.camera, watcher.labels, watcher.overlays, watcher.cats)

    def common() -> set[tuple[int, int]]:
        return set.intersection(*(set(by_stamp(inbox)) for inbox in inboxes))

    spin_until(lambda: len(common()) >= 3, watcher)
    for stamp in common():
        frame, labels, overlay, cats = (by_stamp(inbox)[stamp] for inbox in inboxes)
        assert frame.header == labels.header == overlay.header == cats.header
        ids = image_to_labels(labels)
        assert ids.shape == (480, 640)
        assert set(np.unique(ids)) <= {0, 1, 2, 3, 4, 255}
        assert (image_to_labels(cats) == np.where(ids == 1, 255, 0)).all()
        same = (image_to_rgb(overlay) == image_to_rgb(frame)).all(axis=2)
        assert same[ids == 255].all()


def test_new_words_show_in_the_very_next_labels(watcher: Watcher) -> None:
    spin_until(lambda: watcher.words.get_subscription_count() > 0, watcher)
    watcher.words.publish(String(data='[{"name": "espresso", "color": [1, 2, 3]}, "astronaut"]'))
    spin_until(lambda: watcher.state['version'] == 2 and watcher.state['stamp'], watcher)
    assert [entry['name'] for entry in watcher.state['classes']] == ['espresso', 'astronaut']
    since = (watcher.state['stamp']['sec'], watcher.state['stamp']['nanosec'])
    # On a busy machine an image may be lost, also the first one with the new words.
    spin_until(lambda: any(stamp >= since for stamp in by_stamp(watcher.labels)), watcher)
    later = [labels for stamp, labels in by_stamp(watcher.labels).items() if stamp >= since]
    for labels in later:
        assert set(np.unique(image_to_labels(labels))) <= {0, 1, 255}
