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
"""Trains and scores the five steps of the paper's Figure 1, and the settings around them.

Run it with ``make ablation`` or ``python -m benchmarks.ablation``. Every run is a
``zegclip train`` of ``config/train/voc12-small-inductive.yaml`` with other settings, and one
labelling of PASCAL VOC's ``val``. What is finished is not run again, so that an interrupted
ablation continues where it stopped.

The seen bias of a step is chosen by a run of its own, which sees twelve of the fifteen seen
classes: the other three (``HELD_OUT``), which the alignment never saw either, stand for unseen
ones. It is the bias with the best hIoU on training pictures that this run was not shown.
"""

import argparse
from collections.abc import Sequence
import hashlib
import json
from pathlib import Path
import shlex
import subprocess
import sys
import time
from typing import Any, NamedTuple

from benchmarks.ablation_report import summary
from benchmarks.caption_regions import make_regions
from benchmarks.seen_bias import PUBLISHED, Sweep, sweep
import yaml
from zegclip_core.data.datasets import load_spec, open_dataset
from zegclip_core.data.views import split_indices
from zegclip_core.errors import ZegCLIPError
from zegclip_core.evaluation.reproduction import load_row
from zegclip_core.training.config import ALIGN, find_recipe

CONFIG = 'voc12-small-inductive'
"""Step (5), from which all others differ."""
ALIGNMENT = 'voc12-small'
"""What its towers are aligned by, and which other words its unseen classes have."""
DATASET, PART = 'voc12', 'val'
INTERRUPTED = 130
"""Exit code of ``zegclip`` after Ctrl-C."""
HELD_OUT = ('boat', 'chair', 'motorbike')
"""The fourth of every five seen classes."""
REGIONS_SHARE = 0.25
"""Part of the batches of ``captions`` that are photos with sentences."""
EVERY = 10
"""Every so manieth training picture is what a bias is chosen on."""

STEPS = {
    '1': ('(1) frozen tower', load_row('voc12-step1').settings),
    '2': ('(2) fine-tuned tower', load_row('voc12-step2').settings),
    '3': ('(3) + deep prompts', load_row('voc12-step3').settings),
    '4': ('(4) + non-exclusive loss', load_row('voc12-step4').settings),
    '5': ('(5) + relationship descriptor', ()),
    'transductive': (
        'transductive, from (5) at half-way',
        ('setting=transductive', 'schedule.keep=[]'),
    ),
    'captions': (
        '(5) from half-way, with regions found in photos with sentences',
        ('schedule.keep=[]',),
    ),
    'pooled': (
        '(5), the mean of the patch tokens in place of the class token',
        ('model.average_pooling=true',),
    ),
    'fully': (
        'fully supervised',
        ('setting=fully_supervised', 'unseen=[]', 'schedule.keep=[]'),
    ),
}
"""Title of each step, and the settings in which it differs from the configuration."""
FROM_HALF_WAY = ('transductive', 'captions')
"""Steps that go on from (5) of the same seed."""
TOWERS = {
    'adapted': ('the tower adapted by sentences and seen masks', ()),
    'removed': (
        'the same, sentences that mention a withheld word removed',
        ('model.alignment=runs/voc12-small-removed-adapt/voc12-small-removed-adapt.safetensors',),
    ),
    'frozen': (
        'towers aligned, none adapted',
        ('model.alignment=runs/voc12-small/voc12-small.safetensors',),
    ),
    'apart': (
        'towers neither aligned nor adapted',
        (
            *("model.alignment=''", 'model.dim=256', 'model.text_hidden=512'),
            'model.feature_layers=[2,5,8,11]',
        ),
    ),
}
"""What the steps start from, and the settings that say so."""


class StepError(RuntimeError):
    """A command failed; the message says which."""


class Run(NamedTuple):
    """A model to train.

    Attributes:
        towers: What it starts from, of ``TOWERS``.
        step: Which of ``STEPS``.
        seed: Of the new weights, the order of the pictures and their views.
        choice: Whether the bias is chosen by it.
    """

    towers: str
    step: str
    seed: int
    choice: bool = False

    @property
    def title(self) -> str:
        """What it is, in a line."""
        what = 'to choose the bias by' if self.choice else f'seed {self.seed}'
        return f'{TOWERS[self.towers][0]}: {STEPS[self.step][0]}, {what}'

    @property
    def has_softmax(self) -> bool:
        """Whether the loss is a softmax: the scores of several classes may be near 1 together."""
        return 'loss.cross_entropy_weight=1.0' in STEPS[self.step][1]


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


