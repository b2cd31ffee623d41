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
"""A calibration as a picture: precision against recall, and both against the threshold."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from zegclip_core.evaluation.calibration import Sweep, THRESHOLDS

_DPI = 110
_MARKED_EACH = 10
"""Every so many thresholds one is marked on a curve."""
_PLACES = ((6, 5), (-18, -12))
"""Of the numbers on each curve, beside their marks, in points: not upon one another."""


def save_calibration(sweeps: Mapping[str, Sweep], title: str, path: Path) -> None:
    """Draw sweeps of thresholds.

    Args:
        sweeps: One or two, by what they are called; the last is drawn against the threshold.
        title: What stands above.
        path: PNG file to write.
    """
    figure = Figure(figsize=(10.0, 4.4), dpi=_DPI, layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(title)
    for (name, sweep), place in zip(sweeps.items(), _PLACES, strict=False):
        _draw_curve(left, name, sweep, place)
    left.margins(x=0.1)  # The numbers stand beside the curve.
    _finish(left, 'recall', 'precision')
    _draw_against_threshold(right, sweep)
    _finish(right, 'threshold', 'share')
    figure.savefig(path, format='png')


def _draw_curve(axes: Axes, name: str, sweep: Sweep, place: tuple[int, int]) -> None:
    """Draw precision against recall, with some thresholds and the chosen one marked.

    Args:
        axes: Where to.
        name: What the sweep is called.
        sweep: The sweep.
        place: Of a threshold's number beside its mark, in points.
    """
    (line,) = axes.plot(sweep.recall, sweep.precision, marker='.', markevery=_MARKED_EACH)
    chosen = sweep.chosen
    color = line.get_color()
    line.set_label(f'{name}: F1 {sweep.f1[chosen]:.3f} at {THRESHOLDS[chosen]:.2f}')
    axes.plot(sweep.recall[chosen], sweep.precision[chosen], '*', markersize=14, color=color)
    for mark in range(0, len(THRESHOLDS), 2 * _MARKED_EACH):
        where = (float(sweep.recall[mark]), float(sweep.precision[mark]))
        axes.annotate(
            f'{THRESHOLDS[mark]:.1f}',
            where,
            xytext=place,
            textcoords='offset points',
            color=color,
            fontsize=8,
        )


def _draw_against_threshold(axes: Axes, sweep: Sweep) -> None:
    """Draw what a threshold gives and takes."""
    for name, values in (
        ('precision', sweep.precision),
        ('recall', sweep.recall),
        ('F1', sweep.f1),
        ('unknown left unlabelled', sweep.left_unlabelled),
    ):
        axes.plot(THRESHOLDS, values, label=name)
    axes.axvline(float(THRESHOLDS[sweep.chosen]), color='grey', linestyle=':', label='chosen')


def _finish(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_ylim(top=1.03)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc='lower left')
