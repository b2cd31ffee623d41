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
"""What an evaluation and a calibration look like: PNG files that matplotlib draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.evaluation.calibration import Sweep, THRESHOLDS
from zegclip_core.evaluation.evaluate import ImageScore
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.sheets import Comparison, comparison_sheet

_DPI = 110
_MARKED_EACH = 10
"""Every so many thresholds one is marked on a curve."""
_PLACES = ((6, 5), (-18, -12))
"""Offsets of the numbers on each curve from their marks [pt]: not upon one another."""


def worst_sheet(dataset: SegmentationDataset, worst: Sequence[ImageScore]) -> RgbImage:
    """Draw images beside what the model says of them and what is true.

    Args:
        dataset: The images.
        worst: Which of them, at least one, and what the model said.

    Returns:
        RGB, uint8 ``(H, W, 3)``.
    """
    comparisons = []
    for score in worst:
        sample = dataset[score.index]
        figures = f'mIoU {score.miou:.3f}, pixel accuracy {score.pixel_accuracy:.3f}'
        comparisons.append(
            Comparison(sample.image, score.labels, sample.labels, sample.name, figures)
        )
    return comparison_sheet(comparisons, dataset.classes)


def save_calibration(sweeps: Mapping[str, Sweep], title: str, path: Path) -> None:
    """Draw precision against recall, and both against the threshold.

    Args:
        sweeps: One or two, by what they are called; the last is drawn against the threshold.
        title: What stands above.
        path: PNG file to write.
    """
    figure = Figure(figsize=(11.0, 4.8), dpi=_DPI, layout='constrained')
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, parse_math=False)
    for (name, sweep), place in zip(sweeps.items(), _PLACES, strict=False):
        _draw_curve(left, name, sweep, place)
    left.margins(x=0.1)  # The numbers stand beside the curve.
    left.set(xlabel='recall', ylabel='precision')
    for name, values in (
        ('precision', sweep.precision),
        ('recall', sweep.recall),
        ('F1', sweep.f1),
        ('unknown left unlabelled', sweep.left_unlabelled),
    ):
        right.plot(THRESHOLDS, values, label=name)
    right.axvline(float(THRESHOLDS[sweep.chosen]), color='grey', linestyle=':', label='chosen')
    right.set(xlabel='threshold', ylabel='share')
    for axes, columns in ((left, 2), (right, 5)):
        axes.set_ylim(top=1.03)
        axes.grid(alpha=0.3)
        # Below, where it hides no curve.
        axes.legend(fontsize=8, ncols=columns, loc='upper center', bbox_to_anchor=(0.5, -0.14))
    figure.savefig(path, format='png')


def _draw_curve(axes: Axes, name: str, sweep: Sweep, place: tuple[int, int]) -> None:
    """Draw precision against recall; numbers stand ``place`` [pt] from some thresholds' marks."""
    (line,) = axes.plot(sweep.recall, sweep.precision, marker='.', markevery=_MARKED_EACH)
    chosen = sweep.chosen
    color = line.get_color()
    line.set_label(f'{name}: F1 {sweep.f1[chosen]:.3f} at {THRESHOLDS[chosen]:.2f}')
    axes.plot(sweep.recall[chosen], sweep.precision[chosen], '*', markersize=14, color=color)
    for mark in range(0, len(THRESHOLDS), 2 * _MARKED_EACH):
        axes.annotate(
            f'{THRESHOLDS[mark]:.1f}',
            (float(sweep.recall[mark]), float(sweep.precision[mark])),
            xytext=place,
            textcoords='offset points',
            color=color,
            fontsize=8,
        )
