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
"""What an image has to be before a segmenter looks at it, and the size that it is brought to."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ImageError

RgbImage = npt.NDArray[np.uint8]
"""An RGB image, uint8 ``(H, W, 3)``, 0 to 255."""
MAX_ASPECT = 8
"""Longest working side, in short sides; longer images are squeezed."""
MAX_AREA = 4
"""Largest working area, in squares of the short side."""


def check_batch(images: Sequence[npt.NDArray[np.uint8]]) -> None:
    """Check that images are RGB arrays of one size.

    Raises:
        ImageError: If one is none, there is none, or they differ in size.
    """
    for image in images:
        check_image(image)
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) != 1:
        given = ', '.join(f'{width}x{height}' for height, width in sizes) or 'no image'
        raise ImageError(f'Expected images of one size, but got {given}.')


def check_image(image: npt.NDArray[np.uint8]) -> None:
    """Check that an image is an RGB array.

    Raises:
        ImageError: If it is no uint8 array of shape ``(H, W, 3)`` with at least one pixel.
    """
    is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if is_array and image.shape[2] == 3 and image.size:
        return
    given = (
        f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
    )
    raise ImageError(
        'Expected an image to be a uint8 array of shape (H, W, 3) with H, W >= 1, '
        f'but got {given}.'
    )


def working_size(
    height: int, width: int, *, short_side: int, patch_size: int, window: int | None = None
) -> tuple[int, int]:
    """Return the ``(H, W)`` at which an image is segmented.

    The short side becomes ``short_side`` and the aspect is kept, except for extreme shapes, whose
    area and longer side are capped.

    Args:
        height: Height of the image [px].
        width: Width of the image [px].
        short_side: Short side to bring it to, in pixels.
        patch_size: Side of a patch; both sides are whole patches, unless there are windows.
        window: Side of the sliding windows, if there are any: sides that these cover are kept to
            the pixel, as published.
    """
    scale = short_side / min(height, width)
    scale = min(scale, (MAX_AREA * short_side**2 / (height * width)) ** 0.5)
    longest = MAX_ASPECT * short_side
    exact = [min(scale * side, longest) for side in (height, width)]
    rows, columns = (
        int(side + 0.5)
        if window is not None and window % patch_size == 0 and int(side + 0.5) >= window
        else max(patch_size, int(side + 1e-6) // patch_size * patch_size)
        for side in exact
    )
    return rows, columns
