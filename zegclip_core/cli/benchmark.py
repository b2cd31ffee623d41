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
from dataclasses import asdict
import os
import sys
from typing import Any

from zegclip_core.cli._model import number, positive
from zegclip_core.cli._outputs import check_output, write_json
from zegclip_core.cli._reports import add_report_option, check_report, write_report
from zegclip_core.errors import ConfigError
from zegclip_core.files import user_path
from zegclip_core.speed.compare import compare, read_report
from zegclip_core.speed.report import (
    BUNDLED,
    choose_cases,
    choose_methods,
    METHODS,
    MINUTES,
    Report,
    SWEEPS,
)
from zegclip_core.weights.names import parse_model

DEVICE_VARIABLE = 'ZEGCLIP_BENCH_DEVICE'
"""Environment variable that names the device when the option does not."""
_NAME = 'benchmark'
"""How the report is called."""
_DESCRIPTION = """\
Measure the published shape (CLIP's ViT-B/16 with seeded weights) in one process, all methods in
turn: literal (the published pipeline), plain and lean_fp32 (ours), lean (ours, in the device's
best precision) and two_stage (a hundred masked crops through CLIP, proposals for free). One axis
at a time is changed: classes, frame sizes, batch, prompts. Last, the bundled model: behind a
640x480 camera, when words change, and from the start of a process to its first label. About ten
minutes on two cores.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser('benchmark', help='measure the speed', description=_DESCRIPTION)
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says what is measured, and where the figures go."""
    add, sweeps = parser.add_argument, ','.join((*SWEEPS, *BUNDLED))
    known: dict[str, Any] = {'type': _listed, 'metavar': 'A,B'}
    add('--model', help='measure this model, by name or file, instead')
    add('--device', help=f'auto, cpu, cuda or cuda:N (default: ${DEVICE_VARIABLE}, else auto)')
    methods = f'of {",".join(METHODS)} (the default)'
    add('--methods', '--sides', default=METHODS, help=methods, **known)
    add('--sweeps', help=f'of {sweeps} (the default); empty for the base alone', **known)
    add('--repeats', type=positive, metavar='N', help='calls that count (default: 3, CUDA 30)')
    late = f'begin no further case after so long (default: {MINUTES:g})'
    add('--minutes', type=minutes, metavar='M', help=late)
    add('--threads', type=positive, metavar='N', help='threads of a CPU')
    add('--quick', action='store_true', help='one case, one call of each method')
    add('--json', metavar='FILE', help='also write the figures there, each as it comes')
    compared = 'put the run beside that of a --json file; with two files measure nothing'
    add('--compare', nargs='+', metavar='FILE', help=compared)
    add('--plots', metavar='DIR', help='also draw them there, benchmark-*.png in a folder')
    add_report_option(parser, _NAME)


def _listed(text: str) -> list[str]:
    """Return the names between commas."""
    return [name.strip() for name in text.split(',') if name.strip()]


def minutes(text: str) -> float:
    """Return a positive number of minutes given as text."""
    value = number(float, text)
    if value is None or not value > 0.0:
        raise argparse.ArgumentTypeError(f'expected more than 0 minutes, but got {text}')
    return value


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write; returns 1 if a method failed, else 0."""
    files = [user_path(name) for name in args.compare or ()]
    if len(files) > 2:
        raise ConfigError(f'Expected --compare to get one file or two, but got {len(files)}.')
    others = [read_report(path) for path in files]  # Before minutes have gone into measuring.
    if len(others) == 2:
        sys.stdout.write(compare(*others))
        return 0
    report = measured(args)
    for other in others:
        sys.stdout.write(f'\n{compare(other, report)}')
    return 1 if report.errors else 0


def measured(args: argparse.Namespace) -> Report:
    """Measure what the options say, print the table and write the files."""
    json_file = check_output('--json', args.json)
    page = check_report(args.report, _NAME)
    folder = user_path(args.plots) if args.plots else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    if args.model:
        parse_model(args.model)  # Before PyTorch is imported, which takes seconds.
    methods, sweeps = choose_methods(args.methods), args.sweeps
    if sweeps is None:
        sweeps = [] if args.quick else [*SWEEPS, *BUNDLED]
    choose_cases(sweeps)
    from zegclip_core.devices import pick_device, use_threads
    from zegclip_core.speed.report import save_plots
    from zegclip_core.speed.run import Options, run_benchmark

    use_threads(args.threads)
    device = args.device or os.environ.get(DEVICE_VARIABLE) or 'auto'
    on_cpu = pick_device(device).type == 'cpu'
    options = Options(
        device=device,
        model=args.model,
        methods=methods,
        sweeps=sweeps,
        repeats=args.repeats or (1 if args.quick else 3 if on_cpu else 30),
        minutes=args.minutes or MINUTES,
    )

    def record(report: Report) -> None:
        if json_file:
            write_json(json_file, asdict(report))

    report = run_benchmark(options, record)
    sys.stdout.write(report.text())
    if folder:
        save_plots(report, folder)
    if page:
        from zegclip_core.speed.page import benchmark_page

        write_report(page, benchmark_page(report))
    return report
