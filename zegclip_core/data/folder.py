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
"""A folder of pictures and masks: ``images/SPLIT/``, ``labels/SPLIT/``, ``classes.txt``."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.errors import DataError
from zegclip_core.media import PICTURE_SUFFIXES, read_image

IGNORED = 255
"""Mask value of a pixel that is not labelled."""


@dataclass(frozen=True)
class Sample:
    """One picture with its mask.

    Attributes:
        image: RGB, uint8 ``(H, W, 3)``.
        labels: Class indices, uint8 ``(H, W)``; ``IGNORED`` where not labelled.
        name: The picture's file name without its ending.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    name: str


class FolderDataset:
    """Pictures and index masks that lie in folders.

    Args:
        root: Folder that holds ``images/``, ``labels/`` and ``classes.txt`` (one name a line,
            index 0 first).
        split: Name of the folder below ``images/`` and ``labels/``.

    Raises:
        DataError: If a folder or file is missing, or pictures and masks do not pair up.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        self.root = Path(root).expanduser()
        self.classes = _read_classes(self.root / 'classes.txt')
        self.images = _pictures(self.root / 'images' / split)
        self._labels = self.root / 'labels' / split
        missing = [p.stem for p in self.images if not self._mask_path(p).is_file()]
        if missing:
            raise DataError(
                f'Expected a mask {self._labels}/NAME.png for every picture, '
                f'but {len(missing)} have none, the first being {missing[0]}.'
            )

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Read a picture and its mask.

        Raises:
            DataError: If the mask cannot be read, has another size, or holds an unknown index.
        """
        path = self.images[index]
        image = read_image(path)
        labels = cv2.imread(str(self._mask_path(path)), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
            raise DataError(
                f'Expected {self._mask_path(path)} to be an 8-bit mask of one channel.'
            )
        if labels.shape != image.shape[:2]:
            raise DataError(
                f'Expected the mask {self._mask_path(path)} to have the size of its picture, '
                f'{image.shape[:2]}, but got {labels.shape}.'
            )
        self._check_values(path, labels)
        return Sample(image, labels.astype(np.uint8), path.stem)

    def _mask_path(self, image: Path) -> Path:
        return self._labels / f'{image.stem}.png'

    def _check_values(self, path: Path, labels: npt.NDArray[np.generic]) -> None:
        """Refuse indices that stand for no class."""
        values = np.unique(labels)
        odd = values[(values >= len(self.classes)) & (values != IGNORED)]
        if odd.size:
            raise DataError(
                f'Expected {self._mask_path(path)} to hold indices below {len(self.classes)} or '
                f'{IGNORED}, but got {int(odd[0])}.'
            )


def _read_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of a dataset."""
    if not path.is_file():
        raise DataError(f'Expected the class names, one a line, in {path}, but there is no file.')
    return tuple(line.strip() for line in path.read_text('utf-8').splitlines() if line.strip())


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, sorted by name."""
    if not folder.is_dir():
        raise DataError(f'Expected the folder {folder} with pictures, but there is none.')
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise DataError(f'Expected pictures in {folder}, but found none.')
    return found
