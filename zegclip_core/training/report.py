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
"""What a training run looks like as a page: last figures, curves, pictures, configuration."""

from collections.abc import Iterator, Mapping
import csv
import io
from pathlib import Path
import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import yaml
from zegclip_core.images.page import Cell, Page
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.pictures import BEST, CONFUSION, WORST

Curve = dict[int, float]
"""A figure by the step at which it was logged."""
_OF_THE_LAST = {
    CONFUSION: 'Confusion: share of the pixels of each class that got each label',
    WORST: 'Worst images of the last validation, by the mean IoU of the classes in each mask',
    BEST: 'Best images of the last validation',
}
_SHOWN = re.compile(r'(train|val)/')


def training_page(folder: Path, config: TrainConfig) -> Page:
    """Return a finished run as a page.

    Args:
        folder: The run's.
        config: What it was trained by.
    """
    page = Page(f'Training of {config.name}')
    curves = read_curves(folder / 'logs')
    rows: list[dict[str, Cell]] = [
        {'figure': name, 'last': curve[max(curve)], 'best': max(curve.values())}
        for name, curve in curves.items()
        if name.startswith('val/')
    ]
    page.table(rows, bars=('last', 'best'))
    if curves:
        page.heading('Curves')
        page.picture(_drawn(curves))
    pictures = last_pictures(folder / 'pictures')
    if pictures:
        page.heading('Sample images of the last validation')
    for title, path in pictures.items():
        page.picture(path, title)
    for kind, heading in _OF_THE_LAST.items():
        found = sorted((folder / 'pictures').glob(f'*.{kind}.png'))
        if found:
            page.heading(heading)
        for path in found:
            page.picture(path, path.name.removesuffix(f'.{kind}.png'))
    page.heading('Configuration')
    written = yaml.safe_dump(config.model_dump(mode='json'), sort_keys=False, allow_unicode=True)
    page.code(written)
    return page


def read_curves(logs: Path) -> dict[str, Curve]:
    """Return the figures that a run logged, by name; what a resumed run did again counts."""
    found: dict[str, Curve] = {}
    for path in sorted(logs.rglob('metrics.csv'), key=_begin):
        with path.open(newline='', encoding='utf-8') as file:
            for row in csv.DictReader(file):
                for name, value in _figures(row):
                    found.setdefault(name, {})[int(row['step'])] = value
    return {name: dict(sorted(curve.items())) for name, curve in sorted(found.items())}


def _begin(path: Path) -> int:
    """Return the step from which on a log's part goes."""
    number = re.fullmatch(r'from-(\d+)', path.parent.name)
    return int(number[1]) if number else 0


def _figures(row: Mapping[str, str | None]) -> Iterator[tuple[str, float]]:
    """Yield the figures of a row of a log, of which many have no value."""
    for name, value in row.items():
        if value and _SHOWN.match(name):
            yield name, float(value)


def last_pictures(folder: Path) -> dict[str, Path]:
    """Return the newest sheet of each validation set by the set's name."""
    found = {}
    for path in sorted(folder.glob('*.png')):
        title, _, step = path.stem.rpartition('-')
        if step.isdigit():
            found[title] = path
    return found


def _drawn(curves: Mapping[str, Curve]) -> bytes:
    """Return losses and scores over the steps as a PNG file."""
    figure = Figure(figsize=(11.0, 4.2), dpi=110, layout='constrained')
    left, right = figure.subplots(1, 2)
    _draw(left, curves, 'train/', 'loss')
    _draw(right, curves, 'val/', 'score')
    stream = io.BytesIO()
    figure.savefig(stream, format='png')
    return stream.getvalue()


def _draw(axes: Axes, curves: Mapping[str, Curve], start: str, title: str) -> None:
    """Draw the curves whose names begin in one way."""
    for name, curve in curves.items():
        if name.startswith(start):
            label = name.removeprefix(start)
            axes.plot(*zip(*curve.items(), strict=True), marker='.', label=label)
    axes.set(xlabel='step', ylabel=title)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8)
