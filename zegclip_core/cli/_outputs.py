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
"""Files that are there as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from zegclip_core.errors import ConfigError, ImageError


def check_output(option: str, name: str | None, suffix: str = '') -> Path | None:
    """Refuse a file that cannot be written, before minutes have gone into what it is to hold.

    Args:
        option: What the user named it with, for the message.
        name: Where it is to be; ``None`` if it is not wanted.
        suffix: How its name must end; empty if in any way.

    Raises:
        ConfigError: If it ends in another way or is a folder, or its folder cannot be written to.
    """
    if name is None:
        return None
    path = Path(name).expanduser()
    if suffix and path.suffix.lower() != suffix:
        raise ConfigError(
            f'Expected {option} to be a file that ends in {suffix}, but got {name!r}.'
        )
    if not path.name or path.is_dir():
        raise ConfigError(f'Expected {option} to be a file, but {name!r} is a folder.')
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f'Expected a folder for {option}, but {path.parent} is none.')
    if not os.access(folder, os.W_OK):
        raise ConfigError(f'Expected a folder for {option} that can be written to, not {folder}.')
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to that becomes ``path`` when the block ends without an error.

    After an error nothing is left of it, and what was at ``path`` before is still there.
    """
    # The suffix stays, since encoders choose the format by it.
    partial = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_png(path: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Write grey ``(H, W)``, uint8 or uint16, or RGB ``(H, W, 3)``, uint8, as a PNG."""
    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial, format='PNG')


def write_json(path: Path, content: object) -> None:
    """Write readable JSON in UTF-8."""
    with replacing(path) as partial:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        partial.write_text(f'{text}\n', encoding='utf-8')


class Mp4Writer:
    """Encodes RGB frames of one size as MPEG-4; used as a context, it closes the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Mp4Writer(Path(folder) / 'a.mp4', frame_rate=10.0) as writer:
        ...         writer.write(np.zeros((48, 64, 3), dtype=np.uint8))
        ...     (Path(folder) / 'a.mp4').stat().st_size > 0
        True

    """

    def __init__(self, path: Path, frame_rate: float) -> None:
        """Remember where to write; the file is opened with the first frame."""
        self._path = path
        self._frame_rate = frame_rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: npt.NDArray[np.uint8]) -> None:
        """Append an RGB uint8 ``(H, W, 3)`` frame; sides of odd length grow by one pixel.

        Raises:
            ImageError: If the encoder does not open.
        """
        # The encoder takes even sizes only.
        odd = [(0, side % 2) for side in frame.shape[:2]]
        even = np.pad(frame, (*odd, (0, 0)), mode='edge')
        if self._writer is None:
            self._writer = self._open(even.shape[1], even.shape[0])
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        code = cv2.VideoWriter.fourcc(*'mp4v')
        writer = cv2.VideoWriter(str(self._path), code, self._frame_rate, (width, height))
        if not writer.isOpened():
            raise ImageError(f'Cannot write the video {self._path}: the encoder does not open.')
        return writer

    def __enter__(self) -> 'Mp4Writer':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()
