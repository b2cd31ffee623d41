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
"""Trains and scores the five steps of the paper's Figure 1, and transductive training.

Run it with ``make ablation`` or ``python -m benchmarks.ablation --set camvid``. Every run is a
``zegclip train`` followed by one ``zegclip evaluate`` per dataset and seen bias. Finished commands
are not run again, so that an interrupted ablation continues where it stopped. A new dataset is one
configuration in ``config/train/ablation`` and one entry in ``SETS``.
"""

import argparse
from collections.abc import Sequence
import hashlib
import json
from pathlib import Path
import shlex
import statistics
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

from benchmarks.reports import write_docs, write_json
from tabulate import tabulate
import yaml
from zegclip_core.evaluation.reproduction import load_row

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'config' / 'train' / 'ablation'
PAGE = ROOT / 'docs' / 'results.md'
BIASES = (0.1, 0.0)
"""Subtracted from the scores of seen classes: what the release subtracts, and nothing."""
METRICS = {'miou_seen': 'seen', 'miou_unseen': 'unseen', 'hiou': 'hIoU', 'pixel_accuracy': 'pAcc'}
INTERRUPTED = 130
"""Exit code of ``zegclip`` after Ctrl-C."""

STEPS = {
    '1': ('(1) frozen tower', load_row('voc12-step1').settings),
    '2': ('(2) fine-tuned tower', load_row('voc12-step2').settings),
    '3': ('(3) + deep prompts', load_row('voc12-step3').settings),
    '4': ('(4) + non-exclusive loss', load_row('voc12-step4').settings),
    '5': ('(5) + relationship descriptor', ()),
    'transductive': (
        'transductive, from (5) at half-way',
        ('setting=transductive', 'schedule.keep=[]', 'settings.seen_bias=0.0'),
    ),
}
"""Title of each step, and the settings in which it differs from the configuration, step (5)."""

_CAMVID = '--data data/camvid --split val --unseen pavement,fence,car'
_COCO = (
    '--data data/coco128 --split train --hold-out 5 --absent 5 --unseen car,bicycle,cat,dog,'
    'elephant,giraffe,"sports ball",fork,bowl,broccoli,cake'
)


class Scored(NamedTuple):
    """What a set of models is trained and scored on.

    Attributes:
        steps: Training steps of (1) to (5); transductive training takes half as many.
        warmup: How many of them warm up the learning rate.
        evaluations: Options of ``zegclip evaluate`` by the dataset's name.
    """

    steps: int
    warmup: int
    evaluations: dict[str, str]


SETS = {
    'camvid': Scored(200, 20, {'camvid': _CAMVID}),
    'joint': Scored(4000, 200, {'camvid': _CAMVID, 'coco128': _COCO}),
}


class StepError(RuntimeError):
    """A command failed; the message says which."""


def call(command: Sequence[str]) -> None:
    """Run a ``zegclip`` command.

    Raises:
        StepError: If it fails.
        KeyboardInterrupt: If it was interrupted; it has ended by then.
    """
    process = subprocess.Popen([sys.executable, '-m', 'zegclip_core.cli.main', *command[1:]])
    try:
        code = process.wait()
    except KeyboardInterrupt:  # Ctrl-C reaches the child too; training writes a checkpoint then.
        process.wait()
        raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise StepError(f'exit code {code} of: {shlex.join(command)}')


def settings_in(path: Path) -> list[Any]:
    """Return the content of a configuration and of those it is based on."""
    values = yaml.safe_load(path.read_text('utf-8'))
    return [values, *(settings_in(path.parent / values['base']) if 'base' in values else [])]


