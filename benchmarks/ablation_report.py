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
"""What comes of the ablation: means and spreads over seeds, their table and their chart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import statistics
import textwrap
from typing import Any

from benchmarks.ablation_matrix import BIASES, TITLES, TRANSDUCTIVE
from benchmarks.ablation_runs import percent
from benchmarks.reports import table
import numpy as np

NAMES = {'miou_seen': 'seen', 'miou_unseen': 'unseen', 'hiou': 'hIoU'}
_COLORS = ('#0072B2', '#E69F00', '#009E73')
"""Of Okabe and Ito's palette, which colour-blind people can tell apart."""
_HATCHES = ('', '//', '..')
"""What tells the bars apart in black and white."""
_DOT = {'color': 'black', 'markersize': 2.5, 'alpha': 0.6}


@dataclass(frozen=True)
class Figure:
    """A figure over the seeds.

    Attributes:
        values: That of each seed, in [0, 1].
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """Their mean, ``None`` of nothing."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Their sample standard deviation, ``None`` of fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        """Return the mean and the spread in percent."""
        spread = '' if self.spread is None else f' ± {percent(self.spread)}'
        return percent(self.mean) + spread


@dataclass(frozen=True)
class Row:
    """All runs of one configuration, scored on one dataset in one way.

    Attributes:
        key: Key of ``TITLES``.
        data: Name of the dataset.
        seen_bias: What was subtracted from the scores of seen classes.
        seeds: Seeds of the runs.
        steps: Training steps of each.
        figures: By the names of ``NAMES``, and ``pixel_accuracy``.
    """

    key: str
    data: str
    seen_bias: float
    seeds: tuple[int, ...]
    steps: int
    figures: Mapping[str, Figure]


def aggregate(runs: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of the table, each dataset's together, in the order of the figure.

    Args:
        runs: What is known of each finished run.

    """
    groups: dict[tuple[str, str, float], list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for run in runs:
        for score in run['scores']:
            key = (score['data'], run['row'], score['seen_bias'])
            groups.setdefault(key, []).append((run, score))
    return [_row(*key, groups[key]) for key in sorted(groups)]


def _row(
    data: str,
    key: str,
    seen_bias: float,
    found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> Row:
    scores = [score for _, score in found]
    return Row(
        key=key,
        data=data,
        seen_bias=seen_bias,
        seeds=tuple(sorted(run['seed'] for run, _ in found)),
        steps=max(run['steps'] for run, _ in found),
        figures={
            name: Figure(tuple(score[name] for score in scores if score[name] is not None))
            for name in (*NAMES, 'pixel_accuracy')
        },
    )


def datasets(rows: Sequence[Row]) -> list[str]:
    """Return the datasets of the rows, each once."""
    return list(dict.fromkeys(row.data for row in rows))


def table_of(rows: Sequence[Row]) -> str:
    """Return the table of one dataset, each configuration scored in both ways."""
    head = ['model', 'seeds', 'steps']
    head += [f'{name}, bias {bias:g}' for bias in BIASES for name in (*NAMES.values(), 'pAcc')]
    by = {(row.key, row.seen_bias): row for row in rows}
    lines = []
    for key in dict.fromkeys(row.key for row in rows):
        ways = [by.get((key, bias)) for bias in BIASES]
        some = next(row for row in ways if row is not None)
        lines.append([TITLES[key], ', '.join(map(str, some.seeds)), some.steps])
        lines[-1] += [cell for row in ways for cell in _cells(row)]
    return table(head, lines)


def _cells(row: Row | None) -> list[str]:
    names = (*NAMES, 'pixel_accuracy')
    return [str(row.figures[name]) if row else '-' for name in names]


def commands_of(runs: Iterable[Mapping[str, Any]]) -> str:
    """Return the commands of the first seed of each configuration, as a block of Markdown."""
    first: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        first.setdefault(run['row'], run)
    lines = [
        line
        for run in first.values()
        for line in (run['training']['command'], *(score['command'] for score in run['scores']))
    ]
    return '\n'.join(['```sh', *lines, '```'])


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """Write a bar chart like the paper's Figure 1, one panel for each way of scoring.

    Args:
        rows: The rows of one dataset.
        title: What stands above.
        path: The PNG to write.

    """
    from matplotlib.figure import Figure as Canvas  # takes a second

    canvas = Canvas(figsize=(9.5, 7.5), layout='constrained')
    panels = canvas.subplots(len(BIASES), 1, sharey=True, squeeze=False)[:, 0]
    for axes, bias in zip(panels, BIASES, strict=True):
        how = (
            f'{bias:g} subtracted from the scores of seen classes'
            if bias
            else 'scores as they are'
        )
        _panel(axes, [row for row in rows if row.seen_bias == bias], how)
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc='outside lower center', ncols=len(NAMES), frameon=False)
    panels[0].margins(y=0.1)
    panels[0].set_ylim(bottom=0.0)
    canvas.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)


def _panel(axes: Any, rows: Sequence[Row], title: str) -> None:  # noqa: ANN401 - matplotlib's Axes
    """Draw the bars of one way of scoring, and a dot for each seed."""
    # The transductive model is no step of the figure and stands apart.
    places = np.array([index + 0.4 * (row.key == TRANSDUCTIVE) for index, row in enumerate(rows)])
    width = 0.27
    for shift, (name, label) in zip((-1, 0, 1), NAMES.items(), strict=True):
        figures = [row.figures[name] for row in rows]
        means = [100 * (figure.mean or 0.0) for figure in figures]
        spreads = [100 * (figure.spread or 0.0) for figure in figures]
        _bars(axes, places + shift * width, means, spreads, shift + 1, label)
        for place, figure in zip(places + shift * width, figures, strict=True):
            dots = [100 * value for value in figure.values]
            axes.plot([place + 0.07] * len(dots), dots, 'o', **_DOT)
    axes.set_xticks(places, [textwrap.fill(TITLES[row.key], 15) for row in rows])
    axes.set_ylabel('mIoU [%]')
    axes.set_title(title, fontsize='medium', loc='left')
    axes.spines[['top', 'right']].set_visible(False)


def _bars(
    axes: Any,  # noqa: ANN401 - matplotlib's Axes
    places: Any,  # noqa: ANN401 - an array
    means: Sequence[float],
    spreads: Sequence[float],
    kind: int,
    label: str,
) -> None:
    """Draw the bars of one figure, their spreads and their numbers."""
    bars = axes.bar(
        places,
        means,
        0.27,
        yerr=spreads,
        capsize=3,
        color=_COLORS[kind],
        edgecolor='white',
        hatch=_HATCHES[kind],
        label=label,
    )
    axes.bar_label(bars, fmt='%.1f', padding=2, fontsize='small')
