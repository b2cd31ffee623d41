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
"""How many frames a second the page of ``zegclip web`` labels and shows, beside the node.

Run it with ``python -m benchmarks.web_rate``. Three things take turns, each alone on the machine,
with the bundled model at one short side, frames of 640 x 480 and the same words: the node with
camera and receiver, as ``benchmarks.node_rate`` has it; the same while a page shows it
(``zegclip web --ros``); and the page with a model of its own. ``docs/web.md`` has the figures.
"""

import argparse
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
import sys
from tempfile import TemporaryDirectory
import time

from benchmarks.latency_processes import words
from benchmarks.node_latency import ATTEMPTS, Case, running, WARM_UP, watch
from benchmarks.node_rate import label_rate, Rates, table
from benchmarks.reports import report_of_processes
from benchmarks.web_page import Client, connected, frames, PAGE, serving
from websockets.sync.client import ClientConnection
from zegclip_ros.runtime.child_processes import Processes

CASE = Case(model='everyday-s')
PATIENCE = 40.0
"""Longest wait for a process to be ready [s]."""
NODE, WATCHED, SHOWN, OWN = (
    'the node alone',
    'the node while a page shows it',
    'the page that shows it',
    'the page with a model of its own',
)


def at_side(short_side: int, name: str, command: list[str]) -> list[str]:
    """Return the command of a process, the node's with a short side."""
    return [*command, '-p', f'short_side:={short_side}'] if name == 'node' else command


def rate_of_node(case: Case, short_side: int) -> dict[str, float]:
    """Return how many label images a second arrive at a receiver while no page is open."""
    with (
        TemporaryDirectory() as folder,
        running(case, Path(folder), PATIENCE, partial(at_side, short_side)) as (processes, _),
    ):
        return {NODE: label_rate(Path(folder), partial(watch, processes, case.seconds))}


def rates_with_page(case: Case, short_side: int) -> dict[str, float]:
    """Return how many arrive there while a page is open, and how many frames a second it shows.

    Raises:
        RuntimeError: If a page shows no frame, started several times: now and then Fast DDS
            leaves two processes without a connection (``node_latency.running``).
    """
    for _ in range(ATTEMPTS):
        with (
            TemporaryDirectory() as folder,
            running(case, Path(folder), PATIENCE, partial(at_side, short_side)) as (processes, _),
            suppress(TimeoutError),
        ):
            return watched_rates(processes, Path(folder), case.seconds)
    raise RuntimeError(f'The page showed no frame in {PATIENCE:g} s, {ATTEMPTS} times.')


def watched_rates(processes: Processes, logs: Path, seconds: float) -> dict[str, float]:
    """Open the page of a node that labels, and return both rates."""
    command = [sys.executable, '-m', 'zegclip_ros.nodes.web', '--ros-args', '-p', 'port:=0']
    processes.start('page', command)
    shown: list[float] = []
    with connected(address_in(processes)) as socket:
        next_result(socket)
        rate = label_rate(logs, lambda: shown.append(shown_rate(socket, seconds)))
    return {WATCHED: rate, SHOWN: shown[0]}


def address_in(processes: Processes) -> str:
    """Wait for the page of a node to say its address.

    Raises:
        RuntimeError: If it does not in time, or a process ends.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        _, found, rest = processes.log_of('page').read_text('utf-8').partition('The page is at ')
        if found and '\n' in rest:
            return rest.split()[0]
        watch(processes, 0.2)
    raise RuntimeError(f'The page said no address in {PATIENCE:g} s.')


def next_result(socket: ClientConnection) -> None:
    """Wait for the next frame with its labels, the only binary message.

    Raises:
        TimeoutError: If none comes in time.
    """
    end = time.monotonic() + PATIENCE
    while isinstance(socket.recv(timeout=max(end - time.monotonic(), 0.0)), str):
        pass


def shown_rate(socket: ClientConnection, seconds: float) -> float:
    """Return how many frames a second come from a page, between the first and the last one."""
    times = [time.monotonic()]
    while times[-1] < times[0] + seconds:
        next_result(socket)
        times.append(time.monotonic())
    return (len(times) - 2) / (times[-1] - times[1])


def rate_of_page(case: Case, short_side: int) -> dict[str, float]:
    """Return how many frames a second a page with a model of its own labels for one client."""
    files = frames()
    with serving(short_side) as (address, _), connected(address) as socket:
        for seconds in (WARM_UP, case.seconds):
            client = Client(socket, files, seconds, words=', '.join(words(0)), smoothing=0.0)
            client.run()
    return {OWN: client.rate}


def measure(options: argparse.Namespace) -> Rates:
    """Let all take turns, each round beginning with another."""
    case = replace(CASE, seconds=options.seconds)
    sides: deque[Callable[[Case, int], Mapping[str, float]]]
    sides = deque((rate_of_node, rates_with_page, rate_of_page))
    found: Rates = {name: [] for name in (NODE, WATCHED, SHOWN, OWN)}
    for _ in range(options.rounds):
        for side in sides:
            for name, rate in side(case, options.short_side).items():
                found[name].append(rate)
                print(f'{name}: {rate:.2f} frames a second', flush=True)
        sides.rotate(-1)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.web_rate', description=__doc__)
    parser.add_argument('--short-side', type=int, default=252)
    parser.add_argument('--rounds', type=int, default=3, help='turns of each')
    parser.add_argument('--seconds', type=float, default=20.0, help='time to measure each [s]')
    parser.add_argument('--out', type=Path, default=Path('runs/web_rate.json'))
    parser.add_argument('--write-docs', action='store_true', help='put the table into docs/web.md')
    options = parser.parse_args(argv)
    return report_of_processes(
        'web_rate',
        lambda: measure(options),
        table,
        out=options.out,
        page=PAGE,
        place='web-rate' if options.write_docs else None,
    )


if __name__ == '__main__':
    sys.exit(main())
