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
"""The size of the clouds that label images are to fit, one point for each pixel."""

from collections.abc import Callable

from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from zegclip_core.errors import ImageError
from zegclip_core.messages.image_encodings import check_size
from zegclip_core.messages.storage import message_bytes
from zegclip_ros.diagnostics.health import SILENCE
from zegclip_ros.frames.image_input import ImageInput


class CloudSize:
    """Listens to organised clouds, while it is told to, for their size alone.

    Attributes:
        size: Height and width of the newest cloud; ``None`` before the first.

    Args:
        topic: Relative topic of the clouds.
        refused: Gets why a cloud cannot be used.
    """

    def __init__(self, node: Node, topic: str, refused: Callable[[ImageError], object]) -> None:
        self._refused = refused
        self._input = ImageInput(node, topic, 'raw', 'auto', self._on_cloud, kind=PointCloud2)
        self.size: tuple[int, int] | None = None

    def update(self, *, wanted: bool) -> None:
        """Subscribe or not, and as the clouds are offered; has to be called again and again."""
        self._input.update(wanted=wanted)
        if not wanted:
            self.size = None  # Another cloud may be there next time.

    def close(self) -> None:
        """End the subscription."""
        self._input.close()

    @property
    def missing(self) -> str | None:
        """What is to be said if no cloud came for a while; ``None`` while nothing is wrong."""
        seconds = self._input.subscribed_seconds
        if self.size is not None or seconds is None or seconds < SILENCE:
            return None
        return (
            f'No organised cloud on {self._input.topic} for {seconds:.0f} s, whose size label '
            'images are to have.'
        )

    def _on_cloud(self, cloud: PointCloud2) -> None:
        try:
            _check(cloud)
        except ImageError as error:
            self._refused(error)
            return
        self.size = cloud.height, cloud.width


def _check(cloud: PointCloud2) -> None:
    """Refuse a cloud that has no rows and columns, or that lacks points.

    Raises:
        ImageError: If it is such a cloud.
    """
    if cloud.height < 2:
        raise ImageError(
            'Expected an organised cloud, with rows and columns as an image, but got one of '
            f'{cloud.width}x{cloud.height} points.'
        )
    check_size(cloud.width, cloud.height)
    size = len(message_bytes(cloud.data))
    row, whole = cloud.width * max(cloud.point_step, 1), cloud.height * cloud.row_step
    if row > cloud.row_step or whole > size:
        raise ImageError(
            f'Expected a cloud of {cloud.width}x{cloud.height} points of {cloud.point_step} bytes '
            f'with a row step of at least {row} and all of its rows, but got a row step of '
            f'{cloud.row_step} and {size} bytes.'
        )
