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
"""Keeps the node busy and unsettled for a long time, and watches its memory, threads and topics.

Run it by ``make soak`` or ``python -m benchmarks.soak --minutes 20``. The node is a process of its
own with a stand-in for the model; ``benchmarks.soak_world`` says what happens to it. The figures
go to ``soak.json``, the curves of memory to ``soak.png``.
"""

import argparse
from collections.abc import Callable, Sequence
import os
from pathlib import Path
import shutil
import sys
import time
from typing import Any

from benchmarks.node_process import as_row, footprint, LARGE_DATA, NodeProcess
from benchmarks.reports import megabytes, RELIABILITY_PAGE, setting, write_docs, write_json
from benchmarks.soak_figures import Trend
from benchmarks.soak_report import draw, ends_of, faults_of, in_markdown, same, trends
from benchmarks.soak_world import TROUBLES, World
from benchmarks.tasks import Task
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from zegclip_ros.runtime.child_processes import reserved_domain

ATTEMPTS = 3
FIRST = 10.0
"""Seconds of trouble before the first count: some threads are made when they are first needed."""
BACK = 60.0
"""Seconds in which everything has to be back at the end."""


class Soak:
    """One run.

    Args:
        process: The node; not yet started.
        seed: Seed of what happens.
        only: Kinds of trouble.
    """

    def __init__(self, process: NodeProcess, seed: int, only: Sequence[str] = TROUBLES) -> None:
        self._only = only
        self.samples: list[dict[str, float]] = []
        self._process = process
        self._probe = Node('probe', use_global_arguments=False)
        self.world = World(self._probe, seed)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._probe)
        self._began = time.monotonic()
        self._next_sample = self._next_word = 0.0

    def close(self) -> None:
        """Let go of DDS."""
        self._probe.destroy_node()
        self._executor.shutdown()

    def _live(self, until: Callable[[], object], seconds: float) -> bool:
        """Let things happen until a condition holds; return whether it does in time."""
        end = time.monotonic() + seconds
        while not until():
            if not self._process.alive:
                self.world.failures.append(f'the node ended: {self._process.exit_code}')
                return False
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=self.world.tasks.idle_in())
            self.world.tasks.turn()
            self._sample()
        return True

    def _sample(self) -> None:
        """Look at the process once a second."""
        elapsed = time.monotonic() - self._began
        if elapsed < self._next_sample:
            return
        self._next_sample = max(self._next_sample + 1.0, elapsed)
        try:
            taken = as_row(footprint(self._process.pid))
        except (OSError, KeyError):  # It has just ended.
            return
        self.samples.append({'seconds': round(elapsed, 2), **taken})
        if elapsed >= self._next_word:
            self._next_word = elapsed + 60.0
            wrong = len(self.world.failures)
            print(
                f'  {elapsed / 60:.1f} min: {megabytes(taken["rss"])}, {wrong} wrong', flush=True
            )

    def _do(self, task: Task, seconds: float) -> None:
        """Do something to its end."""
        over: list[bool] = []

        def with_end() -> Task:
            yield from task
            over.append(True)

        self.world.tasks.start(with_end())
        self._live(lambda: over, seconds)

    def count(self) -> dict[str, Any]:
        """Return the node's threads, descriptors and the ends of its topics and services."""
        taken = footprint(self._process.pid)
        probe, name = self._probe, 'zegclip'
        found = {
            'publishers': (
                probe.get_publisher_names_and_types_by_node,
                probe.get_publishers_info_by_topic,
            ),
            'subscriptions': (
                probe.get_subscriber_names_and_types_by_node,
                probe.get_subscriptions_info_by_topic,
            ),
        }
        topics = {
            kind: sorted(
                topic
                for topic, _ in by_node(name, '/')
                for end in by_topic(topic)
                if end.node_name == name
            )
            for kind, (by_node, by_topic) in found.items()
        }
        services = sorted(one for one, _ in probe.get_service_names_and_types_by_node(name, '/'))
        return {
            'threads': taken.threads,
            'descriptors': taken.descriptors,
            **topics,
            'services': services,
        }

    def run(self, seconds: float) -> dict[str, Any]:
        """Run it all; return the counts at the start and at the end."""
        self.world.begin()
        if not self._get_ready():
            self.world.failures.append('the node does not get ready')
            return {'start': {}, 'end': {}}
        start = self._unsettle(FIRST)
        self._began = time.monotonic()
        self.samples.clear()
        self._next_sample = self._next_word = 0.0
        end = self._unsettle(seconds, wanted=start)
        return {'start': start, 'end': end}

    def _get_ready(self) -> bool:
        """Start the node and wait for its first words; return whether they came.

        Under LARGE_DATA, Fast DDS now and then leaves two processes that start at about the same
        time without a connection, for good: then the node is started again.
        """
        counts = self.world.counts
        for _ in range(ATTEMPTS):
            self.world.failures.clear()
            self._process.start()
            if self._live(lambda: counts['diagnostics'] and counts['answers about words'], 30.0):
                return True
            self._process.stop()
        return False

    def _unsettle(self, seconds: float, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make trouble for some time; return the counts when it has settled again."""
        self.world.start_trouble(self._only)
        self._live(lambda: False, seconds)
        self._do(self.world.stop_trouble(), 120.0)
        if not self._process.alive:
            return {}
        if wanted is None:  # What is gone is still known to others for a moment.
            self._live(lambda: False, 10.0)
        else:
            self._live(lambda: same(wanted, self.count()), BACK)
        return self.count()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.soak', description='Keep the node busy and watch its memory.'
    )
    parser.add_argument('--minutes', type=float, default=20.0, help='how long')
    parser.add_argument(
        '--warm-up', type=float, default=5.0, help='minutes that do not count for the memory'
    )
    parser.add_argument(
        '--window', type=float, default=60.0, help='seconds of which a median is taken'
    )
    parser.add_argument('--cost', type=float, default=0.005, help='time of a frame [s]')
    parser.add_argument(
        '--transport', choices=('large_data', 'default'), default='large_data', help='of Fast DDS'
    )
    parser.add_argument('--seed', type=int, default=1, help='of what happens when')
    parser.add_argument(
        '--only', nargs='+', choices=TROUBLES, default=TROUBLES, help='to find out what leaks'
    )
    parser.add_argument('--out', type=Path, default=Path('runs/soak'), help='folder for results')
    parser.add_argument('--write-docs', action='store_true', help='put them into the docs')
    return parser


def checked(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; end with a message if they make no sense."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    left = 60 * (options.minutes - options.warm_up)
    if left < 4 * options.window:
        # A short run, for trying: its interval is not to be trusted.
        options.window = left / 10
    if options.window < 1:
        parser.error('expected at least ten seconds after the warm-up')
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the soak test and return its figures."""
    log = options.out / 'node.log'
    log.unlink(missing_ok=True)
    environment = LARGE_DATA if options.transport == 'large_data' else {}
    os.environ.update(environment)
    process = NodeProcess(
        log, ['--cost', str(options.cost), '--ros-args', '-p', 'use_sim_time:=true'], environment
    )
    rclpy.init(args=[])
    soak = Soak(process, options.seed, options.only)
    try:
        counts = soak.run(60 * options.minutes)
    finally:
        took = process.stop()
        soak.close()
        rclpy.try_shutdown()
    warm_up = 60 * options.warm_up
    try:
        lines = trends(soak.samples, warm_up, options.window)
    except (ValueError, IndexError):
        lines = {}
    return {
        'setting': setting(),
        'minutes': options.minutes,
        'warm-up': warm_up,
        'window': options.window,
        'transport': options.transport,
        'trends': {kind: vars(line) for kind, line in lines.items()},
        'memory': ends_of(soak.samples, warm_up),
        **counts,
        'events': dict(soak.world.counts),
        'awaited': soak.world.tasks.awaited,
        'longest wait': soak.world.longest_gap,
        'failures': soak.world.failures,
        'faults in the log': process.faults(),
        'exit code': process.exit_code,
        'seconds to end': round(took, 2),
        'samples': soak.samples,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak test; return 1 if a limit is broken."""
    options = checked(arguments)
    with reserved_domain() as domain:
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        # With LOCALHOST, rmw_fastrtps sets up transports of its own and LARGE_DATA has no effect.
        wide = options.transport == 'large_data'
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'SUBNET' if wide else 'LOCALHOST'
        figures = measure(options)
    write_json(options.out / 'soak.json', figures)
    if figures['trends']:
        text = in_markdown(figures)
        print(text)
        plot = options.out / 'soak.png'
        draw(plot, figures['samples'], Trend(**figures['trends']['rss']), figures['warm-up'])
        if options.write_docs:
            write_docs('soak', text)
            shutil.copy(plot, RELIABILITY_PAGE.parent / 'images' / 'soak.png')
    faults = faults_of(figures)
    for fault in faults:
        print(f'WRONG: {fault[:600]}')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
