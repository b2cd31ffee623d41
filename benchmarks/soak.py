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
"""Keeps the node busy for a long time, and watches its memory and its answers.

Run it with ``make soak`` or ``python -m benchmarks.soak --minutes 20``. The node is a process of
its own with a stand-in for its model; ``benchmarks.soak_world`` plays what happens to it. The
figures go to ``soak.json``, the curves of memory to ``soak.png``.
"""

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import shutil
import sys
from typing import Any, NamedTuple

from benchmarks.reports import faults_in, RELIABILITY_PAGE, setting, write_docs, write_json
from benchmarks.soak_plan import PERIODS, Plan, SMOOTHING
from benchmarks.soak_world import World
import numpy as np
import psutil
import rclpy
from rclpy.node import Node
from scipy import stats
from tabulate import tabulate
from zegclip_ros.launching import LARGE_DATA
from zegclip_ros.runtime.child_processes import Processes, reserved_domain

FIRST = 10.0
"""Seconds of trouble before the first count: some threads start when they are first needed."""
BACK = 60.0
"""Seconds in which everything has to be back at the end."""
ATTEMPTS = 3
LIMIT, LONG_LIMIT, LONG_BOUND = 10e6, 2e6, 5e6
"""Bytes that resident memory may grow per hour; in a run of an hour, and by its whole interval."""
HOUR = 60.0
"""Minutes of a run for which the lower limits hold: a single late step weighs less in it."""
MEMORY = {'rss': 'resident', 'pss': 'resident, shared parts divided', 'uss': 'unshared'}
Samples = Sequence[dict[str, float]]


class Trend(NamedTuple):
    """A straight line through samples.

    Attributes:
        slope: Growth per hour.
        low: Lower end of the slope's 95 % confidence interval.
        high: Its upper end.
        start: Height of the line at time 0.
        points: Number of medians that it was fitted to.
    """

    slope: float
    low: float
    high: float
    start: float
    points: int


