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
"""Measures the latency that the node adds to its model, over real DDS.

Run it with ``make bench-node`` or ``python -m benchmarks.node_latency``. Camera, node and receiver
are three processes; ``docs/performance.md`` says what is measured and holds the results.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
import os
from pathlib import Path
import sys
import time
from typing import Any

from benchmarks.latency_figures import draw_slow, figures, tables, TRANSPORTS
from benchmarks.latency_processes import words
from benchmarks.reports import setting, write_docs, write_json
from benchmarks.stand_in import read_events
from zegclip_ros.launching import LARGE_DATA
from zegclip_ros.runtime.child_processes import interruptible, Processes, reserved_domain

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'performance.md'
PICTURE = ROOT / 'docs' / 'images' / 'slow_model.png'
RELIABILITIES = ('reliable', 'best_effort')
PARTS = ('latency', 'words')
WARM_UP = 3.0
"""Seconds between the node's first words and the first frame that counts."""
ATTEMPTS = 3
"""How often a case is started if its processes do not find each other."""
Results = dict[str, list[dict[str, Any]]]


class UnconnectedError(RuntimeError):
    """The processes did not find each other."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.
        transport: ``default``, or ``large_data`` for LARGE_DATA and malloc tuning.
        reliability: Reliability that the camera offers; the node follows it.
        cost: Seconds that the stand-in takes for a frame.
        seconds: Time to measure.
        change_every: Seconds between two changes of the words, 0 for none.
        model: Name of a real model, or empty for the stand-in.
        rate: Frames per second.
    """

    width: int = 640
    height: int = 480
    transport: str = 'large_data'
    reliability: str = 'reliable'
    cost: float = 0.005
    seconds: float = 20.0
    change_every: float = 0.0
    model: str = ''
    rate: float = 30.0

    @property
    def name(self) -> str:
        """Name, fit for a folder."""
        parts = [f'{self.width}x{self.height}', self.transport, self.reliability]
        parts.append(self.model or f'{self.cost:g}s')
        return '-'.join([*parts, 'words'] if self.change_every else parts)


