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
"""The recorder: listens to a run, changes the words, writes a video, images and figures."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
import json
import platform
import time
from typing import NoReturn

import cv2
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String
from zegclip_core import __version__
from zegclip_core.errors import ConfigError, VocabularyError
from zegclip_core.files import user_path
from zegclip_core.images.drawing import overlay_with_legend
from zegclip_core.messages.outputs import ACTIVE_VOCABULARY, LABEL_IMAGE, OVERLAY
from zegclip_core.messages.topic_names import check_cameras, image_topic, output_topic
from zegclip_core.segmentation import sampled
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import image_to_labels, image_to_rgb
from zegclip_ros.frames.image_input import ImageInput
from zegclip_ros.listening import Announcement, FrameParts
from zegclip_ros.parameters import Declaration, declare, descriptions
from zegclip_ros.recording import FRAME_RATE, Labelled, LegendVideo, Recording, with_legend
from zegclip_ros.runtime.runner import run_process, RunnableNode

PROGRESS_INTERVAL = 4.0
"""Seconds between two lines about the progress."""
PACKAGES = ('torch', 'numpy', 'opencv-python-headless', 'open_clip_torch', 'timm', 'ros-rclpy')
_MOST_WAITING = 256 * 2**20
"""Bytes of images that wait at most for what belongs to their frames: 30 s of 640x480 at 10 Hz."""
_QUEUE = 10
"""Messages of a topic that wait at most; none is to be lost while an image is written."""

DECLARATIONS = (
    Declaration('output', 'demo_output', 'Folder for what is written.'),
    Declaration(
        'camera', '', 'Which camera to record of a node with several; empty for the only one.'
    ),
    Declaration(
        'seconds', 36.0, 'Time to record from the first overlay on [s].', bounds=(1.0, 36000.0)
    ),
    Declaration(
        'patience',
        180.0,
        'Longest wait for the first overlay, and for those that are missing at the end [s].',
        bounds=(1.0, 36000.0),
    ),
    Declaration(
        'vocabularies',
        [''],
        'Words to publish one after another, in equal intervals; empty ones are left out.',
    ),
)


class RecorderNode(RunnableNode):
    """Records what a segmentation node makes of a camera and ends after a while.

    Subscribed topics: ``image``, ``zegclip/label_image``, ``zegclip/overlay`` and
    ``zegclip/active_vocabulary``; with the parameter ``camera``, such as ``front``, the first
    three are ``front/image``, ``zegclip/front/label_image`` and ``zegclip/front/overlay``.
    Published topic: ``vocabulary``.

    Writes ``overlay.mp4``, ``vocabulary_<n>.png`` and ``summary.json``; the exit code is 1 if no
    overlay came. ``DECLARATIONS`` describes its parameters.
    """

    def __init__(self) -> None:
        super().__init__('recorder')
        values = declare(self, DECLARATIONS)
        camera: str = values['camera']
        if camera:
            check_cameras([camera], 'the parameter camera')
        self._folder = user_path(values['output'])
        self._folder.mkdir(parents=True, exist_ok=True)
        self._seconds: float = values['seconds']
        self._patience: float = values['patience']
        self._requests = [text for text in values['vocabularies'] if text.strip()]
        self._vocabularies = [Vocabulary.parse(text) for text in self._requests]
        self._said = 0
        self._recording = Recording(camera)
        self._video: LegendVideo | None = None
        self._parts = FrameParts[Image](
            ('image', 'labels', 'overlay'), lambda part: len(part.data), _MOST_WAITING
        )
        self._early: tuple[Labelled, Image] | None = None
        # Not the node's clock for durations: a simulated one begins late, jumps, and may stand.
        self._began = time.monotonic()
        self._first: float | None = None
        transient = QoSProfile(depth=_QUEUE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._camera = ImageInput(
            self, image_topic(camera), 'raw', 'auto', self._on_camera, depth=_QUEUE
        )
        callbacks: dict[str, Callable[[Image], None]] = {
            LABEL_IMAGE: partial(self._remember, 'labels'),
            OVERLAY: self._on_overlay,
        }
        for output, callback in callbacks.items():
            topic = output_topic(camera, output).replace('~', 'zegclip')
            self.create_subscription(Image, topic, callback, _QUEUE)
        topic = f'zegclip/{ACTIVE_VOCABULARY}'
        self.create_subscription(String, topic, self._on_announcement, transient)
        self._words = self.create_publisher(String, 'vocabulary', _QUEUE)
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / FRAME_RATE, self._tick, clock=clock)
        self.create_timer(PROGRESS_INTERVAL, self._tell, clock=clock)

    def _now(self) -> int:
        """Return the time on the clock that stamps come from [ns]."""
        return int(self.get_clock().now().nanoseconds)

    def _elapsed(self) -> float:
        """Return the seconds since the first overlay, or since the start if there was none."""
        return time.monotonic() - (self._first or self._began)

    def _on_announcement(self, message: String) -> None:
        try:
            self._recording.announced(Announcement.read(message.data))
        except VocabularyError as error:
            self.get_logger().warning(str(error))
            return
        except ConfigError as error:
            self.get_logger().fatal(str(error))
            self.end(1)
            return
        if self._early is not None:
            self._show(*self._early)

    def _on_camera(self, message: Image) -> None:
        if self._first is not None:
            self._recording.cameras.append(stamp_of(message))
        self._remember('image', message)

    def _on_overlay(self, message: Image) -> None:
        arrival = self._now()
        if self._first is None:
            self._first = time.monotonic()
            self.get_logger().info('The first overlay is here.')
        self._recording.overlays.append((stamp_of(message), arrival))
        self._recording.arrived.append(time.monotonic_ns())
        self._remember('overlay', message)

    def _remember(self, part: str, message: Image) -> None:
        """Keep a message until the others of its frame are there."""
        stamp = stamp_of(message)
        parts = self._parts.add(stamp, part, message)
        if parts is None:
            return
        image = image_to_rgb(parts['image'])
        # The node may be set to another size of the label images.
        labels = sampled(image_to_labels(parts['labels']), *image.shape[:2])
        frame = Labelled(stamp, image, labels)
        self._recording.labelled(frame)
        self._show(frame, parts['overlay'])

    def _show(self, frame: Labelled, overlay: Image) -> None:
        """Put a frame with its overlay into the video, or keep it until its words are known."""
        version = self._recording.owner(frame.stamp)
        self._early = None if version is not None else (frame, overlay)
        if version is None:
            return
        if self._video is None:
            words = [self._recording.versions[version].vocabulary, *self._vocabularies]
            self._video = LegendVideo(self._folder / 'overlay.mp4', words)
        segmentation = self._recording.segmentation(frame, version)
        shown = with_legend(frame.image, image_to_rgb(overlay), segmentation)
        self._video.show(shown, frame.labels.shape)

    def _tick(self) -> None:
        """Do what is due: words, a frame of the video, the end."""
        self._camera.update(wanted=True)
        elapsed = self._elapsed()
        if self._first is None:
            if elapsed > self._patience:
                self.get_logger().fatal(f'No overlay came in {self._patience:.0f} s.')
                self.end(1)
            return
        if self._video is not None:
            self._video.tick()
        # A slow machine gets more time, so that every vocabulary has a frame of its own.
        if self._recording.awaits_labels() and elapsed < self._seconds + self._patience:
            return
        interval = self._seconds / (1 + len(self._requests))
        if self._said < len(self._requests):
            if elapsed >= interval * (1 + self._said):
                vocabulary = self._vocabularies[self._said]
                self._recording.said(vocabulary, self._now())
                self._words.publish(String(data=self._requests[self._said]))
                self.get_logger().info(f'New words: {", ".join(vocabulary.names)}')
                self._said += 1
        elif elapsed >= self._seconds and not self.ended.is_set():
            self._write()
            self.end(0)

    def _tell(self) -> None:
        """Log the progress."""
        if self._first is None:
            self.get_logger().info(f'Waiting for the first overlay, {self._elapsed():.0f} s.')
        else:
            self.get_logger().info(
                f'{self._elapsed():.0f} of {self._seconds:.0f} s, '
                f'{len(self._recording.overlays)} frames labelled.'
            )

    def _write(self) -> None:
        """Write the video, the best frame of each vocabulary and the figures."""
        self.close()
        summary = self._recording.summary()
        for entry in summary['vocabularies']:
            frame, entry['picture'] = self._recording.best(entry['version']), None
            if frame is not None:
                segmentation = self._recording.segmentation(frame, entry['version'])
                image = overlay_with_legend(frame.image, segmentation)
                entry['picture'] = f'vocabulary_{entry["version"]}.png'
                path = self._folder / entry['picture']
                cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        summary['versions'] = package_versions()
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        (self._folder / 'summary.json').write_text(f'{text}\n', encoding='utf-8')

    def close(self) -> bool:
        """Finish the video, also of a run that was cut short."""
        if self._video is not None:
            self._video.close()
        return True


def stamp_of(message: Image) -> int:
    """Return the stamp of a message [ns]."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def package_versions() -> dict[str, str]:
    """Return the versions of what took part, as far as package metadata know them."""
    versions: dict[str, str] = {'zegclip_ros': __version__, 'python': platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = 'not from the package index'
    return versions


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the recorder and end the process with its exit code."""
    run_process(RecorderNode, args, descriptions(DECLARATIONS))


if __name__ == '__main__':
    main()
