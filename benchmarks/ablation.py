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
"""The five steps of the paper's Figure 1, and inductive against transductive, on real data.

Run it by ``python -m benchmarks.ablation`` or ``make ablation``; ``docs/results.md`` says what
comes of it. A matrix that was stopped goes on where it stopped.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import signal
import sys
from typing import Any

from benchmarks.ablation_matrix import Job, Matrix, STEPS, TRANSDUCTIVE
from benchmarks.ablation_report import aggregate, commands_of, datasets, draw, Row, table_of
from benchmarks.ablation_runs import Execute, execute, Failure, is_finished, read_run, run_all
from benchmarks.reports import write_docs, write_json
from zegclip_core.errors import ZegCLIPError
from zegclip_ros.runtime.child_processes import interruptible

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'results.md'
SETS = ('camvid', 'joint')


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a list such as 0,1,2.

    Raises:
        ValueError: If it is none; argparse makes a usage error of it.
    """
    return tuple(dict.fromkeys(int(part) for part in text.split(',')))


def steps_of_figure(text: str) -> tuple[str, ...]:
    """Return the steps of a list such as 1,2,5.

    Raises:
        ArgumentTypeError: If one is not among the figure's.
    """
    steps = tuple(part.strip() for part in text.split(',') if part.strip())
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f'expected steps among {", ".join(STEPS)}, but got {unknown[0]!r}'
        )
    return steps


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.ablation',
        description='Train and score the steps of the Figure 1 of ZegCLIP, for several seeds.',
    )
    add = parser.add_argument
    add('--set', choices=SETS, default='camvid', help='data to train on (default: %(default)s)')
    add('--seeds', type=numbers, default='0,1,2', help='separated by commas (%(default)s)')
    add(
        '--steps-of-figure',
        type=steps_of_figure,
        default='1,2,3,4,5',
        metavar='STEPS',
        help='which of them (default: all five)',
    )
    add('--also', choices=(TRANSDUCTIVE,), help='also this one, and step 5, which it is from')
    add('--out', type=Path, default=Path('runs/ablation'), help='folder (default: %(default)s)')
    add('--configs', type=Path, default=Matrix.configs, help='folder (default: %(default)s)')
    add('--write-docs', action='store_true', help='put table and chart into docs/results.md')
    add('settings', nargs='*', metavar='KEY=VALUE', help='settings to change in every run')
    return parser


def chart_name(name: str, data: str) -> str:
    """Return the file name of the chart of a set's models on a dataset."""
    return '-'.join(dict.fromkeys(('results', name, data))) + '.png'


def report(name: str, runs: Sequence[dict[str, Any]], images: Path) -> dict[str, str]:
    """Draw the charts, and return the text of each dataset.

    Args:
        name: Which configurations.
        runs: What is known of each finished run.
        images: Folder of the charts.

    """
    rows, texts = aggregate(runs), {}
    for data in datasets(rows):
        own = [row for row in rows if row.data == data]
        draw(own, _title(own), images / chart_name(name, data))
        texts[data] = table_of(own)
    return texts


def _title(rows: Sequence[Row]) -> str:
    """Return what stands above the chart of a dataset."""
    seeds = max(len(row.seeds) for row in rows)
    many = f'mean, standard deviation and single runs of {seeds} seeds'
    return f'{rows[0].data}: {many if seeds > 1 else "one seed"}'


def page_text(name: str, texts: dict[str, str], runs: Sequence[dict[str, Any]]) -> str:
    """Return what stands in the page: for each dataset table and chart, and all commands."""
    parts = [
        f'On `{data}`, in %:\n\n{text}\n\n'
        f'![Seen, unseen and harmonic mean IoU on {data}](images/{chart_name(name, data)})'
        for data, text in texts.items()
    ]
    seeds = 'Commands of the first seed; another seed has its own `seed=` and `name=`:'
    return '\n\n'.join([*parts, seeds, commands_of(runs)])


def summary(options: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Write the figures of all finished runs, and print their tables."""
    runs = [read_run(job) for job in jobs if is_finished(job)]
    if not runs:
        return
    texts = report(options.set, runs, options.out)
    write_json(options.out / f'{options.set}.json', {'runs': runs, 'rows': _figures(runs)})
    for data, text in texts.items():
        print(f'\n## {data}\n\n{text}')
    if options.write_docs:
        report(options.set, runs, PAGE.parent / 'images')
        write_docs(options.set, page_text(options.set, texts, runs), PAGE)


def _figures(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means and spreads for a JSON file."""
    return [
        {
            **{'row': row.key, 'data': row.data, 'seen_bias': row.seen_bias},
            **{'seeds': row.seeds, 'steps': row.steps},
            **{
                name: {'mean': figure.mean, 'spread': figure.spread, 'values': figure.values}
                for name, figure in row.figures.items()
            },
        }
        for row in aggregate(runs)
    ]


def tell(failures: Sequence[Failure]) -> None:
    """Say which runs failed, and why."""
    for failure in failures:
        print(f'{failure.job.title}: {failure.reason}', file=sys.stderr)
        print(f'  its output: {failure.job.folder}/*.log', file=sys.stderr)


def main(arguments: Sequence[str] | None = None, call: Execute = execute) -> int:
    """Run the matrix; return 0 if every run was finished.

    Args:
        arguments: Those of the command line; ``None`` takes those of the process.
        call: Runs a command of ours.

    """
    options = build_parser().parse_intermixed_args(arguments)
    rows = (*options.steps_of_figure, *([options.also] if options.also else []))
    matrix = Matrix(
        options.set, rows, options.seeds, options.out, tuple(options.settings), options.configs
    )
    # A shell that starts this in the background has it, and all that it starts, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        jobs = matrix.jobs()
        with interruptible():
            failures = run_all(jobs, lambda text: print(text, flush=True), call)
    except ZegCLIPError as error:
        print(f'ablation: error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('Interrupted; the same command goes on from here.', file=sys.stderr)
        return 130
    summary(options, jobs)
    tell(failures)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
