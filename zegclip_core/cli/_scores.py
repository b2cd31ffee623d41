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
"""Scores for people: a table on the standard output, and what looks wrong on that of errors."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zegclip_core.evaluation.evaluate import Evaluation

FIGURES = (
    ('pixel_accuracy', 'pAcc'),
    ('miou', 'mIoU'),
    ('miou_seen', 'mIoU(S)'),
    ('miou_unseen', 'mIoU(U)'),
    ('hiou', 'hIoU'),
)
"""The figures of a set, by their keys in JSON, and what papers call them."""


def scores_table(result: Evaluation) -> str:
    """Return all figures as text, a line each; a dash is one that does not exist."""
    from tabulate import tabulate

    metrics = result.metrics
    rows = [
        (name if metrics.is_seen[name] else f'{name} (unseen)', value)
        for name, value in metrics.iou.items()
    ]
    rows += [(title, getattr(metrics, key)) for key, title in FIGURES]
    cells = [(name, '-' if math.isnan(value) else f'{value:.3f}') for name, value in rows]
    table = tabulate(cells, tablefmt='plain', colalign=('left', 'right'), disable_numparse=True)
    pictures = 'picture' if result.images == 1 else 'pictures'
    each = result.seconds / max(result.images, 1)
    return f'{table}\n{result.images} {pictures}, {each:.3f} s each\n'


def warn_of_symptoms(result: Evaluation) -> None:
    """Write what looks wrong about an evaluation, a line each."""
    from zegclip_core.evaluation.symptoms import find_symptoms

    for line in find_symptoms(result):
        warn(line)


def warn(text: str) -> None:
    """Write a warning as one line."""
    sys.stderr.write(f'zegclip: warning: {text}\n')
    sys.stderr.flush()
