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
"""A camera for trying things out: plays photos, a video, a folder or a webcam as a topic."""

from collections.abc import Callable, Sequence
from functools import partial
import itertools
import math
from pathlib import Path
import threading
from typing import NoReturn, Protocol

import cv2
import numpy as np
from rclpy.logging import get_logger
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError
from zegclip_core.files import absent, user_path
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.media import is_video, media_in, read_image
from zegclip_core.images.video import Video
from zegclip_ros.conversions import camera_info, depth_to_image, rgb_to_image
from zegclip_ros.made_scene import BOARDS, MadeScene
from zegclip_ros.parameters import Declaration, declare, descriptions
from zegclip_ros.runtime.runner import run_process, RunnableNode

PHOTOS = ('astronaut', 'chelsea', 'coffee', 'rocket')
"""Public-domain photos that scikit-image's package carries itself."""
CLOSEST = 1.3
"""Greatest zoom into a photo."""
FALLBACK_RATE = 25.0
"""Frames per second of a video that declares no rate."""

DECLARATIONS = (
    Declaration(
        'source',
        '',
        'What to show: nothing for the public-domain photos of scikit-image; or the path of a '
        'picture, a video or a folder; or the number of a webcam.',
        any_type=True,
    ),
    Declaration('rate', 10.0, 'Pictures a second [Hz].', bounds=(0.1, 1000.0)),
    Declaration('width', 640, 'Width that photos are shown at [px].', bounds=(1, 8192)),
    Declaration('height', 480, 'Height that photos are shown at [px].', bounds=(1, 8192)),
    Declaration(
        'seconds_per_photo', 4.0, 'How long each photo is shown [s].', bounds=(0.1, 3600.0)
    ),
    Declaration('frame_id', 'camera', 'Frame in the header of the images.'),
    Declaration(
        'depth',
        False,
        'Whether to show a made room with photos in place of the source, with its depth on '
        '~/depth.',
    ),
    Declaration(
        'reliability',
        'reliable',
        'Reliability that is offered.',
        choices=('reliable', 'best_effort'),
    ),
)


class Scene(Protocol):
    """Something to show."""

    def frame(self, seconds: float) -> RgbImage | None:
        """Return the image of this moment, RGB uint8 ``(H, W, 3)``; ``None`` when it is over."""


