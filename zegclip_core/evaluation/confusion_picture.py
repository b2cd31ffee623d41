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
"""The confusion matrix as a picture: what the pixels of each class were labelled as."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np
import numpy.typing as npt
from zegclip_core.evaluation.evaluate import Evaluation

UNLABELLED_NAME = 'not labelled'
"""Name of the column of the pixels that the model left unlabelled."""
_DPI = 110
_CELL = 0.19
"""Least side of a cell, which a line of text needs [inch]."""
_NUMBERS = 25
"""Up to so many classes the cells are large and hold their percentages."""
_UNSEEN = 'firebrick'


def save_confusion(result: Evaluation, path: Path) -> None:
    """Draw the confusion matrix, each row divided by its sum.

    Classes that are neither in the masks nor among the labels are left out.

    Args:
        result: Scores of a whole set; names of unseen classes are red.
        path: PNG file to write.

    """
    names, shares = _rows(result)
    columns = [*names, UNLABELLED_NAME][: shares.shape[1]]
    large = len(names) <= _NUMBERS
    side = (2.4 if large else 1.0) * _CELL
    # A little more than the matrix, and what is left over is cut off.
    figure = Figure(figsize=(side * len(columns) + 3.0, side * len(names) + 2.0), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = axes.imshow(shares, cmap='Blues', vmin=0.0, vmax=1.0, aspect='equal')
    _name_axes(axes, names, columns, result.metrics.is_seen)
    if large:
        _write_numbers(axes, shares)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label('share of the pixels of the class')
    figure.savefig(path, format='png', bbox_inches='tight', pad_inches=0.15)


def _rows(result: Evaluation) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return the classes that occur, and what their pixels were labelled as."""
    counts, names = result.confusion.matrix, list(result.metrics.iou)
    occurs = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) > 0
    rows = [k for k, shown in enumerate(occurs.tolist()) if shown] or list(range(len(names)))
    columns = [*rows, len(names)] if counts[:, -1].any() else rows
    return [names[k] for k in rows], row_shares(counts)[np.ix_(rows, columns)]


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
            tick.set_color(_UNSEEN)
    # Lines between the cells, so that the eye finds the way from a name to its cell.
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axes.grid(which='minor', color='0.85', linewidth=0.4)
    axes.tick_params(which='minor', length=0)


def _write_numbers(axes: Axes, shares: npt.NDArray[np.float64]) -> None:
    """Write the percentages into the cells, but for those that round to nothing."""
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            color = 'white' if share > 0.5 else 'black'
            text = f'{100 * share:.0f}'
            axes.text(column, row, text, ha='center', va='center', color=color, fontsize=7)
