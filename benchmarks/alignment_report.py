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
"""What comes of the alignment of towers: rows over random choices, their tables and chart."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.ablation_report import Figure
from benchmarks.ablation_runs import percent
from benchmarks.alignment_features import Regions
from benchmarks.alignment_map import (
    Answer,
    answer,
    Question,
    random_question,
    split_question,
    STRENGTH,
    unseen_shares,
)
from benchmarks.reports import table
from zegclip_core.training.config import TrainConfig

COUNTS = (8, 16, 32, 50)
"""Numbers of seen words."""
UNSEEN = 10
CHOICES = 20
"""Random choices of words; their seeds count from 0."""
STRENGTHS = (0.001, 0.01, STRENGTH, 1.0, 10.0)
_COLORS = {'seen_few': '#009E73', 'few': '#0072B2', 'every': '#D55E00'}
"""Of Okabe and Ito's palette, which colour-blind people can tell apart."""
_MARKERS = {'seen_few': 's', 'few': 'o', 'every': 'v'}
_CURVES = {
    'seen_few': f'had they been seen, among the same {UNSEEN}',
    'few': f'unseen, among the {UNSEEN} unseen words',
    'every': 'unseen, among all words',
}


@dataclass(frozen=True)
class Row:
    """Answers to questions of one kind.

    Attributes:
        title: What words are unseen.
        seen: How many words were fitted on.
        unseen: How many were asked for.
        words: How many there were to choose from.
        answers: One for each choice of words.
        others: For each of ``STRENGTHS`` the ``few`` and the ``every`` of each choice.
    """

    title: str
    seen: int
    unseen: int
    words: int
    answers: tuple[Answer, ...]
    others: tuple[tuple[tuple[float, float], ...], ...]

    def figure(self, name: str) -> Figure:
        """Return one field of the answers over the choices."""
        return Figure(tuple(getattr(one, name) for one in self.answers))


def row_of(title: str, regions: Regions, questions: Sequence[Question]) -> Row:
    """Return the answers to some questions."""
    first = questions[0]
    return Row(
        title=title,
        seen=len(first.seen),
        unseen=len(first.unseen),
        words=len(first.words),
        answers=tuple(answer(regions, question) for question in questions),
        others=tuple(
            tuple(unseen_shares(regions, question, strength) for question in questions)
            for strength in STRENGTHS
        ),
    )


def random_row(regions: Regions, seen: int, unseen: int) -> Row:
    """Return the answers for random words.

    Raises:
        DataError: If there are too few words.
    """
    title = f'any of {", ".join(regions.titles)}'
    seeds = range(CHOICES)
    return row_of(title, regions, [random_question(regions, seen, unseen, seed) for seed in seeds])


def split_rows(regions: Regions, config: TrainConfig) -> Iterator[Row]:
    """Yield the answers for a configuration's unseen words, on each dataset that has several."""
    for source, title in enumerate(regions.titles):
        question = split_question(regions, config.unseen, source)
        if len(question.unseen) > 1:
            yield row_of(f'`{config.name}`, on {title}', regions, [question])


def table_of(rows: Sequence[Row]) -> str:
    """Return the table of all rows, in %."""
    head = ['unseen words', 'seen', 'unseen', 'chance', 'among the unseen', 'among all']
    head += ['had they been seen: among the same', 'among all']
    names = ('few', 'every', 'seen_few', 'seen_every')
    lines = [
        [
            *(row.title, row.seen, row.unseen, Figure((1 / row.unseen,))),
            *(row.figure(name) for name in names),
        ]
        for row in rows
    ]
    return table(head, lines)


def strength_table(rows: Sequence[Row]) -> str:
    """Return what another strength of the ridge makes of each row, in %."""
    head = ['unseen words', 'seen', *(f'{strength:g}' for strength in STRENGTHS)]
    lines = ([row.title, row.seen, *map(_means, row.others)] for row in rows)
    return table(head, lines)


def _means(shares: Sequence[tuple[float, float]]) -> str:
    """Return the means of two figures over the choices."""
    return ' / '.join(percent(Figure(values).mean) for values in zip(*shares, strict=True))


def page_text(rows: Sequence[Row], chart: str) -> str:
    """Return what stands in the page."""
    figure = f'![Regions of unseen words named rightly, by number of seen words](images/{chart})'
    other = (
        f'With other strengths of the ridge (above: {STRENGTH:g}), '
        'the means among the unseen / among all:'
    )
    return '\n\n'.join([table_of(rows), figure, other, strength_table(rows)])


def figures_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return all figures for a JSON file."""
    return [asdict(row) for row in rows]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the chart of the rows of random words over the number of seen words."""
    from matplotlib.figure import Figure as Canvas  # takes a second

    canvas = Canvas(figsize=(7.5, 4.5), layout='constrained')
    axes = canvas.subplots()
    seen = [row.seen for row in rows]
    for name, label in _CURVES.items():
        figures = [row.figure(name) for row in rows]
        axes.errorbar(
            seen,
            [100 * (figure.mean or 0.0) for figure in figures],
            [100 * (figure.spread or 0.0) for figure in figures],
            marker=_MARKERS[name],
            color=_COLORS[name],
            capsize=3,
            label=label,
        )
    chance = f'chance among {UNSEEN}'
    axes.axhline(100 / UNSEEN, color='black', linestyle='--', linewidth=1, label=chance)
    axes.set_xticks(seen)
    axes.set_ylim(bottom=-2.0)
    axes.set_xlabel('seen words')
    axes.set_ylabel('regions named rightly [%]')
    axes.spines[['top', 'right']].set_visible(False)
    canvas.legend(loc='outside lower center', ncols=2, frameon=False)
    canvas.suptitle(f'Mean and standard deviation of {CHOICES} random choices of words')
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)
