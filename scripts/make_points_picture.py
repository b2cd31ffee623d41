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
"""Draw the picture of docs/points.md: a made room with boxes, and its points from the side."""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from zegclip_core.geometry import rays
from zegclip_core.images.drawing import draw_overlay
from zegclip_core.images.point_views import draw_points
from zegclip_core.images.regions import draw_regions, find_regions
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.made_scene import BOARDS, MadeScene

TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'points.png'
WORDS = ('person', 'cat', 'cup', 'helmet', 'wall', 'floor')
SMALLEST = 1500
"""Pixels of the smallest region that gets a box."""


def main() -> None:
    """Label a frame of the room and draw it."""
    photos = {board.photo: getattr(data, board.photo)() for board in BOARDS}
    scene = MadeScene(photos, (480, 640))
    image, depth = scene.view(1.0)
    segmenter = Segmenter.load(device='cpu', sharp_edges=8)
    found = segmenter.segment(image, Vocabulary.from_names(WORDS))
    overlay = draw_overlay(image, found, alpha=0.6)
    across, down = rays(scene.camera)
    points = np.stack([depth * across, depth * down[:, None], depth], axis=-1).reshape(-1, 3)
    known = np.isfinite(points).all(axis=1)
    side = draw_points(points[known], overlay.reshape(-1, 3)[known], turn=50.0, tilt=15.0)
    boxed = draw_regions(overlay, find_regions(found, SMALLEST), found)
    Image.fromarray(np.hstack([boxed, side])).save(TARGET, optimize=True)


if __name__ == '__main__':
    main()