def trend(samples: Samples, kind: str, window: float) -> Trend:
    """Fit a line to the medians of windows of time, and say how certain its slope is.

    Samples that follow one another closely say nearly the same, so that an interval from single
    samples would be far too narrow. Medians of a minute are about independent, and what is
    allocated only for a moment does not show in them.

    Args:
        samples: Rows with ``seconds``, growing, and ``kind``.
        kind: Key of ``MEMORY``.
        window: Length of a window in seconds.

    Raises:
        ValueError: If there are fewer than four full windows.
    """
    seconds = np.array([row['seconds'] for row in samples])
    values = np.array([row[kind] for row in samples])
    full = int((seconds[-1] - seconds[0] + 1.5) // window) if len(samples) else 0
    if full < 4:
        raise ValueError(f'Expected samples of at least 4 windows of {window} s, but got {full}.')
    places = ((seconds - seconds[0]) // window).astype(int)
    picks = [places == place for place in range(full)]
    times = [seconds[pick].mean() for pick in picks]
    fit = stats.linregress(times, [np.median(values[pick]) for pick in picks])
    reach = stats.t.ppf(0.975, full - 2) * fit.stderr
    low, high = (3600.0 * (fit.slope + sign * reach) for sign in (-1, 1))
    return Trend(3600.0 * fit.slope, low, high, float(fit.intercept), full)


def draw(path: Path, samples: Samples, line: Trend, warm_up: float) -> None:
    """Draw the curves of memory, and the line through the resident memory."""
    from matplotlib.figure import Figure  # takes a second

    minutes = np.array([row['seconds'] for row in samples]) / 60
    figure = Figure(figsize=(9, 4.6), layout='constrained')
    axes = figure.subplots()
    for kind, name in MEMORY.items():
        axes.plot(minutes, [row[kind] / 1e6 for row in samples], label=name)
    ends = np.array([warm_up / 60, minutes[-1]])
    label = f'{line.slope / 1e6:+.1f} MB per hour'
    axes.plot(ends, (line.start + line.slope * ends / 60) / 1e6, 'r', label=label)
    axes.axvspan(0, warm_up / 60, color='0.92')
    axes.text(0.01, 0.95, 'warm-up', transform=axes.transAxes)
    axes.set(xlabel='minutes', ylabel='MB', title='Memory of the node in the soak test')
    axes.grid(color='0.85')
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def in_markdown(figures: dict[str, Any]) -> str:
    """Return the figures as tables."""
    rows = [row for row in figures['samples'] if row['seconds'] >= figures['warm-up']]
    memory = []
    for kind, line in figures['trends'].items():
        first, last = (np.median([row[kind] for row in part]) for part in (rows[:10], rows[-10:]))
        growth = f'{line.slope / 1e6:+.2f} MB/h ({line.low / 1e6:+.2f} to {line.high / 1e6:+.2f})'
        memory.append([MEMORY[kind], f'{first / 1e6:.1f} MB', f'{last / 1e6:.1f} MB', growth])
    counts = [
        [kind, *(one[kind] if isinstance(one[kind], int) else len(one[kind]) for one in ends)]
        for ends in [(figures['start'], figures['end'])]
        for kind in figures['start']
    ]
    gaps, points = figures['longest gap'], figures['trends']['rss'].points
    tables = [
        (memory, ['memory', 'after the warm-up', 'at the end', 'growth (95 % interval)']),
        (counts, ['', 'at the start', 'at the end']),
        (sorted(figures['events'].items()), ['what happened', 'times']),
    ]
    return '\n\n'.join(
        [
            f'{figures["setting"]}, {figures["minutes"]:g} minutes, {figures["rate"]:g} images a '
            f'second, transport {figures["transport"]}. Wrong answers, or none within '
            f'{figures["patience"]:g} s: {len(figures["failures"])}; tracebacks in the log: '
            f'{len(figures["faults in the log"])}; exit code: {figures["exit code"]}. Longest '
            'time without labels though a camera, the node and a listener were there: '
            f'{gaps["labels"]:.1f} s; without diagnostics: {gaps["diagnostics"]:.1f} s. The line '
            f'is fitted to the {points} medians of {figures["window"]:g} s after the first '
            f'{figures["warm-up"] / 60:g} minutes.',
            *(tabulate(rows, head, tablefmt='github') for rows, head in tables),
        ]
    )


def differences(start: dict[str, Any], end: dict[str, Any]) -> list[str]:
    """Return what is not as it was, in words; file descriptors come and go."""
    found = []
    for key in sorted({*start, *end} - {'descriptors'}):
        before, after = start.get(key), end.get(key)
        if before != after and isinstance(before, list) and isinstance(after, list):
            new, gone = sorted(set(after) - set(before)), sorted(set(before) - set(after))
            found.append(f'{key}: {len(before)} became {len(after)}, new {new}, gone {gone}')
        elif before != after:
            found.append(f'{key}: {before} became {after}')
    return found


def growth(line: Trend, *, long: bool) -> list[str]:
    """Return how memory grows too fast, in words."""
    slope, limit = line.slope, LONG_LIMIT if long else LIMIT
    if slope > limit:
        return [f'memory grows by {slope / 1e6:.1f} MB per hour, more than {limit / 1e6:.1f} MB']
    if long and line.high > LONG_BOUND:
        bound = LONG_BOUND / 1e6
        return [f'memory may grow by {line.high / 1e6:.1f} MB per hour, more than {bound:.1f} MB']
    return []


def faults_of(figures: dict[str, Any]) -> list[str]:
    """Return which limits are broken, in words."""
    found = [*figures['failures'], *(f'log: {line}' for line in figures['faults in the log'])]
    found += differences(figures['start'], figures['end'])
    if not figures['trends']:
        found.append('too few samples for a line through the memory')
    else:
        found += growth(figures['trends']['rss'], long=figures['minutes'] >= HOUR)
    if figures['exit code'] != 0:
        found.append(f'the node ended with the exit code {figures["exit code"]}')
    return found


def count(probe: Node, process: psutil.Process) -> dict[str, Any]:
    """Return the node's threads, descriptors and the ends of its topics and services."""
    own = ('zegclip', '/')
    publishers = probe.get_publisher_names_and_types_by_node(*own)
    subscriptions = probe.get_subscriber_names_and_types_by_node(*own)
    return {
        'threads': process.num_threads(),
        'descriptors': process.num_fds(),
        'publishers': sorted(
            topic
            for topic, _ in publishers
            for end in probe.get_publishers_info_by_topic(topic)
            if end.node_name == 'zegclip'
        ),
        'subscriptions': sorted(
            topic
            for topic, _ in subscriptions
            for end in probe.get_subscriptions_info_by_topic(topic)
            if end.node_name == 'zegclip'
        ),
        'services': sorted(one for one, _ in probe.get_service_names_and_types_by_node(*own)),
    }


def start_node(processes: Processes, command: Sequence[str], plan: Plan) -> World:
    """Start the node, and return its surroundings once it answers.

    With LARGE_DATA, Fast DDS now and then leaves two processes that start at about the same time
    without a connection, for good: then the node is started again.

    Raises:
        RuntimeError: If it does not get ready.
    """
    for _ in range(ATTEMPTS):
        probe = Node('probe', use_global_arguments=False)
        processes.start('node', command)
        (child,) = psutil.Process().children()
        world = World(probe, child, plan)
        if world.ready():
            # The start may take longer than any later answer.
            world.failures.clear()
            world.longest_gap.update(dict.fromkeys(world.longest_gap, 0.0))
            return world
        processes.stop()
        probe.destroy_node()
    raise RuntimeError('the node does not get ready')


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the soak test and return its figures."""
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    command = [sys.executable, '-m', 'benchmarks.stand_in', '--cost', str(options.cost)]
    command += ['--ros-args', '-p', 'use_sim_time:=true', '-p', f'smoothing:={SMOOTHING}']
    plan = Plan(options.seed, options.rate, options.patience)
    start: dict[str, Any] = {}
    end: dict[str, Any] = {}
    samples: list[dict[str, float]] = []
    with Processes(options.out, environment) as processes:
        world = start_node(processes, command, plan)
        try:
            world.trouble(FIRST, options.only)
            world.live(10.0)  # What is gone is still known to others for a moment.
            start = count(world.probe, world.process)
            world.samples.clear()
            world.trouble(60 * options.minutes, options.only)
            samples = list(world.samples)
            world.live(BACK, lambda: not differences(start, count(world.probe, world.process)))
            end = count(world.probe, world.process)
        except RuntimeError as error:
            world.failures.append(str(error))
        processes.stop()
    samples = [{**row, 'seconds': row['seconds'] - samples[0]['seconds']} for row in samples]
    warm_up = 60 * options.warm_up
    warm = [row for row in samples if row['seconds'] >= warm_up]
    try:
        lines = {kind: trend(warm, kind, options.window) for kind in MEMORY}
    except ValueError:
        lines = {}
    return {
        'setting': setting(),
        'minutes': options.minutes,
        'warm-up': warm_up,
        'window': options.window,
        'rate': options.rate,
        'patience': options.patience,
        'transport': options.transport,
        'trends': lines,
        'start': start,
        'end': end,
        'events': dict(world.counts),
        'longest gap': world.longest_gap,
        'failures': world.failures,
        'faults in the log': faults_in(processes.log_of('node')),
        'exit code': processes.exit_codes().get('node'),
        'samples': samples,
    }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; end with a message if they make no sense."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.soak', description='Keep the node busy and watch its memory.'
    )
    add = parser.add_argument
    add('--minutes', type=float, default=20.0, help='how long')
    add('--warm-up', type=float, default=5.0, help='minutes that do not count for the memory')
    add('--window', type=float, default=60.0, help='seconds of which a median is taken')
    add('--cost', type=float, default=0.005, help='time of a frame [s]')
    add('--rate', type=float, default=30.0, help='of the images [Hz]')
    add('--patience', type=float, default=15.0, help='longest wait for an answer [s]')
    add('--transport', choices=('large_data', 'default'), default='large_data', help='of Fast DDS')
    add('--seed', type=int, default=1, help='of what happens when')
    add('--only', nargs='+', choices=PERIODS, default=list(PERIODS), help='to see what leaks')
    add('--out', type=Path, default=Path('runs/soak'), help='folder for results')
    add('--write-docs', action='store_true', help='put the figures into the docs')
    options = parser.parse_args(arguments)
    left = 60 * (options.minutes - options.warm_up)
    if left < 4 * options.window:
        # A short run, for trying: its interval is not to be trusted.
        options.window = left / 10
    if options.window < 1:
        parser.error('expected at least ten seconds after the warm-up')
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak test; return 1 if a limit is broken."""
    options = parsed(arguments)
    large = options.transport == 'large_data'
    with reserved_domain() as domain:
        os.environ.update(LARGE_DATA if large else {}, ROS_DOMAIN_ID=str(domain))
        # With LOCALHOST, rmw_fastrtps sets up transports of its own and LARGE_DATA has no effect.
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'SUBNET' if large else 'LOCALHOST'
        rclpy.init(args=[])
        try:
            figures = measure(options)
        finally:
            rclpy.try_shutdown()
    named = {kind: line._asdict() for kind, line in figures['trends'].items()}
    write_json(options.out / 'soak.json', {**figures, 'trends': named})
    if figures['trends'] and figures['end']:
        text = in_markdown(figures)
        print(text)
        plot = options.out / 'soak.png'
        draw(plot, figures['samples'], figures['trends']['rss'], figures['warm-up'])
        if options.write_docs:
            write_docs('soak', text)
            shutil.copy(plot, RELIABILITY_PAGE.parent / 'images' / 'soak.png')
    faults = faults_of(figures)
    for fault in faults:
        print(f'WRONG: {fault[:600]}')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