class PhotoScene:
    """A photo through a window of a size ``(H, W)`` that wanders over it for some seconds."""

    def __init__(self, photo: RgbImage, size: tuple[int, int], duration: float) -> None:
        self._photo = photo
        self._size = size
        self._duration = duration

    def frame(self, seconds: float) -> RgbImage | None:
        """Return what the window shows."""
        if seconds >= self._duration:
            return None
        height, width = self._size
        turn = 2 * math.pi * seconds / self._duration
        # Twice in and out, while it wanders once around the middle.
        zoom = 1 + (CLOSEST - 1) * (1 - math.cos(2 * turn)) / 2
        scale = max(height / self._photo.shape[0], width / self._photo.shape[1]) * zoom
        left = (self._photo.shape[1] * scale - width) * (1 + math.sin(turn)) / 2
        top = (self._photo.shape[0] * scale - height) * (1 - math.cos(turn)) / 2
        window = np.array([[scale, 0, -left], [0, scale, -top]])
        shown = cv2.warpAffine(
            self._photo, window, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(shown, dtype=np.uint8)


class VideoScene:
    """A video at its own speed; ``ImageError`` if it cannot be opened or decoded."""

    def __init__(self, path: Path) -> None:
        video = Video(path)
        self._rate = video.frame_rate or FALLBACK_RATE
        self._frames = enumerate(video)

    def frame(self, seconds: float) -> RgbImage | None:
        """Return the frame that is due, ``None`` at the end."""
        due = int(seconds * self._rate)
        for index, image in self._frames:
            if index >= due:
                return image
        return None


class Playlist:
    """Scenes one after another, again and again.

    Each is made when its turn comes; one that raises ``ImageError`` is logged and left out.
    """

    def __init__(self, makers: Sequence[Callable[[], Scene]]) -> None:
        self._makers = itertools.cycle(makers)
        self._count = len(makers)
        self._scene: Scene | None = None
        self._began = 0.0

    def frame(self, seconds: float) -> RgbImage:
        """Return the image of this moment; ``ImageError`` if no scene has anything to show."""
        for _ in range(self._count + 1):
            try:
                image = self._scene.frame(seconds - self._began) if self._scene else None
                if image is not None:
                    return image
                self._scene, self._began = None, seconds
                self._scene = next(self._makers)()
            except ImageError as error:
                self._scene = None
                get_logger('camera').warning(f'{error} It is left out.')
        image = self._scene.frame(0.0) if self._scene else None
        if image is None:
            raise ImageError('None of the pictures and videos can be shown.')
        return image


class LiveCamera:
    """A camera of this machine; always its newest frame.

    A thread of its own reads, since frames that nobody reads queue up in the driver.
    """

    def __init__(self, number: int) -> None:
        try:
            self._capture = cv2.VideoCapture(number)
            opened, reason = self._capture.isOpened(), 'no such camera'
        except cv2.error as error:
            opened, reason = False, ' '.join(str(error).split()).rstrip('.')
        if not opened:
            raise ImageError(f'Cannot open the camera {number}: {reason}.')
        self._newest: RgbImage | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        decoded, bgr = self._capture.read()
        while decoded:
            self._newest = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            decoded, bgr = self._capture.read()
        self._capture.release()
        self._failed = True

    def frame(self, seconds: float) -> RgbImage | None:
        """Return the frame that came since the last call, ``None`` if none did."""
        failed = self._failed  # Read first: the last frame may come in between.
        newest, self._newest = self._newest, None
        if newest is None and failed:
            raise ImageError('The camera gives no more frames.')
        return newest


def bundled_photo(name: str) -> RgbImage:
    """Return a photo of scikit-image's package, RGB uint8 ``(H, W, 3)``."""
    try:
        from skimage import data
    except ImportError as error:
        raise ImageError(
            'Expected scikit-image, whose photos are shown unless the parameter source names '
            'something else, but it is not installed; try: pip install scikit-image.'
        ) from error
    return np.asarray(getattr(data, name)(), dtype=np.uint8)


def open_source(source: object, size: tuple[int, int], hold: float) -> Scene | Playlist:
    """Return what to show.

    Args:
        source: Nothing for the bundled photos; the path of an image, a video or a folder of
            both; or the number of a camera, also as text unless a file has this name.
        size: ``(H, W)`` that photos are shown at; videos and cameras keep theirs.
        hold: Seconds that a photo is shown.

    Raises:
        ImageError: If the source cannot be shown.
        ValueError: If it is neither a string nor an integer.
    """

    def photo(read: Callable[[], RgbImage]) -> Callable[[], Scene]:
        return lambda: PhotoScene(read(), size, hold)

    if isinstance(source, bool) or not isinstance(source, str | int):
        raise ValueError(
            f'Expected the parameter source to be a path or a number, but got {source!r}.'
        )
    if source == '':
        bundled_photo(PHOTOS[0])  # Tells at once if there are none.
        return Playlist([photo(partial(bundled_photo, name)) for name in PHOTOS])
    path = user_path(str(source))
    # ROS reads a parameter as a number where it looks like one.
    if isinstance(source, int) or (source.isdecimal() and not path.exists()):
        return LiveCamera(int(source))
    if not path.exists():
        raise ImageError(f'Cannot read {path}: {absent(path)}.')
    if is_video(path):
        Video(path)  # Tells at once if it is damaged.
    paths = media_in(path) if path.is_dir() else [path]
    return Playlist(
        [
            partial(VideoScene, one) if is_video(one) else photo(partial(read_image, one))
            for one in paths
        ]
    )


class CameraNode(RunnableNode):
    """Publishes images as a camera does, with the present time as their stamp.

    Publishes ``~/image`` (``sensor_msgs/msg/Image``, ``rgb8``, depth 1) and, of a made room,
    ``~/depth`` (``16UC1``) and ``~/depth/camera_info``; ``DECLARATIONS`` describes its parameters.
    """

    def __init__(self) -> None:
        super().__init__('camera')
        values = declare(self, DECLARATIONS)
        size = (values['height'], values['width'])
        self._frame_id = values['frame_id']
        self._made = made_scene(size) if values['depth'] else None
        self._show = self._made or open_source(values['source'], size, values['seconds_per_photo'])
        qos = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy[values['reliability'].upper()],
            durability=DurabilityPolicy.VOLATILE,
        )
        self._publisher = self.create_publisher(Image, '~/image', qos)
        if self._made is not None:
            self._depth = self.create_publisher(Image, '~/depth', qos)
            self._info = self.create_publisher(CameraInfo, '~/depth/camera_info', qos)
        self._began = self.get_clock().now()
        self._timer = self.create_timer(1.0 / values['rate'], self._publish)
        self.get_logger().info(f'Publishing on {self._publisher.topic_name}.')

    def _publish(self) -> None:
        """Publish the image that is due."""
        now = self.get_clock().now()
        seconds = (now - self._began).nanoseconds / 1e9
        if self._made is not None:
            self._publish_made(
                self._made, seconds, Header(stamp=now.to_msg(), frame_id=self._frame_id)
            )
            return
        try:
            image = self._show.frame(seconds)
        except ImageError as error:
            self.get_logger().fatal(str(error))
            self.end(1)
            return
        if image is not None:
            header = Header(stamp=now.to_msg(), frame_id=self._frame_id)
            self._publisher.publish(rgb_to_image(image, header))

    def _publish_made(self, scene: MadeScene, seconds: float, header: Header) -> None:
        """Publish the made room of this moment, first how far it is."""
        image, depth = scene.view(seconds)
        self._info.publish(camera_info(scene.camera, header))
        self._depth.publish(depth_to_image(depth, header))
        self._publisher.publish(rgb_to_image(image, header))


def made_scene(size: tuple[int, int]) -> MadeScene:
    """Return the made room; an ``ImageError`` if the bundled photos are not there."""
    return MadeScene({board.photo: bundled_photo(board.photo) for board in BOARDS}, size)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the camera node and end the process with its exit code."""
    run_process(CameraNode, args, descriptions(DECLARATIONS))


if __name__ == '__main__':
    main()
