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
"""Tables and charts of ``benchmarks.ablation``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
import statistics
import textwrap
from typing import Any

from benchmarks.reports import write_docs, write_json
from benchmarks.seen_bias import Bias, NONE, PUBLISHED, Sweep
from tabulate import tabulate

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'results.md'
METRICS = {'miou_seen': 'seen', 'miou_unseen': 'unseen', 'hiou': 'hIoU'}

Results = Sequence[Mapping[str, Any]]
"""What ``benchmarks.ablation.finish`` returns of each run."""


def mean_and_spread(values: Sequence[float]) -> str:
    """Return the mean and, of two or more values, their sample standard deviation."""
    if not values:
        return '-'
    spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.fmean(values):.1f}{spread}'


class Step:
    """All runs of one step.

    Attributes:
        models: Counts on the validation pictures, one for each seed.
        choice: Counts on those that the bias is chosen on; ``None`` if there are none.
    """

    def __init__(self, results: Results, name: str) -> None:
        own = [result for result in results if result['run'].step == name]
        scored = [result for result in own if not result['run'].choice]
        choices = [result['counts'] for result in own if result['run'].choice]
        self._fits = 'logits' if own[0]['run'].has_softmax else 'scores'
        self.seeds = [result['run'].seed for result in scored]
        self.models: list[Sweep] = [result['counts'] for result in scored]
        self.minutes = [result['minutes'] for result in scored if result['minutes'] is not None]
        self.choice: Sweep | None = choices[0] if choices else None

    def chosen(self, on: str = '') -> Bias | None:
        """Return the bias that was chosen on scores or logits, or on what fits the loss."""
        return self.choice.best(on or self._fits) if self.choice else None

    def values(self, bias: Bias, metric: str) -> list[float]:
        """Return a metric of each seed in percent."""
        return [100 * getattr(model.metrics(bias), metric) for model in self.models]

    def cell(self, bias: Bias | None) -> str:
        """Return seen, unseen and harmonic mean at a bias."""
        if bias is None:
            return '-'
        return ' / '.join(mean_and_spread(self.values(bias, metric)) for metric in METRICS)

    def chosen_cell(self, on: str) -> str:
        """Return the same at the chosen bias, which stands before it."""
        bias = self.chosen(on)
        return f'{bias.amount:g}: {self.cell(bias)}' if bias else '-'


def steps_of(results: Results) -> dict[str, Step]:
    """Return the steps with a scored model, in the order of their names."""
    names = sorted({result['run'].step for result in results if not result['run'].choice})
    return {name: Step(results, name) for name in names}


def table_of(steps: Mapping[str, Step], titles: Mapping[str, str]) -> str:
    """Return a table with a line for each step: seen / unseen / hIoU at several biases."""
    head = ['seen / unseen / hIoU', 'seeds', 'minutes each', 'no bias', 'published bias 0.1']
    head += ['chosen on scores', 'chosen on logits']
    rows = [
        [
            *(titles[name], ', '.join(map(str, step.seeds)), mean_and_spread(step.minutes)),
            *(step.cell(bias) for bias in (NONE, PUBLISHED)),
            *(step.chosen_cell(on) for on in ('scores', 'logits')),
        ]
        for name, step in steps.items()
    ]
    return str(tabulate(rows, head, tablefmt='github', disable_numparse=True))


def classes_table(steps: Mapping[str, Step], titles: Mapping[str, str]) -> str:
    """Return the IoU of each unseen class, and how sure the figures of the first seed are."""
    first = next(iter(steps.values())).models[0]
    unseen = [name for name in first.classes if name not in first.seen]
    rows = []
    for name, step in steps.items():
        bias = step.chosen() or NONE
        found = [[100 * model.metrics(bias).iou[word] for model in step.models] for word in unseen]
        intervals = step.models[0].intervals(bias)
        cells = [
            f'{100 * low:.1f} to {100 * high:.1f}'
            for low, high in (intervals[metric] for metric in METRICS)
        ]
        rows.append([titles[name], *map(mean_and_spread, found), *cells])
    head = ['', *unseen, *(f'{metric}, 95 % of pictures' for metric in METRICS.values())]
    return str(tabulate(rows, head, tablefmt='github', disable_numparse=True))


def draw(steps: Mapping[str, Step], titles: Mapping[str, str], path: Path) -> None:
    """Write a bar chart like the paper's Figure 1: without and with bias, a dot for each seed.

    The bias is the chosen one, or where none was chosen for any step the published one.
    """
    from matplotlib.figure import Figure  # takes a second

    figure = Figure(figsize=(9.5, 7.5), layout='constrained')
    panels = figure.subplots(2, 1, sharey=True)
    panels[0].set_title('no bias', loc='left')
    chosen = any(step.choice for step in steps.values())
    how = 'chosen on held-out ones' if chosen else 'the published one of 0.1'
    panels[1].set_title(f'a bias against seen classes, {how}', loc='left')
    for axes, biased in zip(panels, (False, True), strict=True):
        bias = PUBLISHED if biased else NONE
        own = chosen and biased
        _bars(axes, [(step, step.chosen() if own else bias) for step in steps.values()])
        names = [textwrap.fill(titles[name], 15) for name in steps]
        axes.set_xticks(range(len(steps)), names)
        axes.set_xlim(-0.6, len(steps) - 0.4)
        axes.set_ylabel('mIoU [%]')
        axes.spines[['top', 'right']].set_visible(False)
    panels[0].set_ylim(bottom=0.0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper right', ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _bars(axes: Any, steps: Sequence[tuple[Step, Bias | None]]) -> None:  # noqa: ANN401
    """Draw three bars for each step that has a bias."""
    # Okabe and Ito's colours, which colour-blind people can tell apart.
    for index, (metric, color) in enumerate(
        zip(METRICS, ('#0072B2', '#E69F00', '#009E73'), strict=True)
    ):
        found = {
            place + 0.27 * (index - 1): step.values(bias, metric)
            for place, (step, bias) in enumerate(steps)
            if bias
        }
        spreads = [statistics.stdev(some) if len(some) > 1 else 0.0 for some in found.values()]
        means = list(map(statistics.fmean, found.values()))
        drawn = axes.bar(
            list(found), means, 0.27, yerr=spreads, capsize=3, color=color, label=METRICS[metric]
        )
        axes.bar_label(drawn, fmt='%.1f', padding=2, fontsize='small')
        for place, values in found.items():
            axes.plot([place + 0.07] * len(values), values, 'ko', markersize=2.5, alpha=0.6)
    for place, (_, bias) in enumerate(steps):
        if not bias:
            axes.text(place, 1.0, 'not run', ha='center', color='grey')


def summary(
    results: Results, titles: Mapping[str, str], towers: str, out: Path, *, write: bool
) -> None:
    """Print and write tables and chart of finished runs, into the docs if asked for."""
    steps = steps_of(results)
    if not steps:
        return
    name = f'results-{towers}.png'
    draw(steps, titles, (PAGE.parent / 'images' if write else out) / name)
    table = f'{table_of(steps, titles)}\n\n{classes_table(steps, titles)}'
    print(f'\n{table}')
    told = [
        {
            **{'run': result['run']._asdict(), 'command': result['command']},
            'minutes': result['minutes'],
            'no_bias': result['counts'].metrics(NONE).to_dict(),
        }
        for result in results
    ]
    write_json(out / f'{towers}.json', told)
    if write:
        chart = f'![Seen, unseen and harmonic mean IoU](images/{name})'
        write_docs(towers, f'{table}\n\n{chart}', PAGE)