def run_folder(options: argparse.Namespace, step: str, seed: int) -> tuple[Path, list[str]]:
    """Return the folder of a run and the settings that it is trained with.

    The folder's name ends with a digest of all settings, so that nothing from another
    configuration is taken for finished.
    """
    scored = SETS[options.set]
    given = dict(entry.partition('=')[::2] for entry in options.settings)
    length = given.get('schedule.steps', '')
    half = max((int(length) if length.isdigit() else scored.steps) // 2, 1)
    keep = [] if step == 'transductive' else [f'schedule.keep=[{half}]']
    settings = [*keep, *options.settings, *STEPS[step][1], f'seed={seed}']
    if step == 'transductive':
        half_way = run_folder(options, '5', seed)[0] / f'step={half}.ckpt'
        settings += [f'schedule.steps={half}', f'schedule.warmup={scored.warmup // 2}']
        settings += [f'initialize_from={half_way}']
    content = json.dumps([settings_in(CONFIGS / f'{options.set}.yaml'), settings], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return options.out / f'{options.set}-{step}-seed{seed}-{digest}', settings


def finish(options: argparse.Namespace, step: str, seed: int) -> dict[str, Any]:
    """Train and score one model, as far as that is not done yet; return its commands and figures.

    Raises:
        StepError: If a command fails.
    """
    folder, settings = run_folder(options, step, seed)
    model = folder / f'{folder.name}.safetensors'
    train = ['zegclip', 'train', '--config', f'ablation/{options.set}', '--resume']
    train += [*settings, f'name={folder.name}', f'output={options.out}']
    if not model.is_file():
        call(train)
    run: dict[str, Any] = {'step': step, 'seed': seed, 'commands': [shlex.join(train)]}
    run['scores'] = {}
    for data, evaluation in SETS[options.set].evaluations.items():
        for bias in BIASES:
            output = folder / f'{data}-bias{bias:g}.json'
            command = ['zegclip', 'evaluate', '--model', str(model), *shlex.split(evaluation)]
            command += ['--seen-bias', str(bias), '--threshold', '0', '--json', str(output)]
            # Scores of an earlier model do not count.
            if not output.is_file() or output.stat().st_mtime < model.stat().st_mtime:
                call(command)
            run['commands'].append(shlex.join(command))
            run['scores'].setdefault(data, {})[f'{bias:g}'] = json.loads(output.read_text('utf-8'))
    return run


def values_of(
    runs: Sequence[dict[str, Any]], step: str, data: str, bias: float, metric: str
) -> list[float]:
    """Return a metric of all seeds of a step in percent, without those where it is undefined."""
    scores = [run['scores'][data][f'{bias:g}'][metric] for run in runs if run['step'] == step]
    return [100 * score for score in scores if score is not None]


def mean_and_spread(values: Sequence[float]) -> str:
    """Return the mean and, of two or more values, their sample standard deviation."""
    if not values:
        return '-'
    spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.fmean(values):.1f}{spread}'


def table_of(runs: Sequence[dict[str, Any]], data: str) -> str:
    """Return the table of one dataset: a line for each step, each scored with both biases."""
    columns = [(bias, metric) for bias in BIASES for metric in METRICS]
    head = ['model', 'seeds', *(f'{METRICS[metric]}, bias {bias:g}' for bias, metric in columns)]
    rows = []
    for step in dict.fromkeys(run['step'] for run in runs):
        seeds = ', '.join(str(run['seed']) for run in runs if run['step'] == step)
        cells = [mean_and_spread(values_of(runs, step, data, *column)) for column in columns]
        rows.append([STEPS[step][0], seeds, *cells])
    return str(tabulate(rows, head, tablefmt='github', disable_numparse=True))


def draw(runs: Sequence[dict[str, Any]], data: str, path: Path) -> None:
    """Write a bar chart like the paper's Figure 1: a panel for each bias, a dot for each seed."""
    from matplotlib.figure import Figure  # takes a second

    steps = list(dict.fromkeys(run['step'] for run in runs))
    figure = Figure(figsize=(9.5, 7.5), layout='constrained')
    panels = figure.subplots(len(BIASES), 1, sharey=True)
    # Okabe and Ito's colours, which colour-blind people can tell apart.
    bars = list(zip(list(METRICS)[:3], ('#0072B2', '#E69F00', '#009E73'), strict=True))
    for axes, bias in zip(panels, BIASES, strict=True):
        for index, (metric, color) in enumerate(bars):
            places = [place + 0.27 * (index - 1) for place in range(len(steps))]
            found = [values_of(runs, step, data, bias, metric) for step in steps]
            means = [statistics.fmean(values or [0.0]) for values in found]
            spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in found]
            drawn = axes.bar(
                places, means, 0.27, yerr=spreads, capsize=3, color=color, label=METRICS[metric]
            )
            axes.bar_label(drawn, fmt='%.1f', padding=2, fontsize='small')
            for place, values in zip(places, found, strict=True):
                axes.plot([place + 0.07] * len(values), values, 'ko', markersize=2.5, alpha=0.6)
        axes.set_xticks(range(len(steps)), [textwrap.fill(STEPS[step][0], 15) for step in steps])
        axes.set_ylabel('mIoU [%]')
        axes.set_title(f'{data}, {bias:g} subtracted from the scores of seen classes', loc='left')
        axes.spines[['top', 'right']].set_visible(False)
    panels[0].set_ylim(bottom=0.0)
    panels[0].legend(frameon=False, ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def summary(options: argparse.Namespace, runs: Sequence[dict[str, Any]]) -> None:
    """Print and write the tables and charts of finished runs, into the docs if asked for."""
    write_json(options.out / f'{options.set}.json', runs)
    images = PAGE.parent / 'images' if options.write_docs else options.out
    parts = []
    for data in SETS[options.set].evaluations:
        name = '-'.join(dict.fromkeys(('results', options.set, data))) + '.png'
        draw(runs, data, images / name)
        table = table_of(runs, data)
        print(f'\n## {data}\n\n{table}')
        caption = f'![Seen, unseen and harmonic mean IoU on {data}](images/{name})'
        parts.append(f'On `{data}`, in %:\n\n{table}\n\n{caption}')
    if options.write_docs:
        write_docs(options.set, '\n\n'.join(parts), PAGE)


def steps_in(text: str) -> list[str]:
    """Return the steps of a list such as ``1,2,5``.

    Raises:
        ArgumentTypeError: If one of them does not exist.
    """
    steps = [part.strip() for part in text.split(',')]
    unknown = [step for step in steps if step not in STEPS or not step.isdigit()]
    if unknown:
        raise argparse.ArgumentTypeError(
            f'expected steps among 1, 2, 3, 4, 5, but got {unknown[0]!r}'
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
    add(
        '--seeds',
        type=lambda text: [int(part) for part in text.split(',')],
        default='0,1,2',
        help='separated by commas (default: %(default)s)',
    )
    add(
        *('--steps-of-figure', '--steps'),
        type=steps_in,
        default='1,2,3,4,5',
        metavar='STEPS',
        help='which of them (default: all five)',
    )
    add('--also', choices=('transductive',), help='also this one, and step 5, its start')
    add('--out', type=Path, default=Path('runs/ablation'), help='folder (default: %(default)s)')
    add('--write-docs', action='store_true', help='put tables and charts into docs/results.md')
    add('settings', nargs='*', metavar='KEY=VALUE', help='settings to change in every run')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ablation; return 0 if every run was finished."""
    options = build_parser().parse_intermixed_args(arguments)
    steps = sorted({*options.steps_of_figure, *(('5', options.also) if options.also else ())})
    runs, failures = [], []
    try:
        for seed in options.seeds:
            for step in steps:
                print(f'{options.set}, {STEPS[step][0]}, seed {seed}', flush=True)
                try:
                    runs.append(finish(options, step, seed))
                except StepError as error:  # The other runs may work all the same.
                    failures.append(f'{STEPS[step][0]}, seed {seed}: {error}')
    except KeyboardInterrupt:
        print('Interrupted; the same command goes on from here.', file=sys.stderr)
        return INTERRUPTED
    if runs:
        summary(options, runs)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