def run_folder(options: argparse.Namespace, run: Run) -> tuple[Path, list[str]]:
    """Return the folder of a run and the settings that it is trained with.

    The folder's name ends with a digest of all settings, so that nothing from another
    configuration is taken for finished.
    """
    content = settings_in(find_recipe(CONFIG))
    given = dict(entry.partition('=')[::2] for entry in options.settings)
    length = given.get('schedule.steps', '')
    steps = int(length) if length.isdigit() else content[0]['schedule']['steps']
    half = max(steps // 2, 1)
    settings = [f'schedule.keep=[{half}]', *options.settings]
    settings += [*TOWERS[run.towers][1], *STEPS[run.step][1], f'seed={run.seed}']
    if run.choice:
        unseen = ','.join((*content[0]['unseen'], *HELD_OUT))
        settings += [f'unseen=[{unseen}]', f'train.0.hold_out={EVERY}']
    if run.step in FROM_HALF_WAY:
        half_way = run_folder(options, run._replace(step='5'))[0] / f'step={half}.ckpt'
        settings += [f'schedule.steps={half}', f'initialize_from={half_way}']
    if run.step == 'captions':  # First, as others change its parts.
        settings.insert(0, f'train={json.dumps(_with_regions(options, run, content))}')
    text = json.dumps([content, settings], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    which = 'choice' if run.choice else f'seed{run.seed}'
    return options.out / f'{run.towers}-{run.step}-{which}-{digest}', settings


def _with_regions(
    options: argparse.Namespace, run: Run, content: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return the training sets of ``captions``: the usual ones and the regions of its teacher."""
    usual = next(part['train'] for part in content if 'train' in part)
    place = str(regions_folder(options, run))
    regions = {'root': place, 'split': 'train', 'wording': 'name', 'share': REGIONS_SHARE}
    return [*({**entry, 'share': 1.0 - REGIONS_SHARE} for entry in usual), regions]


def regions_folder(options: argparse.Namespace, run: Run) -> Path:
    """Return where the regions lie that (5) of the same kind finds in photos with sentences."""
    teacher = run_folder(options, run._replace(step='5'))[0]
    return teacher / 'regions'


def find_regions(options: argparse.Namespace, run: Run) -> None:
    """Let (5) find regions of unseen classes in photos with sentences, unless it has."""
    out, spec = regions_folder(options, run), load_spec(DATASET)
    if out.is_dir():
        return
    withheld = settings_in(find_recipe(ALIGNMENT, ALIGN))[0]['withheld']
    unseen = [*spec.unseen['zegclip'], *(HELD_OUT if run.choice else ())]
    model = out.parent / f'{out.parent.name}.safetensors'
    found = make_regions(
        *(model, options.captions, spec.classes, {name: withheld[name] for name in unseen}),
        *(PUBLISHED.amount, out),
    )
    print(', '.join(f'{name}: {count} photos' for name, count in found.items()), flush=True)


def finish(options: argparse.Namespace, run: Run) -> dict[str, Any]:
    """Train and score one model, as far as that is not done yet; return what is told of it.

    Raises:
        StepError: If a command fails.
        ZegCLIPError: If what it is scored on cannot be read.
    """
    folder, settings = run_folder(options, run)
    model, minutes = folder / f'{folder.name}.safetensors', folder / 'minutes.txt'
    command = ['zegclip', 'train', '--config', CONFIG, '--resume', *settings]
    command += [f'name={folder.name}', f'output={options.out}', 'validate=[]']
    if not model.is_file():
        if run.step == 'captions':
            find_regions(options, run)
        start = time.monotonic()
        call(command)
        minutes.write_text(f'{(time.monotonic() - start) / 60:.1f}\n', encoding='utf-8')
    counts = folder / f'{PART}.npz'
    # Counts of an earlier model do not count.
    if not counts.is_file() or counts.stat().st_mtime < model.stat().st_mtime:
        _count(options, run, model).save(counts)
    return {
        **{'run': run, 'command': shlex.join(command), 'counts': Sweep.load(counts)},
        'minutes': float(minutes.read_text('utf-8')) if minutes.is_file() else None,
    }


def _count(options: argparse.Namespace, run: Run, model: Path) -> Sweep:
    """Label what a model is scored on, or what its bias is chosen on."""
    spec = load_spec(DATASET)
    unseen = spec.unseen['zegclip']
    seen = [name for name in spec.classes if name not in unseen]
    if not run.choice:
        dataset = open_dataset(options.data, DATASET, PART)
        return sweep(model, dataset, range(len(dataset)), spec.classes, seen)
    dataset = open_dataset(options.data, DATASET, 'train_aug')
    indices = split_indices(len(dataset), EVERY, held_out=True)
    return sweep(model, dataset, indices, seen, [name for name in seen if name not in HELD_OUT])


def planned(options: argparse.Namespace) -> list[Run]:
    """Return the runs in their order: seed by seed, then those that biases are chosen by."""
    steps = sorted({*options.steps_of_figure, *options.also})
    if set(FROM_HALF_WAY) & set(steps) and '5' not in steps:
        steps.insert(0, '5')
    runs = [Run(options.towers, step, seed) for seed in options.seeds for step in steps]
    chosen = [step for step in steps if step != 'fully' and options.choose_bias]
    return [*runs, *(Run(options.towers, step, 0, choice=True) for step in chosen)]


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
    add('--data', default='data/voc2012', help='PASCAL VOC (default: %(default)s)')
    add('--towers', choices=TOWERS, default='adapted', help='start (default: %(default)s)')
    add('--captions', type=Path, default=Path('data/captions'), help='photos with sentences')
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
    also = [step for step in STEPS if not step.isdigit()]
    add('--also', choices=also, action='append', default=[], help='also this; may be repeated')
    add('--no-choose-bias', dest='choose_bias', action='store_false', help='only the fixed biases')
    add('--out', type=Path, default=Path('runs/ablation'), help='folder (default: %(default)s)')
    add('--write-docs', action='store_true', help='put tables and charts into docs/results.md')
    add('settings', nargs='*', metavar='KEY=VALUE', help='settings to change in every run')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ablation; return 0 if every run was finished."""
    options = build_parser().parse_intermixed_args(arguments)
    results, failures = [], []
    try:
        for run in planned(options):
            print(run.title, flush=True)
            try:
                results.append(finish(options, run))
            except (StepError, ZegCLIPError) as error:  # The other runs may work all the same.
                failures.append(f'{run.title}: {error}')
    except KeyboardInterrupt:
        print('Interrupted; the same command goes on from here.', file=sys.stderr)
        return INTERRUPTED
    if results:
        titles = {step: title for step, (title, _) in STEPS.items()}
        summary(results, titles, options.towers, options.out, write=options.write_docs)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