def environment(transport: str, domain: int) -> dict[str, str]:
    """Return the environment of all processes of a case."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in LARGE_DATA and not name.startswith(('FASTDDS', 'FASTRTPS', 'CYCLONEDDS'))
    }
    kept['ROS_DOMAIN_ID'] = str(domain)
    kept['PYTHONPATH'] = os.pathsep.join(filter(None, (kept.get('PYTHONPATH', ''), str(ROOT))))
    # With LOCALHOST, rmw_fastrtps sets up transports of its own and LARGE_DATA has no effect.
    kept['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST' if transport == 'default' else 'SUBNET'
    return kept if transport == 'default' else {**kept, **LARGE_DATA}


def commands(case: Case, logs: Path) -> dict[str, list[str]]:
    """Return the command of each process, by name."""
    names = ', '.join(f"'{name}'" for name in words(0))
    ros = ['-p', f'class_names:=[{names}]', '-p', f'model:={case.model or "none"}']
    found = {
        'node': ['benchmarks.stand_in', '--cost', str(case.cost)],
        'receiver': ['benchmarks.latency_processes', 'receiver'],
        'camera': ['benchmarks.latency_processes', 'camera', '--rate', str(case.rate)],
    }
    found['receiver'] += ['--change-every', str(case.change_every)]
    found['camera'] += ['--width', str(case.width), '--height', str(case.height)]
    found['camera'] += ['--reliability', case.reliability]
    for name, command in found.items():
        command += ['--log', str(logs / f'{name}.jsonl')]
    found['node'] += [*(['--real'] if case.model else []), '--ros-args', *ros]
    return {name: [sys.executable, '-m', *command] for name, command in found.items()}


def as_usual(name: str, command: list[str]) -> list[str]:
    """Return the command of a process as it is."""
    del name
    return command


@contextmanager
def running(
    case: Case,
    logs: Path,
    patience: float,
    changed: Callable[[str, list[str]], list[str]] = as_usual,
) -> Iterator[tuple[Processes, int]]:
    """Run camera, node and receiver; yield them, and how many starts it took, once it is warm.

    With LARGE_DATA, Fast DDS now and then leaves two processes that start at the same time
    without a connection, for good; then all are started again.

    Args:
        case: What is run.
        logs: Folder of their logs; those of earlier processes are removed.
        patience: Longest wait in seconds for the node to have its words and a frame.
        changed: Returns the command of a process, given its name and its usual one.

    Raises:
        RuntimeError: If a process ends, or they do not find each other.
    """
    for start in range(1, ATTEMPTS + 1):
        for old in logs.glob('*.jsonl'):
            old.unlink()
        with (
            reserved_domain() as domain,
            Processes(logs, environment(case.transport, domain)) as processes,
        ):
            for name, command in commands(case, logs).items():
                processes.start(name, changed(name, command))
            try:
                wait_until_ready(processes, case, logs, patience)
            except UnconnectedError:
                if start == ATTEMPTS:
                    raise
                continue
            yield processes, start
            return


def run_case(case: Case, folder: Path, patience: float) -> dict[str, Any]:
    """Run a case and return it with its figures, and how often it was started.

    Args:
        case: What to measure.
        folder: Gets a folder with the logs of the processes.
        patience: Longest wait in seconds for the node to have its words and a frame.

    Raises:
        RuntimeError: If a process ends, or they do not find each other.
    """
    logs = folder / case.name
    with running(case, logs, patience) as (processes, starts):
        began = time.time_ns()
        watch(processes, case.seconds)
        ended = time.time_ns()
        time.sleep(1.0)  # The last frames arrive.
    events = {
        kind: read_events(logs / f'{name}.jsonl', kind)
        for name, kinds in (
            ('camera', ('sent',)),
            ('node', ('arrived', 'segmented')),
            ('receiver', ('label', 'asked', 'words', 'diagnostics')),
        )
        for kind in kinds
    }
    events['sent'] = [event for event in events['sent'] if began <= event['stamp'] < ended]
    found = figures(case.model, case.seconds, events)
    return {'name': case.name, 'case': asdict(case), 'starts': starts, **found}


def wait_until_ready(processes: Processes, case: Case, logs: Path, patience: float) -> None:
    """Wait until the node has words, gets frames and is warm.

    Raises:
        UnconnectedError: If that takes too long.
        RuntimeError: If a process ends.
    """
    end = time.monotonic() + patience

    def ready() -> bool:
        heard = any(event['version'] for event in read_events(logs / 'receiver.jsonl', 'words'))
        # With default transports it may be that large frames never arrive.
        seen = case.transport == 'default' or read_events(logs / 'node.jsonl', 'arrived')
        return heard and bool(seen)

    while not ready():
        if time.monotonic() > end:
            raise UnconnectedError(f'{case.name}: no words or no frame after {patience:g} s')
        watch(processes, 0.2)
    watch(processes, WARM_UP)


def watch(processes: Processes, seconds: float) -> None:
    """Wait some time.

    Raises:
        RuntimeError: If a process ends meanwhile.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for name, code in processes.exit_codes().items():
            tail = processes.log_of(name).read_text('utf-8', 'replace').strip().splitlines()
            raise RuntimeError(f'{name} ended with exit code {code}: {[*tail, "(no output)"][-1]}')
        time.sleep(min(left, 0.2))


