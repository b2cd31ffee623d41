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
"""Measures how many frames a second the node labels where all share a few cores.

Run it with ``python -m benchmarks.node_rate``. Camera, node and receiver are three processes, the
model is the bundled one on the CPU. What is compared takes turns: numbers of threads, and with
``--before FOLDER`` another checkout of this repository. ``--demo`` takes ``make demo`` in place of
them. ``docs/performance.md`` says what came of it.
"""

import argparse
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
import json
from pathlib import Path
import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import TypeAlias

from benchmarks.node_latency import Case, running, watch
from benchmarks.reports import report_of_processes
from benchmarks.stand_in import read_events
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'performance.md'
RUN = """
import runpy, sys
sys.path[0], module = sys.argv[1:3]
del sys.argv[1:3]
runpy.run_module(module, run_name='__main__', alter_sys=True)
"""
"""Runs a module of a checkout, which comes first in Python's path."""
Rates: TypeAlias = dict[str, list[float]]


@dataclass(frozen=True)
class Side:
    """What takes turns: a checkout, and threads of the model (0 for its default)."""

    tree: Path
    threads: int

    @property
    def name(self) -> str:
        """What the table calls it."""
        code = 'this code' if self.tree == ROOT else 'before'
        return f'{code}, {self.threads or "default"} threads'


def rate_of_node(side: Side, case: Case, patience: float) -> float:
    """Return how many label images a second arrive at a receiver.

    Raises:
        RuntimeError: If a process ends, or the node is not ready in time.
    """

    def changed(name: str, usual: list[str]) -> list[str]:
        python, _, *command = usual
        threads = ['-p', f'threads:={side.threads}'] if name == 'node' and side.threads else []
        return [python, '-c', RUN, str(side.tree), *command, *threads]

    with (
        TemporaryDirectory() as folder,
        running(case, Path(folder), patience, changed) as (processes, _),
    ):
        return label_rate(Path(folder), partial(watch, processes, case.seconds))


def label_rate(logs: Path, meanwhile: Callable[[], object]) -> float:
    """Return how many label images a second a receiver gets while something is done.

    Raises:
        RuntimeError: If it gets no two.
    """
    log = logs / 'receiver.jsonl'
    before = max(len(read_events(log, 'label')) - 1, 0)
    meanwhile()
    times = [event['time'] for event in read_events(log, 'label')][before:]
    if len(times) < 2:
        raise RuntimeError('no two label images came')
    # Between the first and the last one: whole frames in the time that they took.
    return (len(times) - 1) / ((times[-1] - times[0]) / 1e9)


def rate_of_demo(side: Side, seconds: float) -> float:
    """Return the frame rate that the demo of a checkout tells.

    Raises:
        RuntimeError: If it fails.
    """
    with TemporaryDirectory() as folder:
        module = ['zegclip_ros.demo', '--out', folder, '--seconds', str(seconds)]
        command = [sys.executable, '-c', RUN, str(side.tree), *module]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=side.tree)
        if done.returncode:
            raise RuntimeError((done.stdout.strip().splitlines() or ['no reason given'])[-1])
        summary = json.loads((Path(folder) / 'summary.json').read_text(encoding='utf-8'))
    return float(summary['frame_rate_hz'])


def measure(sides: Sequence[Side], options: argparse.Namespace) -> Rates:
    """Let all take turns, each round beginning with another."""
    width, height = options.size
    case = Case(width, height, seconds=options.seconds, model='everyday-s', rate=options.rate)
    run = partial(rate_of_node, case=case, patience=options.patience)
    found: Rates = {side.name: [] for side in sides}
    turns = deque(sides)
    for _ in range(options.rounds):
        for side in turns:
            rate = rate_of_demo(side, options.seconds) if options.demo else run(side)
            found[side.name].append(rate)
            print(f'{side.name}: {rate:.2f} frames a second', flush=True)
        turns.rotate(-1)
    return found


def table(found: Rates) -> str:
    """Return medians, and the medians of the ratios to the first one, as a table."""
    first = next(iter(found.values()))
    rows = [
        (
            name,
            statistics.median(rates),
            min(rates),
            max(rates),
            statistics.median(a / b for a, b in zip(rates, first, strict=True)),
        )
        for name, rates in found.items()
    ]
    head = ('', 'frames a second', 'least', 'most', 'ratio')
    return tabulate(rows, head, tablefmt='github', floatfmt='.2f')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.node_rate', description=__doc__)
    add = parser.add_argument
    add('--before', type=Path, metavar='FOLDER', help='an older checkout')
    add('--threads', type=int, nargs='+', default=[0], help='of the model, 0 for its default')
    add('--demo', action='store_true', help='run make demo, which has its own threads')
    add('--rounds', type=int, default=3, help='turns of each')
    add('--seconds', type=float, default=20.0, help='time to measure each turn [s]')
    add('--patience', type=float, default=120.0, help='longest wait for the node [s]')
    add('--size', type=int, nargs=2, default=(640, 480), metavar=('W', 'H'), help='of frames [px]')
    add('--rate', type=float, default=30.0, help='of the camera [Hz]')
    add('--out', type=Path, default=Path('runs/node_rate.json'), help='file of figures')
    add('--write-docs', action='store_true', help=f'put the table into {PAGE.name}')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    options = build_parser().parse_args(arguments)
    trees = [ROOT] if options.before is None else [options.before.resolve(), ROOT]
    threads = [0] if options.demo else options.threads
    sides = [Side(tree, count) for count in threads for tree in trees]
    place = 'demo' if options.demo else 'rate'
    return report_of_processes(
        'node_rate',
        lambda: measure(sides, options),
        table,
        out=options.out,
        page=PAGE,
        place=place if options.write_docs else None,
    )


if __name__ == '__main__':
    sys.exit(main())
