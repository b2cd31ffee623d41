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

import numpy as np
import numpy.typing as npt
from PIL import Image
from zegclip_core.errors import ConfigError


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
