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
"""Sends thousands of hostile messages to the node, good frames between them, and counts.

Run it by ``make fuzz`` or ``python -m benchmarks.fuzz --messages 10000``. The node is a process
of its own with a stand-in for the model. Half of the messages go to a node that takes raw images,
half to one that takes compressed ones. Each of the vocabulary messages and requests has its answer
awaited, and what the node says about itself is compared with what should be. Then a good frame is
sent and its labels are compared. What a message was that went wrong stands in ``fuzz.json``.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
import math
import os
from pathlib import Path
import sys
import time
from typing import Any

from benchmarks.fuzz_campaign import (
    Campaign,
    hostile_rounds,
    made_rounds,
    NodeEndedError,
    Round,
    TooManyFailuresError,
)
from benchmarks.node_process import NodeProcess
from benchmarks.reports import megabytes, setting, table, write_docs, write_json
from hypothesis import given, HealthCheck, Phase, seed, settings
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from zegclip_ros.runtime.child_processes import reserved_domain

TRANSPORTS = ('raw', 'compressed')
DEADLINE = 20.0
MESSAGES_A_ROUND = 3
MOST_ENDS = 10
MOST_OVERTAKEN = 0.01
"""Part of the images: the node has depth 1, so that a newer one may replace one on its way."""


def play_at_random(
    transport: str, count: int, number: int, play: Callable[[Round], object]
) -> None:
    """Have hypothesis draw rounds, and play them.

    Args:
        transport: ``raw`` or ``compressed``.
        count: Number of rounds.
        number: Seed: the same one draws the same rounds.
        play: Plays a round. It raises nothing: a node that went wrong cannot be asked again.
    """

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile_rounds(transport))
    def drawn(one: Round) -> None:
        play(one)

    drawn()


class Run:
    """One node, started again whenever it ends, and the messages that go to it.

    Args:
        transport: ``raw`` or ``compressed``.
        log: File for what the node prints.
    """

    def __init__(self, transport: str, log: Path) -> None:
        arguments = ['--cost', '0', '--ros-args', '-p', 'image_reliability:=reliable']
        self._process = NodeProcess(log, [*arguments, '-p', f'image_transport:={transport}'])
        self._transport = transport
        self._executor = SingleThreadedExecutor()
        self._probe = Node('probe', use_global_arguments=False)
        self._executor.add_node(self._probe)
        self._campaign = Campaign(self._probe, self._wait, lambda: self._process.alive, transport)
        self._ends = 0
        self._over = False
        self._peak = 0
        self._said = time.monotonic()

    def _wait(self, condition: Callable[[], object]) -> bool:
        """Let messages flow until a condition holds, the node has ended, or time is up."""
        end = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > end or not self._process.alive:
                return bool(condition())
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def play(self, rounds: int, number: int) -> dict[str, Any]:
        """Play the hand-made rounds and as many drawn ones as are missing; return the figures."""
        began = time.monotonic()
        images: dict[str, int] = {}
        try:
            self._process.start()
            self._safely(self._campaign.begin)
            rows = made_rounds(self._transport)
            for row in rows:
                self._play_one(row)
            play_at_random(self._transport, max(rounds - len(rows), 1), number, self._play_one)
            images = {} if self._over else self._campaign.looked_at()
        finally:
            took, code = self._stop()
        return {
            'transport': self._transport,
            'seconds': round(time.monotonic() - began, 1),
            'counts': dict(self._campaign.counts),
            'images': images,
            'failures': self._campaign.failures,
            'ends': self._ends,
            'faults in the log': self._process.faults(),
            'peak memory': self._peak,
            'exit code': code,
            'seconds to end': round(took, 2),
        }

    def _play_one(self, one: Round) -> None:
        self._safely(lambda: self._campaign.play(one))
        if time.monotonic() > self._said + 10.0:
            self._said = time.monotonic()
            if self._process.alive:
                self._peak = max(self._peak, self._process.peak_memory())
            total = sum(self._campaign.counts.values())
            print(f'  {self._transport}: {total} messages', flush=True)

    def _safely(self, work: Callable[[], object]) -> None:
        """Do something; start the node again if it ends over it."""
        while not self._over:
            try:
                work()
            except NodeEndedError:
                self._ends += 1
                self._over = self._ends >= MOST_ENDS
                work = self._campaign.begin
                if not self._over:
                    self._process.start()
            except TooManyFailuresError:
                self._over = True
            else:
                return

    def _stop(self) -> tuple[float, int | None]:
        if self._process.alive:
            self._peak = max(self._peak, self._process.peak_memory())
        took = self._process.stop()
        self._probe.destroy_node()
        self._executor.shutdown()
        return took, self._process.exit_code


def faults_of(figures: dict[str, Any]) -> list[str]:
    """Return what is wrong with the figures of a run, in words."""
    times = Counter(entry['what'] for entry in figures['failures'])
    first = {entry['what']: entry['message'] for entry in reversed(figures['failures'])}
    found = [f'{what} ({count} times), first by {first[what]}' for what, count in times.items()]
    found += [f'log: {line}' for line in figures['faults in the log'][:5]]
    if overtaken(figures) > MOST_OVERTAKEN * figures['images'].get('sent', 0):
        found.append(f'{overtaken(figures)} of {figures["images"]["sent"]} images never arrived')
    if figures['exit code'] != 0:
        found.append(f'the node ended with the exit code {figures["exit code"]}')
    return found


def overtaken(figures: dict[str, Any]) -> int:
    """Return how many images the next one replaced before the node had taken them."""
    images = figures.get('images') or {'sent': 0, 'arrived': 0}
    return max(images['sent'] - images['arrived'], 0)


def hostile_count(figures: dict[str, Any]) -> int:
    """Return how many hostile messages of a run reached the node."""
    sent = sum(count for kind, count in figures['counts'].items() if kind != 'good frames')
    return sent - overtaken(figures)


def in_markdown(runs: Sequence[dict[str, Any]]) -> str:
    """Return the figures as a table."""
    kinds = list(dict.fromkeys(kind for run in runs for kind in run['counts']))
    rows: list[list[object]] = [
        [kind, *(run['counts'].get(kind, 0) for run in runs)] for kind in kinds
    ]
    rows += [
        ['images that the next one replaced on the way', *(overtaken(run) for run in runs)],
        ['**hostile messages that arrived**', *(hostile_count(run) for run in runs)],
        ['images refused', *(run['images'].get('bad', '-') for run in runs)],
        ['wrong or missing answers', *(len(run['failures']) for run in runs)],
        ['ends of the node', *(run['ends'] for run in runs)],
        ['tracebacks in the log', *(len(run['faults in the log']) for run in runs)],
        ['most memory', *(megabytes(run['peak memory']) for run in runs)],
        ['time', *(f'{run["seconds"]:.0f} s' for run in runs)],
    ]
    head = ['', *(f'{run["transport"]} images' for run in runs)]
    return f'{setting()}, seed {runs[0]["seed"]}.\n\n{table(head, rows)}'


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.fuzz', description='Send hostile messages to the node.'
    )
    parser.add_argument('--messages', type=int, default=10_000, help='hostile messages to send')
    parser.add_argument('--seed', type=int, default=1, help='the same one draws the same messages')
    parser.add_argument('--transports', nargs='+', choices=TRANSPORTS, default=TRANSPORTS)
    parser.add_argument('--out', type=Path, default=Path('runs/fuzz'), help='folder for results')
    parser.add_argument('--write-docs', action='store_true', help='put them into the docs')
    return parser


def run_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the fuzz test and return the figures of each transport."""
    spare = 1 + MOST_OVERTAKEN
    rounds = math.ceil(spare * options.messages / (MESSAGES_A_ROUND * len(options.transports)))
    runs = []
    with reserved_domain() as domain:
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        for transport in options.transports:
            log = options.out / f'{transport}.log'
            log.unlink(missing_ok=True)
            rclpy.init(args=[])
            try:
                runs.append(Run(transport, log).play(rounds, options.seed))
            finally:
                rclpy.try_shutdown()
            runs[-1]['seed'] = options.seed
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzz test; return 1 if anything was wrong."""
    options = build_parser().parse_args(arguments)
    runs = run_all(options)
    write_json(options.out / 'fuzz.json', runs)
    text = in_markdown(runs)
    print(text)
    if options.write_docs:
        write_docs('fuzz', text)
    faults = [f'{run["transport"]}: {fault}' for run in runs for fault in faults_of(run)]
    total = sum(hostile_count(run) for run in runs)
    if total < options.messages:
        faults.append(f'only {total} of {options.messages} messages arrived')
    for fault in faults:
        print(f'WRONG: {fault[:600]}')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
