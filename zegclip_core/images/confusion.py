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
"""The picture of a confusion matrix, which matplotlib draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import numpy.typing as npt

UNLABELLED_NAME = 'not labelled'
"""Name of the column of the pixels that the model left unlabelled."""
_DPI = 110
_CELL = 0.19
"""Least side of a cell, which a line of text needs [inch]."""
_NUMBERS = 25
"""Up to so many classes the cells are large and hold their percentages."""


def save_confusion(counts: npt.NDArray[np.int64], is_seen: Mapping[str, bool], path: Path) -> None:
    """Draw the confusion matrix, each row divided by its sum.

    Classes that are neither in the masks nor among the labels are left out.

    Args:
        counts: Pixels of a whole set, int64 ``(K, K + 1)``: row = truth, column = prediction, the
            last for those that the model left unlabelled.
        is_seen: The ``K`` class names in their order, and whether training saw each; names of
            unseen classes are red.
        path: PNG file to write.
    """
    names = list(is_seen)
    occurs = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) > 0
    rows = np.flatnonzero(occurs) if occurs.any() else np.arange(len(names))
    columns = [*rows, len(names)] if counts[:, -1].any() else list(rows)
    shares = row_shares(counts)[np.ix_(rows, columns)]
    large = len(rows) <= _NUMBERS
    side = (2.4 if large else 1.0) * _CELL
    # A little more than the matrix, and what is left over is cut off.
    figure = Figure(figsize=(side * len(columns) + 3.0, side * len(rows) + 2.0), dpi=_DPI)
    axes = figure.add_subplot()
    drawn = axes.imshow(shares, cmap='Blues', vmin=0.0, vmax=1.0, aspect='equal')
    names.append(UNLABELLED_NAME)
    _name_axes(axes, [names[k] for k in rows], [names[k] for k in columns], is_seen)
    if large:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:  # Others round to nothing.
                color = 'white' if share > 0.5 else 'black'
                style = {'ha': 'center', 'va': 'center', 'color': color, 'fontsize': 7}
                axes.text(column, row, f'{100 * share:.0f}', style)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label('share of the pixels of the class')
    figure.savefig(path, format='png', bbox_inches='tight', pad_inches=0.15)


def row_shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each row divided by its sum; a row without pixels stays 0."""
    shares: npt.NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _name_axes(
    axes: Axes, rows: Sequence[str], columns: Sequence[str], is_seen: Mapping[str, bool]
) -> None:
    """Write the class names at both axes, those of unseen classes in red."""
    axes.set_xticks(range(len(columns)), labels=columns, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(rows)), labels=rows, fontsize=8, parse_math=False)
    axes.set_ylabel('class in the masks')
    all_seen = all(is_seen.values())
    axes.set_xlabel('labelled as' if all_seen else 'labelled as (red: unseen in training)')
    for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        if not is_seen.get(tick.get_text(), True):
            tick.set_color('firebrick')
    # Lines between the cells, so that the eye finds the way from a name to its cell.
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axes.grid(which='minor', color='0.85', linewidth=0.4)
    axes.tick_params(which='minor', length=0)
