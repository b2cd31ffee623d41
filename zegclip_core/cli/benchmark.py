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
"""``zegclip benchmark``: how fast the model is, beside the published pipeline and others."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, TYPE_CHECKING

from zegclip_core.cli._model import number, positive
from zegclip_core.weights.names import parse_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from zegclip_core.speed.rows import Report
    from zegclip_core.speed.run import Options

DEVICE_VARIABLE = 'ZEGCLIP_BENCH_DEVICE'
"""Environment variable that names the device when the option does not."""
_DESCRIPTION = """\
Measure the published shape (CLIP's ViT-B/16 with seeded weights) in one process, all sides in
turn: literal (the published pipeline), plain and lean_fp32 (ours), lean (ours, in the device's
best precision) and two_stage (a hundred masked crops through CLIP, proposals for free). One axis
at a time is changed: classes, frame sizes, batch, prompts. Last, the bundled model: behind a
640x480 camera, when words change, and from the start of a process to its first label. About ten
minutes on two cores.
"""
_SWEEPS = 'classes,prompts,sizes,batch,camera,words,start'
_CPU = {'repeats': 3, 'case_seconds': 20.0, 'minutes': 8.0}
_CUDA = {'repeats': 30, 'case_seconds': 30.0, 'minutes': None}


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser('benchmark', help='measure the speed', description=_DESCRIPTION)
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says what is measured, and where the figures go."""
    parser.add_argument('--model', help='measure this model, by name or file, instead')
    parser.add_argument(
        '--device',
        help=f'auto, cpu, cuda or cuda:N (default: ${DEVICE_VARIABLE}, else auto)',
    )
    parser.add_argument(
        '--sides',
        default='literal,plain,lean_fp32,lean,two_stage',
        metavar='A,B',
        help='of %(default)s (the default), lean_candidates (of many classes few are drawn) and '
        'two_stage_half (in the best precision)',
    )
    parser.add_argument(
        '--sweeps',
        metavar='A,B',
        help=f'of {_SWEEPS} (the default) and steps, the lean path with each saving left out; '
        'empty for the base alone',
    )
    parser.add_argument(
        '--repeats', type=positive, metavar='N', help='calls that count (default: 3, CUDA 30)'
    )
    parser.add_argument(
        '--minutes',
        type=minutes,
        metavar='M',
        help='begin no further case after so long (default: 8 on a CPU, else no limit)',
    )
    parser.add_argument('--threads', type=positive, metavar='N', help='threads of a CPU')
    parser.add_argument('--quick', action='store_true', help='one case, one call of each side')
    parser.add_argument('--json', metavar='FILE', help='also write the figures there')
    parser.add_argument(
        '--plots', metavar='DIR', help='also draw them there, benchmark-*.png in a folder'
    )


def minutes(text: str) -> float:
    """Return a positive number of minutes given as text."""
    value = number(float, text)
    if value is None or not value > 0.0:
        raise argparse.ArgumentTypeError(f'expected more than 0 minutes, but got {text}')
    return value


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write; returns 0."""
    measured(args)
    return 0


def measured(args: argparse.Namespace) -> Report:
    """Measure what the options say, print the table and write the files."""
    from zegclip_core.cli._outputs import check_output, write_json

    json_file = check_output('--json', args.json)
    folder = _plots_folder(args.plots)
    report = _run(args)
    from zegclip_core.speed.tables import plain_text

    sys.stdout.write(plain_text(report))
    if json_file:
        write_json(json_file, report.to_dict())
    if folder:
        from zegclip_core.speed.plots import save_plots

        save_plots(report, folder)
    return report


def _plots_folder(name: str | None) -> Path | None:
    """Return the folder of the plots, made, after seeing that they can be drawn."""
    if name is None:
        return None
    from pathlib import Path

    import matplotlib  # noqa: F401 - if it is missing, that is said now

    folder = Path(name).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(args: argparse.Namespace) -> Report:
    """Run the benchmark under a progress bar."""
    from tqdm import tqdm

    options = _options(args)
    from zegclip_core.speed.run import run_benchmark

    with tqdm(unit='row', file=sys.stderr) as bar:

        def show(task: str, rows: int) -> None:
            bar.total = rows
            bar.set_description(task)

        return run_benchmark(options, show, lambda row: bar.update())


def _options(args: argparse.Namespace) -> Options:
    """Return what is to be measured, with the defaults of the device."""
    if args.model:
        parse_model(args.model)  # Before it is shown how far it has come.
    device = args.device or os.environ.get(DEVICE_VARIABLE) or 'auto'
    from zegclip_core.speed.cases import check_sweeps, choose_sides

    sides = choose_sides(_listed(args.sides))
    sweeps = _listed(args.sweeps if args.sweeps is not None else _SWEEPS)
    if args.quick and args.sweeps is None:
        sweeps = []
    check_sweeps(sweeps)
    from zegclip_core.devices import pick_device
    from zegclip_core.speed.run import Options
    from zegclip_core.threads import use_threads

    use_threads(args.threads)
    defaults = _CPU if pick_device(device).type == 'cpu' else _CUDA
    minutes = defaults['minutes'] if args.minutes is None else args.minutes
    repeats = 1 if args.quick else int(defaults['repeats'] or 1)
    return Options(
        device=device,
        model=args.model,
        sides=sides,
        sweeps=sweeps,
        repeats=args.repeats or repeats,
        case_seconds=float(defaults['case_seconds'] or 0.0),
        seconds=None if minutes is None else 60.0 * minutes,
        quick=args.quick,
    )


def _listed(text: str) -> Sequence[str]:
    """Return the names between commas."""
    return [name.strip() for name in text.split(',') if name.strip()]
