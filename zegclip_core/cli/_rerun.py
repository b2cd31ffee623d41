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
"""Where a command logs to Rerun: what ``--rerun`` says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zegclip_core.cli._outputs import check_output, replacing

if TYPE_CHECKING:
    from zegclip_core.images.rerun_log import RerunLog
    from zegclip_core.text.vocabulary import Vocabulary

CONNECT = 'connect'
"""Stands for the viewer that runs on this machine."""
SUFFIX = '.rrd'
"""That of Rerun's recordings."""


def check_log(name: str | None) -> Path | str | None:
    """Return the file, or the URL of a viewer, that ``--rerun`` names; ``None`` for neither.

    Raises:
        ZegCLIPError: If it cannot be written to, or Rerun is not installed.
    """
    if name is None:
        return None
    from zegclip_core.engines.backends import require

    require('rerun', 'for --rerun')
    if name != CONNECT and '://' not in name:
        return check_output('--rerun', name, SUFFIX)
    from zegclip_core.images.rerun_log import check_viewer, VIEWER

    url = VIEWER if name == CONNECT else name
    check_viewer(url)
    return url


@contextmanager
def opened_log(
    target: Path | str | None, vocabulary: Vocabulary, alpha: float
) -> Iterator[RerunLog | None]:
    """Give a log to what ``check_log`` returned; a file is there as a whole or not at all."""
    if target is None:
        yield None
        return
    from zegclip_core.images.rerun_log import rerun_log

    if isinstance(target, Path):
        with replacing(target) as partial, rerun_log(partial, vocabulary, alpha=alpha) as log:
            yield log
    else:
        with rerun_log(target, vocabulary, alpha=alpha) as log:
            yield log
