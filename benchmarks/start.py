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
"""Measures a start: the time to the first label, and the memory that it takes at most.

Run it with ``python -m benchmarks.start``. New processes take turns: one that only imports
PyTorch, one that labels a frame with the bundled model, ``zegclip segment``, and the node with a
camera and a receiver beside it. With ``--before FOLDER``, another checkout of this repository, its
code takes turns with this one's. ``docs/performance.md`` says what came of it.
"""

import argparse
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
import json
from pathlib import Path
import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory
import time
from typing import TypeAlias

from benchmarks.node_latency import environment, watch
from benchmarks.reports import peak_of, report_of_processes
from benchmarks.stand_in import read_events
import cv2
import numpy as np
import psutil
from tabulate import tabulate
from zegclip_ros.runtime.child_processes import Processes, reserved_domain

BASE, LIBRARY = 'import torch', 'Segmenter, a frame of 640x480'
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'performance.md'
PATIENCE = 120.0
"""Longest wait in seconds for the node's first label."""
SETTLED = 3.0
"""Seconds that camera and receiver get to start, and the node to label after its first frame."""
PREAMBLE = """
import json, os, sys, time
def age():
    'Return the seconds since this process was started, to a hundredth.'
    ticks = int(open('/proc/self/stat').read().rpartition(')')[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf('SC_CLK_TCK')
def peak():
    (line,) = [line for line in open('/proc/self/status') if line.startswith('VmHWM')]
    return int(line.split()[1]) / 1024
found = {}
"""
IMPORT = """
import torch
found['total'], found['processor'] = age(), time.process_time()
"""
SEGMENTER = """
from zegclip_core.options import wait_without_spinning
wait_without_spinning()  # As the commands and the node do.
import numpy as np
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
found['imports'] = age()
segmenter = Segmenter.load(device='cpu')
found['model'] = age()
found['loading peak'] = peak()
words = segmenter.encode(Vocabulary.from_names(['person', 'cat', 'cup', 'dining table']))
found['words'] = age()
image = np.zeros((480, 640, 3), np.uint8)
segmenter.segment(image, words)
found['total'], found['processor'] = age(), time.process_time()
began, worked = time.monotonic(), time.process_time()
segmenter.segment(image, words)
found['frame'] = time.monotonic() - began
found['frame processor'] = time.process_time() - worked
"""
COMMAND = """
from zegclip_core.cli.main import main
assert main(sys.argv[1:]) == 0
found['total'], found['processor'] = age(), time.process_time()
"""
NODE = """
import runpy, sys
sys.path[0] = sys.argv.pop(1)
runpy.run_module('zegclip_ros.nodes.segmentation', run_name='__main__')
"""
NODE_ARGUMENTS = ('--ros-args', '-p', 'class_names:=[person, cat, cup, dining table]')
POSTSCRIPT = """
print('\\n' + json.dumps({**found, 'peak': peak()}))
"""
Figures: TypeAlias = dict[str, float]


def run_python(tree: Path, code: str, *arguments: str) -> Figures:
    """Run code with a checkout; return the seconds to its stages, and its peak in MB.

    Raises:
        RuntimeError: If it fails.
    """
    command = [sys.executable, '-c', PREAMBLE + code + POSTSCRIPT, *arguments]
    # The folder that it runs in is where Python looks first.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tree)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ['no reason given'])[-1])
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def run_node(tree: Path) -> Figures:
    """Start a checkout's node beside a camera and a receiver; return as ``run_python`` does.

    Raises:
        RuntimeError: If no label comes.
    """
    with reserved_domain() as domain, TemporaryDirectory() as folder:
        logs = Path(folder)
        with Processes(logs, environment('large_data', domain)) as processes:
            for role, arguments in (('receiver', []), ('camera', ['--rate', '10'])):
                log = ['--log', str(logs / f'{role}.jsonl')]
                module = [sys.executable, '-m', 'benchmarks.latency_processes', role]
                processes.start(role, [*module, *arguments, *log])
            time.sleep(SETTLED)
            began = time.time_ns()
            processes.start('node', [sys.executable, '-c', NODE, str(tree), *NODE_ARGUMENTS])
            total = first_label(processes, logs / 'receiver.jsonl') - began
            (child,) = (one for one in psutil.Process().children() if NODE in one.cmdline())
            worked = sum(child.cpu_times()[:2])
            time.sleep(SETTLED)
            return {'total': total / 1e9, 'processor': worked, 'peak': peak_of(child.pid)}