def size(text: str) -> tuple[int, int]:
    """Return width and height of a size such as 640x480.

    Raises:
        ValueError: If it is none; argparse makes a usage error of it.
    """
    width, height = (int(part) for part in text.split('x'))
    if width < 4 or height < 1:
        raise ValueError(f'Expected a size of at least 4x1, but got {text}.')
    return width, height


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.node_latency',
        description='Measure the latency that the node adds, with camera and receiver over DDS.',
    )
    add = parser.add_argument
    results = Path('runs/node_latency/results.json')
    add('--out', type=Path, default=results, help='file of figures; logs go beside it')
    add('--parts', nargs='*', choices=PARTS, default=PARTS, help='what to measure beside')
    add('--slow', action='store_true', help='a model slower than the camera, for --minutes')
    add('--minutes', type=float, default=10.0, help='time of the slow part [min]')
    add('--model', default='', help='also measure with this model, e.g. everyday-s')
    add('--sizes', nargs='+', type=size, default=[(640, 480), (1920, 1080)], help='WxH [px]')
    add('--transports', nargs='+', choices=TRANSPORTS, default=list(TRANSPORTS), help='which')
    add('--reliability', nargs='+', choices=RELIABILITIES, default=RELIABILITIES, help='offered')
    add('--seconds', type=float, default=20.0, help='time to measure a case [s]')
    add('--cost', type=float, default=0.005, help='time of the stand-in for a frame [s]')
    add('--write-docs', action='store_true', help='put the tables into docs/performance.md')
    return parser


def cases(options: argparse.Namespace) -> dict[str, list[Case]]:
    """Return what is to be measured, by part."""
    sizes = [
        Case(width=width, height=height, seconds=options.seconds, cost=options.cost)
        for width, height in options.sizes
    ]
    todo: dict[str, list[Case]] = {}
    if 'latency' in options.parts:
        todo['latency'] = [
            replace(case, transport=transport, reliability=reliability)
            for case in sizes
            for transport in options.transports
            for reliability in options.reliability
        ]
    if 'words' in options.parts:
        todo['words'] = [replace(case, change_every=2.0) for case in sizes]
    if options.slow:
        todo['slow'] = [replace(sizes[0], cost=0.1, seconds=60.0 * options.minutes)]
    if options.model:
        # Longer, since a model on the CPU labels one or two frames a second.
        real = [replace(case, model=options.model, seconds=3 * case.seconds) for case in sizes]
        todo['model'] = real
        todo['model words'] = [replace(real[0], change_every=4.0)]
    return todo


def measure(todo: dict[str, list[Case]], folder: Path) -> tuple[Results, list[str]]:
    """Run all cases, one after the other; return their results, and what went wrong."""
    found: Results = {}
    problems = []
    for part, entries in todo.items():
        for case in entries:
            print(f'{part}: {case.name}, {case.seconds:g} s', flush=True)
            patience = 300.0 if case.model else 30.0
            try:
                result = run_case(case, folder / part.replace(' ', '_'), patience)
            except RuntimeError as error:
                problems.append(f'{part}: {case.name}: {error}')
                continue
            found.setdefault(part, []).append(result)
            if result['stale'] or result['wrong labels']:
                problems.append(
                    f'{part}: {case.name}: {result["stale"]} stale frames, '
                    f'{result["wrong labels"]} with wrong labels'
                )
            median = (result['added [ms]'] or {}).get('p50')
            received = f'{result["received"]} of {result["sent"]}'
            print(f'  added p50 {median} ms; received {received}; starts {result["starts"]}')
    return found, problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if the node did nothing wrong, however long it took."""
    options = build_parser().parse_args(arguments)
    try:
        with interruptible():
            found, problems = measure(cases(options), options.out.parent)
    except KeyboardInterrupt:
        print('Interrupted; all processes have ended.', file=sys.stderr)
        return 130
    write_json(options.out, {'setting': setting(), 'parts': found, 'problems': problems})
    if 'slow' in found:
        draw_slow(
            found['slow'][0], PICTURE if options.write_docs else options.out.with_suffix('.png')
        )
    for name, table in tables(found).items():
        text = f'{table}\n\n({setting()})'
        print(f'\n## {name}\n\n{text}')
        if options.write_docs:
            picture = f'\n\n![Added latency over time](images/{PICTURE.name})'
            write_docs(name, text + picture * (name == 'slow'), PAGE)
    for problem in problems:
        print(f'WRONG: {problem}', file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
