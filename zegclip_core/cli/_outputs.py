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
"""What commands put out: files that are there as a whole or not at all, scores and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
import math
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from zegclip_core.errors import ConfigError
from zegclip_core.files import user_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from zegclip_core.evaluation.evaluate import Evaluation

FIGURES = (
    ('pixel_accuracy', 'pAcc'),
    ('miou', 'mIoU'),
    ('miou_seen', 'mIoU(S)'),
    ('miou_unseen', 'mIoU(U)'),
    ('hiou', 'hIoU'),
)
"""The figures of a set, by their keys in JSON, and what papers call them."""
PAINTED = 'painted by absent words'
"""What the share of the pixels that words get which no picture shows is called in a table."""


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
    path = user_path(name)
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
    path = Path(os.path.realpath(path))  # A link stays one, to the new content.
    # The suffix stays, since encoders choose the format by it.
    partial = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.filename is None:  # As of a full disk: the system does not say which.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_png(path: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Write grey ``(H, W)``, uint8 or uint16, or RGB ``(H, W, 3)``, uint8, as a PNG."""
    from PIL import Image

    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial, format='PNG')


def write_json(path: Path, content: object) -> None:
    """Write readable JSON in UTF-8."""
    with replacing(path) as partial:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        # Names of files may be no text; JSON has escapes for their bytes.
        partial.write_text(f'{text}\n', encoding='utf-8', errors='backslashreplace')


def scores_table(result: Evaluation) -> str:
    """Return all figures as text, a line each; a dash is one that does not exist."""
    from tabulate import tabulate

    metrics = result.metrics
    rows = [
        (name if metrics.is_seen[name] else f'{name} (unseen)', value)
        for name, value in metrics.iou.items()
    ]
    rows += [(title, getattr(metrics, key)) for key, title in FIGURES]
    if result.painted:
        rows.append((PAINTED, result.painted_together))
        rows += [(f'{PAINTED}: {name}', share) for name, share in result.painted.items()]
    cells = [(name, '-' if math.isnan(value) else f'{value:.3f}') for name, value in rows]
    table = tabulate(cells, tablefmt='plain', colalign=('left', 'right'), disable_numparse=True)
    pictures = 'picture' if result.images == 1 else 'pictures'
    each = result.seconds / max(result.images, 1)
    return f'{table}\n{result.images} {pictures}, {each:.3f} s each\n'


def warn(text: str) -> None:
    """Write a warning as one line."""
    sys.stderr.write(f'zegclip: warning: {text}\n')
    sys.stderr.flush()