def first_label(processes: Processes, log: Path) -> int:
    """Wait for the first label; return when it came, in nanoseconds of the system's clock.

    Raises:
        RuntimeError: If a process ends before it, or none comes.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        labels = read_events(log, 'label')
        if labels:
            return int(labels[0]['time'])
        watch(processes, 0.1)
    raise RuntimeError(f'no label in {PATIENCE:g} s')


def sides_of(tree: Path, folder: str, *, with_node: bool) -> dict[str, Callable[[], Figures]]:
    """Return what is to be measured of a checkout, by name; outputs go to the folder."""
    picture = Path(folder) / 'picture.png'
    picture.write_bytes(cv2.imencode('.png', np.zeros((480, 640, 3), np.uint8))[1].tobytes())
    arguments = ('segment', str(picture), '--classes', 'person, cat, cup, dining table')
    sides: dict[str, Callable[[], Figures]] = {
        LIBRARY: partial(run_python, tree, SEGMENTER),
        'zegclip segment': partial(run_python, tree, COMMAND, *arguments, '--out', folder),
    }
    if with_node:
        sides['node, to the label at a receiver'] = partial(run_node, tree)
    return sides


def measure(
    rounds: int, before: Path | None = None, *, with_node: bool = True
) -> dict[str, list[Figures]]:
    """Let all take turns, each round beginning with another."""
    with TemporaryDirectory() as folder:
        sides: dict[str, Callable[[], Figures]] = {BASE: partial(run_python, ROOT, IMPORT)}
        sides |= sides_of(ROOT, folder, with_node=with_node)
        if before is not None:
            old = sides_of(before.resolve(), folder, with_node=with_node)
            sides |= {f'before: {name}': side for name, side in old.items()}
        found: dict[str, list[Figures]] = {name: [] for name in sides}
        turns = deque(sides)
        for _ in range(rounds):
            for name in turns:
                found[name].append(sides[name]())
                print(f'{name}: {found[name][-1]}', flush=True)
            turns.rotate(-1)
    return found


def table(found: Mapping[str, Sequence[Figures]]) -> str:
    """Return medians as a table; ratios are the medians of those of the rounds."""
    library, alone = found[LIBRARY], found[BASE]
    goals = {
        key: [base[key] + one[frame] for base, one in zip(alone, library, strict=True)]
        for key, frame in (('total', 'frame'), ('processor', 'frame processor'))
    }
    goals['peak'] = [base['peak'] for base in alone]
    rows: list[list[object]] = [[f'{BASE}, and one frame']]
    for values in (goals['total'], goals['processor']):
        rows[0] += [statistics.median(values), 1.0]
    for name, figures in found.items():
        row: list[object] = [name]
        for key, goal in goals.items():
            values = [one[key] for one in figures]
            ratios = [a / b for a, b in zip(values, goal, strict=True)]
            row += [statistics.median(values), statistics.median(ratios)]
        rows.append(row)
    head = ('process', 'seconds', 'ratio', 'of processors', 'ratio')
    memory = ('most memory [MB]', f'of that of {BASE}')
    formats = ('', *4 * ['.2f'], '.0f', '.2f')
    return tabulate(rows, (*head, *memory), tablefmt='github', floatfmt=formats)


def stages(found: Mapping[str, Sequence[Figures]]) -> str:
    """Return how long each stage of the library's start takes, as a table of medians."""
    names = {
        'imports': "imports, PyTorch's among them",
        'model': 'model and text tower',
        'words': 'four words',
        'total': 'first frame',
    }
    rows, before = [], dict.fromkeys(range(len(found[LIBRARY])), 0.0)
    for key, name in names.items():
        ends = [one[key] for one in found[LIBRARY]]
        rows.append((name, statistics.median(end - before[i] for i, end in enumerate(ends))))
        before = dict(enumerate(ends))
    return tabulate(rows, ('stage', 'seconds'), tablefmt='github', floatfmt='.2f')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.start', description=__doc__)
    parser.add_argument('--rounds', type=int, default=5, help='starts of each process')
    parser.add_argument('--no-node', action='store_true', help='without the node: no ROS')
    parser.add_argument('--before', type=Path, metavar='FOLDER', help='an older checkout')
    parser.add_argument('--out', type=Path, default=Path('runs/start.json'), help='figures')
    parser.add_argument('--write-docs', action='store_true', help=f'put them into {PAGE.name}')
    options = parser.parse_args(arguments)
    return report_of_processes(
        'start',
        lambda: measure(options.rounds, options.before, with_node=not options.no_node),
        lambda found: f'{table(found)}\n\n{stages(found)}',
        out=options.out,
        page=PAGE,
        place='started' if options.write_docs else None,
    )


if __name__ == '__main__':
    sys.exit(main())
