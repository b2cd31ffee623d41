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
"""Draw which folder of the two packages imports which: docs/images/architecture.png.

Run it after a change of the folders or of who imports whom; test/repository/test_layering.py
compares the picture with the code and says so.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ('zegclip_core', 'zegclip_ros')
TARGET = ROOT / 'docs' / 'images' / 'architecture.png'
COLORS = {'zegclip_core': '#d7e6f5', 'zegclip_ros': '#fbe3c8'}

Arrows = Mapping[str, frozenset[str]]
"""By the name of a folder, or of a file that lies in none, those that it imports."""


@cache
def modules() -> Mapping[str, Path]:
    """Return every module of the packages by its dotted name."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob('*.py')))
    return {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
        for path in paths
    }


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module of every import of a file.

    Those inside functions and under ``TYPE_CHECKING`` count as well.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                full = f'{node.module}.{alias.name}'
                yield node.lineno, full if full in modules() else node.module


def place(module: str) -> str:
    """Return the folder of a module of ours: the first two parts of its name."""
    return '.'.join(module.split('.')[:2])


def arrows() -> Arrows:
    """Return which folders import which; the packages themselves hold only the version."""
    found: dict[str, set[str]] = {place(name): set() for name in modules() if '.' in name}
    for name, path in modules().items():
        for _, imported in imports(path):
            inside = imported.split('.')[0] in PACKAGES and '.' in imported
            if '.' in name and inside and place(name) != place(imported):
                found[place(name)].add(place(imported))
    return {name: frozenset(others) for name, others in found.items()}


def circles(graph: Arrows) -> list[str]:
    """Return what lies on a circle of arrows, or leads to one; none where there is no circle."""
    left = {name: set(others) for name, others in graph.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def levels(graph: Arrows) -> dict[str, int]:
    """Return how high each folder stands: above all that it imports."""

    @cache
    def level(name: str) -> int:
        return 1 + max((level(other) for other in graph[name]), default=-1)

    return {name: level(name) for name in graph}


def without_shortcuts(graph: Arrows) -> Arrows:
    """Return the graph without the arrows that other arrows imply."""

    @cache
    def below(name: str) -> frozenset[str]:
        return graph[name].union(*(below(other) for other in graph[name]))

    return {
        name: frozenset(o for o in others if not any(o in below(p) for p in others))
        for name, others in graph.items()
    }


def draw(graph: Arrows) -> Figure:
    """Draw folders as boxes in levels, and who imports whom as arrows."""
    rows: dict[int, list[str]] = {}
    for name, height in sorted(levels(graph).items()):
        rows.setdefault(height, []).append(name)
    figure = Figure(figsize=(13, 1.05 * len(rows) + 1), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = {
        name: ((index + 0.5 - len(row) / 2) * 2.3, height)
        for height, row in rows.items()
        for index, name in enumerate(sorted(row, key=lambda name: (name.split('.')[0], name)))
    }
    for name, others in without_shortcuts(graph).items():
        for other in others:
            start, end = places[name], places[other]
            axes.add_patch(
                FancyArrowPatch(
                    (start[0], start[1] - 0.18),
                    (end[0], end[1] + 0.18),
                    arrowstyle='-|>',
                    mutation_scale=11,
                    color='#8a8a8a',
                    linewidth=0.8,
                )
            )
    for name, (across, height) in places.items():
        package, title = name.split('.')
        axes.text(
            across,
            height,
            title,
            ha='center',
            va='center',
            fontsize=12,
            bbox={'boxstyle': 'round,pad=0.35', 'facecolor': COLORS[package], 'edgecolor': '#555'},
        )
    for package, color in COLORS.items():
        axes.scatter([], [], s=120, marker='s', color=color, edgecolors='#555', label=package)
    axes.legend(loc='upper left', frameon=False, fontsize=12)
    widest = max(abs(across) for across, _ in places.values()) + 1.3
    axes.set(xlim=(-widest, widest), ylim=(-0.6, len(rows) - 0.4))
    axes.axis('off')
    return figure


def main() -> None:
    """Draw the picture; its metadata hold the arrows, so that a test can tell if it is old."""
    graph = arrows()
    if circles(graph):
        raise SystemExit(f'Expected no circles, but found one among {", ".join(circles(graph))}.')
    text = json.dumps({name: sorted(others) for name, others in sorted(graph.items())})
    draw(graph).savefig(TARGET, dpi=80, metadata={'Comment': text, 'Software': None})
    print(f'Wrote {TARGET.relative_to(ROOT)}: {sum(map(len, graph.values()))} arrows.')


if __name__ == '__main__':
    main()
