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
"""A made room with photos in it, as a colour and a depth camera see it."""

from dataclasses import dataclass
import math

import cv2
import numpy as np
from zegclip_core.geometry import Depth, Intrinsics, rays
from zegclip_core.images.checks import RgbImage

FLOOR, WALL = 1.2, 4.5
"""Height of the camera above the floor, and distance of the wall behind everything [m]."""
SWAY, PERIOD = 0.25, 8.0
"""How far the camera moves to each side [m], and how long a turn takes [s]."""
SHADOW = 0.03
"""Share of pixels around an outline whose depth a real camera does not see."""


@dataclass(frozen=True)
class Board:
    """A photo that stands upright in the room, facing the camera.

    Attributes:
        photo: Name of a photo of scikit-image's package.
        left: x of its left side [m].
        top: y of its upper side [m].
        width: Its width [m]; the height follows from the photo.
        distance: z of the board [m].
    """

    photo: str
    left: float
    top: float
    width: float
    distance: float


BOARDS = (
    Board('astronaut', -1.35, -0.62, 1.5, 2.9),
    Board('chelsea', 0.35, 0.1, 1.1, 2.3),
    Board('coffee', -0.75, 0.32, 0.62, 1.7),
)


class MadeScene:
    """The room through a camera that sways from side to side.

    Args:
        photos: The photo of each of ``BOARDS`` by its name, RGB uint8 ``(H, W, 3)``.
        size: ``(H, W)`` of the camera's images.

    Attributes:
        camera: The camera.
    """

    def __init__(self, photos: dict[str, RgbImage], size: tuple[int, int]) -> None:
        """Look up the photos, the farthest first."""
        height, width = size
        focal = 0.85 * width
        self.camera = Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        boards = sorted(BOARDS, key=lambda board: -board.distance)
        self._boards = [(board, photos[board.photo]) for board in boards]

    def frame(self, seconds: float) -> RgbImage:
        """Return the image of this moment, RGB uint8 ``(H, W, 3)``."""
        return self.view(seconds)[0]

    def view(self, seconds: float) -> tuple[RgbImage, Depth]:
        """Return image and depth of this moment; the depth is NaN where it is not known."""
        place = SWAY * math.sin(2 * math.pi * seconds / PERIOD)
        image, depth = self._room(place)
        for board, photo in self._boards:
            self._put(board, photo, place, image, depth)
        edges = cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        known = np.where(edges > SHADOW * depth, np.float32(np.nan), depth)
        return image, known.astype(np.float32)

    def _room(self, place: float) -> tuple[RgbImage, Depth]:
        """Return wall and floor, which has tiles of half a metre."""
        across, down = rays(self.camera)
        with np.errstate(divide='ignore'):
            floor = np.where(down > 0, FLOOR / down, np.inf)
        depth = np.broadcast_to(np.minimum(floor, WALL)[:, None], (len(down), len(across))).astype(
            np.float32
        )
        x, z = depth * across + place, depth
        tiles = (np.floor(2 * x) + np.floor(2 * z)) % 2
        on_floor = (floor < WALL)[:, None]
        grey = np.where(on_floor, 90 + 25 * tiles, 185 + 6 * np.sin(3 * x))
        image = grey[..., None] * np.array([1.0, 0.96, 0.9])
        return image.astype(np.uint8), depth

    def _put(
        self, board: Board, photo: RgbImage, place: float, image: RgbImage, depth: Depth
    ) -> None:
        """Draw a board over what is behind it."""
        camera = self.camera
        scale = camera.fx * board.width / board.distance / photo.shape[1]
        left = camera.fx * (board.left - place) / board.distance + camera.cx
        top = camera.fy * board.top / board.distance + camera.cy
        window = np.array([[scale, 0, left], [0, scale, top]])
        size = camera.width, camera.height
        small = cv2.GaussianBlur(photo, (0, 0), max(0.4 / scale, 0.1))
        shown = cv2.warpAffine(small, window, size)
        covered = cv2.warpAffine(np.full(photo.shape[:2], 255, np.uint8), window, size) > 127
        image[covered], depth[covered] = shown[covered], board.distance
