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
"""The depth of a camera's images, matched by their stamps."""

from collections.abc import Callable
from functools import partial
import time

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from zegclip_core.errors import ImageError
from zegclip_core.geometry import DepthView, Intrinsics, resampled
from zegclip_core.messages.depth import check_depth, check_fits, depth_metres, intrinsics_of
from zegclip_core.messages.topic_names import depth_topic, info_topic
from zegclip_ros.diagnostics.health import SILENCE
from zegclip_ros.frames.image_input import ImageInput
from zegclip_ros.frames.stamp_matcher import StampMatcher

MEMORY = 8
"""Depth images that are kept, and frames whose depth is, at most."""
_DEPTH, _IMAGE = 'depth', 'the image'


def nanoseconds(header: Header) -> int:
    """Return a header's time [ns]."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


class DepthInput:
    """Listens, while it is told to, to depth images and to the cameras that they are of.

    Attributes:
        topic: Full name of the topic of depth images.

    Args:
        camera: Name of the camera whose images the depth belongs to; ``''`` for the only one.
        refused: Gets why a message cannot be used.
        arrived: Called when depth has come.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        refused: Callable[[ImageError], object],
        arrived: Callable[[], object],
    ) -> None:
        self._refused = refused
        self._arrived = arrived
        self._matcher: StampMatcher[Image] = StampMatcher(0, MEMORY)
        self._cameras: dict[str, Intrinsics] = {}
        self._last_seconds: float | None = None
        self._matched_seconds: float | None = None
        self._complaint: str | None = None
        self._needed = False
        topic = depth_topic(camera)
        infos = {_DEPTH: info_topic(topic), _IMAGE: info_topic(camera)}
        # All that came are taken, so that the one that fits is among them.
        self._depth = ImageInput(node, topic, 'raw', 'auto', self._on_depth, depth=MEMORY)
        self._infos = {
            what: ImageInput(
                node, name, 'raw', 'auto', partial(self._on_info, what), kind=CameraInfo
            )
            for what, name in infos.items()
        }
        self.topic = self._depth.topic

    def update(self, *, wanted: bool, needed: bool, tolerance: float) -> None:
        """Subscribe or not, and as it is offered; has to be called again and again.

        Args:
            wanted: Whether depth is of use.
            needed: Whether something cannot be published without it, which is worth a warning.
            tolerance: Greatest distance of the stamps of an image and its depth [s].
        """
        self._matcher.tolerance = round(tolerance * 1e9)
        self._needed = wanted and needed
        for one in (self._depth, *self._infos.values()):
            one.update(wanted=wanted)
        if not wanted:
            self._forget()

    def close(self) -> None:
        """End the subscriptions."""
        for one in (self._depth, *self._infos.values()):
            one.close()
        self._forget()

    def _forget(self) -> None:
        self._matcher.clear()
        self._last_seconds = self._matched_seconds = self._complaint = None

    @property
    def is_live(self) -> bool:
        """Whether depth has come a moment ago."""
        last = self._last_seconds
        return last is not None and time.monotonic() - last < SILENCE

    @property
    def missing(self) -> str | None:
        """What is to be said if points lack depth for a while; ``None`` while nothing is wrong."""
        seconds = self._depth.subscribed_seconds
        if not self._needed or seconds is None or seconds < SILENCE:
            return None
        now, last = time.monotonic(), self._last_seconds
        if last is None or now - last >= SILENCE:
            silent = seconds if last is None else min(seconds, now - last)
            return f'No depth on {self.topic} for {silent:.0f} s, which points take.'
        matched = self._matched_seconds
        if matched is None or now - matched >= SILENCE:
            return self._complaint
        return None

    def expect(self, header: Header) -> None:
        """Keep the depth of an image from now on, until ``take``."""
        self._matcher.expect(nanoseconds(header))

    def is_settled(self, header: Header) -> bool:
        """Return whether no depth is to come that fits an image better."""
        return not self.is_live or self._matcher.settled(nanoseconds(header))

    def take(self, header: Header, size: tuple[int, int]) -> DepthView | None:
        """Return the depth of an image's pixels; ``None`` if there is none that can be used.

        Args:
            header: The image's header.
            size: Its height and width.
        """
        stamp = nanoseconds(header)
        distance = self._matcher.distance(stamp)
        message = self._matcher.take(stamp)
        if message is None:
            if distance is not None:
                self._complaint = (
                    f'Depth on {self.topic} does not match the images: the nearest stamp is '
                    f'{distance / 1e9:.3f} s away, depth_tolerance allows '
                    f'{self._matcher.tolerance / 1e9:g} s.'
                )
            return None
        try:
            view = self._view(message, *size)
        except ImageError as error:
            self._complaint = f'Depth on {self.topic} cannot be used: {error}'
            self._refused(error)
            return None
        self._matched_seconds = time.monotonic()
        return view

    def _view(self, message: Image, height: int, width: int) -> DepthView:
        """Return the depth of a message on the pixels of an image of another size or the same."""
        camera = self._camera(_DEPTH, message.width, message.height)
        target = camera
        if (message.height, message.width) != (height, width):
            target = self._camera(_IMAGE, width, height)
        return DepthView(resampled(depth_metres(message), camera, target), target)

    def _camera(self, what: str, width: int, height: int) -> Intrinsics:
        """Return the camera of images of a size; an ``ImageError`` if it is not known."""
        camera = self._cameras.get(what)
        if camera is None:
            why = '' if what == _DEPTH else ', as depth of another size takes both'
            raise ImageError(
                f'Expected the camera info of {what} on {self._infos[what].topic}{why}, '
                'but got none.'
            )
        check_fits(camera, width, height, what)
        return camera

    def _on_info(self, what: str, info: CameraInfo) -> None:
        try:
            self._cameras[what] = intrinsics_of(info)
        except ImageError as error:
            self._cameras.pop(what, None)
            if what == _DEPTH:  # That of the image is seldom needed.
                self._refused(error)

    def _on_depth(self, message: Image) -> None:
        try:
            check_depth(message)
        except ImageError as error:
            self._complaint = f'Depth on {self.topic} cannot be used: {error}'
            self._last_seconds = time.monotonic()
            self._refused(error)
            return
        self._matcher.add(nanoseconds(message.header), message)
        self._last_seconds = time.monotonic()
        self._arrived()
